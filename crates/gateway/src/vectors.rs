//! Asking for vectors over the bus: one request stored, its answer awaited.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nexus_bus::{Bus, Chain, EVENTS, Filter, Message, Reader, Start, Stored};
use nexus_contracts::{
    EmbedRequest, EmbedResponse, Event, EventType, Metadata, Pattern, RunCancel, Subject, TenantId,
    Vectors, derived_id, edge_id, traceparent,
};
use serde::Deserialize;
use uuid::Uuid;

use crate::accept::{self, Refusal};
use crate::app::App;
use crate::hub::{Item, Subscription};
use crate::keys::Principal;
use crate::refused::Refused;
use crate::room::Room;

/// What a user's requests are spread over: those of one conversation are all shown to each that
/// waits, and a conversation of its own for each would fill the stream's list of subjects.
const CONVERSATIONS: u8 = 64;

/// Stores a request and waits for its answer; a client that hangs up ends its making. `key` is the client's
/// own number of it, if it has one: with that it can come back for the answer.
pub(crate) async fn made(
    app: &App,
    who: &Principal,
    key: Option<&str>,
    request: EmbedRequest,
) -> Result<EmbedResponse, Refused> {
    let fresh = Uuid::now_v7();
    let name = match key {
        // Of its own: so it is known for as long as the stream keeps it whether it was asked before.
        Some(key) => format!("embeddings/key/{key}"),
        None => format!("embeddings/{}", fresh.as_bytes()[15] % CONVERSATIONS),
    };
    let room = Room::of(who, &name).map_err(Refusal::from)?;
    let id = match key {
        Some(key) => edge_id(who.tenant, &app.channel, room.token.as_str(), key),
        None => fresh,
    };
    let metadata = Metadata {
        user: Some(who.user.clone()),
        traceparent: Some(traceparent(id, id)),
        ..Metadata::at(who.tenant, app.channel.clone(), room.token.clone())
    };
    let wait = Duration::from_millis(request.start_within_ms.saturating_add(request.timeout_ms));
    let event = Event::new(id, id, metadata, (app.now)(), request);
    // Before the request is stored, so that no answer can be missed.
    let subscription = app.hub.subscribe(room.tenant, &room.token);
    let hung_up = || {
        let reason = "Nobody waits for the vectors any more.";
        accept::cancellation(&app.channel, who, &room, id, reason, (app.now)())
    };
    let waiting = key.is_none().then(|| OnDrop::of(cancelling(app.bus.clone(), hung_up())));
    let earlier = if key.is_some() { earlier(&app.bus, &event).await? } else { None };
    let Stored { sequence, duplicate } = match earlier {
        Some(sequence) => Stored { sequence, duplicate: true },
        None => app.bus.publish(&event).await?,
    };
    let answer = Answer {
        app,
        room: &room,
        id: derived_id(id, EventType::InferenceEmbedded.as_str()),
        sequence,
    };
    if duplicate {
        if !is_same(&app.bus, sequence, &event).await {
            return Err(Refusal::Reused { id: key.unwrap_or_default().to_owned() }.into());
        }
        if let Some(made) = answer.find().await? {
            return Ok(made);
        }
    }
    let wait = wait.min(app.config.answer_timeout);
    let waited = tokio::time::timeout(wait, answer.next(subscription)).await;
    let made = waited.unwrap_or_else(|_| Err(Refused::vectors_timeout()))?;
    if let Some(waiting) = waiting {
        waiting.defuse();
    }
    Ok(made)
}

/// Does something when it is dropped, as with the future that waits.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn of(act: F) -> Self {
        Self(Some(act))
    }

    /// There is nothing to do any more.
    fn defuse(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

/// Stores a cancellation, for those who cannot wait.
fn cancelling(bus: Bus, cancel: Event<RunCancel>) -> impl FnOnce() {
    move || {
        tokio::spawn(async move {
            if let Err(error) = bus.publish(&cancel).await {
                tracing::warn!(error = %Chain(&error), "vectors that nobody waits for are made all the same");
            }
        });
    }
}

/// An answer that is awaited.
struct Answer<'a> {
    app: &'a App,
    room: &'a Room,
    /// Of the `inference.embedded`.
    id: Uuid,
    /// Of the `inference.embed`.
    sequence: u64,
}

