//! What one update becomes: events in the stream. When an update is taken, all of it is stored.

use std::sync::Arc;

use nexus_bus::{Bus, Chain, failpoint};
use nexus_contracts::{
    AdapterUnread, Attachment, CancelScope, Event, IncomingRequest, Metadata, Notice,
    NotifyDeliver, Payload, RunCancel, Timestamp, Token, derived_id, edge_id, traceparent,
};
use uuid::Uuid;

use crate::bot::Bot;
use crate::chat::{Address, Chat};
use crate::desk::Desk;
use crate::error::Error;
use crate::files;
use crate::live::draft_id;
use crate::message::{Kind, Known, Message};
use crate::press::Presses;
use crate::typing::Typing;
use crate::update::{self, Update};

/// Most characters of an update that is kept as it came: far less than an event may have.
const MOST_RAW: usize = 32 * 1024;

const STOPPED: &str = "Stopped.";
const TAKES: &str =
    "I can read text, photos, documents, videos, voice messages and audio. This I cannot read.";

/// Turns one bot's updates into events. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Accept {
    pub(crate) bus: Bus,
    pub(crate) bot: Arc<Bot>,
    pub(crate) desk: Desk,
    pub(crate) typing: Typing,
    pub(crate) presses: Presses,
    pub(crate) now: fn() -> Timestamp,
}

/// An update that is read, with its files.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) number: Option<i64>,
    update: Update,
    raw: String,
    /// In the order of the message's files; what went wrong where there is none.
    fetched: Vec<Result<Attachment, String>>,
}

impl Accept {
    /// Reads an update and fetches its files, if they are for us.
    pub(crate) async fn prepare(&self, raw: &str) -> Prepared {
        let (number, update) = (update::number(raw), update::read(raw));
        let mut fetched = Vec::new();
        if let Update::Message(message) = &update
            && self.is_heard(message)
        {
            for file in &message.files {
                fetched.push(self.fetch(file).await);
            }
        }
        Prepared { number, update, raw: raw.to_owned(), fetched }
    }

    async fn fetch(&self, file: &files::Incoming) -> Result<Attachment, String> {
        let fetched = files::fetch(&self.bot, file).await;
        metrics::counter!("nexus_telegram_files_total", "outcome" => if fetched.is_ok() { "kept" } else { "failed" })
            .increment(1);
        fetched.map_err(|error| {
            tracing::warn!(bot = self.bot.id, error = %Chain(&error), "a file cannot be had");
            let limit = |limit: u64| format!("it is larger than {} MB", limit / (1024 * 1024));
            match error {
                Error::FileTooLarge { limit: most, .. } => limit(most),
                Error::Blobs { source: nexus_blobs::Error::TooLarge { limit: most, .. } } => {
                    limit(most)
                }
                Error::Refused { description, .. } if description.contains("too big") => {
                    limit(crate::client::LARGEST_DOWNLOAD)
                }
                _ => "it could not be fetched from Telegram".to_owned(),
            }
        })
    }

    /// Whether a message is meant for the bot, by somebody who may talk to it.
    fn is_heard(&self, message: &Message) -> bool {
        let bot = &self.bot;
        bot.serves(message.user) && message.is_for(bot.id, bot.username(), bot.hears_all())
    }

    /// Stores what an update says. Returns what became of it, for the metric.
    ///
    /// # Errors
    /// What keeps it from being stored now; it may be taken again.
    pub(crate) async fn store(&self, prepared: Prepared) -> Result<(), Error> {
        let Prepared { number, update, raw, fetched } = prepared;
        let outcome = match (number, update) {
            (None, _) => self.unread(number, "no_number", &raw).await?,
            (Some(_), Update::Passed) => "passed",
            (Some(_), Update::Unread(reason)) => self.unread(number, reason, &raw).await?,
            (Some(number), Update::Press(press)) => {
                Box::pin(self.presses.take(&self.bot, number, press)).await?
            }
            (Some(number), Update::Stopped { chat, draft }) => {
                self.stopped(number, chat, draft).await?
            }
            (Some(number), Update::Message(message)) => {
                Box::pin(self.message(number, *message, fetched, &raw)).await?
            }
        };
        metrics::counter!("nexus_telegram_updates_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    async fn message(
        &self,
        number: i64,
        message: Message,
        fetched: Vec<Result<Attachment, String>>,
        raw: &str,
    ) -> Result<&'static str, Error> {
        if !self.bot.serves(message.user) {
            tracing::info!(user = message.user, "user may not talk to the bot");
            return Ok("forbidden");
        }
        if message.kind == Kind::Service || !self.is_heard(&message) {
            return Ok("passed");
        }
        let id = self.id(&number.to_string());
        let place = self.place(message.chat, message.user, id)?;
        if let Some(known) = message.command() {
            return self.command(known, id, place).await;
        }
        if message.kind == Kind::Foreign {
            self.unread(Some(number), "message_kind", raw).await?;
            self.notice(id, id, place, TAKES).await?;
            return Ok("unread");
        }
        self.request(id, place, message, fetched).await
    }

