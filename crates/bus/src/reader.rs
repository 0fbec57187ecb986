use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy};
use bytes::Bytes;
use futures_util::StreamExt as _;
use nexus_contracts::{EventType, Partition, Pattern, TenantId, Timestamp, Token, epoch_subject};
use tokio::sync::watch;
use uuid::Uuid;

use crate::connection::Bus;
use crate::error::Error;

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sequence: u64,
    pub stored_at: Timestamp,
    /// As stored, with the partition.
    pub subject: String,
    pub bytes: Bytes,
    /// Deliveries of it so far, this one included.
    pub attempt: u64,
    /// Messages behind it that match the filter, when it was delivered.
    pub pending: u64,
}

/// Which messages of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    Everything,
    Patterns(Vec<Pattern>),
    /// A partition's events and its epochs, in one order.
    Partition(Partition),
    /// The live pieces of one conversation, in CHUNKS.
    Chunks(TenantId, Token, Token),
}

impl Filter {
    fn subjects(&self) -> Vec<String> {
        match self {
            Self::Everything => Vec::new(),
            Self::Patterns(patterns) => patterns.iter().map(ToString::to_string).collect(),
            Self::Partition(partition) => {
                vec![Pattern::partition(*partition).to_string(), epoch_subject(*partition)]
            }
            Self::Chunks(tenant, channel, conversation) => {
                vec![format!("{}.{tenant}.{channel}.{conversation}", EventType::InferenceChunk)]
            }
        }
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    First,
    /// Only what is stored from now on.
    New,
    At(u64),
    Time(Timestamp),
}

/// Reads stored messages in stream order, without acknowledging anything.
pub struct Reader {
    messages: Ordered,
    /// A lost connection ends the reader at once; its heartbeat would notice after many seconds.
    lost: watch::Receiver<u64>,
    pending: u64,
    last: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("pending", &self.pending).field("last", &self.last).finish()
    }
}

impl Reader {
    /// Opens a reader.
    ///
    /// # Errors
    /// [`Error::Request`] when the stream does not exist or the server cannot be reached.
    pub async fn open(
        bus: &Bus,
        stream: &str,
        filter: Filter,
        start: Start,
    ) -> Result<Self, Error> {
        let doing = || format!("reading stream {stream}");
        let lost = bus.health().watch_disconnects();
        let config = OrderedConfig {
            filter_subjects: filter.subjects(),
            deliver_policy: policy(start)?,
            max_expires: Duration::from_secs(30),
            ..OrderedConfig::default()
        };
        let stream = bus.js.get_stream_no_info(stream).await.map_err(Error::request(doing()))?;
        let consumer: Consumer<OrderedConfig> =
            stream.create_consumer(config).await.map_err(Error::request(doing()))?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(Error::request(doing()))?;
        Ok(Self { messages, lost, pending, last: 0 })
    }

    /// The next message, when there is one.
    ///
    /// # Errors
    /// [`Error::Request`] when reading broke off: open another reader after the last sequence.
    pub async fn next(&mut self) -> Result<Message, Error> {
        let ended =
            || Error::Request { doing: "reading a stream".to_owned(), source: "it ended".into() };
        let next = tokio::select! {
            biased;
            next = self.messages.next() => next.ok_or_else(ended)?,
            _ = self.lost.changed() => return Err(ended()),
        };
        let message = convert(&next.map_err(Error::request("reading a stream"))?)?;
        self.last = message.sequence;
        self.pending = message.pending;
        Ok(message)
    }

    /// Messages that match and have not been read, as of the last message.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Everything that is stored now and has not been read.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn read_to_end(&mut self) -> Result<Vec<Message>, Error> {
        let mut all = Vec::new();
        while self.pending > 0 {
            all.push(self.next().await?);
        }
        Ok(all)
    }
}

fn policy(start: Start) -> Result<DeliverPolicy, Error> {
    Ok(match start {
        Start::First => DeliverPolicy::All,
        Start::New => DeliverPolicy::New,
        Start::At(sequence) => DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) },
        Start::Time(at) => DeliverPolicy::ByStartTime { start_time: date_time(at)? },
    })
}

fn date_time(at: Timestamp) -> Result<async_nats::datetime::DateTime, Error> {
    async_nats::datetime::parse_rfc3339(&at.to_string())
        .map_err(Error::request(format!("reading from {at}")))
}

pub(crate) fn convert(message: &async_nats::jetstream::Message) -> Result<Message, Error> {
    let info = message.info().map_err(Error::request("reading a message's place"))?;
    let nanos = info.published.unix_timestamp_nanos();
    Ok(Message {
        sequence: info.stream_sequence,
        stored_at: Timestamp::from_micros(i64::try_from(nanos / 1000).unwrap_or(i64::MAX)),
        subject: message.subject.to_string(),
        bytes: message.payload.clone(),
        attempt: u64::try_from(info.delivered).unwrap_or(1),
        pending: info.pending,
    })
}

impl Bus {
    /// The last stored message on a subject, which is given as stored.
    ///
    /// # Errors
    /// [`Error::Request`] when the server cannot be reached.
    pub async fn last_on(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<(u64, Option<Uuid>)>, Error> {
        use async_nats::jetstream::stream::DirectGetErrorKind;
        let doing = || format!("reading the last message on {subject}");
        let stream = self.js.get_stream_no_info(stream).await.map_err(Error::request(doing()))?;
        match stream.direct_get_last_for_subject(subject).await {
            Ok(message) => {
                let id = message.headers.get(async_nats::header::NATS_MESSAGE_ID);
                Ok(Some((message.sequence, id.and_then(|id| id.as_str().parse().ok()))))
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::request(doing())(error)),
        }
    }

    /// One stored message.
    ///
    /// # Errors
    /// [`Error::Request`] when there is none, or the server cannot be reached.
    pub async fn message_at(&self, stream: &str, sequence: u64) -> Result<Bytes, Error> {
        let doing = || format!("reading message {sequence} of {stream}");
        let stream = self.js.get_stream_no_info(stream).await.map_err(Error::request(doing()))?;
        let message = stream.direct_get(sequence).await.map_err(Error::request(doing()))?;
        Ok(message.payload)
    }

    /// First and last sequence of a stream.
    ///
    /// # Errors
    /// [`Error::Request`] when the stream does not exist or the server cannot be reached.
    pub async fn bounds(&self, stream: &str) -> Result<(u64, u64), Error> {
        let doing = || format!("asking for the state of {stream}");
        let stream = self.js.get_stream_no_info(stream).await.map_err(Error::request(doing()))?;
        let state = stream.get_info().await.map_err(Error::request(doing()))?.state;
        Ok((state.first_sequence, state.last_sequence))
    }
}
