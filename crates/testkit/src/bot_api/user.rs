//! What people do: write, send files, edit, press buttons, stop drafts, block the bot.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Bot;
use super::files::FileKind;
use super::media;
use super::state::{BotState, Flood, Moment, Press, user_json};
use super::transcript::{Message, Version};

/// Something that a person sends; begins with [`Said::text`] or [`Said::file`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    text: String,
    topic: Option<i64>,
    reply_to: Option<i64>,
    file: Option<UserFile>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct UserFile {
    kind: FileKind,
    name: String,
    mime: String,
    content: Vec<u8>,
}

impl Said {
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { text: text.to_owned(), topic: None, reply_to: None, file: None }
    }

    /// A file with its name, media type and content; a photo is a PNG, JPEG or GIF.
    #[must_use]
    pub fn file(kind: FileKind, name: &str, mime: &str, content: &[u8]) -> Self {
        let (name, mime) = (name.to_owned(), mime.to_owned());
        let file = UserFile { kind, name, mime, content: content.to_vec() };
        Self { file: Some(file), ..Self::text("") }
    }

    #[must_use]
    pub fn captioned(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }

    /// In a topic of the chat, which is known from then on.
    #[must_use]
    pub fn in_topic(self, topic: i64) -> Self {
        Self { topic: Some(topic), ..self }
    }

    /// In answer to a message.
    #[must_use]
    pub fn in_reply_to(self, message_id: i64) -> Self {
        Self { reply_to: Some(message_id), ..self }
    }
}

/// What has come of something that a person sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub update_id: i64,
    pub message_id: i64,
    /// Of the file, as the bot gets it.
    pub file_id: Option<String>,
}

impl Bot {
    /// Somebody writes to the bot; returns the update's number. The chat is known from now on.
    pub fn user_says(&self, chat: i64, user: i64, text: &str) -> i64 {
        self.change(|bot| bot.write(chat, user, Said::text(text), None)).update_id
    }

    /// As [`Self::user_says`], in a topic of the chat.
    pub fn user_says_in_topic(&self, chat: i64, topic: i64, user: i64, text: &str) -> i64 {
        let said = Said::text(text).in_topic(topic);
        self.change(|bot| bot.write(chat, user, said, None)).update_id
    }

    /// Somebody sends a text or a file.
    ///
    /// # Errors
    /// When the file is empty, or a photo cannot be read.
    pub fn user_sends(&self, chat: i64, user: i64, said: Said) -> anyhow::Result<Delivered> {
        self.change(|bot| {
            let file = said
                .file
                .as_ref()
                .map(|file| media::of_user(bot, file.kind, &file.name, &file.mime, &file.content));
            let file = file.transpose().map_err(|refusal| anyhow::anyhow!(refusal.description))?;
            Ok(bot.write(chat, user, said, file))
        })
    }

    /// Somebody changes the text or caption of an own message; the update's number, or `None` when
    /// there is no such message.
    pub fn user_edits(&self, chat: i64, message_id: i64, text: &str) -> Option<i64> {
        self.change(|bot| {
            let place = bot.chats.get_mut(&chat)?;
            let message = place.messages.get_mut(&message_id)?;
            if message.is_from_bot {
                return None;
            }
            message.versions.push(version(text));
            let message = message.clone();
            let json = bot.message_json(&message);
            Some(bot.queue.push("edited_message", json))
        })
    }

    /// Somebody presses the button with this `callback_data` below a message; the query, or `None`
    /// when no such button can be seen there now.
    pub fn user_presses(
        &self,
        chat: i64,
        user: i64,
        message_id: i64,
        data: &str,
    ) -> Option<String> {
        self.change(|bot| {
            let message = bot.message(chat, message_id)?;
            message.buttons().find(|button| button.data() == Some(data))?;
            bot.press(chat, user, message_id, data)
        })
    }

    /// As [`Self::user_presses`], from an app that still shows buttons which are gone; or from one
    /// that makes up its data.
    pub fn user_presses_as_is(
        &self,
        chat: i64,
        user: i64,
        message_id: i64,
        data: &str,
    ) -> Option<String> {
        self.change(|bot| bot.press(chat, user, message_id, data))
    }

    /// Lets the time to answer a press be over.
    pub fn expire_press(&self, query: &str) {
        self.change(|bot| bot.presses.remove(query));
    }

