use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nexus_blobs::Blobs;
use nexus_bus::{Bus, Durability, EVENTS, Filter, Reader, Spec, Start, Topology};
use nexus_contracts::{
    ChunkDelta, Event, IncomingRequest, InferenceChunk, LOCAL_TENANT, Metadata, Notice,
    NotifyDeliver, Outcome, Pattern, Payload, ProcessedRequest, Timestamp, Token,
};
use nexus_telegram::{Config, Limits, Secrets, Telegram};
use nexus_testkit::bot_api::{BotApi, Options};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::nats::Nats;

pub(crate) const SOON: Duration = Duration::from_secs(30);
const PLACEHOLDER: &str = "…";

/// A bus, a Bot API and, while it runs, the adapter.
pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    pub(crate) api: BotApi,
    pub(crate) blobs: Blobs,
    /// Tokens and other secrets by the names of their variables.
    pub(crate) secrets: Vec<(String, String)>,
    _folder: tempfile::TempDir,
    running: Option<Running>,
}

/// An adapter that runs, on threads of its own.
pub(crate) struct Running {
    runtime: Option<Runtime>,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nats = Nats::start().await;
        let bus = Bus::connect(&nats.url(), "telegram-test").await.unwrap();
        let api = BotApi::start(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(&nexus_blobs::Config::default(), folder.path()).unwrap();
        let secrets = vec![("TELEGRAM_BOT_TOKEN".to_owned(), api.token().to_owned())];
        let world = Self { nats, bus, api, blobs, secrets, _folder: folder, running: None };
        world.limit_events("21474836480").await;
        world
    }

    /// Sets the bus up as configured, with this `max_bytes` for events.
    pub(crate) async fn limit_events(&self, max_bytes: &str) {
        self.apply(&[("max_bytes = 21474836480", &format!("max_bytes = {max_bytes}"))]).await;
    }

