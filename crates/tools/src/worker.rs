use std::sync::Arc;
use std::time::Duration;

use nexus_blobs::Blobs;
use nexus_bus::{Bucket, Bus, EVENTS, Limits, Runner};
use nexus_contracts::{Effect, Timestamp, ToolSpec};
use nexus_store::Store;
use tokio_util::sync::CancellationToken;

use crate::calls::Calls;
use crate::config::Config;
use crate::error::Error;
use crate::executor::Executor;
use crate::ledger::Ledger;
use crate::osc::Targets;
use crate::registry::Registry;
use crate::tool::Tool;

/// Durable consumer of `tools.execute`.
const CONSUMER: &str = "tools";

/// What the worker stands on besides the bus.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Without it, calls with effects wait.
    pub store: Option<Store>,
    /// Where files go that tools make.
    pub blobs: Blobs,
    /// Three sync intervals of the event store, zero where it syncs every append: no effect begins
    /// sooner after its command was stored.
    pub effect_delay: Duration,
    pub now: fn() -> Timestamp,
}

/// The tools worker, ready to serve.
#[derive(Debug)]
pub struct Tools {
    bus: Bus,
    registry: Arc<Registry>,
    calls: Arc<Calls>,
    /// From where cancellations are read.
    cancellations: u64,
    runner: Runner<Executor>,
    targets: Targets,
}

impl Tools {
    /// Makes the tools known on the bus: the built-in ones, and those of the declared OSC targets.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Bus`] when the bus cannot be reached.
    pub async fn open(
        bus: &Bus,
        config: Config,
        surroundings: Surroundings,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        Self::open_with(bus, config, Vec::new(), surroundings, stop).await
    }

    /// As [`Self::open`], with more tools.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Duplicate`] or [`Error::Schema`] for a tool that cannot be added.
    pub async fn open_with(
        bus: &Bus,
        config: Config,
        more: Vec<Arc<dyn Tool>>,
        surroundings: Surroundings,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let Surroundings { store, blobs, effect_delay, now } = surroundings;
        let mut registry = Registry::builtin(&config, blobs, now)?;
        for tool in more {
            registry.add(tool)?;
        }
        let (registry, calls) = (Arc::new(registry), Arc::new(Calls::default()));
        // Before the first call is taken, so that no cancellation falls between.
        let cancellations = bus.bounds(EVENTS).await?.1 + 1;
        let has_store = store.is_some();
        for spec in registry.specs() {
            if !has_store && spec.effect != Effect::Read {
                tracing::warn!(tool = %spec.name, "not offered: no database to record its effects in");
                continue;
            }
            bus.put_setting(Bucket::Tools, &format!("tool.{}", spec.name), &spec).await?;
        }
        let targets =
            Targets::open(bus, Arc::clone(&registry), has_store, now, stop.clone()).await?;
        let executor = Executor {
            registry: Arc::clone(&registry),
            ledger: store.map(|store| Ledger::new(store, now)),
            calls: Arc::clone(&calls),
            max_output_bytes: config.max_output_bytes,
            effect_delay,
            now,
        };
        let limits = Limits { concurrency: config.concurrency, ..Limits::default() };
        let runner = Runner::new(bus, CONSUMER, Arc::new(executor), limits, now, stop);
        Ok(Self { bus: bus.clone(), registry, calls, cancellations, runner, targets })
    }

    /// What the tools that stay say about themselves, in the order of their names.
    #[must_use]
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.registry.specs()
    }

    /// Works until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// [`Error::Bus`] when the consumer does not exist.
    pub async fn run(self) -> Result<(), Error> {
        tokio::select! {
            ended = self.runner.run() => Ok(ended?),
            () = self.calls.follow(&self.bus, self.cancellations) => Ok(()),
            () = self.targets.run() => Ok(()),
        }
    }
}
