use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Bus, Chain, Checkpoints, Membership, Message};
use nexus_contracts::{Partition, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::configuration::Configuration;
use crate::error::Error;
use crate::feed::Feed;
use crate::partition::{Owner, Shared};

/// An orchestrator process: takes its share of the partitions and works on them.
#[derive(Debug)]
pub struct Orchestrator {
    url: String,
    shared: Arc<Shared>,
    membership: Membership,
    stop: CancellationToken,
}

impl Orchestrator {
    /// Joins the orchestrators of a bus.
    ///
    /// `url` is the server of `bus`: commands go over a connection of their own, which ends at
    /// its first disconnect.
    ///
    /// # Errors
    /// [`Error::Bus`] when the bus has not been set up or cannot be reached.
    pub async fn open(
        bus: &Bus,
        url: String,
        config: Config,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let member = Uuid::now_v7();
        let configuration = Configuration::follow(bus, config.default_agent.clone(), &stop).await?;
        let checkpoints = Checkpoints::open(bus).await?;
        let membership = Membership::join(bus, member, stop.clone()).await?;
        let shared = Arc::new(Shared { config, configuration, checkpoints, member, now });
        Ok(Self { url, shared, membership, stop })
    }

    /// Works until stopped.
    ///
    /// # Errors
    /// None at present: what goes wrong is tried again.
    pub async fn run(mut self) -> Result<(), Error> {
        while !self.stop.is_cancelled() {
            let lost = self.stop.child_token();
            match Bus::connect_once(&self.url, "orchestrator", lost.clone()).await {
                Ok(bus) => self.session(&bus, &lost).await,
                Err(error) => tracing::warn!(error = %Chain(&error), "no connection for commands"),
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), self.stop.cancelled()).await;
        }
        Ok(())
    }

    /// Owns our share until the connection is lost or we are stopped.
    async fn session(&mut self, bus: &Bus, lost: &CancellationToken) {
        let (feed, reader) = match Feed::open(bus).await {
            Ok(opened) => opened,
            Err(error) => return tracing::warn!(error = %Chain(&error), "the log cannot be read"),
        };
        let pump = feed.pump(reader);
        tokio::pin!(pump);
        let mut tasks = JoinSet::new();
        let mut held: BTreeMap<Partition, CancellationToken> = BTreeMap::new();
        while !lost.is_cancelled() {
            let mine = self.membership.mine();
            held.retain(|partition, release| {
                let keep = mine.contains(partition);
                if !keep {
                    release.cancel();
                }
                keep
            });
            for partition in mine
                .iter()
                .filter(|partition| !held.contains_key(partition))
                .copied()
                .collect::<Vec<_>>()
            {
                let release = lost.child_token();
                held.insert(partition, release.clone());
                let live = feed.listen(partition);
                tasks.spawn(own(Arc::clone(&self.shared), bus.clone(), live, partition, release));
            }
            tokio::select! {
                () = lost.cancelled() => break,
                error = &mut pump => {
                    // A gap in what we read would be a gap in the state: begin anew.
                    tracing::warn!(error = %Chain(&error), "reading the log broke off");
                    lost.cancel();
                }
                () = self.membership.changed() => {}
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Ok(partition) = ended {
                        held.remove(&partition);
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        if self.stop.is_cancelled() {
            bus.close().await;
        }
    }
}

/// Holds one partition until it is released, fenced or cut off.
async fn own(
    shared: Arc<Shared>,
    bus: Bus,
    live: mpsc::UnboundedReceiver<Message>,
    partition: Partition,
    release: CancellationToken,
) -> Partition {
    let held = async {
        let owner = tokio::select! {
            () = release.cancelled() => return Ok(()),
            owner = Owner::take_over(shared, bus, partition) => owner?,
        };
        owner.run(live, release.clone()).await
    };
    let pause = match held.await {
        Ok(()) => Duration::ZERO,
        Err(Error::Bus(nexus_bus::Error::Fenced { .. })) => {
            tracing::info!(%partition, "another orchestrator has taken the partition");
            metrics::counter!("nexus_orchestrator_fenced_total").increment(1);
            // Long enough for both sides to agree on who is alive.
            Duration::from_secs(1)
        }
        Err(error) => {
            tracing::warn!(%partition, error = %Chain(&error), "partition let go");
            Duration::from_millis(300)
        }
    };
    let _ = tokio::time::timeout(pause, release.cancelled()).await;
    partition
}
