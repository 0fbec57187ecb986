//! A bus, a provider, and a worker.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nexus_bench::mockllm::{MockLlm, Options};
use nexus_blobs::Blobs;
use nexus_bus::{
    Bucket, Bus, CHUNKS, Catalog, Chunks, Durability, EVENTS, Filter, Reader, Spec, Start, Topology,
};
use nexus_contracts::{
    AttemptLimits, ChunkDelta, Effect, Event, EventType, InferenceChunk, InferenceOutcome,
    InferenceRequest, InferenceResponse, LOCAL_TENANT, Message, Metadata, Pattern, Role, Sampling,
    Timestamp, Token, ToolSpec,
};
use nexus_inference::{Config, Error, Inference, Resources, Secrets};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const KEY: &str = "sk-test-4f9a1c";
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The key that is called `WALL_WHOSE`.
pub(crate) fn wall_key(whose: &str) -> String {
    format!("sk-wall-{}", whose.to_lowercase())
}

pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

fn servers() -> PathBuf {
    let set = std::env::var_os("NEXUS_SERVERS").map(PathBuf::from);
    set.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.servers"))
}

/// A NATS server of its own, which ends with this.
struct Nats {
    child: Child,
    url: String,
    _data: TempDir,
}

impl Nats {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        // As in `nexus up`: by default the server allows three quarters of the free disk, and the
        // streams reserve more than that on a small one.
        let conf = data.path().join("nats.conf");
        std::fs::write(&conf, "jetstream { max_file_store: 1TB }\n").unwrap();
        let child = Command::new(servers().join("bin/nats-server"))
            // 0 would mean 4222.
            .args(["-js", "-a", "127.0.0.1", "-p", "-1", "-sd"])
            .arg(data.path().join("js"))
            .arg("-c")
            .arg(&conf)
            .arg("--ports_file_dir")
            .arg(data.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ports = data.path().join(format!("nats-server_{}.ports", child.id()));
        let url = within("ports of nats-server", async || {
            let ports: Value = serde_json::from_slice(&std::fs::read(&ports).ok()?).ok()?;
            Some(ports.get("nats")?.get(0)?.as_str()?.to_owned())
        });
        Self { url: url.await, child, _data: data }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits until something is there.
pub(crate) async fn within<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, looking)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

/// Everything a test needs.
pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) mock: MockLlm,
    pub(crate) available: Vec<String>,
    pub(crate) default_model: String,
    channel: Token,
    stop: CancellationToken,
    worker: Option<JoinHandle<Result<(), Error>>>,
    nats: Nats,
    data: TempDir,
}

/// A worker on threads of its own, which dies as by `kill -9` when this is dropped.
pub(crate) struct Doomed(Option<Runtime>);

impl Drop for Doomed {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

impl World {
    /// A worker with the project's own providers, and `mock`.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default(), json!({}), now).await
    }

    /// A worker with these additions to the settings of `mock`.
    pub(crate) async fn with(options: Options, settings: Value, now: fn() -> Timestamp) -> Self {
        Self::built(options, settings, &[], now).await
    }

    /// The same with more entries of the configuration, there before the worker is.
    pub(crate) async fn built(
        options: Options,
        settings: Value,
        entries: &[(String, Value)],
        now: fn() -> Timestamp,
    ) -> Self {
        let mut world = Self::idle(options, settings).await;
        for (name, entry) in entries {
            world.bus.put_setting(Bucket::Config, name, entry).await.unwrap();
        }
        let inference = open(&world.bus, &world.data, now, world.stop.clone()).await;
        (world.available, world.default_model) = (inference.available(), inference.default_model());
        world.worker = Some(tokio::spawn(inference.run()));
        world
    }

    /// The same without a worker.
    pub(crate) async fn idle(options: Options, settings: Value) -> Self {
        let mock = MockLlm::start(options).unwrap();
        let nats = Nats::start().await;
        let bus = Bus::connect(&nats.url, "test").await.unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
        let spec = Spec::read_folder(&folder, Durability::Interval).unwrap();
        Topology::new(&bus, &spec).apply(false).await.unwrap();
        let mut provider =
            json!({ "kind": "openai-chat", "base_url": mock.url(), "discover": true });
        provider.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        bus.put_setting(Bucket::Config, "provider.mock", &provider).await.unwrap();
        Self {
            bus,
            mock,
            available: Vec::new(),
            default_model: String::new(),
            channel: Token::parse("test").unwrap(),
            stop: CancellationToken::new(),
            worker: None,
            nats,
            data: tempfile::tempdir().unwrap(),
        }
    }

