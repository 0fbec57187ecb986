use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::guard::Guard;
use super::{Options, binary, repository, servers};

/// Longest time from start to the `ready` line: the first start makes a PostgreSQL cluster.
const READY: Duration = Duration::from_secs(60);
/// Longest time from SIGTERM to the end.
const DRAIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);

/// A folder in which `nexus` is run, with its environment; processes end when it is dropped.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    env: BTreeMap<String, String>,
    guard: Guard,
}

/// A long-lived `nexus` process.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Place {
    /// Makes a folder that the servers' user can reach.
    ///
    /// # Errors
    /// When the folder cannot be made, or the binary is missing.
    pub fn new(options: &Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nexus-test-").tempdir()?.keep();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let text = |path: &Path| path.display().to_string();
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        for name in ["PATH", "HOME", "LANG", "RUST_LOG", "RUST_BACKTRACE"] {
            env.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        env.insert("NEXUS_DATA".to_owned(), text(&folder.join("data")));
        env.insert("NEXUS_SERVERS".to_owned(), text(&servers()));
        if !options.bus_config.is_empty() {
            let own = folder.join("bus-config");
            copy(&repository().join("bus-config"), &own)?;
            for (path, text) in &options.bus_config {
                write(&own.join(path), text)?;
            }
            env.insert("NEXUS_BUS_CONFIG".to_owned(), text(&own));
        }
        env.extend(options.env.iter().cloned());
        let guard = Guard::start(&folder, &binary()?)?;
        Ok(Self { folder, env, guard })
    }

    /// The folder: `data/`, perhaps `bus-config/`, and the processes' output as `*.out` and `*.err`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets a variable for what is started from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.env.insert(name.to_owned(), value.into());
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments)?);
        let output =
            tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output());
        Ok(output.await.with_context(|| format!("nexus {arguments:?} does not end"))??)
    }

    /// Starts a process whose output goes to `NAME.out` and `NAME.err`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Result<Running> {
        let (stdout, stderr) =
            (self.folder.join(format!("{name}.out")), self.folder.join(format!("{name}.err")));
        let mut command = self.command(arguments)?;
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let child = command.spawn().context("starting nexus")?;
        self.guard.watch(child.id())?;
        Ok(Running { child, stdout, stderr })
    }
}

impl Running {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the line that begins with `ready `, and returns what follows.
    ///
    /// # Errors
    /// When the process ends first, or takes more than a minute; with its log.
    pub async fn ready(&mut self) -> Result<String> {
        let end = Instant::now() + READY;
        loop {
            let said = fs::read_to_string(&self.stdout).unwrap_or_default();
            // A line that is not complete may be half an address.
            let whole = said.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(ready) = whole.lines().find_map(|line| line.strip_prefix("ready ")) {
                return Ok(ready.to_owned());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("nexus ended ({status}) before it was ready:\n{}", self.log());
            }
            ensure!(Instant::now() < end, "nexus is not ready in {READY:?}:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it has written to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let end = Instant::now() + DRAIN;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "nexus does not stop in {DRAIN:?}:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