    /// Publishes what somebody says to the agent.
    async fn request(
        &self,
        id: Uuid,
        place: Metadata,
        message: Message,
        fetched: Vec<Result<Attachment, String>>,
    ) -> Result<&'static str, Error> {
        let (mut text, mut missing) = (message.text, Vec::new());
        for (file, fetched) in message.files.iter().zip(&fetched) {
            let Err(why) = fetched else { continue };
            let what = file.kind.as_str();
            let gap = if text.is_empty() { "" } else { "\n\n" };
            text = format!("{text}{gap}[The {what} that came with this is missing: {why}.]");
            missing.push(format!("I did not get your {what}: {why}."));
        }
        let attachments = fetched.into_iter().filter_map(Result::ok).collect();
        let request = IncomingRequest { attachments, ..IncomingRequest::text(text) };
        let event = Event::new(id, id, place.clone(), (self.now)(), request);
        self.typing.expect(id);
        let stored = match self.bus.publish(&event).await {
            Ok(stored) => stored,
            Err(error) => {
                self.typing.end(id);
                return Err(error.into());
            }
        };
        failpoint::hit("telegram.after_publish");
        if !missing.is_empty() {
            self.notice(id, id, place, &missing.join("\n")).await?;
        }
        if stored.duplicate {
            self.typing.end(id);
            return Ok("duplicate");
        }
        self.typing.start(id, &self.bot, message.chat);
        Ok("stored")
    }

    async fn command(
        &self,
        known: Known,
        id: Uuid,
        place: Metadata,
    ) -> Result<&'static str, Error> {
        // The same update may come again long after the stream has forgotten its id.
        if self.desk.was_shown(self.bot.id, notice_id(id)).await? {
            return Ok("duplicate");
        }
        let text = match known {
            Known::Start => self.greeting(),
            Known::Help => HELP.to_owned(),
            Known::Stop => {
                let cancel = RunCancel {
                    run: id,
                    scope: CancelScope::Conversation,
                    reason: Some(STOPPED.to_owned()),
                    failure: None,
                };
                self.publish(Event::new(id, id, place.clone(), (self.now)(), cancel)).await?;
                "Stopping what I am doing here.".to_owned()
            }
        };
        self.notice(id, id, place, &text).await?;
        Ok("command")
    }

    fn greeting(&self) -> String {
        let settings = &self.bot.settings;
        let name = settings.agent.as_deref();
        let name = name.or_else(|| self.bot.username()).unwrap_or("your agent");
        let default = || {
            format!(
                "Hello! I am {name}. Write to me, and I answer here.\n\n/stop ends what I am doing, /help says more."
            )
        };
        settings.greeting.clone().unwrap_or_else(default)
    }

    /// Ends the run whose draft somebody has stopped.
    async fn stopped(&self, number: i64, chat: Chat, draft: i64) -> Result<&'static str, Error> {
        let id = self.id(&number.to_string());
        let address = Address { bot: self.bot.id, chat };
        let run = self.desk.runs_of(address).into_iter().find(|run| draft_id(*run) == draft);
        let Some(run) = run else {
            // It is over, or an earlier process showed it and nobody knows its number.
            return Ok("passed");
        };
        // In a private chat the chat is the person.
        let place = self.place(chat, chat.id, id)?;
        let cancel = RunCancel::of(run, Some(STOPPED.to_owned()));
        self.publish(Event::new(id, run, place, (self.now)(), cancel)).await?;
        Ok("stop")
    }

    /// Keeps what cannot be used as it came.
    async fn unread(
        &self,
        number: Option<i64>,
        reason: &'static str,
        raw: &str,
    ) -> Result<&'static str, Error> {
        tracing::warn!(bot = self.bot.id, number, reason, "update kept unread");
        let native_id = number.map_or_else(String::new, |number| number.to_string());
        let id = match number {
            Some(number) => derived_id(self.id(&number.to_string()), "adapters.unread"),
            None => self.id(&format!("unnumbered {raw}")),
        };
        let conversation = Token::encode(&format!("bot-{}", self.bot.id)).map_err(Error::token)?;
        let place = Metadata::at(self.bot.tenant, self.bot.channel.clone(), conversation);
        let raw = raw.chars().take(MOST_RAW).collect();
        let unread = AdapterUnread { native_id, reason: reason.to_owned(), raw };
        self.publish(Event::new(id, id, place, (self.now)(), unread)).await?;
        metrics::counter!("nexus_telegram_unread_total", "reason" => reason).increment(1);
        Ok("unread")
    }

    /// Says something to a chat that no agent says.
    async fn notice(
        &self,
        cause: Uuid,
        run: Uuid,
        place: Metadata,
        text: &str,
    ) -> Result<(), Error> {
        let place = Metadata { causation_id: Some(cause), ..place };
        let notice = Notice::Text { text: text.to_owned(), attachments: Vec::new() };
        let notice = NotifyDeliver { notice };
        self.publish(Event::new(notice_id(cause), run, place, (self.now)(), notice)).await
    }

    async fn publish<P: Payload>(&self, event: Event<P>) -> Result<(), Error> {
        self.bus.publish(&event).await?;
        Ok(())
    }

    fn id(&self, native: &str) -> Uuid {
        edge_id(self.bot.tenant, &self.bot.channel, &self.bot.id.to_string(), native)
    }

    fn place(&self, chat: Chat, user: i64, id: Uuid) -> Result<Metadata, Error> {
        Ok(Metadata {
            user: Some(user.to_string()),
            agent: self.bot.settings.agent.clone(),
            traceparent: Some(traceparent(id, id)),
            ..self.bot.place(chat)?
        })
    }
}

const HELP: &str = "Write what you want to know or to have done. Photos, documents and voice messages are welcome, too.\n\n/stop ends what I am doing here.";

/// Id of the notice that answers an update.
fn notice_id(cause: Uuid) -> Uuid {
    derived_id(cause, NotifyDeliver::TYPE.as_str())
}
