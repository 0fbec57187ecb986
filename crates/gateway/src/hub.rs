use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexus_bus::{Bus, Chain, Chunks, EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{ChunkDelta, Event, InferenceChunk, Pattern, StoredSubject, TenantId, Token};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Items that a follower may be behind; then it is cut off and has to come back.
const BEHIND: usize = 256;
/// Bytes of these items.
const BEHIND_BYTES: usize = 1024 * 1024;

/// What happens in a conversation.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Event(Arc<Message>),
    Chunk(Arc<Event<InferenceChunk>>),
}

impl Item {
    /// What it holds in memory while it waits, about.
    fn bytes(&self) -> usize {
        match self {
            Self::Event(message) => message.bytes.len(),
            Self::Chunk(chunk) => match &chunk.payload.delta {
                ChunkDelta::Text { text, .. } | ChunkDelta::Reasoning { text, .. } => text.len(),
                ChunkDelta::Reset | ChunkDelta::Begin { .. } => 0,
            },
        }
    }
}

type Place = (TenantId, Token);
type Followers = HashMap<Place, Vec<Follower>>;

/// One who follows a conversation.
#[derive(Debug)]
struct Follower {
    number: u64,
    sender: mpsc::Sender<Item>,
    /// Bytes that wait for it.
    waiting: Arc<AtomicUsize>,
}

impl Follower {
    /// Never waits; `false` when it is too far behind.
    fn offer(&self, item: &Item) -> bool {
        let bytes = item.bytes();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        // One item alone is always taken: an event may be large.
        let fits = waiting == 0 || waiting + bytes <= BEHIND_BYTES;
        let kept = fits && self.sender.try_send(item.clone()).is_ok();
        if !kept {
            metrics::counter!("nexus_gateway_slow_readers_total").increment(1);
        }
        kept
    }
}

/// One reader of the channel's log for all connected clients. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    followers: Arc<Mutex<Followers>>,
    next: Arc<AtomicU64>,
}

/// A place at the hub: what happens in one conversation, from now on.
#[derive(Debug)]
pub(crate) struct Subscription {
    items: mpsc::Receiver<Item>,
    waiting: Arc<AtomicUsize>,
    hub: Hub,
    place: Place,
    number: u64,
}

impl Hub {
    /// Starts reading; everything that is stored after this returns will be seen.
    pub(crate) async fn start(
        bus: &Bus,
        channel: &Token,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let hub = Self { followers: Arc::default(), next: Arc::default() };
        let (_, last) = bus.bounds(EVENTS).await?;
        let reader = open(bus, channel, last).await?;
        let chunks = Chunks::of_channel(bus, channel).await?;
        tokio::spawn(hub.clone().read_events(
            bus.clone(),
            channel.clone(),
            reader,
            last,
            stop.clone(),
        ));
        tokio::spawn(hub.clone().read_chunks(chunks, stop));
        Ok(hub)
    }

    /// Listens to a conversation.
    pub(crate) fn subscribe(&self, tenant: TenantId, conversation: &Token) -> Subscription {
        let (sender, items) = mpsc::channel(BEHIND);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = (tenant, conversation.clone());
        let waiting = Arc::<AtomicUsize>::default();
        let follower = Follower { number, sender, waiting: Arc::clone(&waiting) };
        self.followers().entry(place.clone()).or_default().push(follower);
        Subscription { items, waiting, hub: self.clone(), place, number }
    }

    async fn read_events(
        self,
        bus: Bus,
        channel: Token,
        mut reader: Reader,
        mut last: u64,
        stop: CancellationToken,
    ) {
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                message = reader.next() => message,
            };
            match message {
                Ok(message) => {
                    last = message.sequence;
                    self.dispatch(Arc::new(message));
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "reading the channel broke off");
                    reader = loop {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(Duration::from_millis(200)) => {}
                        }
                        // Right behind the last one: nothing is skipped.
                        if let Ok(reader) = open(&bus, &channel, last).await {
                            break reader;
                        }
                    };
                }
            }
        }
    }

    async fn read_chunks(self, mut chunks: Chunks, stop: CancellationToken) {
        loop {
            let chunk = tokio::select! {
                () = stop.cancelled() => return,
                chunk = chunks.next() => chunk,
            };
            let Some(chunk) = chunk else { return };
            let place = (chunk.metadata.tenant, chunk.metadata.conversation.clone());
            self.send(&place, &Item::Chunk(Arc::new(chunk)));
        }
    }

    fn dispatch(&self, message: Arc<Message>) {
        if let Ok(subject) = StoredSubject::parse(&message.subject) {
            self.send(&(subject.tenant, subject.conversation), &Item::Event(message));
        }
    }

    /// Never waits: whoever is too far behind loses its place.
    fn send(&self, place: &Place, item: &Item) {
        let mut followers = self.followers();
        if let Some(senders) = followers.get_mut(place) {
            senders.retain(|follower| follower.offer(item));
        }
    }

    fn followers(&self) -> std::sync::MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(bus: &Bus, channel: &Token, last: u64) -> Result<Reader, nexus_bus::Error> {
    let pattern = Pattern { channel: Some(channel.clone()), ..Pattern::default() };
    Reader::open(bus, EVENTS, Filter::Patterns(vec![pattern]), Start::At(last + 1)).await
}

impl Subscription {
    /// What happens next; `None` when the follower was too slow.
    pub(crate) async fn next(&mut self) -> Option<Item> {
        let item = self.items.recv().await?;
        self.waiting.fetch_sub(item.bytes(), Ordering::Relaxed);
        Some(item)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut followers = self.hub.followers();
        if let Some(senders) = followers.get_mut(&self.place) {
            senders.retain(|follower| follower.number != self.number);
            if senders.is_empty() {
                followers.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nexus_contracts::{LOCAL_TENANT, Timestamp};

    use super::*;

    fn item(bytes: usize) -> Item {
        Item::Event(Arc::new(Message {
            sequence: 1,
            stored_at: Timestamp::from_micros(1),
            subject: String::new(),
            bytes: vec![0; bytes].into(),
            attempt: 1,
            pending: 0,
        }))
    }

    /// Items of this size that wait for a follower before it is cut off.
    async fn kept(bytes: usize) -> usize {
        let hub = Hub { followers: Arc::default(), next: Arc::default() };
        let place = (LOCAL_TENANT, Token::encode("kitchen").unwrap());
        let mut follower = hub.subscribe(place.0, &place.1);
        let mut other = hub.subscribe(place.0, &place.1);
        for _ in 0..1000 {
            hub.send(&place, &item(bytes));
            assert!(other.next().await.is_some(), "who keeps up is told everything");
        }
        let mut kept = 0;
        while follower.next().await.is_some() {
            kept += 1;
        }
        kept
    }

    #[tokio::test]
    async fn a_follower_may_be_so_many_items_or_bytes_behind_and_no_more() {
        assert_eq!(kept(10).await, BEHIND);
        assert_eq!(kept(BEHIND_BYTES / 4).await, 4);
        assert_eq!(kept(BEHIND_BYTES * 2).await, 1, "one is always taken");
    }
}
