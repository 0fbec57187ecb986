//! Servers, workers that can be killed, and calls to record.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nexus_billing::{Account, Billing, Config, Ledger, MIGRATIONS, reconcile};
use nexus_bus::{Bus, DeadLetters, Durability, EVENTS, Spec, Topology};
use nexus_contracts::{
    Attempt, Cost, EmbedOutcome, EmbedResponse, Event, Finish, InferenceError, InferenceOutcome,
    InferenceResponse, KeyOwner, LOCAL_TENANT, Metadata, Payload, Subject, TenantId, Timestamp,
    Token, Usage, Vectors,
};
use nexus_embedded::Servers;
use nexus_store::Store;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{OTHER, SILENT};

const LIMIT: Duration = Duration::from_secs(60);

/// What a call used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// Input; half of it is the output, and each of them costs three millionths.
    pub(crate) tokens: u64,
    pub(crate) key: Option<KeyOwner>,
    pub(crate) is_priced: bool,
    pub(crate) is_answered: bool,
}

impl Default for Spent {
    fn default() -> Self {
        Self { tokens: 0, key: Some(KeyOwner::Operator), is_priced: true, is_answered: true }
    }
}

pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) owner: PgPool,
    pub(crate) ledger: Ledger,
    servers: Servers,
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

/// `bus-config/` whose deliveries are repeated after this time.
fn spec(ack_wait: &str) -> Spec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config/streams");
    let files = ["chunks", "dead", "events"].map(|name| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let wait = format!("ack_wait = \"{ack_wait}\"");
        (format!("streams/{name}.toml"), text.replace("ack_wait = \"10s\"", &wait))
    });
    let files = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    Spec::read(files, Durability::Interval).unwrap()
}

impl Rig {
    pub(crate) async fn start(ack_wait: &str) -> Self {
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
        Topology::new(&bus, &spec(ack_wait)).apply(false).await.unwrap();
        let url = servers.database_url();
        nexus_store::migrate(url, MIGRATIONS).await.unwrap();
        let store = Store::connect(url, &nexus_store::Config::default()).unwrap();
        let owner = PgPool::connect(url).await.unwrap();
        let ledger = Ledger::new(store.clone());
        Self { bus, store, owner, ledger, servers, _folder: folder }
    }

