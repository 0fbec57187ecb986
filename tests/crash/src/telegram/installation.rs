use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nexus_bus::{Bus, EVENTS, Filter, Reader, Start};
use nexus_contracts::{Event, EventType, Pattern, Payload};
use nexus_embedded::Servers;
use nexus_testkit::bot_api::{BotApi, Options};
use nexus_testkit::process::{self, Place, Running};
use tempfile::TempDir;

use super::check_log;

/// What the adapter logs when it has taken the lease.
const SERVES: &str = "serving the bots";

/// Servers, a Bot API, and two processes of the adapter.
pub(super) struct Installation {
    pub(super) bus: Bus,
    pub(super) api: BotApi,
    place: Place,
    /// Oldest first.
    processes: VecDeque<(String, Running)>,
    started: usize,
    servers: Servers,
    _folder: TempDir,
}

impl Installation {
    pub(super) async fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("nexus-telegram").tempdir()?;
        open_to_all(folder.path())?;
        let servers = Servers::start(nexus_embedded::Config {
            data: folder.path().join("data"),
            servers: vec![process::servers()],
            durability: nexus_embedded::Durability::Interval,
            nats_port: None,
            postgres_port: None,
        });
        let servers = Box::pin(servers).await?;
        let bus = Bus::connect(servers.nats_url(), "telegram proof").await?;
        let api = BotApi::start(Options::default()).await?;
        let mut options = process::Options::default()
            .env("NEXUS_NATS_URL", servers.nats_url())
            .env("NEXUS_DATABASE_URL", servers.database_url())
            .env("NEXUS_TELEGRAM_API", api.url())
            .env("TELEGRAM_BOT_TOKEN", api.token())
            .env("NEXUS_TELEGRAM__SEND_TIMEOUT", "1s")
            .env("NEXUS_TELEGRAM__POLL_TIMEOUT", "2s")
            .env("NEXUS_TELEGRAM__POLL_GRACE", "1s")
            .env("RUST_LOG", "warn,nexus_telegram::serve=info");
        for (name, value) in settings {
            options = options.env(name, *value);
        }
        let place = Place::new(&options)?;
        let applied = place.run(&["bus", "apply"]).await?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let (processes, started, _folder) = (VecDeque::new(), 0, folder);
        let mut this = Self { bus, api, place, processes, started, servers, _folder };
        // Only one that is ready holds the lease before the other asks for it.
        this.start_another()?;
        if let Some((_, process)) = this.processes.back_mut() {
            process.ready().await?;
        }
        let polls = || (this.api.calls("getUpdates") > 0).then_some(());
        let first = this.api.wait_until(Duration::from_secs(20), polls).await;
        first.context("the adapter does not poll")?;
        this.start_another()?;
        Ok(this)
    }

    pub(super) fn start_another(&mut self) -> Result<()> {
        self.started += 1;
        let name = format!("telegram-{}", self.started);
        let running = self.place.start(&name, &["worker", "telegram"])?;
        self.processes.push_back((name, running));
        Ok(())
    }

    /// Kills the process that was started first; returns whether it was the one that served.
    ///
    /// A process keeps the lease until it dies, so one that has ever said that it serves still does.
    pub(super) fn kill_the_older(&mut self) -> Result<bool> {
        let (_, process) = self.processes.pop_front().context("no process runs")?;
        let log = process.log();
        check_log(&log)?;
        process.kill()?;
        Ok(log.contains(SERVES))
    }

    /// All events of a type that are stored.
    pub(super) async fn read<P: Payload>(&self, kind: EventType) -> Result<Vec<Event<P>>> {
        let filter = Filter::Patterns(vec![Pattern::kind(kind)]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await?;
        let messages = reader.read_to_end().await?;
        messages.iter().map(|message| Ok(Event::decode(&message.bytes)?)).collect()
    }

    /// What the processes that run have logged.
    pub(super) fn logs(&self) -> String {
        self.processes.iter().map(|(name, process)| format!("{name}:\n{}", process.log())).collect()
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        while let Some((_, process)) = self.processes.pop_front() {
            check_log(&process.log())?;
            process.terminate().await?;
        }
        self.bus.close().await;
        self.servers.stop().await;
        Ok(())
    }
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // The servers do not run as root and have to pass through.
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?)
}
