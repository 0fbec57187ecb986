//! Telegram: people write to a bot, and the agent's answers go back to their chats.
//!
//! Owns the connection to the Bot API: long polling in, `sendMessage` out, the typing sign.
//! Invariants:
//! - Telegram is told to forget an update only after the stream has stored its request and the
//!   cursor has moved. A crash at any point means that Telegram gives the update again, and the
//!   request has the same id again.
//! - An update that nobody can read is counted and passed over; it never holds up the others.
//! - Answers to one chat go out one after the other, in stream order; a chat that Telegram slows
//!   down waits alone.
//! - The token is in no log line, error or printed address.
//!
//! Telegram's `sendMessage` has no idempotency key. What this process has sent of a long answer it
//! does not send again, but a crash between sending and acknowledging, or a connection that breaks
//! while Telegram is answering, may show a piece twice. Nothing is left out.
//!
//! Does not do: edits, files, buttons, drafts, markup (text goes out as it is), webhooks.

mod backoff;
mod chat;
mod client;
mod config;
mod deliver;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod intake;
mod lanes;
mod recent;
mod render;
mod split;
mod typing;
mod update;

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, Chain, Cursors, Limits, Runner};
use nexus_contracts::{TenantId, Timestamp, Token};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use error::Error;

use client::Client;
use deliver::Deliverer;
use intake::Intake;
use typing::Typing;

/// The durable consumer of answers, as `bus-config/` names it.
const CONSUMER: &str = "deliver-telegram";

/// As many as the consumer lets be in flight: waiting for one chat must not keep others waiting.
const CONCURRENCY: usize = 256;

/// With waits of up to five minutes between them, deliveries are tried for about a day.
const DELIVERIES: u64 = 300;

/// The Telegram adapter, ready to serve.
#[derive(Debug)]
pub struct Telegram {
    bus: Bus,
    intake: Intake,
    deliverer: Arc<Deliverer>,
    typing: Typing,
    now: fn() -> Timestamp,
    stop: CancellationToken,
}

impl Telegram {
    /// Sets up and asks Telegram who the bot is.
    ///
    /// Succeeds without an answer when Telegram cannot be reached: [`Self::run`] keeps asking.
    ///
    /// # Errors
    /// [`Error::Config`] for an address or token that cannot be right, [`Error::Refused`] when
    /// Telegram does not know the token, [`Error::Bus`] when the cursors cannot be opened.
    pub async fn open(
        bus: &Bus,
        config: Config,
        tenant: TenantId,
        token: SecretString,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let client = Arc::new(Client::new(&config, &token)?);
        let cursors = Cursors::open(bus).await?;
        let bot = identify(&client, &stop).await?;
        let typing = Typing::new(Arc::clone(&client), stop.clone());
        let deliverer = Arc::new(Deliverer::new(Arc::clone(&client), typing.clone()));
        let intake = Intake {
            bus: bus.clone(),
            cursors,
            client,
            config,
            tenant,
            channel: Token::parse("telegram").map_err(Error::token)?,
            typing: typing.clone(),
            bot,
            position: None,
            now,
        };
        Ok(Self { bus: bus.clone(), intake, deliverer, typing, now, stop })
    }

    /// Serves until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// None at present: whatever fails on the way is tried again.
    pub async fn run(self) -> Result<(), Error> {
        let (intake, typing, stop) = (self.intake, self.typing, self.stop.clone());
        let deliver = deliver_until_stopped(self.bus, self.deliverer, self.now, self.stop);
        tokio::join!(Box::pin(deliver), Box::pin(intake.run(stop)));
        typing.close().await;
        Ok(())
    }
}

/// Sends answers until stopped; the runner ends early when NATS goes away before its first pause.
async fn deliver_until_stopped(
    bus: Bus,
    deliverer: Arc<Deliverer>,
    now: fn() -> Timestamp,
    stop: CancellationToken,
) {
    let limits = Limits { concurrency: CONCURRENCY, deliveries: DELIVERIES, ..Limits::default() };
    loop {
        let runner =
            Runner::new(&bus, CONSUMER, Arc::clone(&deliverer), limits, now, stop.child_token());
        let Err(error) = runner.run().await else { return };
        tracing::warn!(error = %Chain(&error), "fetching answers failed, trying again");
        stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
    }
}

/// Asks who the bot is, a few times; `None` when Telegram cannot be reached now.
async fn identify(client: &Client, stop: &CancellationToken) -> Result<Option<i64>, Error> {
    for attempt in 1..=3 {
        match client.get_me(Duration::from_secs(3)).await {
            Ok(bot) => return Ok(Some(bot)),
            Err(error) if error.is_unauthorized() => return Err(error),
            Err(error) => {
                tracing::warn!(attempt, error = %Chain(&error), "asking Telegram who the bot is failed");
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(250))).await.is_none()
        {
            break;
        }
    }
    Ok(None)
}