#[derive(Deserialize)]
struct Head {
    id: Uuid,
}

impl Answer<'_> {
    /// Waits for it.
    async fn next(&self, mut subscription: Subscription) -> Result<EmbedResponse, Refused> {
        while let Some(item) = subscription.next().await {
            match item {
                Item::Event(message) => {
                    if let Some(made) = self.read(&message) {
                        return Ok(made);
                    }
                }
                Item::Chunk(_) => {}
            }
        }
        // We were too slow for all that happens in this conversation; the log has it, or will.
        loop {
            if let Some(made) = self.find().await? {
                return Ok(made);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Looks whether it is stored.
    async fn find(&self) -> Result<Option<EmbedResponse>, Refused> {
        let _turn = self.app.reads.acquire().await;
        let pattern = Pattern {
            kind: Some(EventType::InferenceEmbedded),
            ..Pattern::conversation(self.room.tenant, &self.app.channel, &self.room.token)
        };
        let (filter, start) = (Filter::Patterns(vec![pattern]), Start::At(self.sequence));
        let mut reader = Reader::open(&self.app.bus, EVENTS, filter, start).await?;
        let stored = reader.read_to_end().await?;
        Ok(stored.iter().find_map(|message| self.read(message)))
    }

    /// The answer, if this is it.
    fn read(&self, message: &Message) -> Option<EmbedResponse> {
        let head: Head = serde_json::from_slice(&message.bytes).ok()?;
        if head.id != self.id {
            return None;
        }
        Some(Event::<EmbedResponse>::decode(&message.bytes).ok()?.payload.known)
    }
}

/// Sequence of this request, when it was stored before; it is alone in its conversation.
async fn earlier(bus: &Bus, event: &Event<EmbedRequest>) -> Result<Option<u64>, Refused> {
    let subject = Subject::of(EventType::InferenceEmbed, &event.metadata);
    let last = bus.last_on(EVENTS, &subject.stored()).await?;
    Ok(last.filter(|(_, id)| *id == Some(event.id)).map(|(sequence, _)| sequence))
}

/// Whether the stored request asks the same; one that cannot be read now is taken for the same.
async fn is_same(bus: &Bus, sequence: u64, event: &Event<EmbedRequest>) -> bool {
    let Ok(bytes) = bus.message_at(EVENTS, sequence).await else { return true };
    Event::<EmbedRequest>::decode(&bytes).is_ok_and(|stored| {
        let (was, is) = (&stored.payload.known, &event.payload.known);
        (&was.model, &was.inputs, was.dimensions) == (&is.model, &is.inputs, is.dimensions)
    })
}

/// All vectors of an answer, each as little-endian 32-bit floats.
pub(crate) async fn bytes(
    app: &App,
    tenant: TenantId,
    vectors: &Vectors,
    dimensions: u32,
) -> Result<Vec<Vec<u8>>, Refused> {
    match vectors {
        Vectors::Inline { base64 } => {
            let decoded = base64.iter().map(|text| STANDARD.decode(text));
            decoded.collect::<Result<_, _>>().map_err(|_| Refused::vectors_unreadable())
        }
        Vectors::Blob { attachment } => {
            let bytes = app.blobs.get(tenant, &attachment.uri).await?;
            let length = 4 * usize::try_from(dimensions).unwrap_or(usize::MAX / 4);
            Ok(bytes.chunks(length.max(4)).map(<[u8]>::to_vec).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_who_stops_waiting_for_an_answer_cancels_it() {
        let cancelled = Cell::new(0);
        let wait = async |until: Duration| {
            let waiting = OnDrop::of(|| cancelled.set(cancelled.get() + 1));
            tokio::time::sleep(until).await;
            waiting.defuse();
        };
        let limit = Duration::from_secs(2);
        assert!(tokio::time::timeout(limit, wait(Duration::from_secs(1))).await.is_ok());
        assert_eq!(cancelled.get(), 0);
        assert!(tokio::time::timeout(limit, wait(Duration::from_secs(3))).await.is_err());
        assert_eq!(cancelled.get(), 1);
    }
}