    /// A worker with connections and threads of its own: shut down in the background it is gone in
    /// the middle of whatever it does.
    pub(crate) fn worker(&self) -> Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let nats = self.servers.nats_url().to_owned();
        let database = self.servers.database_url().to_owned();
        runtime.spawn(async move {
            let bus = Bus::connect(&nats, "worker").await.unwrap();
            let store = Store::connect(&database, &nexus_store::Config::default()).unwrap();
            let config = Config { gather: Duration::from_millis(10), ..Config::default() };
            let worker = Billing::open(&bus, config, store, now, CancellationToken::new());
            worker.run().await.unwrap();
        });
        runtime
    }

    pub(crate) async fn stop(self) {
        self.owner.close().await;
        self.store.close().await;
        self.bus.close().await;
        self.servers.stop().await;
    }

    /// The answer to a model call of a run of its own.
    pub(crate) fn call(
        &self,
        tenant: TenantId,
        user: &str,
        spent: Spent,
    ) -> Event<InferenceResponse> {
        let call = Uuid::now_v7();
        let (model, outcome) = if spent.is_answered {
            let outcome = InferenceOutcome::Completed {
                text: "hi".to_owned(),
                tool_calls: Vec::new(),
                finish: Finish::Stop,
                usage: Usage::of(spent.tokens, spent.tokens / 2),
                turn: None,
            };
            ("mock/gpt", outcome)
        } else {
            ("nobody/gpt", InferenceOutcome::Failed(InferenceError::new("unknown_model", "no")))
        };
        let mut response = InferenceResponse::of(call, model.to_owned(), outcome, 1);
        response.key = spent.key;
        let cost = Cost { microusd: spent.tokens * 3, price: "mock/gpt@2026-07-01".to_owned() };
        response.cost = Some(cost).filter(|_| spent.is_priced && spent.is_answered);
        Event::new(Uuid::now_v7(), Uuid::now_v7(), place(tenant, user), now(), response)
    }

    /// A call that `lost/opus` has used three hundred millionths for, before `mock/gpt` answered it
    /// for nothing.
    pub(crate) fn failed_over(&self, tenant: TenantId) -> Event<InferenceResponse> {
        let spent = Spent { tokens: 10, key: None, ..Spent::default() };
        let mut event = self.call(tenant, "ada", spent);
        let attempt = |number, model: &str, failure: Option<&str>, microusd, price: &str| Attempt {
            number,
            model: model.to_owned(),
            sample: None,
            asked: true,
            key: failure.map(|_| KeyOwner::Operator),
            failure: failure.map(str::to_owned),
            http_status: None,
            provider_request_id: None,
            first_token_ms: None,
            duration_ms: 1,
            usage: Some(Usage::of(10, 5)),
            cost: Some(Cost { microusd, price: price.to_owned() }),
        };
        let response = &mut event.payload;
        response.cost = Some(Cost { microusd: 300, price: "local".to_owned() });
        response.attempts = vec![
            attempt(1, "lost/opus", Some("lost"), 300, "opus@2026-07-01"),
            attempt(2, "mock/gpt", None, 0, "local"),
        ];
        event
    }

    pub(crate) fn embedding(&self, tenant: TenantId, tokens: u64) -> Event<EmbedResponse> {
        let response = EmbedResponse {
            call: Uuid::now_v7(),
            model: "mock/embed".to_owned(),
            outcome: EmbedOutcome::Completed {
                vectors: Vectors::Inline { base64: Vec::new() },
                dimensions: 3,
                usage: Usage::of(tokens, 0),
            },
            duration_ms: 1,
            cost: None,
            key: None,
        };
        Event::new(Uuid::now_v7(), Uuid::now_v7(), place(tenant, "ada"), now(), response)
    }

    pub(crate) async fn publish<P: Payload>(&self, event: &Event<P>) {
        assert!(!self.bus.publish(event).await.unwrap().duplicate);
    }

    /// Stores the same event once more.
    pub(crate) async fn store_again<P: Payload>(&self, event: &Event<P>) {
        let subject = Subject::of(P::TYPE, &event.metadata).to_string();
        self.bus.publish_bytes(subject, Uuid::now_v7(), event.encode().into()).await.unwrap();
    }

    /// Records of all tenants.
    pub(crate) async fn rows(&self) -> u64 {
        let mut rows = 0;
        for tenant in [LOCAL_TENANT, OTHER, SILENT] {
            let mut tx = self.store.tenant(tenant.0).await.unwrap();
            let count = sqlx::query_as("SELECT count(*) FROM billing.usage_records");
            let count: (i64,) = count.fetch_one(&mut *tx).await.unwrap();
            rows += u64::try_from(count.0).unwrap();
        }
        rows
    }

    pub(crate) async fn dead(&self) -> usize {
        DeadLetters::new(&self.bus).list().await.unwrap().len()
    }

    /// Waits until nothing is delivered again.
    pub(crate) async fn drained(&self) {
        until("the consumers to be done", async || {
            self.in_hand("billing").await + self.in_hand("billing-embeddings").await == 0
        })
        .await;
    }

    /// Events that a consumer has not acknowledged.
    async fn in_hand(&self, consumer: &str) -> u64 {
        use async_nats::jetstream;
        let url = self.servers.nats_url().trim_start_matches("nats://");
        let (token, host) = url.split_once('@').unwrap();
        let options = async_nats::ConnectOptions::with_token(token.to_owned());
        let js = jetstream::new(options.connect(host).await.unwrap());
        let stream = js.get_stream_no_info(EVENTS).await.unwrap();
        let consumer = stream.get_consumer::<jetstream::consumer::pull::Config>(consumer).await;
        let info = consumer.unwrap().cached_info().clone();
        info.num_pending + info.num_ack_pending as u64
    }

    pub(crate) async fn reconcile(&self) -> Account {
        let tenants = [LOCAL_TENANT, SILENT];
        reconcile(&self.bus, &self.ledger, &tenants, None).await.unwrap()
    }

    /// Changes a record behind the worker's back.
    pub(crate) async fn tamper(&self, tenant: TenantId, change: &str, id: Uuid) {
        let mut tx = self.store.tenant(tenant.0).await.unwrap();
        let change = sqlx::query(AssertSqlSafe(change.to_owned())).bind(id);
        assert_eq!(change.execute(&mut *tx).await.unwrap().rows_affected(), 1);
        tx.commit().await.unwrap();
    }

    /// Copies a record of the local tenant, with another id.
    pub(crate) async fn invent(&self, tenant: TenantId, from: Uuid, id: Uuid, ahead: i64) {
        let mut tx = self.store.tenant(LOCAL_TENANT.0).await.unwrap();
        let copy = "SELECT row_to_json(r)::jsonb || jsonb_build_object('id', $2::uuid, 'tenant_id', $3::uuid, 'sequence', r.sequence + $4)
             FROM (SELECT * FROM billing.usage_records WHERE id = $1) r";
        let copy = sqlx::query_as(copy).bind(from).bind(id).bind(tenant.0).bind(ahead);
        let (copy,): (serde_json::Value,) = copy.fetch_one(&mut *tx).await.unwrap();
        drop(tx);
        let mut tx = self.store.tenant(tenant.0).await.unwrap();
        let insert = "INSERT INTO billing.usage_records SELECT * FROM jsonb_populate_record(NULL::billing.usage_records, $1)";
        sqlx::query(insert).bind(copy).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

fn place(tenant: TenantId, user: &str) -> Metadata {
    let token = |text| Token::encode(text).unwrap();
    let place = Metadata::at(tenant, token("web"), token(user));
    Metadata { user: Some(user.to_owned()), agent: Some("assistant".to_owned()), ..place }
}
