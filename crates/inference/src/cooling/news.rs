//! Tells other workers that a credential is limited, and hears it from them.

use std::time::Duration;

use nexus_bus::{Bus, Chain, Records, Shelf};
use nexus_contracts::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::Cooling;
use crate::limits;

/// Beginning of the keys.
const PREFIX: &str = "rest";
/// Pause after the bus did not answer.
const AGAIN: Duration = Duration::from_millis(250);

/// A credential that is not to be used before a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Limited {
    id: String,
    until: Timestamp,
}

/// The way to the other workers.
pub(crate) struct Shared {
    bus: Bus,
    now: fn() -> Timestamp,
    records: OnceCell<Records<Limited>>,
}

impl Shared {
    pub(crate) fn new(bus: &Bus, now: fn() -> Timestamp) -> Self {
        Self { bus: bus.clone(), now, records: OnceCell::new() }
    }

    /// Tells that a credential is limited for so long.
    pub(crate) async fn tell(&self, id: &str, rest: Duration) {
        let millis = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        let limited = Limited { id: id.to_owned(), until: (self.now)().plus_millis(millis) };
        let key = format!("{PREFIX}.{}", limits::key_of(id));
        let told = async { self.records().await?.put(&key, &limited).await };
        if let Err(error) = told.await {
            tracing::warn!(error = %Chain(&error), "other workers do not hear that a key is limited");
        }
    }

    /// Hears it from others, for ever.
    pub(crate) async fn follow(&self, cooling: &Cooling) {
        loop {
            let following = async {
                let records = self.records().await?;
                records.follow(PREFIX, |_, limited| self.take(cooling, &limited)).await
            };
            if let Err(error) = following.await {
                tracing::debug!(error = %Chain(&error), "following limited keys, trying again");
            }
            sleep(AGAIN).await;
        }
    }

    fn take(&self, cooling: &Cooling, limited: &Limited) {
        let rest = limited.until.millis_since((self.now)());
        if rest > 0 {
            cooling.limited(&limited.id, Duration::from_millis(rest));
        }
    }

    async fn records(&self) -> Result<&Records<Limited>, nexus_bus::Error> {
        self.records.get_or_try_init(|| Records::open(&self.bus, Shelf::Limits)).await
    }
}
