//! The NATS server: its configuration, token and port.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::account::Account;
use crate::child::{Launch, Stop, evict};
use crate::port;
use crate::supervise::{Server, Supervised};
use crate::{Config, Durability, Error, find_nats};

struct Nats {
    launch: Launch,
    pid_file: PathBuf,
}

impl Server for Nats {
    fn launch(&self) -> &Launch {
        &self.launch
    }

    fn processes(&self) -> &'static [&'static str] {
        &["nats-server"]
    }

    fn pid_file(&self) -> PathBuf {
        self.pid_file.clone()
    }

    fn prepare(&self) -> Result<(), Error> {
        let ports = self.launch.folder.join("ports");
        match fs::remove_dir_all(&ports) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("removing", &ports)(error));
            }
            Ok(()) | Err(_) => {}
        }
        self.launch.account.make_folder(&ports)
    }

    /// The server writes this file when JetStream is recovered and it listens.
    fn is_ready(&self, pid: u32) -> bool {
        self.launch.folder.join(format!("ports/nats-server_{pid}.ports")).exists()
    }
}

/// Starts the server on the data folder; returns it with its URL.
pub(crate) async fn start(
    data: &Path,
    config: &Config,
    account: Account,
) -> Result<(Supervised, String), Error> {
    let servers = config.servers.clone();
    let program = crate::blocking(move || find_nats(&servers)).await?;
    account.check_reach(&program)?;
    let folder = data.join("nats");
    account.make_folder(&folder)?;
    let run = crate::make_run_folder(data)?;
    let token = token(&folder, account)?;
    let conf = folder.join("nats-server.conf");
    let launch = Launch {
        name: "nats-server",
        program,
        arguments: vec!["-c".into(), conf.clone().into()],
        folder: folder.clone(),
        input: "/dev/null".into(),
        log: run.join("nats.log"),
        stop: Stop::Terminate,
        account,
    };
    evict(&launch, &["nats-server"]).await?;
    let choice = port::Choice {
        fixed: config.nats_port,
        setting: "nats_port",
        file: folder.join("port"),
        range: 17_000..24_500,
    };
    loop {
        let port = choice.choose()?;
        account.write_private(&conf, &configuration(port, &token, config.durability))?;
        let server = Nats { launch: launch.clone(), pid_file: run.join("nats.pid") };
        match Supervised::start(server).await {
            Err(Error::Ended { .. }) if choice.was_overtaken(port) => {}
            Err(error) => return Err(error),
            Ok(server) => return Ok((server, format!("nats://{token}@127.0.0.1:{port}"))),
        }
    }
}

fn token(folder: &Path, account: Account) -> Result<String, Error> {
    let path = folder.join("token");
    match fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = crate::secret();
            account.write_private(&path, &format!("{token}\n"))?;
            Ok(token)
        }
        Err(error) => Err(Error::io("reading", &path)(error)),
    }
}

/// Paths are relative to the server's working folder, so none needs quoting.
fn configuration(port: u16, token: &str, durability: Durability) -> String {
    let sync_interval = match durability {
        Durability::Interval => "\"100ms\"",
        Durability::Always => "always",
    };
    format!(
        r#"# Written by nexus at each start.
server_name: nexus
host: "127.0.0.1"
port: {port}
max_payload: 1MB
ports_file_dir: "ports"

authorization {{ token: "{token}" }}

jetstream {{
    store_dir: "."
    # The default, two minutes, loses every message of that time in a power cut.
    sync_interval: {sync_interval}
    max_memory_store: 256MB
    # The streams' own limits bound the disk.
    max_file_store: 1TB
}}
"#
    )
}
