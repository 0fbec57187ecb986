use nexus_store::{Store, TenantTransaction};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::error::Error;
use crate::interactions::Row;

/// Rows that one transaction takes at most.
const GROUP: usize = 64;

/// Writes rows for all handlers: what is waiting for the same tenant is committed together.
///
/// A commit costs two round trips and a sync whatever it holds. Nobody waits for company: a
/// single row is committed at once.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Job {
    tenant: Uuid,
    row: Row,
    committed: oneshot::Sender<Result<(), Error>>,
}

impl Writer {
    /// Begins to write; ends when it is dropped.
    pub(crate) fn start(store: Store) -> Self {
        let (queue, jobs) = mpsc::channel(4 * GROUP);
        tokio::spawn(work(store, jobs));
        Self { queue }
    }

    /// Returns when the row is committed.
    pub(crate) async fn write(&self, tenant: Uuid, row: Row) -> Result<(), Error> {
        let (committed, done) = oneshot::channel();
        let job = Job { tenant, row, committed };
        self.queue.send(job).await.map_err(|_| Error::Stopped)?;
        done.await.map_err(|_| Error::Stopped)?
    }
}

async fn work(store: Store, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while jobs.recv_many(&mut waiting, GROUP).await > 0 {
        // In the order in which tenants first come; few groups, mostly one.
        while let Some(first) = waiting.first() {
            let tenant = first.tenant;
            let (group, others) = waiting.drain(..).partition(|job: &Job| job.tenant == tenant);
            waiting = others;
            commit(&store, tenant, group).await;
        }
    }
}

/// Commits a group; when that fails, each row by itself, so that one bad row harms no other.
async fn commit(store: &Store, tenant: Uuid, group: Vec<Job>) {
    let rows: Vec<&Row> = group.iter().map(|job| &job.row).collect();
    let together = write_all(store, tenant, &rows).await.is_ok();
    for job in group {
        let result = if together { Ok(()) } else { write_all(store, tenant, &[&job.row]).await };
        // A handler that has gone away gets its event delivered again, and the row is there.
        let _ = job.committed.send(result);
    }
}

async fn write_all(store: &Store, tenant: Uuid, rows: &[&Row]) -> Result<(), Error> {
    let mut tx: TenantTransaction = store.tenant(tenant).await?;
    for row in rows {
        row.write(tenant, &mut tx).await?;
    }
    tx.commit().await.map_err(Error::query("committing turns"))
}
