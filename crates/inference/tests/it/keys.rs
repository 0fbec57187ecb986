//! Whose key a provider is asked with: workers, servers, and a provider that knows one key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_bench::mockllm::{MockLlm, Options};
use nexus_blobs::Blobs;
use nexus_bus::{Bucket, Bus, Durability, EVENTS, Filter, Reader, Spec, Start, Topology};
use nexus_contracts::{
    AttemptLimits, Event, EventType, InferenceOutcome, InferenceRequest, InferenceResponse,
    KeyOwner, LOCAL_TENANT, Message, Metadata, Pattern, Role, Sampling, Tenant, TenantId, Token,
};
use nexus_egress::Guard;
use nexus_embedded::Servers;
use nexus_inference::{Config, Error, Inference, Resources, Secrets};
use nexus_store::Store;
use nexus_vault::{
    KeyRefused, KeySource, NewCredential, NewKey, Owner, ProviderKeys, Sources, Vault, llm_service,
    system_random,
};
use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{LIMIT, failure, now, within};

/// The one that the provider knows.
const GOOD: &str = "sk-good-0123456789abcdefghi";
const DEAD: &str = "sk-dead-0123456789abcdefghi";
/// A tenant whose people bring their own keys, or have none.
const GUESTS: TenantId = TenantId(Uuid::from_u128(0xee));
const REFUSED: &str = "No LLM key configured. Provide your own key or request operator access.";

struct Place {
    bus: Bus,
    store: Store,
    mock: MockLlm,
    stop: CancellationToken,
    workers: Vec<JoinHandle<Result<(), Error>>>,
    servers: Servers,
    folder: TempDir,
}

/// Guests may not use the operator's keys.
async fn set_guests(bus: &Bus, local_models_only: bool) {
    let name = "guests".to_owned();
    let guests = Tenant { id: GUESTS, name, allow_operator_llm: false, local_models_only };
    bus.put_setting(Bucket::Config, &format!("tenant.{GUESTS}"), &guests).await.unwrap();
}

