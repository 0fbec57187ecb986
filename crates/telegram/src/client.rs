//! The methods of the Bot API that the adapter needs.

use std::fmt::Write as _;
use std::time::Duration;

use nexus_contracts::AttachmentKind;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::api::{Api, Body};
use crate::chat::Chat;
use crate::config::{Config, Settings};
use crate::error::Error;
use crate::piece::{Button, Piece};
use crate::render::Entity;

/// Kinds of updates that Telegram is asked for; anything else would only be passed over.
pub(crate) const ALLOWED_UPDATES: [&str; 3] =
    ["message", "callback_query", "stopped_message_generation"];

/// Longest wait for what shows progress only; the next one comes soon.
const SOON: Duration = Duration::from_secs(5);

/// Largest file that Telegram hands out to bots, in bytes.
///
/// # Source
/// Bot API, `getFile`: "bots can download files of up to 20MB in size".
pub(crate) const LARGEST_DOWNLOAD: u64 = 20 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Client {
    api: Api,
    poll_seconds: u64,
    poll_grace: Duration,
    send_timeout: Duration,
    file_timeout: Duration,
}

/// Who the bot is.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Me {
    pub(crate) username: Option<String>,
}

/// A message that was sent.
#[derive(Deserialize)]
struct SentMessage {
    message_id: i64,
}

#[derive(Deserialize)]
struct FileInfo {
    file_path: Option<String>,
    file_size: Option<u64>,
}

/// A text on its way: new, changed or in the making.
#[derive(Serialize)]
struct Text<'a> {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    can_stop: Option<bool>,
    text: &'a str,
    #[serde(skip_serializing_if = "<[Entity]>::is_empty")]
    entities: &'a [Entity],
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_markup: Option<Keyboard<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_preview_options: Option<Preview>,
}

#[derive(Serialize)]
struct Keyboard<'a> {
    inline_keyboard: [&'a [Button]; 1],
}

/// Telegram fetches what a preview is made from: a model must not choose who is called.
#[derive(Serialize)]
struct Preview {
    is_disabled: bool,
}

impl<'a> Text<'a> {
    fn of(chat: Chat, piece: &'a Piece) -> Self {
        let keyboard = Keyboard { inline_keyboard: [&piece.buttons] };
        Self {
            chat_id: chat.id,
            message_thread_id: chat.topic,
            message_id: None,
            draft_id: None,
            can_stop: None,
            text: &piece.text,
            entities: &piece.entities,
            reply_markup: (!piece.buttons.is_empty()).then_some(keyboard),
            link_preview_options: Some(Preview { is_disabled: true }),
        }
    }
}

/// A file on its way out.
pub(crate) struct Upload<'a> {
    pub(crate) kind: AttachmentKind,
    pub(crate) name: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) bytes: bytes::Bytes,
    pub(crate) caption: Option<&'a Piece>,
}

impl Client {
    pub(crate) fn new(
        config: &Config,
        settings: &Settings,
        token: &SecretString,
    ) -> Result<Self, Error> {
        Ok(Self {
            api: Api::new(&settings.api, token, &settings.token_env)?,
            poll_seconds: config.poll_seconds(),
            poll_grace: config.poll_grace,
            send_timeout: config.send_timeout,
            file_timeout: config.file_timeout,
        })
    }

    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    pub(crate) async fn get_me(&self, timeout: Duration) -> Result<Me, Error> {
        self.api.call("getMe", &json!({}), timeout).await
    }

    /// Waits for updates from `offset` on and tells Telegram to forget those before it.
    ///
    /// Updates come as they are: one that cannot be read must not hide the others. A poll that does
    /// not return in time is given up together with its connection.
    pub(crate) async fn get_updates(
        &self,
        offset: Option<i64>,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let mut body = json!({
            "limit": 100, "timeout": self.poll_seconds, "allowed_updates": ALLOWED_UPDATES,
        });
        if let (Some(offset), Some(body)) = (offset, body.as_object_mut()) {
            body.insert("offset".to_owned(), offset.into());
        }
        let patience = Duration::from_secs(self.poll_seconds) + self.poll_grace;
        let polled = self.api.call("getUpdates", &body, patience).await;
        if polled.as_ref().is_err_and(Error::is_timeout) {
            metrics::counter!("nexus_telegram_poll_stalls_total").increment(1);
            self.api.renew();
        }
        polled
    }

    pub(crate) async fn set_webhook(&self, url: &str, secret: &str) -> Result<(), Error> {
        // One at a time, or Telegram delivers what one person wrote in any order.
        let body = json!({
            "url": url, "secret_token": secret, "max_connections": 1,
            "allowed_updates": ALLOWED_UPDATES,
        });
        let _: bool = self.api.call("setWebhook", &body, self.send_timeout).await?;
        Ok(())
    }

    pub(crate) async fn delete_webhook(&self) -> Result<(), Error> {
        let _: bool = self.api.call("deleteWebhook", &json!({}), self.send_timeout).await?;
        Ok(())
    }

    pub(crate) async fn set_commands(&self, commands: &[(&str, &str)]) -> Result<(), Error> {
        let commands: Vec<_> = commands
            .iter()
            .map(|(command, what)| json!({ "command": command, "description": what }))
            .collect();
        let body = json!({ "commands": commands });
        let _: bool = self.api.call("setMyCommands", &body, self.send_timeout).await?;
        Ok(())
    }

    /// Sends a message and returns its number.
    pub(crate) async fn send(&self, chat: Chat, piece: &Piece) -> Result<i64, Error> {
        let body = Text::of(chat, piece);
        let sent: SentMessage = self.api.call("sendMessage", &body, self.send_timeout).await?;
        Ok(sent.message_id)
    }

