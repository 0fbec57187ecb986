use std::sync::Arc;

use nexus_bus::{Bucket, Bus, Catalog, Limits, Runner};
use nexus_contracts::Timestamp;
use nexus_store::Store;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::group::Group;
use crate::mind::Mind;
use crate::recall::Recall;
use crate::record::{Learn, Record};

/// Settings of the memory worker, table `[memory]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Events of each kind (record, learn, recall) worked on at once.
    pub max_in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_in_flight: 32 }
    }
}

/// The memory worker.
#[derive(Debug)]
pub struct Memory {
    bus: Bus,
    config: Config,
    mind: Arc<Mind>,
    stop: CancellationToken,
}

impl Memory {
    /// Sets memory up on a bus and a migrated database.
    ///
    /// # Errors
    /// [`Error::Bus`] when the bus has not been set up or cannot be reached.
    pub async fn open(
        bus: &Bus,
        config: Config,
        store: Store,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let tenants = Catalog::follow(bus, Bucket::Config, "tenant", stop.clone()).await?;
        let mind = Arc::new(Mind {
            writing: Group::start(store.clone()),
            reading: Group::start(store),
            now,
            learned: Notify::new(),
            tenants,
        });
        Ok(Self { bus: bus.clone(), config, mind, stop })
    }

    /// Works until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// [`Error::Bus`] when a consumer does not exist.
    pub async fn run(self) -> Result<(), Error> {
        let limits = Limits { concurrency: self.config.max_in_flight, ..Limits::default() };
        let (bus, now, stop) = (&self.bus, self.mind.now, &self.stop);
        let record = Arc::new(Record(Arc::clone(&self.mind)));
        let learn = Arc::new(Learn(Arc::clone(&self.mind)));
        let recall = Arc::new(Recall(Arc::clone(&self.mind)));
        let record = Runner::new(bus, "memory-record", record, limits, now, stop.clone()).run();
        let learn = Runner::new(bus, "memory-learn", learn, limits, now, stop.clone()).run();
        let recall = Runner::new(bus, "memory-recall", recall, limits, now, stop.clone()).run();
        let ((), (), ()) = futures_util::try_join!(record, learn, recall)?;
        Ok(())
    }
}
