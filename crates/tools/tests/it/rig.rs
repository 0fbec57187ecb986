//! Servers, a worker, and what a test wants to know of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nexus_blobs::Blobs;
use nexus_bus::{Bus, Durability, EVENTS, Filter, Reader, Spec, Start, Topology};
use nexus_contracts::{
    Effect, Event, EventType, Metadata, Pattern, RunCancel, Subject, TenantId, Timestamp, Token,
    ToolExecute, ToolResult,
};
use nexus_embedded::Servers;
use nexus_store::{Migration, Store};
use nexus_tools::{Config, MIGRATIONS, Surroundings, Tools};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::toolbox::{self, Log};

const LIMIT: Duration = Duration::from_secs(30);
const EFFECTS: Migration = Migration {
    version: 2026112090,
    name: "tools test effects",
    sql: include_str!("../../migrations/2026112090_tools_test_effects.sql"),
};

pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) owner: PgPool,
    pub(crate) tools: Log,
    servers: Servers,
    worker: JoinHandle<Result<(), nexus_tools::Error>>,
    stop: CancellationToken,
    _folder: TempDir,
}

pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

/// Waits for a state.
pub(crate) async fn until(what: &str, mut state: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !state().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A call of a run of its own.
pub(crate) fn execute(
    tenant: TenantId,
    tool: &str,
    effect: Effect,
    arguments: &str,
) -> Event<ToolExecute> {
    let metadata = Metadata::at(tenant, token("test"), token("one"));
    let call = ToolExecute {
        tool: tool.to_owned(),
        arguments: arguments.to_owned(),
        effect,
        index: 0,
        start_within_ms: 60_000,
        timeout_ms: 60_000,
        client: None,
    };
    Event::new(Uuid::now_v7(), Uuid::now_v7(), metadata, now(), call)
}

fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(Duration::ZERO, true).await
    }

    pub(crate) async fn start_with(effect_delay: Duration, database: bool) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = tempfile::tempdir().unwrap();
        // The servers' user has to get through to its own folders.
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o711),
        )
        .unwrap();
        let servers = Servers::start(nexus_embedded::Config {
            data: folder.path().join("data"),
            servers: vec![
                std::env::var_os("NEXUS_SERVERS")
                    .map_or_else(|| workspace.join(".servers"), PathBuf::from),
            ],
            durability: nexus_embedded::Durability::Interval,
            nats_port: None,
            postgres_port: None,
        })
        .await
        .unwrap();
        let bus = Bus::connect(servers.nats_url(), "test").await.unwrap();
        let spec = Spec::read_folder(&workspace.join("bus-config"), Durability::Interval).unwrap();
        Topology::new(&bus, &spec).apply(false).await.unwrap();
        let url = servers.database_url();
        nexus_store::migrate(url, &[MIGRATIONS, &[EFFECTS]].concat()).await.unwrap();
        let away = "postgres://nobody:none@127.0.0.1:1/none";
        let settings = nexus_store::Config {
            acquire_timeout: Duration::from_millis(500),
            ..nexus_store::Config::default()
        };
        let store = Store::connect(if database { url } else { away }, &settings).unwrap();
        let owner = PgPool::connect(url).await.unwrap();

        let (tools, stop) = (Log::default(), CancellationToken::new());
        let blobs = Blobs::open(&nexus_blobs::Config::default(), folder.path()).unwrap();
        let surroundings = Surroundings { store: Some(store.clone()), blobs, effect_delay, now };
        let more = toolbox::all(&tools);
        let opened = Tools::open_with(&bus, Config::default(), more, surroundings, stop.clone());
        let worker = tokio::spawn(opened.await.unwrap().run());
        Self { bus, store, owner, tools, servers, worker, stop, _folder: folder }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
        self.owner.close().await;
        self.store.close().await;
        self.bus.close().await;
        self.servers.stop().await;
    }

    pub(crate) async fn publish(&self, call: &Event<ToolExecute>) {
        assert!(!self.bus.publish(call).await.unwrap().duplicate);
    }

    /// Stores the same event once more, as if the consumer had forgotten that it was acknowledged.
    pub(crate) async fn redeliver(&self, call: &Event<ToolExecute>) {
        let subject = Subject::of(EventType::ToolsExecute, &call.metadata).to_string();
        self.bus.publish_bytes(subject, Uuid::now_v7(), call.encode().into()).await.unwrap();
    }

    /// Waits until a call that was published now is answered, so all before it were delivered.
    pub(crate) async fn drained(&self) {
        let last =
            execute(nexus_contracts::LOCAL_TENANT, "echo", Effect::Read, r#"{"text":"last"}"#);
        self.publish(&last).await;
        self.result(&last).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    pub(crate) async fn cancel(&self, tenant: TenantId, run: Uuid) {
        let metadata = Metadata::at(tenant, token("test"), token("one"));
        let cancel = RunCancel::of(run, None);
        self.bus.publish(&Event::new(Uuid::now_v7(), run, metadata, now(), cancel)).await.unwrap();
    }

    pub(crate) async fn results(&self, call: &Event<ToolExecute>) -> Vec<Event<ToolResult>> {
        let filter = Filter::Patterns(vec![Pattern {
            tenant: Some(call.metadata.tenant),
            ..Pattern::kind(EventType::ToolsResults)
        }]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
        let all = reader.read_to_end().await.unwrap();
        let results =
            all.iter().map(|message| Event::<ToolResult>::decode(&message.bytes).unwrap());
        results.filter(|result| result.payload.call == call.id).collect()
    }

    pub(crate) async fn result(&self, call: &Event<ToolExecute>) -> Event<ToolResult> {
        let what = format!("the result of {}", call.payload.tool);
        until(&what, async || !self.results(call).await.is_empty()).await;
        self.results(call).await.remove(0)
    }

    /// State and attempts of a call in the ledger.
    pub(crate) async fn row(&self, call: &Event<ToolExecute>) -> (String, i32) {
        let mut tx = self.store.tenant(call.metadata.tenant.0).await.unwrap();
        let row = sqlx::query_as("SELECT state, attempt FROM tools.calls WHERE call_id = $1")
            .bind(call.id);
        row.fetch_one(&mut *tx).await.unwrap()
    }

    /// Forgets that a call was answered, but not how.
    pub(crate) async fn forget_results(&self, call: &Event<ToolExecute>) -> Event<ToolExecute> {
        // Another event id with the same call in the ledger: what a redelivery after the stream's
        // duplicate window looks like.
        let mut again = call.clone();
        again.id = Uuid::now_v7();
        let mut tx = self.store.tenant(call.metadata.tenant.0).await.unwrap();
        let moved = sqlx::query("UPDATE tools.calls SET call_id = $2 WHERE call_id = $1");
        moved.bind(call.id).bind(again.id).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        again
    }

    /// Leaves the ledger as a worker does that dies after its claim.
    pub(crate) async fn claim(&self, call: &Event<ToolExecute>) {
        let mut tx = self.store.tenant(call.metadata.tenant.0).await.unwrap();
        let claim = sqlx::query(
            "INSERT INTO tools.calls (tenant_id, call_id, tool, state, attempt, claimed_at) VALUES ($1, $2, $3, 'claimed', 1, now())",
        );
        let (tenant, tool) = (call.metadata.tenant.0, call.payload.tool.clone());
        claim.bind(tenant).bind(call.id).bind(tool).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What the tool `note` has written for a tenant.
    pub(crate) async fn notes(&self, tenant: TenantId) -> Vec<String> {
        let mut tx = self.store.tenant(tenant.0).await.unwrap();
        let notes = sqlx::query_as("SELECT note FROM tools.test_effects ORDER BY note");
        let rows: Vec<(String,)> = notes.fetch_all(&mut *tx).await.unwrap();
        rows.into_iter().map(|(note,)| note).collect()
    }
}
