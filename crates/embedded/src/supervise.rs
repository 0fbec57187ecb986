//! Keeps one server running until its owner stops it or goes away.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::child::{Child, Launch, evict};

/// PostgreSQL may have hours of work to redo after a crash; a minute without an answer
/// from either server is worth an error all the same.
const READY_LIMIT: Duration = Duration::from_secs(60);
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_LIMIT: Duration = Duration::from_secs(5);

/// What the supervisor must know about a server.
pub(crate) trait Server: Send + Sync + 'static {
    /// Names of its processes, as the kernel has them.
    const PROCESSES: &'static [&'static str];

    fn launch(&self) -> &Launch;

    /// Keeps the current process id for people and scripts.
    fn pid_file(&self) -> PathBuf;

    /// Removes what a dead process left; called when none is left.
    fn prepare(&self) -> Result<(), Error>;

    /// Whether process `pid` takes connections. A file read, not a connect: whoever
    /// else might listen on the port cannot be mistaken for it.
    fn is_ready(&self, pid: u32) -> bool;
}

/// A server that is started again when it dies. Dropping it stops the server too, in
/// the background.
#[derive(Debug)]
pub(crate) struct Supervised {
    pid: watch::Receiver<u32>,
    wanted: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
}

impl Supervised {
    pub(crate) async fn start(server: impl Server) -> Result<Self, Error> {
        evict(server.launch(), server.processes()).await?;
        let mut child = spawn(&server).await?;
        ready(&server, &mut child).await?;
        let (pid_sender, pid) = watch::channel(child.pid());
        let (wanted, stopped) = watch::channel(true);
        let supervisor = tokio::spawn(supervise(server, child, pid_sender, stopped));
        Ok(Self { pid, wanted, supervisor })
    }

    pub(crate) fn pid(&self) -> u32 {
        *self.pid.borrow()
    }

    pub(crate) async fn stop(self) {
        let _ = self.wanted.send(false);
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "supervisor of an embedded server failed");
        }
    }
}
