//! The stand-in of the Bot API over HTTP, as a client without a library sees it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod entities;
mod faults;
mod files;
mod rules;
mod updates;
mod webhook;

use std::sync::OnceLock;
use std::time::Duration;

use nexus_testkit::bot_api::{Bot, BotApi, Options};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// A user, and the private chat with that user.
const ANN: i64 = 42;
const GROUP: i64 = -100;
const FORUM: i64 = -1_001_234_567_890;

async fn start() -> BotApi {
    let api = BotApi::start(Options::default()).await.unwrap();
    for chat in [ANN, GROUP, FORUM] {
        api.add_chat(chat);
    }
    api
}

/// One for all: each new one would read the system's certificates. Tests have runtimes of their own,
/// so no connection may be kept for the next.
fn http() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let make = || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).pool_max_idle_per_host(0);
        client.build().unwrap()
    };
    CLIENT.get_or_init(make).clone()
}

/// The answer to a call, whatever it is.
async fn call(bot: &Bot, method: &str, arguments: Value) -> Value {
    let address = format!("{}/bot{}/{method}", bot.url(), bot.token());
    let answer = http().post(address).json(&arguments).send().await.unwrap();
    let (status, body): (_, Value) = (answer.status().as_u16(), answer.json().await.unwrap());
    assert_eq!(
        status,
        if body["ok"] == true { 200 } else { body["error_code"].as_u64().unwrap() as u16 }
    );
    body
}

/// The result of a call that has to succeed.
async fn done(bot: &Bot, method: &str, arguments: Value) -> Value {
    let mut body = call(bot, method, arguments).await;
    assert_eq!(body["ok"], true, "{method}: {body}");
    body["result"].take()
}

/// Why a call is refused.
async fn refused(bot: &Bot, method: &str, arguments: Value) -> String {
    let body = call(bot, method, arguments).await;
    body["description"].as_str().unwrap_or_else(|| panic!("{method} is done: {body}")).to_owned()
}

/// The number of a message that is sent.
async fn sent(bot: &Bot, chat: i64, text: &str) -> i64 {
    let message = done(bot, "sendMessage", json!({ "chat_id": chat, "text": text })).await;
    message["message_id"].as_i64().unwrap()
}
