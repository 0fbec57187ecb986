//! The `nexus` binary as its users start it: real processes, real servers, a folder of its own.
//!
//! Everything that is started here ends with the test process, however that ends.

mod guard;
mod place;

use std::fs;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

pub use place::{Place, Running};
pub use rustix::process::Signal;

/// How an installation is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Variables besides those of the installation itself; nothing else is inherited.
    pub env: Vec<(String, String)>,
    /// Files by their path in `bus-config/` with their text, added to a copy of the repository's.
    pub bus_config: Vec<(String, String)>,
}

impl Options {
    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a file to `bus-config/`, or replaces one.
    #[must_use]
    pub fn file(mut self, path: &str, text: impl Into<String>) -> Self {
        self.bus_config.push((path.to_owned(), text.into()));
        self
    }
}

/// An installation: `nexus up` in a folder of its own.
#[derive(Debug)]
pub struct Nexus {
    place: Place,
    http: String,
    osc_port: u16,
    process: Mutex<Option<Running>>,
    starts: Mutex<u32>,
}

/// What `nexus up` leaves behind for commands.
#[derive(Debug, Deserialize)]
struct Installation {
    nats_url: String,
    database_url: String,
}

/// The binary beside the test that runs.
///
/// # Errors
/// When it has not been built.
pub fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let found =
        test.ancestors().skip(1).map(|folder| folder.join("nexus")).find(|path| path.is_file());
    found
        .context("there is no nexus binary; run: cargo build --package nexus --features failpoints")
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Where the pinned servers are.
#[must_use]
pub fn servers() -> PathBuf {
    let given = std::env::var_os("NEXUS_SERVERS").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join(".servers"))
}

/// A TCP port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A port that is free for UDP and for TCP: OSC uses both.
fn free_osc_port() -> io::Result<u16> {
    loop {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        let address = socket.local_addr()?;
        if TcpListener::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
}

impl Nexus {
    /// Starts an installation and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; with its log.
    pub async fn up(options: Options) -> Result<Self> {
        let mut place = Place::new(&options)?;
        let (http, osc_port) = (format!("127.0.0.1:{}", free_port()?), free_osc_port()?);
        place.set("NEXUS_HTTP", &http);
        place.set("NEXUS_OSC", format!("127.0.0.1:{osc_port}"));
        let nexus = Self {
            place,
            http: format!("http://{http}"),
            osc_port,
            process: Mutex::default(),
            starts: Mutex::default(),
        };
        nexus.restart().await?;
        Ok(nexus)
    }

    /// Starts it, on the data that is there.
    ///
    /// # Errors
    /// When it runs already, or does not become ready.
    pub async fn restart(&self) -> Result<()> {
        ensure!(lock(&self.process).is_none(), "nexus runs already");
        let number = {
            let mut starts = lock(&self.starts);
            *starts += 1;
            *starts
        };
        let mut running = self.place.start(&format!("up-{number}"), &["up"])?;
        let ready = running.ready().await?;
        ensure!(ready == self.http, "ready at {ready}, asked for {}", self.http);
        *lock(&self.process) = Some(running);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        self.take()?.kill()?;
        Ok(())
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub async fn terminate(&self) -> Result<ExitStatus> {
        let running = self.take()?;
        running.terminate().await
    }

    fn take(&self) -> Result<Running> {
        lock(&self.process).take().context("nexus does not run")
    }

    /// Runs another command of this installation to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.place.run(arguments).await
    }

    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.place.folder().join("data")
    }

    /// `http://ADDRESS`.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The UDP and TCP port of its OSC adapter.
    #[must_use]
    pub fn osc_port(&self) -> u16 {
        self.osc_port
    }

    /// Process id, 0 when it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        lock(&self.process).as_ref().map_or(0, Running::pid)
    }

    /// The key for local use.
    ///
    /// # Errors
    /// When there is none yet.
    pub fn key(&self) -> Result<String> {
        let path = self.data().join("local.key");
        Ok(fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    }

    /// Address of its NATS server, with the token.
    ///
    /// # Errors
    /// When it was never ready.
    pub fn nats_url(&self) -> Result<String> {
        Ok(self.installation()?.nats_url)
    }

    /// Address of its PostgreSQL as the owner, with the password.
    ///
    /// # Errors
    /// When it was never ready.
    pub fn database_url(&self) -> Result<String> {
        Ok(self.installation()?.database_url)
    }

    fn installation(&self) -> Result<Installation> {
        let path = self.data().join("run/nexus.json");
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
