//! Keeps one server running until its owner stops it or goes away.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::child::{Child, Launch, evict};

/// Replaying a large write-ahead log after a crash takes a while; giving up early would
/// only make the next start begin it again.
const READY_LIMIT: Duration = Duration::from_secs(300);
const BACK_OFF: Duration = Duration::from_millis(50);
const BACK_OFF_LIMIT: Duration = Duration::from_secs(5);

/// What the supervisor must know about a server.
pub(crate) trait Server: Send + Sync + 'static {
    fn launch(&self) -> &Launch;

    /// Names of its processes, as the kernel has them.
    fn processes(&self) -> &'static [&'static str];

    /// Keeps the current process id for people and scripts.
    fn pid_file(&self) -> PathBuf;

    /// Removes what a dead process left; called when no process is left.
    fn prepare(&self) -> Result<(), Error>;

    /// Whether process `pid` takes connections. It reads a file and does not connect,
    /// so that nobody else who listens on the port is mistaken for it.
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
    /// Starts the server; returns when it takes connections.
    pub(crate) async fn start(server: impl Server) -> Result<Self, Error> {
        let mut child = spawn(&server).await?;
        ready(&server, &mut child).await?;
        let (pid_sender, pid) = watch::channel(child.pid());
        let (wanted, stopped) = watch::channel(true);
        let supervisor = tokio::spawn(async move {
            Supervisor { server, pid: pid_sender, wanted: stopped }.run(child).await;
        });
        Ok(Self { pid, wanted, supervisor })
    }

    pub(crate) fn pid(&self) -> u32 {
        *self.pid.borrow()
    }

    pub(crate) async fn stop(self) {
        // The receiver is gone only when the supervisor has already ended.
        let _ = self.wanted.send(false);
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "supervisor of an embedded server failed");
        }
    }
}

struct Supervisor<S> {
    server: S,
    pid: watch::Sender<u32>,
    wanted: watch::Receiver<bool>,
}

impl<S: Server> Supervisor<S> {
    async fn run(mut self, first: Child) {
        let mut running = Some(first);
        let mut back_off = BACK_OFF;
        loop {
            let began = Instant::now();
            if let Some(mut child) = running.take() {
                tokio::select! {
                    () = unwanted(&mut self.wanted) => return self.stop(child).await,
                    status = child.ended(self.server.launch()) => self.report_end(child.pid(), status),
                }
            }
            if began.elapsed() > BACK_OFF_LIMIT {
                back_off = BACK_OFF;
            }
            tokio::select! {
                () = unwanted(&mut self.wanted) => return,
                () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_LIMIT),
            }
            running = match self.restart().await {
                Restart::Running(child) => Some(child),
                Restart::Failed(error) => {
                    let name = self.server.launch().name;
                    tracing::error!(server = name, error = %Chain(&error), "embedded server does not come back; trying again");
                    None
                }
                Restart::Unwanted => return,
            };
        }
    }

    async fn restart(&mut self) -> Restart {
        let mut child = match spawn(&self.server).await {
            Ok(child) => child,
            Err(error) => return Restart::Failed(error),
        };
        let is_ready = tokio::select! {
            () = unwanted(&mut self.wanted) => None,
            is_ready = ready(&self.server, &mut child) => Some(is_ready),
        };
        match is_ready {
            Some(Ok(())) => {
                self.pid.send_replace(child.pid());
                tracing::info!(
                    server = self.server.launch().name,
                    pid = child.pid(),
                    "embedded server is back"
                );
                Restart::Running(child)
            }
            Some(Err(error)) => Restart::Failed(error),
            None => {
                self.stop(child).await;
                Restart::Unwanted
            }
        }
    }

    async fn stop(&self, child: Child) {
        child.stop().await;
        // A file that is gone already is what we want.
        let _ = fs::remove_file(self.server.pid_file());
    }

    fn report_end(&self, pid: u32, status: Result<std::process::ExitStatus, Error>) {
        let server = self.server.launch().name;
        match status {
            Ok(status) => {
                tracing::warn!(server, pid, %status, "embedded server died; starting it again");
            }
            Err(error) => {
                tracing::warn!(server, pid, error = %Chain(&error), "lost sight of an embedded server");
            }
        }
    }
}

enum Restart {
    Running(Child),
    Failed(Error),
    Unwanted,
}

/// Ends when the owner wants no server any more, or is gone.
async fn unwanted(wanted: &mut watch::Receiver<bool>) {
    // An error means that the owner dropped its end: the same.
    let _ = wanted.wait_for(|wanted| !wanted).await;
}

async fn spawn(server: &impl Server) -> Result<Child, Error> {
    // After the death of a watcher alone, or of a postmaster alone, others still live.
    evict(server.launch(), server.processes()).await?;
    server.prepare()?;
    let child = Child::spawn(server.launch()).await?;
    let file = server.pid_file();
    fs::write(&file, format!("{}\n", child.pid())).map_err(Error::io("writing", &file))?;
    Ok(child)
}

async fn ready(server: &impl Server, child: &mut Child) -> Result<(), Error> {
    child.ready(server.launch(), READY_LIMIT, |pid| server.is_ready(pid)).await
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
