use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_contracts::{
    DeadLetter, Event, EventType, LOCAL_TENANT, Metadata, StoredSubject, Subject, Timestamp, Token,
    derived_id,
};
use uuid::Uuid;

use crate::connection::Bus;
use crate::error::Error;
use crate::reader::{Filter, Message, Reader, Start};
use crate::{DEAD, EVENTS};

/// Deletion marker of a dead letter: same subject and id, no message.
const DROPPED: &str = "dropped";

/// A dead letter, as operators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadEntry {
    pub sequence: u64,
    pub event: Event<DeadLetter>,
}

impl DeadEntry {
    /// The message that was given up, as it was stored.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        STANDARD.decode(&self.event.payload.message).unwrap_or_default()
    }
}

impl Bus {
    /// Buries a message that its reader cannot work on.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn bury(
        &self,
        worker: &str,
        message: &Message,
        code: &str,
        reason: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        DeadLetters::new(self).bury(worker, message, code, reason, now).await
    }
}

/// The dead letters of a bus.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    bus: Bus,
}

impl DeadLetters {
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    /// Buries a message, so that it can be looked at and tried again.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub(crate) async fn bury(
        &self,
        worker: &str,
        message: &Message,
        code: &str,
        reason: String,
        now: Timestamp,
    ) -> Result<(), Error> {
        metrics::counter!("nexus_bus_dead_letters_total", "worker" => worker.to_owned(), "code" => code.to_owned())
            .increment(1);
        tracing::error!(worker, code, sequence = message.sequence, subject = %message.subject, reason, "event given up");
        let metadata = place(&message.subject);
        let cause = derived_id(Uuid::from_u128(u128::from(message.sequence)), &message.subject);
        let id = derived_id(cause, worker);
        let letter = DeadLetter {
            worker: worker.to_owned(),
            code: code.to_owned(),
            reason,
            deliveries: message.attempt,
            stream: EVENTS.to_owned(),
            sequence: message.sequence,
            subject: message.subject.clone(),
            message: STANDARD.encode(&message.bytes),
        };
        let subject = Subject::of(EventType::DeadLetter, &metadata).to_string();
        let event = Event::<DeadLetter>::new(id, id, metadata, now, letter);
        // Base64 makes the largest event a third larger than events may be.
        self.bus.publish_any_size(subject, id, event.encode().into()).await.map(|_| ())
    }

    /// Dead letters that are still there, oldest first.
    ///
    /// # Errors
    /// [`Error::Request`] when the stream cannot be read.
    pub async fn list(&self) -> Result<Vec<DeadEntry>, Error> {
        let mut reader = Reader::open(&self.bus, DEAD, Filter::Everything, Start::First).await?;
        let mut entries: Vec<DeadEntry> = Vec::new();
        for message in reader.read_to_end().await? {
            let Ok(event) = Event::<DeadLetter>::decode(&message.bytes) else { continue };
            entries.retain(|entry| entry.event.id != event.id);
            if event.payload.code != DROPPED {
                entries.push(DeadEntry { sequence: message.sequence, event });
            }
        }
        Ok(entries)
    }

    /// Puts the message back on its subject and drops the letter.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn retry(&self, entry: &DeadEntry, now: Timestamp) -> Result<(), Error> {
        let subject = published(&entry.event.payload.subject);
        // Under an id of its own: the stream remembers the first one and would take it for a repeat.
        let id = derived_id(entry.event.id, &format!("retry {}", entry.sequence));
        self.bus.publish_bytes(subject, id, entry.message().into()).await?;
        self.drop_letter(entry, now).await
    }

    /// Marks the letter as dealt with.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn drop_letter(&self, entry: &DeadEntry, now: Timestamp) -> Result<(), Error> {
        let mut event = entry.event.clone();
        event.timestamp = now;
        event.payload.code = DROPPED.to_owned();
        event.payload.message = String::new();
        let subject = Subject::of(EventType::DeadLetter, &event.metadata);
        let message_id = derived_id(event.id, &format!("drop {}", entry.sequence));
        let bytes = event.encode().into();
        self.bus.publish_bytes(subject.to_string(), message_id, bytes).await.map(|_| ())
    }
}

/// Where a letter about this subject belongs; messages of no tenant go to the local one's operators.
fn place(subject: &str) -> Metadata {
    if let Ok(stored) = StoredSubject::parse(subject) {
        return Metadata::at(stored.tenant, stored.channel, stored.conversation);
    }
    let token = |text: &str| Token::encode(text).or_else(|_| Token::parse("unknown"));
    match (token("unknown"), token(subject)) {
        (Ok(channel), Ok(conversation)) => Metadata::at(LOCAL_TENANT, channel, conversation),
        (Err(_), _) | (_, Err(_)) => unreachable!("'unknown' is a token"),
    }
}

/// The subject without the partition that the stream put in.
fn published(stored: &str) -> String {
    let mut tokens: Vec<&str> = stored.split('.').collect();
    if tokens.len() == 6 {
        tokens.remove(2);
    }
    tokens.join(".")
}
