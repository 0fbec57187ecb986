//! What can go wrong with embedded servers, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why the servers could not be found, started or owned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("found no nats-server 2.15 or newer in {looked}; run scripts/install-servers")]
    NatsMissing { looked: String },
    #[error(
        "found no PostgreSQL 16 or newer with pgvector in {looked}; run scripts/install-servers"
    )]
    PostgresMissing { looked: String },
    #[error(
        "{} was made by PostgreSQL {made}, but only {found} is installed; install {made}, or choose another NEXUS_DATA",
        .folder.display()
    )]
    PostgresVersion { folder: PathBuf, made: u32, found: String },
    #[error(
        "{} is in use by another nexus, process {pid}; stop it, or choose another NEXUS_DATA",
        .data.display()
    )]
    InUse { data: PathBuf, pid: u32 },
    #[error("port {port} on 127.0.0.1 is taken; free it, or change {setting}")]
    PortTaken { port: u16, setting: &'static str },
    #[error("found no free port on 127.0.0.1; set {setting}")]
    NoPort { setting: &'static str },
    #[error(
        "servers do not run as root but as user nobody, who cannot enter {}; move {} elsewhere, or run: chmod o+x {}",
        .folder.display(), .path.display(), .folder.display()
    )]
    Unreachable { folder: PathBuf, path: PathBuf },
    #[error(
        "{} belongs to user {owner}, and we are user {user}; run as that user, or choose another NEXUS_DATA",
        .folder.display()
    )]
    OtherOwner { folder: PathBuf, owner: u32, user: u32 },
    #[error("{server} ended ({status}) before it was ready; see {}: {tail}", .log.display())]
    Ended { server: &'static str, status: String, log: PathBuf, tail: String },
    #[error("{server} was not ready after {seconds} s; see {}: {tail}", .log.display())]
    NotReady { server: &'static str, seconds: u64, log: PathBuf, tail: String },
    #[error("{server} of an earlier run, process {pid}, does not stop; end it and try again")]
    Stale { server: &'static str, pid: u32 },
    #[error("{doing} {}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// For `map_err`: what we were doing, and to which file.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
