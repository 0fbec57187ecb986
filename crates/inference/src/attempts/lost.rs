//! What workers had begun that were killed before they could say so: read off the live pieces.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, CHUNKS, Chain, Delivery, Filter, Reader, Start};
use nexus_contracts::{
    Attempt, ChunkDelta, Event, InferenceChunk, InferenceRequest, KeyOwner, Timestamp, Usage,
};
use tokio::time::timeout;

use super::ledger::{Ledger, blank};
use crate::choice::Choice;
use crate::models::Facts;
use crate::providers::Providers;

/// Longest wait for the pieces: without them the call is made all the same.
const READING: Duration = Duration::from_secs(2);

/// Enters what earlier deliveries of a request had begun.
pub(crate) async fn enter(
    bus: &Bus,
    providers: &Providers,
    event: &Event<InferenceRequest>,
    delivery: Delivery,
    ledger: &Ledger<'_>,
) {
    let pieces = match timeout(READING, pieces(bus, event, delivery)).await {
        Ok(Ok(pieces)) => pieces,
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "what a killed worker had begun cannot be read");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!("what a killed worker had begun could not be read in time");
            Vec::new()
        }
    };
    for begun in begun(pieces) {
        let facts = facts(providers, &begun.model);
        let key = payer(providers, event, &begun.model).await;
        let attempt = Attempt { key, ..begun.lost(ledger, &facts) };
        tracing::warn!(number = attempt.number, model = %attempt.model, "a killed worker's model call is lost");
        ledger.lost(attempt);
    }
    // Pieces are kept in memory, and for minutes: where they are gone, numbers go on all the same.
    ledger.go_on_after(u32::try_from(delivery.attempt.saturating_sub(1)).unwrap_or(u32::MAX));
}

async fn pieces(
    bus: &Bus,
    event: &Event<InferenceRequest>,
    delivery: Delivery,
) -> Result<Vec<(Timestamp, InferenceChunk)>, nexus_bus::Error> {
    let place = &event.metadata;
    let filter = Filter::Chunks(place.tenant, place.channel.clone(), place.conversation.clone());
    let start = Start::Time(delivery.stored_at);
    let mut reader = Reader::open(bus, CHUNKS, filter, start).await?;
    let messages = reader.read_to_end().await?;
    let pieces = messages.into_iter().filter_map(|message| {
        let piece = Event::<InferenceChunk>::decode(&message.bytes).ok()?;
        (piece.payload.call == event.id).then_some((message.stored_at, piece.payload.known))
    });
    Ok(pieces.collect())
}

fn facts(providers: &Providers, model: &str) -> Arc<Facts> {
    let found = model.split_once('/').and_then(|(provider, model)| {
        let choice = Choice { provider: provider.to_owned(), model: model.to_owned() };
        Some(providers.facts(&providers.entry(provider)?, &choice))
    });
    found.unwrap_or_default()
}

/// Whose key a model is asked with now: pieces do not say with which one it was.
async fn payer(
    providers: &Providers,
    event: &Event<InferenceRequest>,
    model: &str,
) -> Option<KeyOwner> {
    let (provider, _) = model.split_once('/')?;
    let entry = providers.entry(provider)?;
    let found = providers.wallet().credential(&event.metadata, provider, entry.endpoint()?).await;
    found.ok()?.owner
}

/// An attempt that its pieces tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begun {
    number: u32,
    model: String,
    at: Timestamp,
    first: Option<Timestamp>,
    last: Timestamp,
    characters: u64,
    /// Another one followed.
    followed: bool,
}

/// The attempts that pieces tell of, in order.
fn begun(pieces: Vec<(Timestamp, InferenceChunk)>) -> Vec<Begun> {
    let mut all: BTreeMap<u32, Begun> = BTreeMap::new();
    for (at, InferenceChunk { attempt: number, delta, .. }) in pieces {
        match delta {
            ChunkDelta::Begin { model } => {
                let new = || Begun {
                    number,
                    model,
                    at,
                    first: None,
                    last: at,
                    characters: 0,
                    followed: false,
                };
                all.entry(number).or_insert_with(new);
            }
            ChunkDelta::Text { text, .. } | ChunkDelta::Reasoning { text, .. } => {
                if let Some(begun) = all.get_mut(&number) {
                    begun.first.get_or_insert(at);
                    begun.last = at;
                    let characters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
                    begun.characters = begun.characters.saturating_add(characters);
                }
            }
            ChunkDelta::Reset => {}
        }
    }
    let last = all.last_key_value().map(|(number, _)| *number);
    let followed = |begun: Begun| Begun { followed: Some(begun.number) != last, ..begun };
    all.into_values().map(followed).collect()
}

impl Begun {
    fn lost(self, ledger: &Ledger<'_>, facts: &Facts) -> Attempt {
        // What said nothing before another followed has failed: that is charged for by nobody.
        let used = !self.followed || self.characters > 0;
        let usage = used.then(|| Usage {
            estimated: true,
            ..Usage::of(ledger.estimate(), self.characters.div_ceil(4))
        });
        Attempt {
            failure: Some("lost".to_owned()),
            first_token_ms: self.first.map(|first| first.millis_since(self.at)),
            duration_ms: self.last.millis_since(self.at),
            usage,
            cost: usage.and_then(|usage| ledger.cost(facts, usage, None)),
            ..blank(self.number, &self.model, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn piece(ms: i64, attempt: u32, delta: ChunkDelta) -> (Timestamp, InferenceChunk) {
        (Timestamp::from_micros(ms * 1000), InferenceChunk { call: Uuid::nil(), attempt, delta })
    }

    fn begin(model: &str) -> ChunkDelta {
        ChunkDelta::Begin { model: model.to_owned() }
    }

    fn text(text: &str) -> ChunkDelta {
        ChunkDelta::Text { offset: 0, text: text.to_owned() }
    }

    #[test]
    fn pieces_tell_which_attempts_had_begun_and_how_far_they_came() {
        let pieces = vec![
            piece(0, 1, begin("p/a")),
            piece(10, 2, begin("p/b")),
            piece(15, 2, text("Grüß")),
            piece(19, 2, text("e")),
            piece(20, 3, ChunkDelta::Reset),
            piece(20, 3, begin("p/c")),
            piece(25, 9, text("of nobody")),
        ];
        let at = |ms: i64| Timestamp::from_micros(ms * 1000);
        let quiet = |number, model: &str, ms, followed| Begun {
            number,
            model: model.to_owned(),
            at: at(ms),
            first: None,
            last: at(ms),
            characters: 0,
            followed,
        };
        let spoke =
            Begun { first: Some(at(15)), last: at(19), characters: 5, ..quiet(2, "p/b", 10, true) };
        let expected = vec![quiet(1, "p/a", 0, true), spoke, quiet(3, "p/c", 20, false)];
        assert_eq!(begun(pieces), expected);
    }
}
