use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, Limits, Runner};
use nexus_contracts::Timestamp;
use nexus_store::Store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handlers::{Calls, Embeddings};
use crate::ledger::Ledger;
use crate::writer::Writer;

/// Settings of the billing worker, table `[billing]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Events of each kind (model calls, embeddings) worked on at once.
    pub max_in_flight: usize,
    /// Longest wait for more records to be written together, for example `100ms`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub gather: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_in_flight: 256, gather: Duration::from_millis(100) }
    }
}

/// The billing worker.
#[derive(Debug)]
pub struct Billing {
    bus: Bus,
    config: Config,
    writer: Arc<Writer>,
    now: fn() -> Timestamp,
    stop: CancellationToken,
}

impl Billing {
    /// Sets billing up on a bus and a migrated database.
    #[must_use]
    pub fn open(
        bus: &Bus,
        config: Config,
        store: Store,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Self {
        let writer = Arc::new(Writer::start(Ledger::new(store), config.gather));
        Self { bus: bus.clone(), config, writer, now, stop }
    }

    /// Works until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// [`Error::Bus`] when a consumer does not exist: run `nexus bus apply`.
    pub async fn run(self) -> Result<(), Error> {
        let Self { bus, config, writer, now, stop } = self;
        let limits = Limits { concurrency: config.max_in_flight, ..Limits::default() };
        let calls = Arc::new(Calls(Arc::clone(&writer)));
        let embeddings = Arc::new(Embeddings(writer));
        let calls = Runner::new(&bus, "billing", calls, limits, now, stop.clone()).run();
        let embeddings =
            Runner::new(&bus, "billing-embeddings", embeddings, limits, now, stop).run();
        let ((), ()) = futures_util::try_join!(calls, embeddings)?;
        Ok(())
    }
}
