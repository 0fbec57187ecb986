//! Real servers: needs `scripts/install-servers`, or good enough ones of the system.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lints' own exception leaves out helpers of tests"
)]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nexus_embedded::{Config, DataLock, Durability, Error, Servers, find_postgres};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader as AsyncBufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn warm_start_keeps_data_and_addresses() {
    let folder = folder();
    let servers = start(&folder).await;
    assert_eq!(
        sql(&servers, "select extname from pg_extension where extname = 'vector'"),
        "vector"
    );
    assert_eq!(
        sql(
            &servers,
            "select rolname, rolsuper, rolcreaterole from pg_roles where rolname = current_user"
        ),
        "nexus_owner|f|t"
    );
    sql(&servers, "create table kept (v vector(3)); insert into kept values ('[1,2,3]')");
    let urls = (servers.nats_url().to_owned(), servers.database_url().to_owned());
    let pids = [servers.nats_pid(), servers.postgres_pid()];
    servers.stop().await;
    assert_eq!(pids.map(lives), [false, false]);

    let servers = start(&folder).await;

    assert_eq!((servers.nats_url(), servers.database_url()), (urls.0.as_str(), urls.1.as_str()));
    assert_eq!(sql(&servers, "select v from kept"), "[1,2,3]");
    assert!(answers_as_nats(servers.nats_url()).await);
    servers.stop().await;
}

#[tokio::test]
async fn killed_nats_comes_back_on_its_port() {
    let folder = folder();
    let servers = start(&folder).await;
    let old = servers.nats_pid();

    kill(old);

    until("another process id", async || servers.nats_pid() != old).await;
    assert!(answers_as_nats(servers.nats_url()).await);
    assert_eq!(pid_file(&folder, "nats.pid"), servers.nats_pid());
    servers.stop().await;
}

#[tokio::test]
async fn killed_postgres_comes_back_on_its_port_with_its_data() {
    let folder = folder();
    let servers = start(&folder).await;
    sql(&servers, "create table kept as select 7 as n");
    let old = servers.postgres_pid();

    kill(old);

    until("another process id", async || servers.postgres_pid() != old).await;
    assert_eq!(sql(&servers, "select n from kept"), "7");
    assert_eq!(pid_file(&folder, "postgres.pid"), servers.postgres_pid());
    servers.stop().await;
}

#[tokio::test]
async fn killed_watcher_costs_a_restart_only() {
    let folder = folder();
    let servers = start(&folder).await;
    let old = servers.nats_pid();

    kill(parent(old));

    until("another process id", async || servers.nats_pid() != old).await;
    assert!(!lives(old));
    assert!(answers_as_nats(servers.nats_url()).await);
    servers.stop().await;
}

#[tokio::test]
async fn dropped_servers_end() {
    let folder = folder();
    let servers = start(&folder).await;
    let pids = [servers.nats_pid(), servers.postgres_pid()];

    drop(servers);

    until("both servers to end", async || !pids.into_iter().any(lives)).await;
}

#[tokio::test]
async fn killed_owner_leaves_no_servers() {
    let folder = folder();
    let mut owner = hold(folder.path());
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pids: Vec<u32> = line.split(' ').filter_map(|word| word.parse().ok()).take(2).collect();
    assert_eq!([lives(pids[0]), lives(pids[1])], [true, true], "{line}");

    owner.kill().unwrap();
    owner.wait().unwrap();

    until("both servers to end", async || !pids.iter().any(|pid| lives(*pid))).await;
    start(&folder).await.stop().await;
}

#[tokio::test]
async fn first_start_killed_at_any_time_is_recovered() {
    let folder = folder();
    for milliseconds in [20, 100, 250, 400, 550] {
        let mut owner = hold(folder.path());
        sleep(Duration::from_millis(milliseconds)).await;
        owner.kill().unwrap();
        owner.wait().unwrap();
    }

    let servers = start(&folder).await;

    assert_eq!(sql(&servers, "select count(*) from pg_extension where extname = 'vector'"), "1");
    servers.stop().await;
}

