//! Tells other workers that a credential is limited, and hears it from them.

use std::time::Duration;

use nexus_bus::{Bus, Chain, Records, Shelf};
use nexus_contracts::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use uuid::Uuid;

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
    /// Who tells it; those who know no better leave it out.
    #[serde(default)]
    worker: Option<Uuid>,
}

/// The way to the other workers.
pub(crate) struct Shared {
    bus: Bus,
    worker: Uuid,
    now: fn() -> Timestamp,
    records: OnceCell<Records<Limited>>,
}

impl Shared {
    pub(crate) fn new(bus: &Bus, worker: Uuid, now: fn() -> Timestamp) -> Self {
        Self { bus: bus.clone(), worker, now, records: OnceCell::new() }
    }

    /// Tells that a credential is limited for so long.
    pub(crate) async fn tell(&self, id: &str, rest: Duration) {
        let millis = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        let until = (self.now)().plus_millis(millis);
        let limited = Limited { id: id.to_owned(), until, worker: Some(self.worker) };
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
                let take = |_: &str, limited| take(cooling, &limited, self.worker, (self.now)());
                records.follow(PREFIX, take).await
            };
            if let Err(error) = following.await {
                tracing::debug!(error = %Chain(&error), "following limited keys, trying again");
            }
            sleep(AGAIN).await;
        }
    }

    async fn records(&self) -> Result<&Records<Limited>, nexus_bus::Error> {
        self.records.get_or_try_init(|| Records::open(&self.bus, Shelf::Limits)).await
    }
}

/// Lets a credential rest of which another worker says that it is limited. What this one has said
/// itself it knows better: in the provider's words.
fn take(cooling: &Cooling, limited: &Limited, me: Uuid, now: Timestamp) {
    let rest = limited.until.millis_since(now);
    if rest > 0 && limited.worker != Some(me) {
        cooling.limited(&limited.id, Duration::from_millis(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    #[test]
    fn own_news_say_nothing_new() {
        let (cooling, me) = (Cooling::default(), Uuid::from_u128(1));
        let key = Credential { id: "operator.p".to_owned(), ..Credential::default() };
        let now = Timestamp::from_micros(0);
        let told = |worker| Limited { id: key.id.clone(), until: now.plus_millis(9000), worker };
        take(&cooling, &told(Some(me)), me, now);
        assert!(cooling.rest(&key, "m").is_none());
        take(&cooling, &told(Some(Uuid::from_u128(2))), me, now);
        assert!(cooling.rest(&key, "m").is_some());
        let unsigned = r#"{"id":"operator.p","until":"1970-01-01T00:00:09Z"}"#;
        let of_whom = serde_json::from_str::<Limited>(unsigned).map(|limited| limited.worker);
        assert_eq!(of_whom.unwrap(), None);
    }
}