    /// One more worker, which ends with the test.
    pub(crate) async fn join(&self) {
        let bus = Bus::connect(&self.nats.url, "another").await.unwrap();
        let inference = open(&bus, &self.data, now, self.stop.clone()).await;
        tokio::spawn(inference.run());
    }

    /// The same with these settings of its own.
    pub(crate) async fn join_as(&self, config: Config) {
        let inference = open_as(&self.bus, &self.data, now, self.stop.clone(), config).await;
        tokio::spawn(inference.run());
    }

    /// One more worker, to be killed.
    pub(crate) async fn join_doomed(&self) -> Doomed {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (runtime, url, stop) = (runtime.unwrap(), self.nats.url.clone(), self.stop.clone());
        let data = self.data.path().to_owned();
        let opened = runtime.spawn(async move {
            let bus = Bus::connect(&url, "doomed").await.unwrap();
            let inference = open(&bus, &data, now, stop).await;
            tokio::spawn(inference.run());
        });
        opened.await.unwrap();
        Doomed(Some(runtime))
    }

    /// A route, once the worker knows it.
    pub(crate) async fn route(&self, name: &str, chain: &[&str]) {
        let chain = json!({ "chain": chain });
        self.bus.put_setting(Bucket::Config, &format!("route.{name}"), &chain).await.unwrap();
    }

    /// Stores a model call.
    pub(crate) async fn ask(
        &self,
        model: &str,
        messages: Vec<Message>,
        tools: Vec<ToolSpec>,
    ) -> Event<InferenceRequest> {
        let request = InferenceRequest { messages, tools, ..request(model) };
        self.put(request).await
    }

    /// Stores this model call, in a conversation of its own.
    pub(crate) async fn put(&self, request: InferenceRequest) -> Event<InferenceRequest> {
        self.put_in(&Uuid::now_v7().to_string(), request).await
    }

    /// Stores a model call of a conversation.
    pub(crate) async fn ask_in(
        &self,
        conversation: &str,
        model: &str,
        messages: Vec<Message>,
        tools: Vec<ToolSpec>,
    ) -> Event<InferenceRequest> {
        self.put_in(conversation, InferenceRequest { messages, tools, ..request(model) }).await
    }

    async fn put_in(
        &self,
        conversation: &str,
        request: InferenceRequest,
    ) -> Event<InferenceRequest> {
        let id = Uuid::now_v7();
        let conversation = Token::encode(conversation).unwrap();
        let metadata = Metadata::at(LOCAL_TENANT, self.channel.clone(), conversation);
        let event = Event::new(id, Uuid::now_v7(), metadata, now(), request);
        self.bus.publish(&event).await.unwrap();
        event
    }

