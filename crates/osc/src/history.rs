//! What was asked before, from the log: a repeated question is found again after a restart, and
//! after the stream's duplicate window.
//!
//! A conversation's slice is read once, when something is asked in it for the first time in this
//! process's life; a conversation that the log does not know costs one look-up by subject.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nexus_bus::{Bus, Chain, EVENTS, Error, Filter, Reader, Start};
use nexus_contracts::{
    Event, EventType, IncomingRequest, Metadata, Pattern, Subject, TenantId, Token,
};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Conversations whose questions are known; of more, one is forgotten and read again when needed.
const MAX_CONVERSATIONS: usize = 1024;
/// Questions of one conversation that are known; about 3 MB at most.
const MAX_QUESTIONS: usize = 65_536;

type Key = (TenantId, Token);

/// Questions of one conversation, with the sequences of their events.
#[derive(Debug, Default)]
struct Questions {
    sequences: HashMap<Uuid, u64>,
    /// Oldest first.
    order: VecDeque<Uuid>,
}

impl Questions {
    /// Of the same question the first event counts: the engine answers that one.
    fn insert(&mut self, id: Uuid, sequence: u64) {
        if self.sequences.contains_key(&id) {
            return;
        }
        if self.order.len() >= MAX_QUESTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.sequences.remove(&oldest);
        }
        self.sequences.insert(id, sequence);
        self.order.push_back(id);
    }
}

type Place = OnceCell<Mutex<Questions>>;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    places: Arc<Mutex<HashMap<Key, Arc<Place>>>>,
}

impl History {
    /// Where a question is stored already, if it is.
    ///
    /// # Errors
    /// When the log cannot be read: then nothing is known, and nothing may be published.
    pub(crate) async fn earlier(
        &self,
        bus: &Bus,
        event: &Event<IncomingRequest>,
    ) -> Result<Option<u64>, Error> {
        let place = self.place(&event.metadata);
        let questions = place.get_or_try_init(|| read(bus, &event.metadata)).await?;
        Ok(locked(questions).sequences.get(&event.id).copied())
    }

    /// A question has been stored.
    pub(crate) fn remember(&self, event: &Event<IncomingRequest>, sequence: u64) {
        if let Some(questions) = self.place(&event.metadata).get() {
            locked(questions).insert(event.id, sequence);
        }
    }

    fn place(&self, place: &Metadata) -> Arc<Place> {
        let key = (place.tenant, place.conversation.clone());
        let mut places = locked(&self.places);
        if places.len() >= MAX_CONVERSATIONS
            && !places.contains_key(&key)
            && let Some(other) = places.keys().next().cloned()
        {
            places.remove(&other);
        }
        Arc::clone(places.entry(key).or_default())
    }
}

async fn read(bus: &Bus, place: &Metadata) -> Result<Mutex<Questions>, Error> {
    let kind = EventType::RequestsIncoming;
    let mut questions = Questions::default();
    if bus.last_on(EVENTS, &Subject::of(kind, place).stored()).await?.is_none() {
        return Ok(Mutex::new(questions));
    }
    let asked = Pattern {
        kind: Some(kind),
        ..Pattern::conversation(place.tenant, &place.channel, &place.conversation)
    };
    let mut reader = Reader::open(bus, EVENTS, Filter::Patterns(vec![asked]), Start::First).await?;
    while reader.pending() > 0 {
        let message = reader.next().await?;
        match Event::<IncomingRequest>::decode(&message.bytes) {
            Ok(event) => questions.insert(event.id, message.sequence),
            Err(error) => {
                tracing::warn!(sequence = message.sequence, error = %Chain(&error), "unreadable question passed over");
            }
        }
    }
    Ok(Mutex::new(questions))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