impl Place {
    async fn start() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = tempfile::tempdir().unwrap();
        // The servers' user has to get through to its own folders.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let set = std::env::var_os("NEXUS_SERVERS").map(PathBuf::from);
        let servers = Servers::start(nexus_embedded::Config {
            data: folder.path().join("data"),
            servers: vec![set.unwrap_or_else(|| workspace.join(".servers"))],
            durability: nexus_embedded::Durability::Interval,
            nats_port: None,
            postgres_port: None,
        });
        let servers = servers.await.unwrap();
        let bus = Bus::connect(servers.nats_url(), "test").await.unwrap();
        let spec = Spec::read_folder(&workspace.join("bus-config"), Durability::Interval).unwrap();
        Topology::new(&bus, &spec).apply(false).await.unwrap();
        set_guests(&bus, false).await;
        let options = Options { api_key: Some(GOOD.to_owned()), ..Options::default() };
        let mock = MockLlm::start(options).unwrap();
        for (name, provider) in [
            (
                "paid",
                json!({ "kind": "openai-chat", "base_url": mock.url(), "api_key_env": "PAID_KEY", "key_prefix": "sk-", "models": ["mock-plain"] }),
            ),
            (
                "unpaid",
                json!({ "kind": "openai-chat", "base_url": mock.url(), "api_key_env": "NONE", "models": ["mock-plain"] }),
            ),
            (
                "free",
                json!({ "kind": "openai-chat", "base_url": mock.url(), "models": ["mock-plain"] }),
            ),
        ] {
            bus.put_setting(Bucket::Config, &format!("provider.{name}"), &provider).await.unwrap();
        }
        let url = servers.database_url();
        nexus_store::migrate(url, nexus_vault::MIGRATIONS).await.unwrap();
        let store = Store::connect(url, &nexus_store::Config::default()).unwrap();
        let (stop, workers) = (CancellationToken::new(), Vec::new());
        Self { bus, store, mock, stop, workers, servers, folder }
    }

    async fn vault(&self, guard: Guard) -> Vault {
        let source = KeySource::File(self.folder.path().join("master.keys"));
        source.prepare(system_random).unwrap();
        let sources = Sources { now, clock: Instant::now, fill: system_random };
        let (store, stop) = (self.store.clone(), self.stop.clone());
        Vault::open(&self.bus, store, source, sources, guard, stop).await.unwrap()
    }

    /// A worker as in a process of its own.
    async fn work(&mut self, guard: Guard) {
        let vault = Some(self.vault(guard).await);
        let blobs = Blobs::open(&nexus_blobs::Config::default(), self.folder.path()).unwrap();
        // The operator's key is the good one.
        let secrets: Secrets =
            Arc::new(|name: &str| (name == "PAID_KEY").then(|| SecretString::from(GOOD)));
        let resources = Resources { secrets, vault, blobs };
        let opened =
            Inference::open(&self.bus, Config::default(), resources, now, self.stop.clone());
        self.workers.push(tokio::spawn(opened.await.unwrap().run()));
    }

    async fn asked(&self, tenant: TenantId, user: &str, model: &str) -> InferenceResponse {
        self.asked_in("web", tenant, user, model).await
    }

    async fn asked_in(
        &self,
        channel: &str,
        tenant: TenantId,
        user: &str,
        model: &str,
    ) -> InferenceResponse {
        let id = Uuid::now_v7();
        let token = |text: &str| Token::encode(text).unwrap();
        let place = Metadata::at(tenant, token(channel), token(&id.to_string()));
        let metadata = Metadata { user: Some(user.to_owned()), ..place };
        let request = InferenceRequest {
            model: model.to_owned(),
            messages: vec![Message::text(Role::User, "hi")],
            tools: Vec::new(),
            sampling: Sampling::default(),
            limits: AttemptLimits::default(),
            number: 1,
            start_within_ms: 30_000,
            timeout_ms: 15_000,
        };
        let event = Event::new(id, Uuid::now_v7(), metadata, now(), request);
        self.bus.publish(&event).await.unwrap();
        let filter = Filter::Patterns(vec![Pattern::kind(EventType::InferenceResponse)]);
        let waiting = async {
            let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
            loop {
                let message = reader.next().await.unwrap();
                let event = Event::<InferenceResponse>::decode(&message.bytes).unwrap();
                if event.payload.call == id {
                    return event.payload.known;
                }
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("no answer in time")
    }

    /// Everything that is stored on the bus.
    async fn stored(&self) -> String {
        let mut all = String::new();
        for stream in [EVENTS, nexus_bus::CHUNKS, nexus_bus::DEAD, "KV_CONFIG", "KV_TOOLS"] {
            let opened = Reader::open(&self.bus, stream, Filter::Everything, Start::First).await;
            for message in opened.unwrap().read_to_end().await.into_iter().flatten() {
                all.push_str(&String::from_utf8_lossy(&message.bytes));
            }
        }
        all
    }

    async fn stop(self) {
        self.stop.cancel();
        for worker in self.workers {
            tokio::time::timeout(LIMIT, worker).await.expect("does not stop").unwrap().unwrap();
        }
        self.store.close().await;
        self.bus.close().await;
        self.servers.stop().await;
    }
}

fn key(secret: &str) -> NewCredential {
    let secret = secret.to_owned().into();
    NewCredential { secret, base_url: None, scopes: Vec::new(), expires_at: None }
}

/// Whose key it was, or the code of the failure.
fn whose(response: &InferenceResponse) -> Result<Option<KeyOwner>, String> {
    match &response.outcome {
        InferenceOutcome::Completed { .. } => Ok(response.key),
        InferenceOutcome::Failed(error) => Err(error.code.clone()),
        InferenceOutcome::Cancelled => Err("cancelled".to_owned()),
    }
}

#[tokio::test]
async fn the_users_key_then_the_tenants_then_the_operators_where_it_may_be_used() {
    let mut place = Place::start().await;
    place.work(Guard::default()).await;
    let vault = place.vault(Guard::default()).await;
    let paid = llm_service("paid");
    let ask =
        async |tenant, user: &str, model: &str| whose(&place.asked(tenant, user, model).await);

    // Nobody has a key of one's own: the operator's, only where the tenant may use it.
    assert_eq!(ask(LOCAL_TENANT, "ada", "paid/mock-plain").await, Ok(Some(KeyOwner::Operator)));
    let refused = place.asked(GUESTS, "ada", "paid/mock-plain").await;
    assert_eq!(failure(&refused), ("no_llm_key", REFUSED));
    let unknown = place.asked(TenantId(Uuid::from_u128(0xdd)), "ada", "paid/mock-plain").await;
    assert_eq!(failure(&unknown), ("no_llm_key", REFUSED));
    let unpaid = place.asked(LOCAL_TENANT, "ada", "unpaid/mock-plain").await;
    assert_eq!(failure(&unpaid).0, "no_llm_key");
    assert!(failure(&unpaid).1.contains("NONE is not set"), "{}", failure(&unpaid).1);
    assert_eq!(place.mock.stats().chat, 1, "who has no key asks nobody");

    // The tenant's own.
    vault.put(&Owner::tenant(GUESTS), &paid, &key(GOOD)).await.unwrap();
    assert_eq!(ask(GUESTS, "ada", "paid/mock-plain").await, Ok(Some(KeyOwner::Tenant)));
    // The user's own goes first, also where it does not work: nobody else's takes its place.
    vault.put(&Owner::user(GUESTS, "ada"), &paid, &key(DEAD)).await.unwrap();
    assert_eq!(ask(GUESTS, "ada", "paid/mock-plain").await, Err("provider_auth".to_owned()));
    assert_eq!(ask(GUESTS, "bob", "paid/mock-plain").await, Ok(Some(KeyOwner::Tenant)));
    // Both see what the provider said of it.
    let listed = vault.list(GUESTS, Some("ada")).await.unwrap();
    let said: Vec<_> = listed.iter().map(|key| (key.owner, key.test_result.as_deref())).collect();
    assert_eq!(said, [(KeyOwner::Tenant, None), (KeyOwner::User, Some("auth"))]);
    vault.put(&Owner::user(GUESTS, "ada"), &paid, &key(GOOD)).await.unwrap();
    assert_eq!(ask(GUESTS, "ada", "paid/mock-plain").await, Ok(Some(KeyOwner::User)));
    // Somebody of this name whom no key of ours let in is somebody else.
    let stranger = place.asked_in("telegram", GUESTS, "ada", "paid/mock-plain").await;
    assert_eq!(whose(&stranger), Ok(Some(KeyOwner::Tenant)));
    vault.put(&Owner::user(LOCAL_TENANT, "ada"), &paid, &key(GOOD)).await.unwrap();
    assert_eq!(ask(LOCAL_TENANT, "ada", "paid/mock-plain").await, Ok(Some(KeyOwner::User)));

    // A provider without keys is asked without one: this one does not like that.
    assert_eq!(ask(GUESTS, "ada", "free/mock-plain").await, Err("provider_auth".to_owned()));

    let stored = place.stored().await;
    assert!(!stored.contains("0123456789abcdefghi"), "a key is on the bus");
    place.stop().await;
}

#[tokio::test]
async fn a_removed_key_is_used_by_no_worker_any_more() {
    let mut place = Place::start().await;
    place.work(Guard::default()).await;
    place.work(Guard::default()).await;
    let vault = place.vault(Guard::default()).await;
    let (ada, paid) = (Owner::user(GUESTS, "ada"), llm_service("paid"));
    vault.put(&ada, &paid, &key(GOOD)).await.unwrap();
    // Both workers have it in memory then.
    for _ in 0..8 {
        let response = place.asked(GUESTS, "ada", "paid/mock-plain").await;
        assert_eq!(whose(&response), Ok(Some(KeyOwner::User)));
    }

    let removed = Instant::now();
    vault.remove(&ada, &paid).await.unwrap();
    let refused = within("the first refusal", async || {
        let response = place.asked(GUESTS, "ada", "paid/mock-plain").await;
        whose(&response).err().map(|_| response)
    });
    assert_eq!(failure(&refused.await), ("no_llm_key", REFUSED));
    eprintln!("refused {:?} after the removal", removed.elapsed());
    let before = place.mock.stats().chat;
    for _ in 0..8 {
        let response = place.asked(GUESTS, "ada", "paid/mock-plain").await;
        assert_eq!(failure(&response), ("no_llm_key", REFUSED));
    }
    assert_eq!(place.mock.stats().chat, before);
    place.stop().await;
}

#[tokio::test]
async fn keys_are_tested_by_the_worker_with_the_providers_own_check() {
    let mut place = Place::start().await;
    place.work(Guard::default()).await;
    let vault = place.vault(Guard::default()).await;
    let (bus, stop) = (&place.bus, place.stop.clone());
    let keys = ProviderKeys::open(bus, vault, now, stop).await.unwrap();
    let ada = Owner::user(GUESTS, "ada");
    let new =
        |secret: &str| NewKey { secret: secret.to_owned().into(), base_url: None, untested: false };

    let refused = keys.add(&ada, "paid", new(DEAD)).await.unwrap_err();
    assert!(matches!(refused, KeyRefused::NotAccepted { .. }), "{refused}");
    assert!(!refused.to_string().contains("0123456789"), "{refused}");
    assert_eq!(keys.status(&ada, "paid").await.unwrap(), None);

    let added = keys.add(&ada, "paid", new(GOOD)).await.unwrap();
    assert_eq!(added.key.test_result.as_deref(), Some("ok"));
    assert_eq!(keys.test(&ada, "paid").await.unwrap().key.id, added.key.id);
    assert_eq!(place.mock.stats().chat, 0, "a test asks for no answer");

    let wrong = keys.add(&ada, "paid", new("pk-0123456789")).await.unwrap_err().to_string();
    assert_eq!(wrong, "a key of the wrong shape: keys of paid begin with sk-");
    assert!(!place.stored().await.contains("0123456789"), "a key is on the bus");
    place.stop().await;
}

/// A provider that says which models it has after two seconds, longer than a server is looked for.
async fn thoughtful_provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _asked = socket.read(&mut [0; 4096]).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let models = r#"{"object":"list","data":[{"id":"slow"}]}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{models}",
                models.len()
            );
            let _gone = socket.write_all(answer.as_bytes()).await;
        }
    });
    format!("http://{address}/v1")
}

