use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connection::Bus;
use crate::error::Error;
use crate::handler::Chain;
use crate::publish::json;

/// How often the holder says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long a confirmed beat is good for; the bucket forgets it a second later (`max_age` 5 s).
const GOOD_FOR: Duration = Duration::from_secs(4);
/// How often somebody who waits asks.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The right to do what only one process may do at a time, such as polling a bot's updates.
///
/// Liveness only: a process that was paused may think for a moment that it still holds it. Whatever
/// must not happen twice needs a compare-and-set of its own.
#[derive(Debug)]
pub struct Lease {
    lost: CancellationToken,
    over: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Lease {
    /// Waits until the lease is free and takes it; `None` when `stop` is cancelled first.
    ///
    /// A holder that dies is followed within six seconds, one that releases within one.
    /// `name` is a dot-separated key such as `telegram.adapter`; `holder` names this process.
    ///
    /// # Errors
    /// [`Error::Request`] when the bucket does not exist: run `nexus bus apply`.
    pub async fn acquire(
        bus: &Bus,
        name: &str,
        holder: Uuid,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, Error> {
        let doing = || format!("taking the lease {name}");
        let store = bus.js.get_key_value("LEASES").await.map_err(Error::request(doing()))?;
        let mut said = false;
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match store.create(name, json(&holder)).await {
                Ok(revision) => return Ok(Some(Self::keep(store, name, holder, revision, asked))),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::info!(lease = name, "another process holds the lease, waiting");
                    }
                }
                Err(error) => {
                    tracing::warn!(lease = name, error = %Chain(&error), "asking for the lease failed, trying again");
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(ASK_AGAIN)).await;
        }
        Ok(None)
    }

    fn keep(store: Store, name: &str, holder: Uuid, revision: u64, since: Instant) -> Self {
        let (lost, over) = (CancellationToken::new(), CancellationToken::new());
        let keeper = Keeper { store, name: name.to_owned(), holder, revision };
        let keeper = tokio::spawn(keeper.run(since + GOOD_FOR, lost.clone(), over.clone()));
        Self { lost, over, keeper }
    }

    /// Cancelled as soon as the lease is not certainly ours any more.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lease back, so that the next one need not wait until it runs out.
    pub async fn release(mut self) {
        self.over.cancel();
        let _ = (&mut self.keeper).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The keeper gives it back by itself when the runtime still lets it.
        self.over.cancel();
    }
}

struct Keeper {
    store: Store,
    name: String,
    holder: Uuid,
    revision: u64,
}

impl Keeper {
    async fn run(mut self, mut end: Instant, lost: CancellationToken, over: CancellationToken) {
        let mut next = Instant::now() + BEAT;
        loop {
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                () = tokio::time::sleep_until(next.min(end)) => {}
            }
            let asked = Instant::now();
            if asked >= end {
                tracing::warn!(lease = self.name, "lease lost: not confirmed in time");
                lost.cancel();
                return;
            }
            match tokio::time::timeout_at(end, self.beat()).await {
                Ok(Ok(true)) => end = asked + GOOD_FOR,
                Ok(Ok(false)) => {
                    tracing::warn!(lease = self.name, "lease lost: another process has it");
                    lost.cancel();
                    return;
                }
                Ok(Err(error)) => {
                    tracing::debug!(lease = self.name, error = %Chain(&error), "beat not confirmed");
                }
                Err(_) => {}
            }
            next = asked + BEAT;
        }
        lost.cancel();
        let released = self.store.delete_expect_revision(&self.name, Some(self.revision)).await;
        if let Err(error) = released {
            tracing::debug!(lease = self.name, error = %Chain(&error), "lease not given back; it runs out");
        }
    }

    /// Says that we live; false when somebody else has it.
    async fn beat(&mut self) -> Result<bool, Error> {
        let doing = || format!("renewing the lease {}", self.name);
        match self.store.update(&self.name, json(&self.holder), self.revision).await {
            Ok(revision) => {
                self.revision = revision;
                return Ok(true);
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
            Err(error) => return Err(Error::request(doing())(error)),
        }
        // Perhaps only the confirmation of an earlier beat was lost.
        let entry = self.store.entry(&self.name).await.map_err(Error::request(doing()))?;
        let Some(entry) = entry.filter(|entry| entry.value == json(&self.holder)) else {
            return Ok(false);
        };
        self.revision = entry.revision;
        Ok(true)
    }
}
