//! Owns the servers of a data folder until standard input ends; for tests that kill owners.
//!
//! `hold DATA SERVERS` prints the NATS URL, the database URL and both process ids.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use nexus_embedded::{Config, DataLock, Durability, Servers};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut folders = std::env::args_os().skip(1).map(PathBuf::from);
    let data = folders.next().ok_or("usage: hold DATA SERVERS...")?;
    let _lock = DataLock::acquire(&data)?;
    let began = std::time::Instant::now();
    let servers = Servers::start(Config {
        data,
        servers: folders.collect(),
        durability: Durability::Interval,
        nats_port: None,
        postgres_port: None,
    })
    .await?;
    writeln!(
        io::stdout(),
        "{} {} {} {} {}",
        servers.nats_url(),
        servers.database_url(),
        servers.nats_pid(),
        servers.postgres_pid(),
        began.elapsed().as_millis()
    )?;
    // Blocks this thread only: supervision runs on the others.
    io::stdin().read_to_end(&mut Vec::new())?;
    servers.stop().await;
    Ok(())
}
