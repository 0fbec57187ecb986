//! The stand-in of Telegram's Bot API as a process, for any bot in any language.
//!
//! ```text
//! cargo run -p nexus-testkit --example bot_api -- [--port 8081] [--token ID:SECRET]... [--limits]
//! ```
//!
//! Point the bot at the address that is printed (aiogram: `TelegramAPIServer.from_base`, grammY:
//! `apiRoot`, python-telegram-bot: `base_url`) and play its users:
//!
//! ```text
//! say() { curl -s -H 'content-type: application/json' -d "$2" "$URL/control/$1"; }
//! say say   '{"chat":1,"user":1,"text":"/start"}'
//! say say   '{"chat":1,"user":1,"file":{"kind":"document","name":"a.txt","mime":"text/plain","content":"aGk="}}'
//! say say   '{"chat":-1001234567890,"user":1,"topic":5,"text":"in a topic"}'
//! say edit  '{"chat":1,"message_id":1,"text":"better"}'
//! say press '{"chat":1,"user":1,"message_id":2,"data":"yes"}'      # as_is: also a button that is gone
//! say push  '{"invented_in_2030":{}}'                              # any update, as it is
//! say repeat '{"update_id":870000001}'                             # or {"percent":5}
//! say chat  '{"chat":1,"flood":30}'                                # or topic, is_blocked, upgrade
//! say stop  '{"chat":1}'                                           # stops a draft that can be
//! say fail  '{"method":"sendMessage","fault":"timeout","times":3}' # done, never answered
//! say fail  '{"method":"*","fault":{"status":502}}'                # HTML, as proxies do
//! say fail  '{"method":"sendMessage","code":400,"description":"Bad Request: no","chat":null}'
//! curl "$URL/control/transcript?chat=1"                            # every message with every edit
//! curl "$URL/control/violations"                                   # rules that the bot broke
//! ```
//!
//! Faults: `{"status":N}`, `{"flood":S}`, `timeout`, `{"late":MS}`, `cut`, `reset`, `reset_before`,
//! `{"slow":MS}`, `repeat`. To look at: `sent`, `refused`, `answers`, `status`. To post: `limits` with
//! `true` or `false`, `file` with a file_id, `bot` with `{"token":"..."}` of one more bot.
//! `?bot=ID` after any control address chooses another bot than the first.

use std::io::Write as _;

use anyhow::Context as _;
use nexus_testkit::bot_api::{BotApi, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut options = Options::default();
    let mut tokens = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--port" => options.port = value()?.parse().context("--port needs a number")?,
            "--token" => tokens.push(value()?),
            "--limits" => options.limits = true,
            other => match other.parse() {
                Ok(port) => options.port = port,
                Err(_) => anyhow::bail!("unknown argument {other}: --port N, --token T, --limits"),
            },
        }
    }
    let mut tokens = tokens.into_iter();
    options.token = tokens.next().unwrap_or(options.token);
    let api = BotApi::start(options).await?;
    let mut out = std::io::stdout();
    writeln!(out, "ready {} token {}", api.url(), api.token())?;
    for token in tokens {
        let bot = api.add_bot(&token);
        writeln!(out, "also token {} as ?bot={}", bot.token(), bot.bot_id())?;
    }
    writeln!(out, "drive it at {}/control; see the header of this example's source", api.url())?;
    std::future::pending::<()>().await;
    Ok(())
}