    /// Changes a message.
    pub(crate) async fn edit(
        &self,
        chat: Chat,
        message: i64,
        piece: &Piece,
        urgency: Urgency,
    ) -> Result<(), Error> {
        // A message's topic cannot be changed and is not taken here.
        let topic = None;
        let body = Text { message_id: Some(message), ..Text::of(Chat { topic, ..chat }, piece) };
        let timeout = match urgency {
            Urgency::Final => self.send_timeout,
            Urgency::Live => self.send_timeout.min(SOON),
        };
        let _: Box<RawValue> = self.api.call("editMessageText", &body, timeout).await?;
        Ok(())
    }

    pub(crate) async fn delete(&self, chat: Chat, message: i64) -> Result<(), Error> {
        let body = json!({ "chat_id": chat.id, "message_id": message });
        let _: bool = self.api.call("deleteMessage", &body, self.send_timeout).await?;
        Ok(())
    }

    /// Shows an answer that is in the making; the person may stop it.
    pub(crate) async fn draft(&self, chat: Chat, draft: i64, piece: &Piece) -> Result<(), Error> {
        let body = Text {
            draft_id: Some(draft),
            can_stop: Some(true),
            link_preview_options: None,
            ..Text::of(chat, piece)
        };
        let _: bool = self.api.call("sendMessageDraft", &body, SOON).await?;
        Ok(())
    }

    /// Shows "typing" in the chat for five seconds.
    pub(crate) async fn typing(&self, chat: Chat) -> Result<(), Error> {
        let mut body = json!({ "chat_id": chat.id, "action": "typing" });
        if let (Some(topic), Some(body)) = (chat.topic, body.as_object_mut()) {
            body.insert("message_thread_id".to_owned(), topic.into());
        }
        let _: bool = self.api.call("sendChatAction", &body, SOON).await?;
        Ok(())
    }

    /// Tells a person what came of pressing a button.
    pub(crate) async fn answer_press(
        &self,
        query: &str,
        text: &str,
        alert: bool,
    ) -> Result<(), Error> {
        let body = json!({ "callback_query_id": query, "text": text, "show_alert": alert });
        let _: bool = self.api.call("answerCallbackQuery", &body, SOON).await?;
        Ok(())
    }

    /// Fetches a file that somebody has sent.
    pub(crate) async fn fetch(&self, file_id: &str) -> Result<bytes::Bytes, Error> {
        let limit = LARGEST_DOWNLOAD;
        let body = json!({ "file_id": file_id });
        let file: FileInfo = self.api.call("getFile", &body, self.send_timeout).await?;
        if let Some(bytes) = file.file_size.filter(|bytes| *bytes > limit) {
            return Err(Error::FileTooLarge { bytes, limit });
        }
        let path = file.file_path.unwrap_or_default();
        self.api.download(&path, limit, self.file_timeout).await
    }

    /// Sends a file and returns the message's number.
    pub(crate) async fn send_file(&self, chat: Chat, upload: &Upload<'_>) -> Result<i64, Error> {
        let (method, field) = match upload.kind {
            AttachmentKind::Photo => ("sendPhoto", "photo"),
            AttachmentKind::Voice => ("sendVoice", "voice"),
            AttachmentKind::Audio => ("sendAudio", "audio"),
            AttachmentKind::Document => ("sendDocument", "document"),
        };
        let mut form = Form::new(&upload.bytes);
        form.field("chat_id", &chat.id.to_string());
        if let Some(topic) = chat.topic {
            form.field("message_thread_id", &topic.to_string());
        }
        if let Some(caption) = upload.caption {
            form.field("caption", &caption.text);
            let entities = serde_json::to_string(&caption.entities).unwrap_or_default();
            if !caption.entities.is_empty() {
                form.field("caption_entities", &entities);
            }
        }
        form.file(field, upload.name, upload.media_type, &upload.bytes);
        let sent: SentMessage = self.api.upload(method, form.end(), self.file_timeout).await?;
        Ok(sent.message_id)
    }
}

/// How much somebody waits for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It is the answer.
    Final,
    /// It shows how the answer grows; the next one says more.
    Live,
}

/// A body of type `multipart/form-data` (RFC 7578).
struct Form {
    boundary: String,
    bytes: Vec<u8>,
}

impl Form {
    /// `content` is the largest part; the boundary must not be in it.
    fn new(content: &[u8]) -> Self {
        let mut boundary = String::from("nexus-form");
        let is_inside = |boundary: &str| {
            content.windows(boundary.len()).any(|window| window == boundary.as_bytes())
        };
        while is_inside(&boundary) {
            let _ = write!(boundary, "-{:016x}", rand::random::<u64>());
        }
        Self { boundary, bytes: Vec::with_capacity(content.len() + 1024) }
    }

    fn field(&mut self, name: &str, value: &str) {
        let head = format!(
            "--{}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n",
            self.boundary
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn file(&mut self, field: &str, name: &str, media_type: &str, content: &[u8]) {
        // Quotes and line breaks would end the header.
        let name = name.replace(['"', '\r', '\n', '\\'], "_");
        let head = format!(
            "--{}\r\ncontent-disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             content-type: {media_type}\r\n\r\n",
            self.boundary
        );
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
    }

    fn end(mut self) -> Body {
        self.bytes.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
        Body {
            content_type: format!("multipart/form-data; boundary={}", self.boundary),
            bytes: self.bytes.into(),
        }
    }
}
