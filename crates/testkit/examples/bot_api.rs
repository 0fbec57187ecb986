//! The stand-in of the Bot API as a process: `bot_api [PORT] [--limits]`.
//!
//! ```text
//! curl -d '{"chat":1,"user":2,"text":"hi"}' -H 'content-type: application/json' URL/control/say
//! curl -d '{"method":"getUpdates","fault":{"status":502}}' -H ... URL/control/fail
//! curl URL/control/sent
//! ```

use std::io::Write as _;

use nexus_testkit::bot_api::{BotApi, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(0);
    let limits = arguments.iter().any(|argument| argument == "--limits");
    let api = BotApi::start(Options { port, limits, ..Options::default() }).await?;
    writeln!(std::io::stdout(), "ready {} token {}", api.url(), api.token())?;
    std::future::pending::<()>().await;
    Ok(())
}
