//! Webhooks: updates go to the bot's own server, one after the other, until each is taken.
//!
//! # Source
//! "setWebhook" of the Bot API and tdlib/telegram-bot-api `WebhookActor.cpp`. As with a server in
//! local mode, plain HTTP and any port are fine. The real server sends up to `max_connections`
//! updates at once; here each waits for the one before.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::Bot;
use super::arguments::Arguments;
use super::methods::kinds;
use super::refusal::Refusal;
use super::state::{BotState, Moment};

const LONGEST_SECRET: usize = 256;
const MOST_CONNECTIONS: i64 = 100;
const CONNECTIONS: i64 = 40;
/// The longest wait between attempts, in units of the first.
const LONGEST_BACKOFF: u32 = 32;

/// Where updates go.
#[derive(Debug)]
pub(super) struct Webhook {
    url: String,
    secret: Option<String>,
    max_connections: i64,
    last_error: Option<(i64, String)>,
    /// Ends its deliveries; cancelled when dropped.
    over: CancellationToken,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// The client for what the stand-in sends by itself.
pub(super) fn client() -> reqwest::Result<reqwest::Client> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    // Fails where the process has one already, which then serves.
    PROVIDER.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()
}

pub(super) fn set(bot: &Bot, arguments: &Arguments) -> Result<Value, Refusal> {
    let Some(url) = arguments.text("url") else { return delete(bot, arguments) };
    let bad = |why: &str| Refusal::rule(format_args!("bad webhook: {why}"));
    let parsed = reqwest::Url::parse(url).map_err(|_| bad("invalid webhook URL specified"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(bad("an HTTPS URL must be provided for webhook"));
    }
    let secret = arguments.text("secret_token").map(str::to_owned);
    if let Some(secret) = &secret {
        let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
        if secret.len() > LONGEST_SECRET {
            return Err(Refusal::rule("secret token is too long"));
        }
        if !secret.chars().all(is_allowed) {
            return Err(Refusal::rule("secret token contains unallowed characters"));
        }
    }
    let connections = arguments.number("max_connections").unwrap_or(CONNECTIONS);
    let over = bot.shared.over.child_token();
    let webhook = Webhook {
        url: url.to_owned(),
        secret,
        max_connections: connections.clamp(1, MOST_CONNECTIONS),
        last_error: None,
        over: over.clone(),
    };
    bot.change(|bot| {
        if arguments.is_true("drop_pending_updates") {
            bot.queue.clear();
        }
        if let Some(kinds) = kinds(arguments) {
            bot.queue.allow(kinds);
        }
        bot.webhook = Some(webhook);
    });
    let bot = bot.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = over.cancelled() => {}
            () = bot.deliver() => {}
        }
    });
    Ok(true.into())
}

pub(super) fn delete(bot: &Bot, arguments: &Arguments) -> Result<Value, Refusal> {
    bot.change(|bot| {
        if arguments.is_true("drop_pending_updates") {
            bot.queue.clear();
        }
        bot.webhook = None;
    });
    Ok(true.into())
}

pub(super) fn info(bot: &BotState) -> Value {
    let url = bot.webhook.as_ref().map_or("", |webhook| webhook.url.as_str());
    let mut info = json!({
        "url": url, "has_custom_certificate": false, "pending_update_count": bot.queue.len(),
    });
    if let Some(webhook) = &bot.webhook {
        info["max_connections"] = webhook.max_connections.into();
        info["ip_address"] = "127.0.0.1".into();
        if let Some((at, what)) = &webhook.last_error {
            info["last_error_date"] = (*at).into();
            info["last_error_message"] = what.as_str().into();
        }
    }
    if let Some(kinds) = bot.queue.allowed() {
        info["allowed_updates"] = json!(kinds);
    }
    info
}

impl Bot {
    /// Sends updates to the webhook until it is taken away.
    async fn deliver(&self) {
        let Ok(client) = client() else { return };
        let first = self.with(|bot| bot.options.webhook_backoff);
        let mut wait = first;
        loop {
            let changed = self.shared.changed.notified();
            let next = self.with(|bot| {
                let webhook = bot.webhook.as_ref()?;
                Some((bot.queue.first()?, webhook.url.clone(), webhook.secret.clone()))
            });
            let Some((update, url, secret)) = next else {
                changed.await;
                continue;
            };
            match self.post(&client, &update, &url, secret.as_deref()).await {
                Ok(answer) => {
                    wait = first;
                    self.change(|bot| bot.queue.confirm_first());
                    self.answer_call(answer).await;
                }
                Err(why) => {
                    let at = Moment::now().at.as_second();
                    self.with(|bot| {
                        if let Some(webhook) = &mut bot.webhook {
                            webhook.last_error = Some((at, why));
                        }
                    });
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(first * LONGEST_BACKOFF);
                }
            }
        }
    }

    /// One attempt; the body of the answer, or what `getWebhookInfo` says about the failure.
    async fn post(
        &self,
        client: &reqwest::Client,
        update: &Value,
        url: &str,
        secret: Option<&str>,
    ) -> Result<Vec<u8>, String> {
        let timeout = self.with(|bot| bot.options.webhook_timeout);
        let mut request = client.post(url).timeout(timeout).json(update);
        if let Some(secret) = secret {
            request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
        }
        let failed = |error: reqwest::Error| {
            if error.is_timeout() { "Read timeout expired" } else { "Connection refused" }
                .to_owned()
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("Wrong response from the webhook: {status}"));
        }
        Ok(response.bytes().await.map_err(failed)?.to_vec())
    }

    /// A webhook may answer with a call; nobody gets its result.
    async fn answer_call(&self, body: Vec<u8>) {
        let Ok(mut call) = serde_json::from_slice::<Map<String, Value>>(&body) else { return };
        let Some(Value::String(method)) = call.remove("method") else { return };
        let arguments = Arguments::from_object(call);
        let answer = self.counted(&method, arguments).await;
        drop(answer);
    }
}

/// How long a bot's server may take, and the first wait after it has failed.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const BACKOFF: Duration = Duration::from_millis(200);