#[tokio::test]
async fn a_provider_has_time_to_say_whether_it_knows_a_key() {
    let mut place = Place::start().await;
    let slow = json!({ "kind": "openai-chat", "base_url": thoughtful_provider().await, "api_key_env": "NONE", "models": ["slow"] });
    place.bus.put_setting(Bucket::Config, "provider.slow", &slow).await.unwrap();
    place.work(Guard::default()).await;
    let vault = place.vault(Guard::default()).await;
    let keys = ProviderKeys::open(&place.bus, vault, now, place.stop.clone()).await.unwrap();
    let new = NewKey { secret: GOOD.to_owned().into(), base_url: None, untested: false };
    let added = keys.add(&Owner::user(GUESTS, "ada"), "slow", new).await.unwrap();
    assert_eq!(added.key.test_result.as_deref(), Some("ok"));
    place.stop().await;
}

#[tokio::test]
async fn without_its_database_nobody_gets_the_operators_key_by_accident() {
    let mut place = Place::start().await;
    place.work(Guard::default()).await;
    let vault = place.vault(Guard::default()).await;
    vault.put(&Owner::user(LOCAL_TENANT, "ada"), &llm_service("paid"), &key(GOOD)).await.unwrap();
    let ask = async |user: &str| whose(&place.asked(LOCAL_TENANT, user, "paid/mock-plain").await);
    assert_eq!(ask("ada").await, Ok(Some(KeyOwner::User)));
    assert_eq!(ask("bob").await, Ok(Some(KeyOwner::Operator)));

    place.store.close().await;

    assert_eq!(ask("ada").await, Ok(Some(KeyOwner::User)), "known");
    assert_eq!(ask("bob").await, Ok(Some(KeyOwner::Operator)), "known to have none");
    let before = place.mock.stats().chat;
    assert_eq!(ask("eve").await, Err("provider_overloaded".to_owned()), "not known");
    assert_eq!(place.mock.stats().chat, before);
    place.stop().await;
}

