//! What a conversation remembers about its routes: it does not fall back to an easier tier.
//!
//! Kept for a day on the bus, for all workers. Routing goes on without it: what cannot be read is
//! forgotten, what cannot be written is remembered next time.

use nexus_bus::{Bus, Chain, Error, Records, Shelf};
use nexus_contracts::Metadata;
use serde::{Deserialize, Serialize};

use super::Tier;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    tier: Tier,
}

/// The hardest tier of each conversation.
#[derive(Debug, Clone)]
pub(crate) struct Sticky {
    records: Records<Remembered>,
}

impl Sticky {
    /// Opens the records.
    ///
    /// # Errors
    /// [`Error::Request`] when the bus has not been set up: run `nexus bus apply`.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, Error> {
        Ok(Self { records: Records::open(bus, Shelf::Routes).await? })
    }

    /// What the conversation of an event remembers.
    pub(crate) async fn load(&self, place: &Metadata) -> Option<Tier> {
        match self.records.load(&key(place)).await {
            Ok(found) => found.map(|(remembered, _)| remembered.tier),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the tier of a conversation could not be read");
                None
            }
        }
    }

    /// Remembers a tier, where it is harder than what [`Self::load`] found.
    pub(crate) async fn store(&self, place: &Metadata, found: Option<Tier>, tier: Tier) {
        // Easy is where every conversation begins.
        if tier <= found.unwrap_or(Tier::Easy) {
            return;
        }
        if let Err(error) = self.raise(&key(place), tier).await {
            tracing::warn!(error = %Chain(&error), "the tier of a conversation could not be kept");
        }
    }

    /// Writes a tier over an easier one, whoever else writes meanwhile.
    async fn raise(&self, key: &str, tier: Tier) -> Result<(), Error> {
        let new = Remembered { tier };
        // Every turn is lost to somebody who wrote a harder tier, and there are three.
        for _ in Tier::ALL {
            let written = match self.records.load(key).await? {
                Some((known, _)) if known.tier >= tier => return Ok(()),
                Some((_, revision)) => self.records.save(key, &new, revision).await?,
                None => self.records.create(key, &new).await?,
            };
            if written.is_some() {
                break;
            }
        }
        Ok(())
    }
}

fn key(place: &Metadata) -> String {
    format!("{}.{}.{}", place.tenant, place.channel.as_str(), place.conversation.as_str())
}
