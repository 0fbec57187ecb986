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
    RunUsage, Timestamp, Token,
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
        let _ = rustls::crypto::ring::default_provider().install_default();
        let nats = Nats::start().await;
        let bus = Bus::connect(&nats.url(), "telegram-test").await.unwrap();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
        let spec = Spec::read_folder(&config, Durability::Interval).unwrap();
        Topology::new(&bus, &spec).apply(false).await.unwrap();
        let api = BotApi::start(options).await.unwrap();
        Self { nats, bus, api, running: None }
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
        let telegram = Telegram::open(&self.bus, config, LOCAL_TENANT, token, now, stop.clone()).await.unwrap();
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
        assert!(waited.is_ok(), "{} of {count} stored, {} unconfirmed", requests.len(), self.api.unconfirmed());
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
        let place = Metadata::at(LOCAL_TENANT, Token::parse("telegram").unwrap(), Token::encode(chat).unwrap());
        let processed = ProcessedRequest { request, outcome, model: None, usage: RunUsage::default() };
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
