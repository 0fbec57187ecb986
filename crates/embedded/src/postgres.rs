//! PostgreSQL: the cluster, made once and as a whole, and the server on it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::child::{Child, Launch, Stop, evict};
use crate::find::find_postgres_major;
use crate::port;
use crate::supervise::{Server, Supervised};
use crate::{Config, Error, PostgresInstall, find_postgres};

const PROCESSES: &[&str] = &["postgres", "initdb"];
/// The owner role's password, inside the cluster so that one rename brings both.
const PASSWORD: &str = "owner.password";

struct Postgres {
    launch: Launch,
    pid_file: PathBuf,
    cluster: PathBuf,
}

impl Server for Postgres {
    fn launch(&self) -> &Launch {
        &self.launch
    }

    fn processes(&self) -> &'static [&'static str] {
        PROCESSES
    }

    fn pid_file(&self) -> PathBuf {
        self.pid_file.clone()
    }

    /// A left lock file stops the server when some other process has got the dead
    /// one's id, which is usual after a container restart.
    fn prepare(&self) -> Result<(), Error> {
        remove(&self.cluster.join("postmaster.pid"))
    }

    /// As `pg_ctl` does: its own id in the first line, `ready` in the eighth.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(text) = fs::read_to_string(self.cluster.join("postmaster.pid")) else {
            return false;
        };
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
    }
}

/// Starts the server on the data folder; returns it with the owner's URL.
pub(crate) async fn start(
    data: &Path,
    config: &Config,
    account: Account,
) -> Result<(Supervised, String), Error> {
    let folder = data.join("postgres");
    account.make_folder(&folder)?;
    let run = crate::make_run_folder(data)?;
    let cluster = folder.join("data");
    let install = install(&cluster, config).await?;
    account.check_reach(&install.bin.join("postgres"))?;
    let launch = Launch {
        name: "PostgreSQL",
        program: install.bin.join("postgres"),
        arguments: vec!["-D".into(), cluster.clone().into()],
        folder: folder.clone(),
        input: "/dev/null".into(),
        log: run.join("postgres.log"),
        stop: Stop::Interrupt,
        account,
    };
    evict(&launch, PROCESSES).await?;
    if !cluster.exists() {
        make_cluster(&cluster, &install, &launch).await?;
    }
    let password = cluster.join(PASSWORD);
    let password = fs::read_to_string(&password).map_err(Error::io("reading", &password))?;
    let choice = port::Choice {
        fixed: config.postgres_port,
        setting: "postgres_port",
        file: folder.join("port"),
        range: 24_500..32_000,
    };
    loop {
        let port = choice.choose()?;
        account.write_private(&cluster.join("postgresql.conf"), &configuration(port))?;
        let server = Postgres {
            launch: launch.clone(),
            pid_file: run.join("postgres.pid"),
            cluster: cluster.clone(),
        };
        match Supervised::start(server).await {
            Err(Error::Ended { .. }) if choice.was_overtaken(port) => {}
            Err(error) => return Err(error),
            Ok(server) => {
                let password = password.trim();
                return Ok((
                    server,
                    format!("postgres://nexus_owner:{password}@127.0.0.1:{port}/nexus"),
                ));
            }
        }
    }
}

/// The binaries for this cluster: of the version that made it, if it exists.
async fn install(cluster: &Path, config: &Config) -> Result<PostgresInstall, Error> {
    let servers = config.servers.clone();
    let cluster = cluster.to_path_buf();
    crate::blocking(move || {
        let version = cluster.join("PG_VERSION");
        match fs::read_to_string(&version) {
            Ok(text) => {
                let unreadable =
                    |_| Error::io("reading", &version)(io::ErrorKind::InvalidData.into());
                find_postgres_major(&servers, text.trim().parse().map_err(unreadable)?, &cluster)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => find_postgres(&servers),
            Err(error) => Err(Error::io("reading", &version)(error)),
        }
    })
    .await
}

/// Makes the cluster with role, database and extension beside its place, then moves it
/// there: a start that is killed half way leaves nothing that the next one must trust.
async fn make_cluster(
    cluster: &Path,
    install: &PostgresInstall,
    launch: &Launch,
) -> Result<(), Error> {
    let Launch { folder, account, .. } = launch;
    let new = folder.join("new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("removing", &new)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let input = folder.join("input");
    // The tools' working folder is `folder`, so `new` needs no path.
    let run = async |name: &'static str, arguments: &str, text: &str| {
        account.write_private(&input, text)?;
        let tool = Launch {
            name,
            program: install.bin.join(name),
            arguments: arguments.split(' ').map(Into::into).collect(),
            input: input.clone(),
            ..launch.clone()
        };
        Child::spawn(&tool).await?.succeeded(&tool).await
    };

    // The superuser's password is kept nowhere: what needs one is done with the server
    // stopped, by `postgres --single`.
    let locale = if install.major >= 17 {
        "--locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
    } else {
        "--locale=C"
    };
    let arguments = format!(
        "-D new --username=postgres --auth=scram-sha-256 --pwfile=/dev/stdin --encoding=UTF8 {locale}"
    );
    run("initdb", &arguments, &crate::secret()).await?;
    // CREATEROLE: the migrations make the role that workers log in as.
    let password = crate::secret();
    let owner = format!(
        "CREATE ROLE nexus_owner LOGIN NOSUPERUSER CREATEROLE PASSWORD '{password}'\nCREATE DATABASE nexus OWNER nexus_owner\n"
    );
    run("postgres", "--single -D new -c exit_on_error=true postgres", &owner).await?;
    run("postgres", "--single -D new -c exit_on_error=true nexus", "CREATE EXTENSION vector\n")
        .await?;
    remove(&input)?;

    account.write_private(&new.join(PASSWORD), &format!("{password}\n"))?;
    fs::rename(&new, cluster).map_err(Error::io("making", cluster))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("syncing", folder))
}

fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("removing", file)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn configuration(port: u16) -> String {
    format!(
        "# Written by nexus at each start; make lasting changes with ALTER SYSTEM.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
password_encryption = 'scram-sha-256'
shared_buffers = '32MB'
max_wal_size = '256MB'
fsync = on
synchronous_commit = on
jit = off
timezone = 'UTC'
# No user's data in the log: neither statements nor the values in error details.
log_timezone = 'UTC'
log_min_error_statement = 'panic'
log_error_verbosity = 'terse'
"
    )
}