    /// Sets the bus up as configured, with each first text replaced by the second.
    pub(crate) async fn apply(&self, edits: &[(&str, &str)]) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("streams")).unwrap();
        for stream in std::fs::read_dir(config.join("streams")).unwrap().map(Result::unwrap) {
            let mut text = std::fs::read_to_string(stream.path()).unwrap();
            for (from, to) in edits {
                text = text.replace(from, to);
            }
            std::fs::write(folder.path().join("streams").join(stream.file_name()), text).unwrap();
        }
        let spec = Spec::read_folder(folder.path(), Durability::Interval).unwrap();
        Topology::new(&self.bus, &spec).apply(true).await.unwrap();
    }

    /// Impatient, and as fast as the stand-in allows.
    pub(crate) fn config(&self) -> Config {
        Config {
            api: self.api.url(),
            poll_timeout: Duration::from_secs(1),
            poll_grace: Duration::from_millis(500),
            limits: Limits {
                chat_interval: Duration::from_millis(10),
                group_per_minute: 10_000,
                per_second: 10_000,
            },
            ..Config::default()
        }
    }

    pub(crate) fn secrets(&self) -> Secrets {
        let secrets = self.secrets.clone();
        Arc::new(move |name: &str| {
            let found = secrets.iter().find(|(known, _)| known == name);
            found.map(|(_, secret)| secret.clone().into())
        })
    }

    pub(crate) async fn start(&mut self) {
        self.start_with(self.config()).await;
    }

    pub(crate) async fn start_with(&mut self, config: Config) {
        self.running = Some(self.another(config).await);
    }

    /// One more adapter beside the one that runs.
    pub(crate) async fn another(&self, config: Config) -> Running {
        let stop = CancellationToken::new();
        let (secrets, blobs, url) = (self.secrets(), self.blobs.clone(), self.nats.url());
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = threads.unwrap();
        let token = stop.clone();
        let opened = runtime.spawn(async move {
            let bus = Bus::connect(&url, "telegram-adapter").await.unwrap();
            let opened = Telegram::open(&bus, &blobs, &config, LOCAL_TENANT, &secrets, now, token);
            Box::pin(opened).await.unwrap()
        });
        let telegram = opened.await.unwrap();
        let task = runtime.spawn(async move { Box::pin(telegram.run()).await.unwrap() });
        Running { runtime: Some(runtime), task, stop }
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    /// Ends the adapter as a crash does: nothing is finished, nothing given back.
    pub(crate) fn crash(&mut self) {
        drop(self.running.take().unwrap());
    }

    /// All events of a type that are stored, in order.
    pub(crate) async fn events<P: Payload>(&self) -> Vec<Event<P>> {
        let filter = Filter::Patterns(vec![Pattern::kind(P::TYPE)]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
        let messages = reader.read_to_end().await.unwrap();
        messages.iter().map(|message| Event::decode(&message.bytes).unwrap()).collect()
    }

    pub(crate) async fn requests(&self) -> Vec<Event<IncomingRequest>> {
        self.events().await
    }

    /// Waits until this many events of a type are stored.
    pub(crate) async fn events_when<P: Payload>(&self, count: usize) -> Vec<Event<P>> {
        let done = async {
            while self.events::<P>().await.len() < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(SOON, done).await;
        let events = self.events().await;
        assert!(waited.is_ok(), "{} of {count} stored", events.len());
        events
    }

    /// Waits until this many requests are stored and Telegram may forget all updates.
    pub(crate) async fn requests_when_all_are_confirmed(
        &self,
        count: usize,
    ) -> Vec<Event<IncomingRequest>> {
        let done = async {
            while self.api.unconfirmed() > 0 || self.requests().await.len() < count {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(90), done).await;
        let requests = self.requests().await;
        assert!(
            waited.is_ok(),
            "{} of {count} stored, {} unconfirmed",
            requests.len(),
            self.api.unconfirmed()
        );
        requests
    }

    /// The place of a chat, or of a topic as `chat:topic`, of the first bot.
    pub(crate) fn place(&self, chat: &str) -> Metadata {
        place(self.api.bot_id(), chat)
    }

    /// Publishes the final word on a request in a chat.
    pub(crate) async fn answer(&self, chat: &str, text: &str) -> Uuid {
        self.outcome(chat, answered(text)).await
    }

    pub(crate) async fn outcome(&self, chat: &str, outcome: Outcome) -> Uuid {
        let request = Uuid::now_v7();
        self.end(request, chat, outcome).await;
        request
    }

    pub(crate) async fn end(&self, request: Uuid, chat: &str, outcome: Outcome) {
        self.publish(request, self.place(chat), ProcessedRequest::of(request, outcome)).await;
    }

    /// Publishes an event of a run.
    pub(crate) async fn publish<P: Payload>(&self, run: Uuid, place: Metadata, payload: P) -> Uuid {
        let id = Uuid::now_v7();
        self.bus.publish(&Event::new(id, run, place, now(), payload)).await.unwrap();
        id
    }

    pub(crate) async fn notice(&self, run: Uuid, place: Metadata, notice: Notice) -> Uuid {
        self.publish(run, place, NotifyDeliver { notice }).await
    }

    /// Lets a model say a piece of its answer.
    pub(crate) async fn chunk(&self, run: Uuid, chat: &str, offset: usize, text: &str) {
        let delta =
            ChunkDelta::Text { offset: u64::try_from(offset).unwrap(), text: text.to_owned() };
        let chunk = InferenceChunk { call: run, attempt: 1, delta };
        let event = Event::new(Uuid::now_v7(), run, self.place(chat), now(), chunk);
        self.bus.publish_chunk(&event).await;
    }

    /// Waits until the adapter hears live pieces; whoever listens too late misses some.
    pub(crate) async fn hears_live(&self) {
        let run = Uuid::now_v7();
        self.api.add_chat(999);
        let heard = async {
            loop {
                self.chunk(run, "999", 0, "probe").await;
                let told = || {
                    let seen = self.api.transcript(999);
                    (!seen.messages.is_empty() || !seen.drafts.is_empty()).then_some(())
                };
                let soon = Duration::from_millis(100);
                if self.api.wait_until(soon, told).await.is_some() {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, heard).await.unwrap();
    }

    /// Waits until a chat shows at least so many texts of the bot and no placeholder, and nothing
    /// is on its way to it.
    pub(crate) async fn shown(&self, chat: i64, count: usize) -> Vec<String> {
        // Longer for many: they go out one after the other.
        let patience = SOON + Duration::from_millis(300) * u32::try_from(count).unwrap();
        let is_ready = |shown: &[String]| {
            shown.len() >= count && !shown.iter().any(|text| text == PLACEHOLDER)
        };
        let shown = || Some(self.texts(chat)).filter(|shown| is_ready(shown));
        let shown = self.api.wait_until(patience, shown).await;
        shown.unwrap_or_else(|| panic!("{count} texts in {chat}: {:?}", self.texts(chat)))
    }

    /// What a chat shows of the bot now.
    pub(crate) fn texts(&self, chat: i64) -> Vec<String> {
        self.api.transcript(chat).shown().into_iter().map(str::to_owned).collect()
    }
}

impl Running {
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, &mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Running {
    /// All its tasks end where they are, as in a process that is killed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn place(bot: i64, chat: &str) -> Metadata {
    let conversation = Token::encode(&format!("{bot}:{chat}")).unwrap();
    let place = Metadata::at(LOCAL_TENANT, Token::parse("telegram").unwrap(), conversation);
    Metadata { user: Some("2".to_owned()), ..place }
}

pub(crate) fn answered(text: &str) -> Outcome {
    Outcome::Answered { text: text.to_owned() }
}

pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

pub(crate) fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

/// How much of a large proof to run: the variable's number, or `small`.
pub(crate) fn size(variable: &str, small: usize) -> usize {
    std::env::var(variable).ok().and_then(|size| size.parse().ok()).unwrap_or(small)
}
