use nexus_store::Store;
use nexus_store::TenantTransaction;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::error::Error;

/// Statements that one transaction takes at most.
const GROUP: usize = 64;

/// Something to do in a tenant's transaction.
pub(crate) trait Statement: Send + Sync + 'static {
    type Output: Send + 'static;

    /// Does it; may be called again in another transaction when this one fails.
    fn run(
        &self,
        tenant: Uuid,
        tx: &mut TenantTransaction,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// Runs statements for all handlers: what is waiting for the same tenant shares a transaction.
///
/// Beginning and committing cost two round trips, and a sync where something was written,
/// whatever the transaction holds. Nobody waits for company: a single statement runs at once.
#[derive(Debug)]
pub(crate) struct Group<S: Statement> {
    queue: mpsc::Sender<Job<S>>,
}

#[derive(Debug)]
struct Job<S: Statement> {
    tenant: Uuid,
    statement: S,
    done: oneshot::Sender<Result<S::Output, Error>>,
}

impl<S: Statement> Group<S> {
    /// Begins to work; ends when it is dropped.
    pub(crate) fn start(store: Store) -> Self {
        let (queue, jobs) = mpsc::channel(4 * GROUP);
        tokio::spawn(work(store, jobs));
        Self { queue }
    }

    /// Returns when the statement's transaction is committed.
    pub(crate) async fn run(&self, tenant: Uuid, statement: S) -> Result<S::Output, Error> {
        let (done, result) = oneshot::channel();
        let job = Job { tenant, statement, done };
        self.queue.send(job).await.map_err(|_| Error::Stopped)?;
        result.await.map_err(|_| Error::Stopped)?
    }
}

async fn work<S: Statement>(store: Store, mut jobs: mpsc::Receiver<Job<S>>) {
    let mut waiting = Vec::with_capacity(GROUP);
    while jobs.recv_many(&mut waiting, GROUP).await > 0 {
        // In the order in which tenants first come; few groups, mostly one.
        while let Some(first) = waiting.first() {
            let tenant = first.tenant;
            let (group, others) = waiting.drain(..).partition(|job: &Job<S>| job.tenant == tenant);
            waiting = others;
            settle(&store, tenant, group).await;
        }
    }
}

/// Runs a group; when that fails, each statement by itself, so that a bad one harms no other.
async fn settle<S: Statement>(store: &Store, tenant: Uuid, group: Vec<Job<S>>) {
    let statements: Vec<&S> = group.iter().map(|job| &job.statement).collect();
    let mut together = together(store, tenant, &statements).await.ok().map(Vec::into_iter);
    for job in group {
        let result = match together.as_mut().and_then(Iterator::next) {
            Some(output) => Ok(output),
            None => alone(store, tenant, &job.statement).await,
        };
        // A handler that has gone away gets its event delivered again; what it wrote is known then.
        let _ = job.done.send(result);
    }
}

async fn together<S: Statement>(
    store: &Store,
    tenant: Uuid,
    statements: &[&S],
) -> Result<Vec<S::Output>, Error> {
    let mut tx = store.tenant(tenant).await?;
    let mut outputs = Vec::with_capacity(statements.len());
    for statement in statements {
        outputs.push(statement.run(tenant, &mut tx).await?);
    }
    tx.commit().await.map_err(Error::query("committing"))?;
    Ok(outputs)
}

async fn alone<S: Statement>(
    store: &Store,
    tenant: Uuid,
    statement: &S,
) -> Result<S::Output, Error> {
    let mut tx = store.tenant(tenant).await?;
    let output = statement.run(tenant, &mut tx).await?;
    tx.commit().await.map_err(Error::query("committing"))?;
    Ok(output)
}
