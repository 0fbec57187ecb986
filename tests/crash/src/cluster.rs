//! The processes: servers, one process for each worker, a model and a Bot API to talk to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nexus_bench::mockllm::{MockLlm, Options as LlmOptions};
use nexus_bus::Bus;
use nexus_embedded::Servers;
use nexus_testkit::bot_api::{BotApi, Options as BotOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::plan::Plan;

/// All worker processes; two orchestrators contend.
pub(crate) const WORKERS: [&str; 8] = [
    "orchestrator",
    "orchestrator-2",
    "inference",
    "tools",
    "memory",
    "gateway",
    "telegram",
    "osc",
];

pub(crate) struct Cluster {
    pub(crate) servers: Servers,
    pub(crate) bus: Bus,
    pub(crate) bot: Arc<BotApi>,
    pub(crate) http: String,
    pub(crate) osc: u16,
    pub(crate) key: String,
    llm: MockLlm,
    folder: TempDir,
    ablation: Option<&'static str>,
    workers: Mutex<BTreeMap<&'static str, Arc<Worker>>>,
}

/// One worker process with what keeps it alive.
struct Worker {
    pid: std::sync::Mutex<Option<u32>>,
    /// Failpoint for its next start.
    next: std::sync::Mutex<Option<(&'static str, u64)>>,
    /// Milliseconds until it is started again.
    pause: std::sync::Mutex<u64>,
    stop: CancellationToken,
}

impl Cluster {
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nexus-crash").tempdir()?;
        open_to_all(folder.path())?;
        let servers = Servers::start(nexus_embedded::Config {
            data: folder.path().join("data"),
            servers: vec![servers_folder()],
            durability: nexus_embedded::Durability::Interval,
            nats_port: None,
            postgres_port: None,
        })
        .await?;
        let arguments = r#"{"note":"$USER"}"#.to_owned();
        let options = LlmOptions {
            tool_name: "count_effect".to_owned(),
            tool_args: arguments,
            ..LlmOptions::default()
        };
        let llm = MockLlm::start(options)?;
        let bot = Arc::new(BotApi::start(BotOptions::default()).await?);
        let (http_port, osc) = (free_port()?, free_port()?);
        configure(
            folder.path(),
            &llm.url(),
            plan.ablation.is_some_and(crate::plan::Ablation::leaves_calls_open),
        )?;
        let mut cluster = Self {
            bus: Bus::connect(servers.nats_url(), "crash matrix").await?,
            servers,
            bot,
            http: format!("127.0.0.1:{http_port}"),
            osc,
            key: String::new(),
            llm,
            folder,
            ablation: plan.ablation.map(crate::plan::Ablation::guard),
            workers: Mutex::default(),
        };
        cluster.command(&["bus", "apply"]).await?;
        // The first worker migrates the database, so that a key can be made.
        cluster.spawn("tools").await?;
        let end = tokio::time::Instant::now() + Duration::from_secs(30);
        let key = loop {
            match cluster.command(&["keys", "create", "crash matrix", "--json"]).await {
                Err(error) if tokio::time::Instant::now() > end => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                Ok(key) => break key,
            }
        };
        let key: serde_json::Value = serde_json::from_str(&key)?;
        cluster.key = key["key"].as_str().context("no key was made")?.to_owned();
        for name in WORKERS.into_iter().filter(|name| *name != "tools") {
            cluster.spawn(name).await?;
        }
        Ok(cluster)
    }

    /// Runs a command of the binary against this cluster.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Result<String> {
        let output = self.base().args(arguments).output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nexus {arguments:?}: {error}{text}");
        Ok(text)
    }

    fn base(&self) -> Command {
        let mut command = Command::new(binary());
        command
            .current_dir(self.folder.path())
            .env("NEXUS_DATA", self.folder.path().join("data"))
            .env("NEXUS_NATS_URL", self.servers.nats_url())
            .env("NEXUS_DATABASE_URL", self.servers.database_url())
            .env("NEXUS_BUS_CONFIG", self.folder.path().join("bus-config"))
            .env("NEXUS_HTTP", &self.http)
            .env("NEXUS_OSC", format!("127.0.0.1:{}", self.osc))
            .env("NEXUS_ORCHESTRATOR__CHECKPOINT_EVERY", "1s")
            .env("NEXUS_INFERENCE__DEFAULT_MODEL", "mock/mock")
            .env("NEXUS_TELEGRAM_API", self.bot.url())
            .env("TELEGRAM_BOT_TOKEN", self.bot.token())
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn spawn(&self, name: &'static str) -> Result<()> {
        let worker = Arc::new(Worker {
            pid: std::sync::Mutex::default(),
            next: std::sync::Mutex::default(),
            pause: std::sync::Mutex::new(200),
            stop: CancellationToken::new(),
        });
        let log = std::fs::File::options().create(true).append(true).open(self.log(name))?;
        let mut command = self.base();
        command.args(["worker", name.trim_end_matches("-2")]);
        if let Some(guard) = self.ablation {
            command.env("NEXUS_ABLATE", guard);
        }
        tokio::spawn(keep(Arc::clone(&worker), command, log));
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while worker.pid.lock().is_ok_and(|pid| pid.is_none()) {
            ensure!(tokio::time::Instant::now() < end, "worker {name} does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.workers.lock().await.insert(name, worker);
        Ok(())
    }

    /// How often a worker has killed itself at a step, as it wrote into its log.
    pub(crate) fn hits(&self, name: &str, point: &str) -> usize {
        let log = std::fs::read(self.log(name)).unwrap_or_default();
        let wanted = format!("killed at {point}");
        String::from_utf8_lossy(&log).lines().filter(|line| *line == wanted).count()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// Kills a worker with SIGKILL; it comes back after `pause_ms`, perhaps armed with a failpoint.
    pub(crate) async fn kill(&self, name: &str, pause_ms: u64, next: Option<(&'static str, u64)>) {
        self.arm(name, pause_ms, next).await;
        self.signal(name, Signal::KILL).await;
    }

    /// What a worker's next start is like.
    pub(crate) async fn arm(&self, name: &str, pause_ms: u64, next: Option<(&'static str, u64)>) {
        if let Some(worker) = self.workers.lock().await.get(name)
            && let (Ok(mut pause), Ok(mut armed)) = (worker.pause.lock(), worker.next.lock())
        {
            *pause = pause_ms;
            *armed = next;
        }
    }

    pub(crate) async fn signal(&self, name: &str, signal: Signal) {
        let pid = self
            .workers
            .lock()
            .await
            .get(name)
            .and_then(|worker| worker.pid.lock().ok().and_then(|pid| *pid));
        signal_pid(pid, signal);
    }

    pub(crate) fn kill_server(&self, nats: bool) {
        let pid = if nats { self.servers.nats_pid() } else { self.servers.postgres_pid() };
        signal_pid(Some(pid), Signal::KILL);
    }

    /// No more faults: every worker alive and unarmed.
    pub(crate) async fn calm(&self) {
        for name in WORKERS {
            self.signal(name, Signal::CONT).await;
            self.kill(name, 100, None).await;
        }
    }

    pub(crate) async fn stop(self) {
        for worker in self.workers.lock().await.values() {
            worker.stop.cancel();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let keep = std::env::var_os("CRASH_KEEP").is_some();
        self.bus.close().await;
        self.servers.stop().await;
        self.llm.shutdown();
        if keep {
            println!("kept {}", self.folder.keep().display());
        }
    }
}

/// Starts a worker again and again, until it is stopped.
async fn keep(worker: Arc<Worker>, mut command: Command, log: std::fs::File) {
    while !worker.stop.is_cancelled() {
        let armed = worker.next.lock().ok().and_then(|mut next| next.take());
        match armed {
            Some((point, hits)) => command.env("NEXUS_FAILPOINTS", format!("{point}={hits}")),
            None => command.env_remove("NEXUS_FAILPOINTS"),
        };
        let (Ok(out), Ok(err)) = (log.try_clone(), log.try_clone()) else { return };
        let Ok(mut child) = command.stdout(out).stderr(err).spawn() else { return };
        set(&worker, &child);
        tokio::select! {
            _ = child.wait() => {}
            () = worker.stop.cancelled() => {
                let _ = child.kill().await;
                return;
            }
        }
        if let Ok(mut pid) = worker.pid.lock() {
            *pid = None;
        }
        let pause = worker.pause.lock().map_or(200, |pause| *pause);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

fn set(worker: &Worker, child: &Child) {
    if let Ok(mut pid) = worker.pid.lock() {
        *pid = child.id();
    }
}

fn signal_pid(pid: Option<u32>, signal: Signal) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

/// A copy of `bus-config` with short windows, a mock provider, and an agent with the test tool.
fn configure(folder: &Path, llm: &str, impatient: bool) -> Result<()> {
    let (from, to) = (repository().join("bus-config"), folder.join("bus-config"));
    for kind in ["streams", "agents", "tenants"] {
        std::fs::create_dir_all(to.join(kind))?;
        for file in std::fs::read_dir(from.join(kind))? {
            let file = file?;
            std::fs::copy(file.path(), to.join(kind).join(file.file_name()))?;
        }
    }
    let events = std::fs::read_to_string(to.join("streams/events.toml"))?;
    // So short that the server's memory of ids cannot hide a missing guard.
    let events = events
        .replace("duplicate_window = \"10m\"", "duplicate_window = \"1s\"")
        .replace("ack_wait = \"10s\"", "ack_wait = \"2s\"")
        .replace("ack_wait = \"30s\"", "ack_wait = \"2s\"");
    ensure!(
        events.contains("\"1s\"") && events.contains("\"2s\""),
        "events.toml has changed its shape"
    );
    std::fs::write(to.join("streams/events.toml"), events)?;
    let limits = if impatient {
        "start_within_ms = 4000\nrecall_ms = 4000\ninference_ms = 4000\ntool_ms = 4000"
    } else {
        "start_within_ms = 120000\nrecall_ms = 60000\ninference_ms = 120000\ntool_ms = 60000"
    };
    let agent = format!(
        "name = \"assistant\"\ninstructions = \"Count.\"\ntools = [\"count_effect\"]\nrecall_turns = 3\n\
         [budget]\nwall_time_ms = 900000\n[limits]\n{limits}\n"
    );
    std::fs::write(to.join("agents/assistant.toml"), agent)?;
    let provider = format!("kind = \"openai-chat\"\nbase_url = \"{llm}\"\nmodels = [\"mock\"]\n");
    std::fs::create_dir_all(to.join("providers"))?;
    std::fs::write(to.join("providers/mock.toml"), provider)?;
    Ok(())
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // The servers do not run as root and have to pass through.
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?)
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn servers_folder() -> PathBuf {
    std::env::var_os("NEXUS_SERVERS").map_or_else(|| repository().join(".servers"), PathBuf::from)
}

/// The binary beside this test's own: `cargo build -p nexus --features failpoints` makes it.
fn binary() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let folder = here.ancestors().find(|folder| folder.join("nexus").is_file());
    folder.map_or_else(|| PathBuf::from("nexus"), |folder| folder.join("nexus"))
}
