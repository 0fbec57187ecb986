use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::TenantId;
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::ledger::Ledger;
use crate::record::UsageRecord;

/// Calls whose records one statement takes at most.
const GROUP: usize = 128;

/// Writes records for all handlers: those that come within a moment share a statement.
///
/// Nobody waits for a usage record, so that waiting for company is free; a transaction with a sync
/// for each call would cost more than all else that billing does.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    tenant: TenantId,
    /// Of one call.
    records: Vec<UsageRecord>,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Writer {
    /// Begins to work; ends when it is dropped.
    pub(crate) fn start(ledger: Ledger, gather: Duration) -> Self {
        let (queue, jobs) = mpsc::channel(2 * GROUP);
        tokio::spawn(work(ledger, gather, jobs));
        Self { queue }
    }

    /// Returns when a call's records are committed, all of them or none.
    pub(crate) async fn write(
        &self,
        tenant: TenantId,
        records: Vec<UsageRecord>,
    ) -> Result<(), Error> {
        let (done, result) = oneshot::channel();
        self.queue.send(Job { tenant, records, done }).await.map_err(|_| Error::Stopped)?;
        result.await.map_err(|_| Error::Stopped)?
    }
}

async fn work(ledger: Ledger, gather: Duration, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.recv().await {
        let mut waiting = vec![first];
        let gathering = async {
            while waiting.len() < GROUP {
                let Some(job) = jobs.recv().await else { return };
                waiting.push(job);
            }
        };
        let _ = tokio::time::timeout(gather, gathering).await;
        // In the order in which tenants first come; few groups, mostly one.
        while let Some(first) = waiting.first() {
            let tenant = first.tenant;
            let (group, others) = waiting.into_iter().partition(|job| job.tenant == tenant);
            waiting = others;
            settle(&ledger, tenant, group).await;
        }
    }
}

/// Writes a group; when the database refuses it, each call by itself, so that a bad one harms no
/// other.
async fn settle(ledger: &Ledger, tenant: TenantId, group: Vec<Job>) {
    let records: Vec<&UsageRecord> = group.iter().flat_map(|job| &job.records).collect();
    let written = ledger.write(tenant, &records).await.map_err(Arc::new);
    for Job { records, done, .. } in group {
        let result = match &written {
            Ok(()) => Ok(()),
            Err(error) if error.is_refusal() => {
                ledger.write(tenant, &records.iter().collect::<Vec<_>>()).await
            }
            Err(error) => Err(Error::Together(Arc::clone(error))),
        };
        // A handler that has gone away gets its event delivered again; what it wrote is known then.
        let _ = done.send(result);
    }
}
