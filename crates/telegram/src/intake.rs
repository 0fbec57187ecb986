//! From Telegram to the stream, by long polling.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use nexus_bus::{Chain, Cursors, failpoint};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::accept::{Accept, Prepared};
use crate::backoff::Backoff;
use crate::bot::Bot;
use crate::error::Error;

/// Updates of one poll whose files are fetched at once.
const FETCHES: usize = 8;

/// Polls Telegram for one bot.
#[derive(Debug)]
pub(crate) struct Intake {
    accept: Accept,
    cursors: Cursors,
    /// Where reading stands; `None` as long as it has not been loaded.
    position: Option<Position>,
    /// Whether Telegram has been told that we poll.
    is_announced: bool,
}

/// The last update that is dealt with, and the cursor's revision to write over.
#[derive(Debug, Clone, Copy)]
struct Position {
    last: Option<i64>,
    revision: u64,
}

impl Intake {
    pub(crate) fn new(accept: Accept, cursors: Cursors) -> Self {
        Self { accept, cursors, position: None, is_announced: false }
    }

    /// Polls until told to stop; whatever fails is tried again.
    pub(crate) async fn run(mut self, over: CancellationToken) {
        let mut backoff = Backoff::default();
        while !over.is_cancelled() {
            let error = match self.turn(&over).await {
                Ok(()) => {
                    backoff.reset();
                    continue;
                }
                Err(error) => error,
            };
            let pause = match error.retry_after() {
                Some(wanted) => wanted,
                // Only a person can mend it.
                None if error.is_unauthorized() => Duration::from_secs(30),
                None => backoff.next(),
            };
            report(self.bot(), &error, pause);
            over.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    fn bot(&self) -> &Arc<Bot> {
        &self.accept.bot
    }

    /// One poll: fetch, store, move the cursor.
    async fn turn(&mut self, over: &CancellationToken) -> Result<(), Error> {
        self.announce().await?;
        let position = self.position().await?;
        let offset = position.last.map(|last| last + 1);
        let poll = self.bot().client.get_updates(offset);
        let Some(updates) = over.run_until_cancelled(poll).await.transpose()? else {
            return Ok(());
        };
        let (last, stored) = self.store(&updates).await;
        match last {
            Some(last) => self.move_cursor(position, last).await?,
            None if stored.is_ok() && !updates.is_empty() => {
                return Err(Error::Unnumbered { updates: updates.len() });
            }
            None => {}
        }
        stored
    }

    /// Learns the bot's name, and takes back a webhook that was set before.
    async fn announce(&mut self) -> Result<(), Error> {
        if !self.is_announced {
            let bot = self.bot();
            bot.introduce(Duration::from_secs(10)).await?;
            bot.client.delete_webhook().await?;
            set_menu(bot).await;
            self.is_announced = true;
        }
        Ok(())
    }

    async fn position(&mut self) -> Result<Position, Error> {
        if let Some(position) = self.position {
            return Ok(position);
        }
        let (last, revision) = self.cursors.load(&self.cursor()).await?;
        Ok(*self.position.insert(Position { last, revision }))
    }

    /// Deals with updates in order up to the first that cannot be stored.
    ///
    /// The number is the last one up to which everything is dealt with.
    async fn store(&self, updates: &[Box<RawValue>]) -> (Option<i64>, Result<(), Error>) {
        let mut last = None;
        let prepared: Vec<BoxFuture<'_, Prepared>> =
            updates.iter().map(|update| self.accept.prepare(update.get()).boxed()).collect();
        let mut prepared = stream::iter(prepared).buffered(FETCHES);
        while let Some(update) = prepared.next().await {
            let number = update.number;
            if let Err(error) = self.accept.store(update).await {
                return (last, Err(error));
            }
            // Not the largest so far: after a quiet week Telegram starts counting somewhere else.
            last = number.or(last);
        }
        (last, Ok(()))
    }

    async fn move_cursor(&mut self, from: Position, last: i64) -> Result<(), Error> {
        // Until it has moved for certain, it is loaded again.
        self.position = None;
        let key = self.cursor();
        let Some(revision) = self.cursors.save(&key, last, from.revision).await? else {
            return Err(Error::CursorMoved { cursor: key });
        };
        failpoint::hit("telegram.after_cursor");
        self.position = Some(Position { last: Some(last), revision });
        Ok(())
    }

    fn cursor(&self) -> String {
        format!("telegram.{}", self.bot().id)
    }
}

/// Puts our commands into the menu; nobody misses it much.
pub(crate) async fn set_menu(bot: &Bot) {
    if let Err(error) = bot.client.set_commands(&crate::message::MENU).await {
        tracing::warn!(bot = bot.id, error = %Chain(&error), "the bot's menu is not set");
    }
}

/// Says what is wrong in words that tell what to do.
fn report(bot: &Bot, error: &Error, pause: Duration) {
    let code = match error {
        Error::Refused { code, .. } => *code,
        _ => 0,
    };
    let advice = match code {
        401 | 404 => "Telegram does not know this bot token; check TELEGRAM_BOT_TOKEN",
        409 => "another process reads this bot's updates, or a webhook is set; stop it",
        429 => "Telegram wants a pause",
        _ => "reading from Telegram failed, trying again",
    };
    metrics::counter!("nexus_telegram_poll_failures_total", "code" => code.to_string())
        .increment(1);
    let (bot, token) = (bot.id, bot.settings.token_env.as_str());
    if matches!(code, 401 | 404) {
        tracing::error!(bot, token, error = %Chain(error), ?pause, "{advice}");
    } else {
        tracing::warn!(bot, error = %Chain(error), ?pause, "{advice}");
    }
}
