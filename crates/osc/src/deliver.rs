//! What the log says to OSC clients: live pieces and final words, to one queue.

use std::time::Duration;

use nexus_bus::{Bus, Chain, Chunks, EVENTS, Error, Filter, Message, Reader, Start};
use nexus_contracts::{
    Event, EventType, InferenceChunk, Pattern, ProcessedRequest, StoredSubject, Token,
};
use tokio::sync::mpsc;

/// Between two attempts to read, and two looks at the connection.
const RETRY: Duration = Duration::from_millis(500);

/// Something for a client, if it is still there.
#[derive(Debug)]
pub(crate) enum Delivery {
    Chunk(Event<InferenceChunk>),
    Final(Event<ProcessedRequest>),
}

/// Listens to one channel. Opened before the first question is taken, so it misses no answer.
#[derive(Debug)]
pub(crate) struct Deliveries {
    bus: Bus,
    channel: Token,
    chunks: Chunks,
    answers: Reader,
    /// Sequence up to which answers have been read.
    read: u64,
}

impl Deliveries {
    pub(crate) async fn open(bus: &Bus, channel: &Token) -> Result<Self, Error> {
        let chunks = Chunks::of_channel(bus, channel).await?;
        // From a sequence, so that a reader that breaks before its first answer misses nothing.
        let (_, read) = bus.bounds(EVENTS).await?;
        let answers = open_answers(bus, channel, read).await?;
        Ok(Self { bus: bus.clone(), channel: channel.clone(), chunks, answers, read })
    }

    /// Reads until it is dropped or nobody listens.
    pub(crate) async fn run(self, to: mpsc::Sender<Delivery>) {
        let Self { bus, channel, chunks, answers, read } = self;
        tokio::join!(
            follow_chunks(&bus, &channel, chunks, to.clone()),
            follow_answers(&bus, &channel, answers, read, to),
        );
    }
}

async fn open_answers(bus: &Bus, channel: &Token, read: u64) -> Result<Reader, Error> {
    let answers = Pattern::kind_in(EventType::RequestsProcessed, channel);
    Reader::open(bus, EVENTS, Filter::Patterns(vec![answers]), Start::At(read + 1)).await
}

async fn follow_chunks(bus: &Bus, channel: &Token, mut chunks: Chunks, to: mpsc::Sender<Delivery>) {
    loop {
        while let Some(chunk) = chunks.next().await {
            if to.send(Delivery::Chunk(chunk)).await.is_err() {
                return;
            }
        }
        chunks = loop {
            tokio::time::sleep(RETRY).await;
            if let Ok(again) = Chunks::of_channel(bus, channel).await {
                break again;
            }
        };
    }
}

async fn follow_answers(
    bus: &Bus,
    channel: &Token,
    mut reader: Reader,
    mut read: u64,
    to: mpsc::Sender<Delivery>,
) {
    let mut disconnects = bus.health().disconnects();
    let mut look = tokio::time::interval(RETRY);
    loop {
        let message = tokio::select! {
            message = reader.next() => message,
            // A reader whose server went away notices only after its heartbeats' time.
            _ = look.tick() => {
                if bus.health().disconnects() != disconnects && bus.is_connected() {
                    disconnects = bus.health().disconnects();
                    reader = reopen(bus, channel, read).await;
                }
                continue;
            }
        };
        match message {
            Ok(message) => {
                read = message.sequence;
                if let Some(answer) = decode(&message)
                    && to.send(Delivery::Final(answer)).await.is_err()
                {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "reading answers broke off, it is begun again");
                tokio::time::sleep(RETRY).await;
                reader = reopen(bus, channel, read).await;
            }
        }
    }
}

/// A reader of what follows, as soon as there can be one.
async fn reopen(bus: &Bus, channel: &Token, read: u64) -> Reader {
    loop {
        match open_answers(bus, channel, read).await {
            Ok(reader) => return reader,
            Err(error) => tracing::debug!(error = %Chain(&error), "answers cannot be read yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The answer that a message is, if it belongs where it was found.
fn decode(message: &Message) -> Option<Event<ProcessedRequest>> {
    let subject = StoredSubject::parse(&message.subject).ok();
    match Event::<ProcessedRequest>::decode(&message.bytes) {
        Ok(answer) if subject.is_some_and(|subject| subject.matches(&answer.metadata)) => {
            Some(answer)
        }
        Ok(_) => {
            tracing::warn!(
                sequence = message.sequence,
                "answer on a subject that is not its own passed over"
            );
            None
        }
        Err(error) => {
            tracing::warn!(sequence = message.sequence, error = %Chain(&error), "unreadable answer passed over");
            None
        }
    }
}
