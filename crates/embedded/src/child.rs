//! One server process under a watcher that outlives us by as long as it takes to stop it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::Error;
use crate::account::Account;

const WATCHER: &str = include_str!("watch.sh");
/// Longer than the watcher's own ten seconds between its signal and SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(5);
/// A log that is longer when its server starts is set aside.
const LOG_LIMIT: u64 = 8 << 20;

/// How to run one program.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// What people call it: `nats-server`, `PostgreSQL`.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// Working folder; processes found in it belong to this server.
    pub(crate) folder: PathBuf,
    /// Standard input, normally `/dev/null`.
    pub(crate) input: PathBuf,
    pub(crate) log: PathBuf,
    /// The signal that asks it to stop.
    pub(crate) stop: Stop,
    pub(crate) account: Account,
}

/// Signals that ask a server to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    Terminate,
    /// PostgreSQL's fast shutdown: ends sessions, then writes a checkpoint.
    Interrupt,
}

impl Stop {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }

    fn signal(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Interrupt => Signal::INT,
        }
    }
}

/// A running server. Dropping it closes the pipe, and the watcher stops the server.
#[derive(Debug)]
pub(crate) struct Child {
    watcher: tokio::process::Child,
    owner_lives: ChildStdin,
    pid: u32,
    log_start: u64,
}

impl Child {
    pub(crate) async fn spawn(launch: &Launch) -> Result<Self, Error> {
        let log = open_log(&launch.log)?;
        let log_start = log.metadata().map_err(Error::io("reading", &launch.log))?.len();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WATCHER, "nexus-watch"])
            .arg(&launch.folder)
            .arg(launch.stop.name())
            .arg(&launch.input)
            .arg(&launch.program)
            .args(&launch.arguments)
            // A server needs none of our variables, and some hold keys.
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"), ("LC_ALL", "C")])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C reaches the terminal's group: we drain first, then stop the servers.
            .process_group(0);
        if let Some((user, group)) = launch.account.switch() {
            command.uid(user).gid(group); // and drops root's other groups
        }
        let starting = || Error::io("starting", &launch.program);
        let mut watcher = command.spawn().map_err(starting())?;
        let missing = || std::io::Error::other("the watcher gave no process id");
        let owner_lives = watcher.stdin.take().ok_or_else(missing).map_err(starting())?;
        let stdout = watcher.stdout.take().ok_or_else(missing).map_err(starting())?;
        let line = BufReader::new(stdout).lines().next_line().await.map_err(starting())?;
        let pid = line.and_then(|line| line.parse().ok()).ok_or_else(missing).map_err(starting())?;
        Ok(Self { watcher, owner_lives, pid, log_start })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the server to end by itself.
    pub(crate) async fn ended(&mut self, launch: &Launch) -> Result<ExitStatus, Error> {
        self.watcher.wait().await.map_err(Error::io("waiting for", &launch.program))
    }

    /// Waits until `is_ready` says so; an end or `limit` before that is an error.
    pub(crate) async fn ready(
        &mut self,
        launch: &Launch,
        limit: Duration,
        is_ready: impl Fn(u32) -> bool,
    ) -> Result<(), Error> {
        let until = Instant::now() + limit;
        while !is_ready(self.pid) {
            if let Ok(status) = timeout(POLL, self.ended(launch)).await {
                return Err(self.ended_early(launch, status?));
            }
            if Instant::now() > until {
                let (log, tail) = (launch.log.clone(), self.log_tail(&launch.log));
                return Err(Error::NotReady {
                    server: launch.name,
                    seconds: limit.as_secs(),
                    log,
                    tail,
                });
            }
        }
        Ok(())
    }

    /// For a program that does one thing: waits until it has succeeded.
    pub(crate) async fn succeeded(mut self, launch: &Launch) -> Result<(), Error> {
        let status = self.ended(launch).await?;
        if status.success() { Ok(()) } else { Err(self.ended_early(launch, status)) }
    }

    /// Lets the watcher stop the server, and waits for both.
    pub(crate) async fn stop(self) {
        let Self { mut watcher, owner_lives, .. } = self;
        let group = watcher.id().and_then(to_pid);
        drop(owner_lives);
        if timeout(STOP_LIMIT, watcher.wait()).await.is_err() {
            // Only when the watcher itself hangs; it and the server share a group.
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            let _ = watcher.wait().await;
        }
    }

    fn ended_early(&self, launch: &Launch, status: ExitStatus) -> Error {
        let (log, tail) = (launch.log.clone(), self.log_tail(&launch.log));
        Error::Ended { server: launch.name, status: status.to_string(), log, tail }
    }

    /// The last lines that this process logged.
    fn log_tail(&self, log: &Path) -> String {
        let mut bytes = Vec::new();
        let read = File::open(log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            return format!("(cannot read it: {error})");
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }
}

/// Gets rid of processes that an earlier owner, or an earlier process of this server,
/// left in the launch's folder: its watcher is given time, then we do it.
pub(crate) async fn evict(launch: &Launch, programs: &[&str]) -> Result<(), Error> {
    let phases = [(None, 2), (Some(launch.stop.signal()), 8), (Some(Signal::KILL), 5)];
    for (signal, seconds) in phases {
        let mut left = processes_in(&launch.folder, programs);
        for pid in signal.into_iter().flat_map(|signal| left.iter().map(move |pid| (signal, *pid)))
        {
            tracing::warn!(
                server = launch.name,
                pid = pid.1,
                "stopping a server of an earlier run"
            );
            // It may have ended since we looked.
            let _ = to_pid(pid.1).map(|target| kill_process(target, pid.0));
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        while !left.is_empty() && Instant::now() < until {
            sleep(POLL * 4).await;
            left = processes_in(&launch.folder, programs);
        }
        if left.is_empty() {
            return Ok(());
        }
    }
    match processes_in(&launch.folder, programs).first() {
        Some(&pid) => Err(Error::Stale { server: launch.name, pid }),
        None => Ok(()),
    }
}

/// Processes of these programs whose working folder is `folder` or below it. Unlike
/// process id files this also finds the orphans of a killed postmaster, and takes no
/// stranger with a reused id for ours.
fn processes_in(folder: &Path, programs: &[&str]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let process = entry.ok()?.path();
            let pid = process.file_name()?.to_str()?.parse().ok()?;
            let name = fs::read_to_string(process.join("comm")).ok()?;
            let is_ours = programs.contains(&name.trim_end())
                && fs::read_link(process.join("cwd")).ok()?.starts_with(folder);
            is_ours.then_some(pid)
        })
        .collect()
}

fn to_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(pid.try_into().ok()?)
}

fn open_log(log: &Path) -> Result<File, Error> {
    if fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
        fs::rename(log, log.with_added_extension("old"))
            .map_err(Error::io("setting aside", log))?;
    }
    OpenOptions::new().create(true).append(true).open(log).map_err(Error::io("opening", log))
}
