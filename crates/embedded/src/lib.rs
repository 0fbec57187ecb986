//! The NATS server and the PostgreSQL that `nexus up` starts on one machine.
//!
//! Invariants: both servers listen on 127.0.0.1 only and ask for a password; they
//! live exactly as long as their owner, however it dies; they never run as root;
//! one that dies is started again on the same port with the same data. The crate
//! speaks neither protocol: connecting is for `bus` and `store`. Linux only, because
//! left-over processes are recognised by `/proc`.
//!
//! The data folder:
//!
//! ```text
//! nexus.lock            held by the owner, with its process id
//! nats/                 nats-server.conf, token, port, jetstream/
//! postgres/             port, data/ (the cluster, with owner.password)
//! run/                  nats.pid nats.log postgres.pid postgres.log
//! ```

mod account;
mod child;
mod error;
mod find;
mod lock;
mod nats;
mod port;
mod postgres;
mod supervise;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use find::{PostgresInstall, find_nats, find_postgres};
pub use lock::DataLock;

use account::Account;
use supervise::Supervised;

/// What to start, and where it keeps its data.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder, made when missing. The caller holds its [`DataLock`].
    pub data: PathBuf,
    /// Folders to look for server binaries in, before the system's.
    pub servers: Vec<PathBuf>,
    /// How much a power cut may cost.
    pub durability: Durability,
    /// Port of NATS; `None` takes a free one and keeps it.
    pub nats_port: Option<u16>,
    /// Port of PostgreSQL; `None` takes a free one and keeps it.
    pub postgres_port: Option<u16>,
}

/// What a power cut may cost; the death of a process costs nothing either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// JetStream syncs every 100 ms: the last tenth of a second.
    Interval,
    /// JetStream syncs every append: nothing.
    Always,
}

/// Both servers, running and supervised until [`Servers::stop`] or drop.
#[derive(Debug)]
pub struct Servers {
    nats: Supervised,
    nats_url: String,
    postgres: Supervised,
    database_url: String,
}

impl Servers {
    /// Starts both servers, at the same time, and returns when both take connections.
    ///
    /// The caller holds the folder's [`DataLock`]: servers that a dead owner left on
    /// it are stopped first.
    ///
    /// # Errors
    /// Missing binaries, a taken fixed port, a folder that the servers' user cannot
    /// reach, data of another PostgreSQL version, or a server that does not come up.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let account = Account::current();
        let data = account.make_data_folder(&config.data)?;
        let ((nats, nats_url), (postgres, database_url)) = tokio::try_join!(
            nats::start(&data, &config, account),
            postgres::start(&data, &config, account),
        )?;
        Ok(Self { nats, nats_url, postgres, database_url })
    }

    /// `nats://TOKEN@127.0.0.1:PORT`, the same across restarts.
    #[must_use]
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// `postgres://nexus_owner:PASSWORD@127.0.0.1:PORT/nexus`: owns the database and
    /// may create roles, is no superuser.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Process id of the NATS server that last came up.
    #[must_use]
    pub fn nats_pid(&self) -> u32 {
        self.nats.pid()
    }

    /// Process id of the PostgreSQL postmaster that last came up.
    #[must_use]
    pub fn postgres_pid(&self) -> u32 {
        self.postgres.pid()
    }

    /// Stops both servers and waits for them; one that hangs is killed after ten seconds.
    pub async fn stop(self) {
        tokio::join!(self.nats.stop(), self.postgres.stop());
    }
}

fn make_run_folder(data: &Path) -> Result<PathBuf, Error> {
    let run = data.join("run");
    fs::create_dir_all(&run).map_err(Error::io("making the folder", &run))?;
    Ok(run)
}

/// 128 random bits in hexadecimal, which need no quoting anywhere.
fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Looking for binaries runs them.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::io("looking for", Path::new("server binaries"))(io::Error::other(error))
    })?
}
