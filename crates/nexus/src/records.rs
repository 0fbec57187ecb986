//! Events as operators look at them: read from the bus or from a file.

use std::io::{BufRead as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_bus::{Bus, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{EventType, Metadata, Pattern, StoredSubject, Timestamp};
use nexus_conversation::{ConversationKey, Recorded};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// A stored event with its place in the log.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) sequence: u64,
    pub(crate) stored_at: Timestamp,
    pub(crate) subject: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) kind: Option<EventType>,
    pub(crate) head: Head,
}

/// What every event tells about itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Head {
    pub(crate) id: Uuid,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) correlation_id: Uuid,
}

/// A line of an export: the event's bytes as they are stored.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    sequence: u64,
    stored_at: Timestamp,
    subject: String,
    /// The bytes, base64: exact also where they are no valid text.
    data: String,
    /// The event again, for people; not read back.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    event: Value,
}

impl Record {
    /// `None` when it is no event of a conversation.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        Self::new(
            message.sequence,
            message.stored_at,
            message.subject.clone(),
            message.bytes.to_vec(),
        )
    }

    fn new(sequence: u64, stored_at: Timestamp, subject: String, bytes: Vec<u8>) -> Option<Self> {
        let place = StoredSubject::parse(&subject).ok()?;
        let head: Head = serde_json::from_slice(&bytes).ok()?;
        Some(Self { sequence, stored_at, kind: place.kind.parse().ok(), subject, bytes, head })
    }

    pub(crate) fn conversation(&self) -> ConversationKey {
        ConversationKey::of(&self.head.metadata)
    }

    pub(crate) fn emitter(&self) -> String {
        match self.kind {
            Some(EventType::RequestsIncoming | EventType::RunsCancel) => {
                self.head.metadata.channel.to_string()
            }
            Some(kind) => kind.emitter().to_owned(),
            None => "?".to_owned(),
        }
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// The record as the engine's verification wants it; `None` for unknown types.
    pub(crate) fn recorded(&self) -> Option<Recorded> {
        Some(Recorded {
            sequence: self.sequence,
            stored_at: self.stored_at,
            kind: self.kind?,
            id: self.head.id,
            run: self.head.correlation_id,
            bytes: self.bytes.clone(),
        })
    }

    /// One JSON line, from which [`load`] reads the same record.
    pub(crate) fn line(&self) -> String {
        let line = Line {
            sequence: self.sequence,
            stored_at: self.stored_at,
            subject: self.subject.clone(),
            data: STANDARD.encode(&self.bytes),
            event: self.event(),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Reads what is stored now and matches.
pub(crate) async fn read(bus: &Bus, patterns: Vec<Pattern>, start: Start) -> Result<Vec<Record>> {
    let filter = if patterns.is_empty() { Filter::Everything } else { Filter::Patterns(patterns) };
    let mut reader = Reader::open(bus, EVENTS, filter, start).await?;
    let messages = reader.read_to_end().await?;
    Ok(messages.iter().filter_map(Record::of).collect())
}

/// The whole conversation.
pub(crate) async fn conversation(bus: &Bus, key: &ConversationKey) -> Result<Vec<Record>> {
    let pattern = Pattern::conversation(key.tenant, &key.channel, &key.conversation);
    read(bus, vec![pattern], Start::First).await
}

/// The request with this id.
pub(crate) async fn request(bus: &Bus, id: Uuid) -> Result<Record> {
    // An id of version 7 holds its time: nothing before it needs to be read.
    let start = id.get_timestamp().map_or(Start::First, |at| {
        let (seconds, _) = at.to_unix();
        Start::Time(Timestamp::from_micros(
            i64::try_from(seconds).unwrap_or(0).saturating_sub(600) * 1_000_000,
        ))
    });
    let found = read(bus, vec![Pattern::kind(EventType::RequestsIncoming)], start).await?;
    let found = found.into_iter().find(|record| record.head.id == id);
    found.with_context(|| {
        format!("the log has no request {id}; `nexus tail --since 24h` shows what there is")
    })
}

/// Writes an export.
pub(crate) fn save(path: &Path, records: &[Record]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).with_context(context)?);
    for record in records {
        writeln!(file, "{}", record.line()).with_context(context)?;
    }
    file.flush().with_context(context)
}

/// Reads an export.
pub(crate) fn load(path: &Path) -> Result<Vec<Record>> {
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut records = Vec::new();
    for (number, line) in std::io::BufReader::new(file).lines().enumerate() {
        let place = || format!("{} line {}", path.display(), number + 1);
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).with_context(place)?;
        let bytes = STANDARD.decode(&line.data).with_context(place)?;
        let place =
            || format!("{}: the event at sequence {} on {}", place(), line.sequence, line.subject);
        let record = Record::new(line.sequence, line.stored_at, line.subject.clone(), bytes);
        records.push(
            record.with_context(|| format!("{} cannot be read; it has been changed", place()))?,
        );
    }
    Ok(records)
}
