use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{Operation, Store};
use futures_util::StreamExt as _;
use nexus_contracts::{Partition, derived_id};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connection::Bus;
use crate::error::Error;
use crate::publish::json;

/// How often a member says that it lives.
const BEAT: Duration = Duration::from_millis(600);
/// A member that said nothing for this long is taken for dead.
const PATIENCE: Duration = Duration::from_millis(2000);

/// Who shares the partitions, and which are ours.
///
/// Liveness only: two members may think for a moment that a partition is theirs. What keeps them
/// apart is the [`Fence`](crate::Fence).
#[derive(Debug, Clone)]
pub struct Membership {
    mine: watch::Receiver<Arc<BTreeSet<Partition>>>,
}

impl Membership {
    /// Joins under `member`, and leaves when `stop` is cancelled.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket does not exist: run `nexus bus apply`.
    pub async fn join(bus: &Bus, member: Uuid, stop: CancellationToken) -> Result<Self, Error> {
        let doing = "joining the orchestrators";
        let store = bus.js.get_key_value("LEASES").await.map_err(Error::request(doing))?;
        beat(&store, member).await.map_err(Error::request(doing))?;
        let mut seen = BTreeMap::from([(member, Instant::now())]);
        let mut keys = store.keys().await.map_err(Error::request(doing))?;
        while let Some(Ok(key)) = keys.next().await {
            seen.extend(member_of(&key).map(|other| (other, Instant::now())));
        }
        let (sender, receiver) = watch::channel(Arc::new(share(member, seen.keys())));
        tokio::spawn(keep(store, member, seen, sender, stop));
        Ok(Self { mine: receiver })
    }

    /// The partitions that are ours now.
    #[must_use]
    pub fn mine(&self) -> Arc<BTreeSet<Partition>> {
        Arc::clone(&self.mine.borrow())
    }

    /// Waits until our share changes; for ever once we have left.
    pub async fn changed(&mut self) {
        if self.mine.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets all members: for whoever has just started the server and knows that nobody is left.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket cannot be written.
    pub async fn clear(bus: &Bus) -> Result<(), Error> {
        let doing = "clearing the leases";
        let store = bus.js.get_key_value("LEASES").await.map_err(Error::request(doing))?;
        let mut keys = store.keys().await.map_err(Error::request(doing))?;
        while let Some(Ok(key)) = keys.next().await {
            store.purge(&key).await.map_err(Error::request(doing))?;
        }
        Ok(())
    }
}

async fn beat(store: &Store, member: Uuid) -> Result<(), async_nats::jetstream::kv::PutError> {
    store.put(key(member), json(&true)).await.map(|_| ())
}

async fn keep(
    store: Store,
    member: Uuid,
    mut seen: BTreeMap<Uuid, Instant>,
    sender: watch::Sender<Arc<BTreeSet<Partition>>>,
    stop: CancellationToken,
) {
    let mut watch = store.watch_all().await.ok();
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next = async {
            match watch.as_mut() {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {
                if let Err(error) = beat(&store, member).await {
                    tracing::warn!(%error, "could not say that this orchestrator lives");
                }
                if watch.is_none() {
                    watch = store.watch_all().await.ok();
                }
            }
            entry = next => match entry {
                Some(Ok(entry)) => observe(&mut seen, &entry.key, entry.operation),
                Some(Err(_)) | None => watch = None,
            },
        }
        seen.insert(member, Instant::now());
        seen.retain(|_, at| at.elapsed() < PATIENCE);
        let mine = share(member, seen.keys());
        sender.send_if_modified(|current| {
            let differs = **current != mine;
            if differs {
                *current = Arc::new(mine);
            }
            differs
        });
    }
    let _ = store.delete(key(member)).await;
}

fn observe(seen: &mut BTreeMap<Uuid, Instant>, key: &str, operation: Operation) {
    let Some(member) = member_of(key) else { return };
    match operation {
        Operation::Put => seen.insert(member, Instant::now()),
        Operation::Delete | Operation::Purge => seen.remove(&member),
    };
}

fn key(member: Uuid) -> String {
    format!("orchestrator.{member}")
}

fn member_of(key: &str) -> Option<Uuid> {
    key.strip_prefix("orchestrator.")?.parse().ok()
}

/// The member's share by rendezvous hashing: a member that comes or goes moves only its own.
fn share<'m>(member: Uuid, members: impl Iterator<Item = &'m Uuid> + Clone) -> BTreeSet<Partition> {
    let owner = |partition: &Partition| {
        members.clone().max_by_key(|other| derived_id(**other, &partition.to_string())).copied()
    };
    Partition::all().filter(|partition| owner(partition) == Some(member)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_shared_out_completely_and_without_overlap() {
        let members: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let shares: Vec<_> = members.iter().map(|member| share(*member, members.iter())).collect();

        let all: BTreeSet<Partition> = shares.iter().flatten().copied().collect();
        let sum: usize = shares.iter().map(BTreeSet::len).sum();
        assert_eq!((all.len(), sum), (64, 64));
        assert!(shares.iter().all(|share| share.len() >= 10), "shares are fair: {shares:?}");
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_own_partitions() {
        let members: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let before = share(members[0], members.iter());
        let after = share(members[0], members[..2].iter());
        assert!(before.is_subset(&after));
    }
}
