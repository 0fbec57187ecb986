//! The adapter between a real NATS server and the stand-in of the Bot API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod intake;
mod nats;
mod output;
mod start;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use nexus_bus::{Bus, Durability, EVENTS, Filter, Reader, Spec, Start, Topology};
use nexus_contracts::{
    Event, EventType, IncomingRequest, LOCAL_TENANT, Metadata, Outcome, Pattern, ProcessedRequest,
    Timestamp, Token,
};
use nexus_telegram::{Config, Telegram};
use nexus_testkit::bot_api::{BotApi, Options};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use nats::Nats;

const SOON: Duration = Duration::from_secs(30);

/// A bus, a Bot API and, while it runs, the adapter.
struct World {
    nats: Nats,
    bus: Bus,
    api: BotApi,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl World {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nats = Nats::start().await;
        let bus = Bus::connect(&nats.url(), "telegram-test").await.unwrap();
        let api = BotApi::start(options).await.unwrap();
        let world = Self { nats, bus, api, running: None };
        world.limit_events("21474836480").await;
        world
    }

    /// Sets the bus up as configured, with this `max_bytes` for events.
    async fn limit_events(&self, max_bytes: &str) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("streams")).unwrap();
        for stream in std::fs::read_dir(config.join("streams")).unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(stream.path()).unwrap();
            let text = text.replace("max_bytes = 21474836480", &format!("max_bytes = {max_bytes}"));
            std::fs::write(folder.path().join("streams").join(stream.file_name()), text).unwrap();
        }
        let spec = Spec::read_folder(folder.path(), Durability::Interval).unwrap();
        Topology::new(&self.bus, &spec).apply(true).await.unwrap();
    }

    fn config(&self) -> Config {
        Config {
            api: self.api.url(),
            poll_timeout: Duration::from_secs(1),
            poll_grace: Duration::from_millis(500),
            ..Config::default()
        }
    }

    async fn start(&mut self) {
        self.start_with(self.config()).await;
    }

    async fn start_with(&mut self, config: Config) {
        let stop = CancellationToken::new();
        let token = self.api.token().to_owned().into();
        let telegram = Telegram::open(&self.bus, config, LOCAL_TENANT, token, now, stop.clone())
            .await
            .unwrap();
        let task = tokio::spawn(async move { telegram.run().await.unwrap() });
        self.running = Some((task, stop));
    }

    async fn stop(&mut self) {
        let (task, stop) = self.running.take().unwrap();
        stop.cancel();
        tokio::time::timeout(SOON, task).await.unwrap().unwrap();
    }

    /// All requests that are stored, in order.
    async fn requests(&self) -> Vec<Event<IncomingRequest>> {
        let filter = Filter::Patterns(vec![Pattern::kind(EventType::RequestsIncoming)]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
        let messages = reader.read_to_end().await.unwrap();
        messages.iter().map(|message| Event::decode(&message.bytes).unwrap()).collect()
    }

    /// Waits until this many requests are stored and Telegram may forget all updates.
    async fn requests_when_all_are_confirmed(&self, count: usize) -> Vec<Event<IncomingRequest>> {
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

    /// Publishes the final word on a request in a chat.
    async fn answer(&self, chat: &str, text: &str) -> Uuid {
        self.outcome(chat, Outcome::Answered { text: text.to_owned() }).await
    }

    async fn outcome(&self, chat: &str, outcome: Outcome) -> Uuid {
        let request = Uuid::now_v7();
        self.end(request, chat, outcome).await;
        request
    }

    async fn end(&self, request: Uuid, chat: &str, outcome: Outcome) {
        let place = Metadata::at(
            LOCAL_TENANT,
            Token::parse("telegram").unwrap(),
            Token::encode(chat).unwrap(),
        );
        let processed = ProcessedRequest::of(request, outcome);
        let event = Event::new(Uuid::now_v7(), request, place, now(), processed);
        self.bus.publish(&event).await.unwrap();
    }
}

fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    items.into_iter().collect()
}