    /// What came of a model call.
    pub(crate) async fn answer(&self, request: &Event<InferenceRequest>) -> InferenceResponse {
        let filter = Filter::Patterns(vec![Pattern::kind(EventType::InferenceResponse)]);
        let waiting = async {
            let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
            loop {
                let message = reader.next().await.unwrap();
                let event = Event::<InferenceResponse>::decode(&message.bytes).unwrap();
                if event.payload.call == request.id {
                    assert_eq!(event.correlation_id, request.correlation_id);
                    assert_eq!(event.metadata.causation_id, Some(request.id));
                    return event.payload.known;
                }
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("no answer in time")
    }

    /// Asks and waits.
    pub(crate) async fn asked(&self, model: &str, text: &str) -> InferenceResponse {
        let request = self.ask(model, vec![Message::text(Role::User, text)], Vec::new()).await;
        self.answer(&request).await
    }

    pub(crate) async fn chunks(&self) -> Chunks {
        Chunks::of_channel(&self.bus, &self.channel).await.unwrap()
    }

    /// The models that the bus names once `wanted` is among them.
    pub(crate) async fn listed(&self, wanted: &str) -> Vec<String> {
        self.listed_as("list", wanted).await
    }

    /// A list of names, once `wanted` is among them.
    pub(crate) async fn listed_as(&self, name: &str, wanted: &str) -> Vec<String> {
        let mut lists =
            Catalog::<Vec<String>>::follow(&self.bus, Bucket::Tools, "model", self.stop.clone())
                .await
                .unwrap();
        let waiting = async {
            loop {
                match lists.entries().get(name) {
                    Some(list) if list.iter().any(|model| model == wanted) => return list.clone(),
                    _ => lists.changed().await,
                }
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("never listed")
    }

    /// Bytes of everything that is stored, live pieces included.
    pub(crate) async fn stored(&self) -> Vec<String> {
        let mut all = Vec::new();
        for stream in [EVENTS, CHUNKS, nexus_bus::DEAD, "KV_CONFIG", "KV_TOOLS"] {
            let mut reader =
                Reader::open(&self.bus, stream, Filter::Everything, Start::First).await.unwrap();
            let messages = reader.read_to_end().await;
            all.extend(
                messages
                    .into_iter()
                    .flatten()
                    .map(|message| String::from_utf8_lossy(&message.bytes).into_owned()),
            );
        }
        all
    }

    /// Stops the worker and waits for its end.
    pub(crate) async fn stop(&mut self) {
        self.stop.cancel();
        let worker = self.worker.take().unwrap();
        tokio::time::timeout(LIMIT, worker).await.expect("does not stop").unwrap().unwrap();
    }
}

/// Puts live pieces together as a client would; also how often it had to start again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Screen {
    pub(crate) text: String,
    pub(crate) resets: u32,
    pub(crate) attempt: u32,
}

impl Screen {
    /// Shows pieces of a call until the text ends so.
    pub(crate) async fn until(&mut self, chunks: &mut Chunks, call: Uuid, end: &str) {
        let showing = async {
            while !self.text.ends_with(end) {
                let event = chunks.next().await.unwrap();
                let InferenceChunk { call: of, attempt, delta } = event.payload.known;
                assert_eq!(of, call);
                assert!(attempt >= self.attempt, "attempts count up");
                self.attempt = attempt;
                match delta {
                    ChunkDelta::Begin { .. } | ChunkDelta::Reasoning { .. } => {}
                    ChunkDelta::Text { offset, text } => {
                        assert_eq!(
                            offset,
                            self.text.chars().count() as u64,
                            "no gap before {text:?}"
                        );
                        self.text.push_str(&text);
                    }
                    ChunkDelta::Reset => {
                        self.text.clear();
                        self.resets += 1;
                    }
                }
            }
        };
        if tokio::time::timeout(LIMIT, showing).await.is_err() {
            panic!("shown only: {self:?}");
        }
    }
}

/// A question without wishes.
pub(crate) fn request(model: &str) -> InferenceRequest {
    InferenceRequest {
        model: model.to_owned(),
        messages: vec![Message::text(Role::User, "hi")],
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: AttemptLimits::default(),
        number: 1,
        start_within_ms: 30_000,
        timeout_ms: 15_000,
    }
}

/// A worker with the key of `mock`.
async fn open(
    bus: &Bus,
    data: impl AsRef<Path>,
    now: fn() -> Timestamp,
    stop: CancellationToken,
) -> Inference {
    open_as(bus, data, now, stop, Config::default()).await
}

async fn open_as(
    bus: &Bus,
    data: impl AsRef<Path>,
    now: fn() -> Timestamp,
    stop: CancellationToken,
    config: Config,
) -> Inference {
    let secrets: Secrets = Arc::new(|name: &str| match (name, name.strip_prefix("WALL_")) {
        ("MOCK_KEY", _) => Some(SecretString::from(KEY)),
        // Each of these is a key of its own: what one provider thinks of it says nothing about
        // another.
        (_, Some(whose)) => Some(SecretString::from(wall_key(whose))),
        _ => None,
    });
    let blobs = Blobs::open(&nexus_blobs::Config::default(), data.as_ref()).unwrap();
    let resources = Resources { secrets, vault: None, blobs };
    Inference::open(bus, config, resources, now, stop).await.unwrap()
}

pub(crate) fn echo_tool() -> ToolSpec {
    ToolSpec {
        name: "echo".to_owned(),
        description: "Says it again.".to_owned(),
        parameters: json!({ "type": "object", "properties": { "text": { "type": "string" } } }),
        effect: Effect::Read,
        timeout_ms: 1000,
        client: None,
    }
}

/// The text of an answer.
pub(crate) fn text(response: &InferenceResponse) -> &str {
    match &response.outcome {
        InferenceOutcome::Completed { text, .. } => text,
        other => panic!("not completed: {other:?}"),
    }
}

/// Code and message of a failure.
pub(crate) fn failure(response: &InferenceResponse) -> (&str, &str) {
    match &response.outcome {
        InferenceOutcome::Failed(error) => (&error.code, &error.message),
        other => panic!("not failed: {other:?}"),
    }
}
