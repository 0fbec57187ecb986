//! The workers, and how each is opened.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use metrics_exporter_prometheus::PrometheusHandle;
use nexus_billing::Billing;
use nexus_blobs::Blobs;
use nexus_bus::{Bus, Chain};
use nexus_contracts::LOCAL_TENANT;
use nexus_gateway::{Gateway, Keys, Readiness, Storage};
use nexus_inference::{Inference, Resources};
use nexus_memory::Memory;
use nexus_orchestrator::Orchestrator;
use nexus_osc::{Osc, Speaker, Verdict};
use nexus_store::{Migration, Store};
use nexus_telegram::Telegram;
use nexus_tools::{Surroundings, Tools};
use nexus_vault::Vault;
use tokio_util::sync::CancellationToken;

use crate::cli::now;
use crate::config::{self, Config};

/// A worker that this binary can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Orchestrator,
    Inference,
    Tools,
    Memory,
    Billing,
    Gateway,
    Telegram,
    Osc,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Inference => "inference",
            Self::Tools => "tools",
            Self::Memory => "memory",
            Self::Billing => "billing",
            Self::Gateway => "gateway",
            Self::Telegram => "telegram",
            Self::Osc => "osc",
        }
    }

    /// All that `nexus up` runs, in the order in which they come up: what others need comes first.
    pub(crate) fn all(config: &Config) -> Vec<Self> {
        let mut roles = vec![
            Self::Tools,
            Self::Inference,
            Self::Memory,
            Self::Billing,
            Self::Orchestrator,
            Self::Gateway,
        ];
        if config.osc.listen.is_some() {
            roles.push(Self::Osc);
        }
        if config.telegram.token_names().any(|name| config::secret(name).is_some()) {
            roles.push(Self::Telegram);
        }
        roles
    }
}

/// What the workers of one process share.
#[derive(Clone)]
pub(crate) struct Deps {
    pub(crate) config: Config,
    pub(crate) bus: Bus,
    pub(crate) nats_url: String,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) vault: Vault,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) stop: CancellationToken,
}

/// A worker that is set up; it runs until it is stopped.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// All migrations of all owners of tables.
pub(crate) fn migrations() -> Vec<Migration> {
    let mut all: Vec<Migration> = nexus_memory::MIGRATIONS.to_vec();
    all.extend(nexus_tools::MIGRATIONS);
    all.extend(nexus_billing::MIGRATIONS);
    all.extend(nexus_gateway::MIGRATIONS);
    all.extend(nexus_vault::MIGRATIONS);
    #[cfg(feature = "failpoints")]
    all.extend(nexus_tools::TEST_MIGRATIONS);
    all
}

/// Sets a worker up: when this returns, it is ready to work.
pub(crate) async fn open(role: Role, deps: Deps) -> Result<Running> {
    let Deps { config, bus, nats_url, store, blobs, vault, readiness, metrics, stop } = deps;
    let opened = async {
        Ok::<Running, anyhow::Error>(match role {
            Role::Orchestrator => {
                let worker =
                    Orchestrator::open(&bus, nats_url, config.orchestrator, now, stop).await?;
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Inference => {
                let resources = Resources { secrets: config::secrets(), vault: Some(vault), blobs };
                let opened = Inference::open(&bus, config.inference, resources, now, stop);
                let worker = Box::pin(opened).await?;
                tracing::info!(model = worker.default_model(), "model by default");
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Tools => {
                let delay = Duration::from_millis(3 * config.durability.sync_interval_ms());
                let surroundings =
                    Surroundings { store: Some(store), blobs, effect_delay: delay, now };
                let worker = Tools::open(&bus, config.tools, surroundings, stop).await?;
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Memory => {
                let worker = Memory::open(&bus, config.memory, store, now, stop).await?;
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Billing => {
                let worker = Billing::open(&bus, config.billing, store, now, stop);
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Gateway => {
                let storage = Storage { store, blobs, vault };
                let opened =
                    Gateway::open(&bus, config.gateway, storage, readiness, metrics, now, stop);
                let worker = Box::pin(opened).await?;
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Telegram => {
                let (telegram, secrets) = (&config.telegram, config::secrets());
                let opened =
                    Telegram::open(&bus, &blobs, telegram, LOCAL_TENANT, &secrets, now, stop);
                let worker = Box::pin(opened).await?;
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
            Role::Osc => {
                let worker = Osc::open(&bus, config.osc, verifier(store), now, stop).await?;
                Box::pin(async { Ok(Box::pin(worker.run()).await?) })
            }
        })
    };
    Box::pin(opened).await.with_context(|| format!("starting worker {}", role.name()))
}

/// Checks API keys for adapters that know no database.
fn verifier(store: Store) -> nexus_osc::Verify {
    let keys = Keys::new(store);
    Arc::new(move |key: String| {
        let keys = keys.clone();
        Box::pin(async move {
            match keys.verify(&key).await {
                Ok(Some(principal)) => {
                    Verdict::Opens(Speaker { tenant: principal.tenant, user: principal.user })
                }
                Ok(None) => Verdict::Nothing,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "an API key of an OSC client could not be looked up");
                    Verdict::Unavailable
                }
            }
        })
    })
}

/// Runs a worker until it is stopped; one that breaks is set up again.
pub(crate) async fn supervise(role: Role, deps: Deps, first: Running) {
    let mut running = first;
    loop {
        let ended = running.await;
        if deps.stop.is_cancelled() {
            return;
        }
        if let Err(error) = ended {
            tracing::error!(
                worker = role.name(),
                error = format!("{error:#}"),
                "worker broke, starting it again"
            );
        }
        running = loop {
            let _ = tokio::time::timeout(Duration::from_secs(1), deps.stop.cancelled()).await;
            if deps.stop.is_cancelled() {
                return;
            }
            match open(role, deps.clone()).await {
                Ok(running) => break running,
                Err(error) => {
                    tracing::error!(
                        worker = role.name(),
                        error = format!("{error:#}"),
                        "worker does not start"
                    );
                }
            }
        };
    }
}
