//! From Telegram to the stream.

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, Chain, Cursors, failpoint};
use nexus_contracts::{
    Event, IncomingRequest, Metadata, TenantId, Timestamp, Token, edge_id, traceparent,
};
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Typing;
use crate::backoff::Backoff;
use crate::client::Client;
use crate::config::Config;
use crate::error::Error;
use crate::update::{self, TextMessage, Update};

/// Polls Telegram and publishes what people write.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) bus: Bus,
    pub(crate) cursors: Cursors,
    pub(crate) client: Arc<Client>,
    pub(crate) config: Config,
    pub(crate) tenant: TenantId,
    pub(crate) channel: Token,
    pub(crate) typing: Typing,
    /// The bot's id; `None` as long as Telegram has not told it.
    pub(crate) bot: Option<i64>,
    /// Where reading stands; `None` as long as it has not been loaded.
    pub(crate) position: Option<Position>,
    pub(crate) now: fn() -> Timestamp,
}

/// The last update that is dealt with, and the cursor's revision to write over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    last: Option<i64>,
    revision: u64,
}

impl Intake {
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
            report(&error, pause);
            over.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// One poll: fetch, store, move the cursor.
    async fn turn(&mut self, over: &CancellationToken) -> Result<(), Error> {
        let bot = self.bot().await?;
        let position = self.position(bot).await?;
        let offset = position.last.map(|last| last + 1);
        let polled = over.run_until_cancelled(self.client.get_updates(offset, &self.config)).await;
        let Some(updates) = polled.transpose()? else { return Ok(()) };
        let (last, stored) = self.store(bot, &updates).await;
        match last {
            Some(last) => self.move_cursor(bot, position, last).await?,
            None if stored.is_ok() && !updates.is_empty() => {
                return Err(Error::Unnumbered { updates: updates.len() });
            }
            None => {}
        }
        stored
    }

    async fn bot(&mut self) -> Result<i64, Error> {
        if let Some(bot) = self.bot {
            return Ok(bot);
        }
        let bot = self.client.get_me(Duration::from_secs(10)).await?;
        tracing::info!(bot, "Telegram answers");
        Ok(*self.bot.insert(bot))
    }

    async fn position(&mut self, bot: i64) -> Result<Position, Error> {
        if let Some(position) = self.position {
            return Ok(position);
        }
        let (last, revision) = self.cursors.load(&cursor(bot)).await?;
        Ok(*self.position.insert(Position { last, revision }))
    }

    /// Deals with updates in order up to the first that cannot be stored.
    ///
    /// The number is the last one up to which everything is dealt with.
    async fn store(&self, bot: i64, updates: &[Box<RawValue>]) -> (Option<i64>, Result<(), Error>) {
        let mut last = None;
        for update in updates {
            let number = update::number(update.get());
            let outcome = match (number, update::read(update.get())) {
                (Some(number), Update::Text(message)) => {
                    match self.publish(bot, number, message).await {
                        Ok(outcome) => outcome,
                        Err(error) => return (last, Err(error)),
                    }
                }
                (Some(_), Update::Other) => "passed",
                (_, Update::Unreadable) | (None, _) => {
                    tracing::warn!(number, "unreadable update passed over");
                    "unreadable"
                }
            };
            metrics::counter!("nexus_telegram_updates_total", "outcome" => outcome).increment(1);
            // Not the largest so far: after a quiet week Telegram starts counting somewhere else.
            last = number.or(last);
        }
        (last, Ok(()))
    }

    /// Publishes a message and waits until it is stored.
    async fn publish(
        &self,
        bot: i64,
        number: i64,
        message: TextMessage,
    ) -> Result<&'static str, Error> {
        if !self.config.users.is_empty() && !self.config.users.contains(&message.user) {
            tracing::info!(user = message.user, "user may not talk to the bot");
            return Ok("forbidden");
        }
        let chat = message.chat;
        let event = self.event(bot, number, message)?;
        self.typing.expect(event.id);
        let stored = self.bus.publish(&event).await;
        match stored {
            Ok(stored) => {
                failpoint::hit("telegram.after_publish");
                if stored.duplicate {
                    self.typing.end(event.id);
                    return Ok("duplicate");
                }
                self.typing.start(event.id, chat);
                Ok("stored")
            }
            Err(error) => {
                self.typing.end(event.id);
                if matches!(error, nexus_bus::Error::TooLarge { .. }) {
                    // It never fits, and must not hold up the others.
                    tracing::error!(number, error = %Chain(&error), "update passed over");
                    return Ok("too_large");
                }
                Err(error.into())
            }
        }
    }

    fn event(
        &self,
        bot: i64,
        number: i64,
        message: TextMessage,
    ) -> Result<Event<IncomingRequest>, Error> {
        let id: Uuid = edge_id(self.tenant, &self.channel, &bot.to_string(), &number.to_string());
        let metadata = Metadata {
            user: Some(message.user.to_string()),
            agent: self.config.agent.clone(),
            traceparent: Some(traceparent(id, id)),
            ..Metadata::at(self.tenant, self.channel.clone(), message.chat.token()?)
        };
        let request = IncomingRequest::text(message.text);
        Ok(Event::new(id, id, metadata, (self.now)(), request))
    }

    async fn move_cursor(&mut self, bot: i64, from: Position, last: i64) -> Result<(), Error> {
        // Until it has moved for certain, it is loaded again.
        self.position = None;
        let key = cursor(bot);
        let Some(revision) = self.cursors.save(&key, last, from.revision).await? else {
            return Err(Error::CursorMoved { cursor: key });
        };
        failpoint::hit("telegram.after_cursor");
        self.position = Some(Position { last: Some(last), revision });
        Ok(())
    }
}

fn cursor(bot: i64) -> String {
    format!("telegram.{bot}")
}

/// Says what is wrong in words that tell what to do.
fn report(error: &Error, pause: Duration) {
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
    if matches!(code, 401 | 404) {
        tracing::error!(error = %Chain(error), ?pause, "{advice}");
    } else {
        tracing::warn!(error = %Chain(error), ?pause, "{advice}");
    }
}
