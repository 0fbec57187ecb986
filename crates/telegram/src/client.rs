//! The few methods of the Bot API that the adapter needs.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use crate::chat::Chat;
use crate::config::Config;
use crate::error::Error;

/// Kinds of updates that Telegram is asked for; anything else would only be passed over.
const ALLOWED_UPDATES: [&str; 1] = ["message"];

pub(crate) struct Client {
    http: reqwest::Client,
    api: String,
    token: SecretString,
    send_timeout: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("api", &self.api).finish_non_exhaustive()
    }
}

/// What Telegram answers to any call.
#[derive(Deserialize)]
struct Answer<T> {
    ok: bool,
    result: Option<T>,
    error_code: Option<u16>,
    description: Option<String>,
    parameters: Option<Parameters>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

#[derive(Serialize)]
struct GetUpdates {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    limit: u8,
    timeout: u64,
    allowed_updates: [&'static str; 1],
}

#[derive(Serialize)]
struct SendMessage<'a> {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    text: &'a str,
}

#[derive(Serialize)]
struct SendChatAction {
    chat_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_thread_id: Option<i64>,
    action: &'static str,
}

/// The bot; Telegram says more than is needed.
#[derive(Deserialize)]
struct User {
    id: i64,
}

impl Client {
    pub(crate) fn new(config: &Config, token: &SecretString) -> Result<Self, Error> {
        let token = token.expose_secret().trim();
        let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
        if token.is_empty() || !token.chars().all(is_token) {
            return Err(Error::Config {
                what: "the bot token is empty or has characters that no token has".to_owned(),
                hint: "put the line that @BotFather gave you into TELEGRAM_BOT_TOKEN",
            });
        }
        let hint = "set telegram.api to an address such as https://api.telegram.org";
        let no_url = |what: String| Error::Config { what, hint };
        let api = Url::parse(&config.api)
            .map_err(|error| no_url(format!("telegram.api is {:?}: {error}", config.api)))?;
        if !matches!(api.scheme(), "http" | "https") {
            return Err(no_url(format!("telegram.api has the scheme {:?}", api.scheme())));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            // A redirect would carry the token to somebody else.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Error::transport("client"))?;
        Ok(Self {
            http,
            api: api.as_str().trim_end_matches('/').to_owned(),
            token: token.into(),
            send_timeout: config.send_timeout,
        })
    }

    /// The bot's id.
    pub(crate) async fn get_me(&self, timeout: Duration) -> Result<i64, Error> {
        let bot: User = self.call("getMe", &serde_json::json!({}), timeout).await?;
        Ok(bot.id)
    }

    /// Waits for updates from `offset` on and tells Telegram to forget those before it.
    ///
    /// Updates come as they are: one that cannot be read must not hide the others.
    pub(crate) async fn get_updates(
        &self,
        offset: Option<i64>,
        config: &Config,
    ) -> Result<Vec<Box<RawValue>>, Error> {
        let timeout = config.poll_seconds();
        let body = GetUpdates { offset, limit: 100, timeout, allowed_updates: ALLOWED_UPDATES };
        let patience = Duration::from_secs(timeout) + config.poll_grace;
        self.call("getUpdates", &body, patience).await
    }

    pub(crate) async fn send_message(&self, chat: Chat, text: &str) -> Result<(), Error> {
        let body = SendMessage { chat_id: chat.id, message_thread_id: chat.topic, text };
        let _: Box<RawValue> = self.call("sendMessage", &body, self.send_timeout).await?;
        Ok(())
    }

    /// Shows "typing" in the chat for five seconds.
    pub(crate) async fn send_typing(&self, chat: Chat) -> Result<(), Error> {
        let body =
            SendChatAction { chat_id: chat.id, message_thread_id: chat.topic, action: "typing" };
        let _: bool = self.call("sendChatAction", &body, Duration::from_secs(5)).await?;
        Ok(())
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: &(impl Serialize + Sync),
        timeout: Duration,
    ) -> Result<T, Error> {
        let address = format!("{}/bot{}/{method}", self.api, self.token.expose_secret());
        let request = self.http.post(address).timeout(timeout).json(body);
        let response = request.send().await.map_err(Error::transport(method))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(Error::transport(method))?;
        let answer: Answer<T> = match serde_json::from_slice(&bytes) {
            Ok(answer) => answer,
            Err(source) if status.is_success() => return Err(Error::Unreadable { method, source }),
            // A proxy in front of Telegram says so in HTML.
            Err(_) => {
                let description = status.canonical_reason().unwrap_or("no reason given").to_owned();
                let (retry_after, migrated_to, code) = (None, None, status.as_u16());
                return Err(Error::Refused { method, code, description, retry_after, migrated_to });
            }
        };
        match answer {
            Answer { ok: true, result: Some(result), .. } => Ok(result),
            Answer { error_code, description, parameters, .. } => {
                let parameters = parameters.unwrap_or_default();
                Err(Error::Refused {
                    method,
                    code: error_code.unwrap_or_else(|| status.as_u16()),
                    description: description.unwrap_or_else(|| "no reason given".to_owned()),
                    retry_after: parameters.retry_after.map(Duration::from_secs),
                    migrated_to: parameters.migrate_to_chat_id,
                })
            }
        }
    }
}