#[tokio::test]
async fn a_key_goes_to_its_owners_address_if_that_may_be_asked() {
    let mut place = Place::start().await;
    let options = Options { api_key: Some(DEAD.to_owned()), ..Options::default() };
    let own = MockLlm::start(options).unwrap();
    let guard = Guard::with_places([own.address().to_string()]);
    place.work(guard.clone()).await;
    let vault = place.vault(guard).await;
    let (bus, stop) = (place.bus.clone(), place.stop.clone());
    let keys = ProviderKeys::open(&bus, vault, now, stop.clone()).await.unwrap();
    let (ada, address) = (Owner::user(GUESTS, "ada"), own.url());
    let new =
        || NewKey { secret: DEAD.to_owned().into(), base_url: Some(&address), untested: false };

    // Only this person's server knows the key, and only it is asked.
    let added = keys.add(&ada, "paid", new()).await.unwrap();
    assert_eq!(added.key.base_url.as_deref(), Some(address.as_str()));
    let response = place.asked(GUESTS, "ada", "paid/mock-plain").await;
    assert_eq!(whose(&response), Ok(Some(KeyOwner::User)));
    assert_eq!((own.stats().chat, place.mock.stats().chat), (1, 0));

    // Nor is it asked for those who may ask nothing outside.
    set_guests(&bus, true).await;
    within("the setting of the tenant", async || {
        let response = place.asked(GUESTS, "ada", "paid/mock-plain").await;
        let InferenceOutcome::Failed(failed) = response.outcome else { return None };
        assert!(failed.message.contains("outside this machine"), "{failed:?}");
        Some(())
    })
    .await;
    let asked = own.stats().chat;
    place.asked(GUESTS, "ada", "paid/mock-plain").await;
    assert_eq!(own.stats().chat, asked);
    set_guests(&bus, false).await;
    place.stop.cancel();
    for worker in place.workers.drain(..) {
        worker.await.unwrap().unwrap();
    }

    // A worker of the product: this machine is no place to send keys to.
    place.stop = CancellationToken::new();
    place.work(Guard::default()).await;
    let response = place.asked(GUESTS, "ada", "paid/mock-plain").await;
    let (code, message) = failure(&response);
    assert_eq!(code, "provider_invalid");
    assert!(message.contains("127.0.0.1 is no https address"), "{message}");
    let strict = place.vault(Guard::default()).await;
    let keys = ProviderKeys::open(&bus, strict, now, place.stop.clone()).await.unwrap();
    let refused = keys.add(&ada, "paid", new()).await.unwrap_err();
    assert!(matches!(refused, KeyRefused::Address(_)), "{refused}");
    assert_eq!((own.stats().chat, place.mock.stats().chat), (asked, 0));
    place.stop().await;
}