    /// Somebody stops the newest draft of a chat; the update's number, or `None` when there is none
    /// that can be stopped.
    pub fn user_stops_draft(&self, chat: i64) -> Option<i64> {
        self.change(|bot| {
            let draft = bot.chats.get(&chat)?.drafts.last().filter(|draft| draft.can_stop)?;
            let mut stopped = json!({ "chat": bot.chat_json(chat), "draft_id": draft.draft_id });
            if let Some(thread) = draft.thread {
                stopped["message_thread_id"] = thread.into();
            }
            Some(bot.queue.push("stopped_message_generation", stopped))
        })
    }

    /// Queues an update as it is, also of a kind that `allowed_updates` holds back now; Telegram too
    /// gives out what was queued before that setting changed. Gets a number if it has none.
    pub fn push_update(&self, update: Value) -> i64 {
        self.change(|bot| bot.queue.push_as_is(update))
    }

    /// Gives an update out once more, however far the client has confirmed.
    pub fn repeat_update(&self, number: i64) {
        self.change(|bot| bot.queue.repeat(number));
    }

    /// From now on gives this share of all updates, in percent, a second time, though confirmed.
    pub fn repeat_share(&self, percent: u32) {
        self.change(|bot| bot.queue.repeat_share(percent));
    }

    /// Lets the bot know a chat in which nobody has said anything.
    pub fn add_chat(&self, chat: i64) {
        self.change(|bot| bot.chats.entry(chat).or_default().moved_to = None);
    }

    /// Lets the bot know a topic of a supergroup or of a private chat.
    pub fn add_topic(&self, chat: i64, topic: i64) {
        self.change(|bot| bot.chats.entry(chat).or_default().topics.insert(topic));
    }

    /// Somebody deletes a topic.
    pub fn remove_topic(&self, chat: i64, topic: i64) {
        self.change(|bot| bot.chats.entry(chat).or_default().topics.remove(&topic));
    }

    /// The user of this chat does not want to hear from the bot any more.
    pub fn block(&self, chat: i64) {
        self.bar(chat, Some("bot was blocked by the user"));
    }

    /// Somebody throws the bot out of a group.
    pub fn kick(&self, chat: i64) {
        self.bar(chat, Some("bot was kicked from the group chat"));
    }

    /// The bot may write to this chat again.
    pub fn unblock(&self, chat: i64) {
        self.bar(chat, None);
    }

    fn bar(&self, chat: i64, why: Option<&'static str>) {
        self.change(|bot| bot.chats.entry(chat).or_default().barred = why);
    }

    /// A group becomes the supergroup of this number.
    pub fn upgrade(&self, chat: i64, supergroup: i64) {
        self.change(|bot| {
            bot.chats.entry(supergroup).or_default();
            bot.chats.entry(chat).or_default().moved_to = Some(supergroup);
        });
    }

    /// The chat answers 429 for this long. Calls that do not wait as told are violations.
    pub fn flood_chat(&self, chat: i64, time: Duration) {
        let flood = Flood { until: Instant::now() + time, told: None };
        self.change(|bot| bot.chats.entry(chat).or_default().flood = Some(flood));
    }
}

fn version(text: &str) -> Version {
    let at = Moment::now().at;
    Version { at, text: text.to_owned(), entities: Vec::new(), keyboard: Vec::new() }
}

impl BotState {
    fn write(
        &mut self,
        chat: i64,
        user: i64,
        said: Said,
        file: Option<super::files::Attachment>,
    ) -> Delivered {
        self.chats.entry(chat).or_default().topics.extend(said.topic);
        let message_id = self.number(chat);
        let file_id = file.as_ref().map(|file| file.file_id.clone());
        let message = Message {
            chat,
            thread: said.topic,
            message_id,
            from: user,
            is_from_bot: false,
            reply_to: said.reply_to,
            is_silent: false,
            file,
            versions: vec![version(&said.text)],
            deleted: None,
            options: serde_json::Map::new(),
        };
        let json = self.message_json(&message);
        self.insert(message);
        let update_id = self.queue.push("message", json);
        Delivered { update_id, message_id, file_id }
    }

    fn press(&mut self, chat: i64, user: i64, message_id: i64, data: &str) -> Option<String> {
        let message = self.chats.get(&chat)?.messages.get(&message_id)?;
        let query = format!("{}{:06}", self.id, self.presses.len() + 1);
        let update = json!({
            "id": query,
            "from": user_json(user),
            "message": self.message_json(message),
            "chat_instance": format!("{chat}"),
            "data": data,
        });
        self.presses.insert(query.clone(), Press { since: Instant::now(), is_answered: false });
        self.queue.push("callback_query", update);
        Some(query)
    }
}