#[test]
fn data_has_one_owner() {
    let folder = folder();
    let first = DataLock::acquire(folder.path()).unwrap();

    match DataLock::acquire(folder.path()) {
        Err(Error::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(first);
    DataLock::acquire(folder.path()).unwrap();
}

#[tokio::test]
async fn folder_closed_to_the_servers_user_is_named() {
    if !geteuid().is_root() {
        return; // then the servers run as ourselves, who made the folder
    }
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();

    let error = Servers::start(config(&folder.path().join("data"))).await.unwrap_err();

    assert!(
        matches!(&error, Error::Unreachable { folder: named, .. } if named == folder.path()),
        "{error}"
    );
}

#[tokio::test]
async fn taken_port_is_named_with_its_setting() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();

    let nats = Servers::start(Config { nats_port: Some(port), ..config(folder.path()) })
        .await
        .unwrap_err();
    let postgres = Servers::start(Config { postgres_port: Some(port), ..config(folder.path()) })
        .await
        .unwrap_err();

    assert_eq!(
        nats.to_string(),
        format!("port {port} on 127.0.0.1 is taken; free it, or change nats_port")
    );
    assert_eq!(
        postgres.to_string(),
        format!("port {port} on 127.0.0.1 is taken; free it, or change postgres_port")
    );
}

#[tokio::test]
async fn remembered_port_gives_way() {
    let folder = folder();
    let servers = start(&folder).await;
    let port = port_of(servers.nats_url());
    servers.stop().await;
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();

    let servers = start(&folder).await;

    assert_ne!(port_of(servers.nats_url()), port);
    assert!(answers_as_nats(servers.nats_url()).await);
    servers.stop().await;
}

#[tokio::test]
async fn cluster_of_another_version_is_refused() {
    let folder = folder();
    start(&folder).await.stop().await;
    fs::write(folder.path().join("postgres/data/PG_VERSION"), "12\n").unwrap();

    let error = Servers::start(config(folder.path())).await.unwrap_err();

    assert!(matches!(&error, Error::PostgresVersion { made: 12, .. }), "{error}");
}

/// A folder that user `nobody` can enter, for runs as root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    folder
}

fn server_folders() -> Vec<PathBuf> {
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.servers");
    std::env::var_os("NEXUS_SERVERS")
        .map(PathBuf::from)
        .into_iter()
        .chain(pinned.canonicalize().ok())
        .collect()
}

fn config(data: &Path) -> Config {
    Config {
        data: data.to_path_buf(),
        servers: server_folders(),
        durability: Durability::Interval,
        nats_port: None,
        postgres_port: None,
    }
}

async fn start(folder: &TempDir) -> Servers {
    Servers::start(config(folder.path())).await.unwrap()
}

/// Another process that owns the servers of `data`.
fn hold(data: &Path) -> std::process::Child {
    let deps = std::env::current_exe().unwrap();
    let program = deps.parent().unwrap().with_file_name("examples").join("hold");
    Command::new(&program)
        .arg(data)
        .args(server_folders())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; cargo test builds it unless told --test", program.display())
        })
}

fn sql(servers: &Servers, statement: &str) -> String {
    let psql = find_postgres(&server_folders()).unwrap().bin.join("psql");
    let output =
        Command::new(psql).args([servers.database_url(), "-XAtqc", statement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn answers_as_nats(url: &str) -> bool {
    let stream = TcpStream::connect(("127.0.0.1", port_of(url))).await.unwrap();
    let mut line = String::new();
    AsyncBufReader::new(stream).read_line(&mut line).await.unwrap();
    line.starts_with("INFO {")
        && line.contains(r#""jetstream":true"#)
        && line.contains(r#""auth_required":true"#)
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

fn pid_file(folder: &TempDir, name: &str) -> u32 {
    fs::read_to_string(folder.path().join("run").join(name)).unwrap().trim().parse().unwrap()
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

/// State and parent, from the fields after the name; `None` when there is no such process.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(") ").next()?.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn lives(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

fn parent(pid: u32) -> u32 {
    stat(pid).unwrap().1
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !is_so().await {
        assert!(Instant::now() < limit, "waited {LIMIT:?} for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
