//! A broker with the topology of `bus-config/`, and what is stored on it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use nexus_bus::{Bus, DEAD, DeadEntry, DeadLetters, EVENTS};
use nexus_bus::{Durability, Filter, Message, Reader, Spec, Start, Topology};
use nexus_contracts::{
    Event, EventType, IncomingRequest, LOCAL_TENANT, Metadata, Outcome, Pattern, ProcessedRequest,
    Timestamp, Token,
};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

/// Below every `ack_wait` that a test relies on, and below the readers' heartbeats.
pub(crate) const LIMIT: Duration = Duration::from_secs(14);
/// The consumer that the tests' workers read: all requests.
pub(crate) const CONSUMER: &str = "memory-record";
const POLL: Duration = Duration::from_millis(20);

pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

pub(crate) fn token(native: &str) -> Token {
    Token::encode(native).unwrap()
}

/// A request in the conversation of this name.
pub(crate) fn asked(conversation: &str, text: &str) -> Event<IncomingRequest> {
    let metadata = Metadata::at(LOCAL_TENANT, token("test"), token(conversation));
    let id = Uuid::now_v7();
    let text = text.to_owned();
    Event::new(id, id, metadata, now(), IncomingRequest::text(text))
}

/// `bus-config/streams/` with each first text replaced by the second.
pub(crate) fn spec(edits: &[(&str, &str)]) -> Spec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config/streams");
    let mut files = Vec::new();
    for name in ["chunks", "dead", "events"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        files.push((format!("streams/{name}.toml"), text));
    }
    for (from, to) in edits {
        let (_, text) = files.iter_mut().find(|(_, text)| text.contains(from)).expect(from);
        *text = text.replacen(from, to, 1);
    }
    let files = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    Spec::read(files, Durability::Interval).unwrap()
}

/// [`spec`] with this time to work on a request.
pub(crate) fn patience(ack_wait: &str) -> Spec {
    let described = "filter = \"requests.incoming.*.*.*.*\"\nack_wait = ";
    spec(&[(&format!("{described}\"10s\""), &format!("{described}\"{ack_wait}\""))])
}

/// A broker of its own for one test.
pub(crate) struct Place {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    /// For what production has no question for.
    pub(crate) js: jetstream::Context,
}

impl Place {
    pub(crate) async fn start() -> Self {
        Self::with(&spec(&[])).await
    }

    pub(crate) async fn with(spec: &Spec) -> Self {
        let place = Self::bare().await;
        Topology::new(&place.bus, spec).apply(false).await.unwrap();
        place
    }

    /// Without any stream.
    pub(crate) async fn bare() -> Self {
        let nats = Nats::start().await;
        let bus = Bus::connect(&nats.url, "test").await.unwrap();
        let js = jetstream::new(async_nats::connect(&nats.url).await.unwrap());
        Self { nats, bus, js }
    }

    pub(crate) async fn ask(&self, conversation: &str, text: &str) -> Event<IncomingRequest> {
        let event = asked(conversation, text);
        self.bus.publish(&event).await.unwrap();
        event
    }

    /// Everything stored that matches, in the stream's order.
    pub(crate) async fn stored(&self, filter: Filter) -> Vec<Message> {
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
        timeout(LIMIT, reader.read_to_end()).await.expect("the end of the stream").unwrap()
    }

    /// What the workers have answered, as `(request, text)`, once nothing is left to do.
    pub(crate) async fn answers(&self) -> Vec<(Uuid, String)> {
        self.drained().await;
        let filter = Filter::Patterns(vec![Pattern::kind(EventType::RequestsProcessed)]);
        let stored = self.stored(filter).await;
        let answers = stored.iter().map(|message| {
            let payload = Event::<ProcessedRequest>::decode(&message.bytes).unwrap().payload;
            match payload.known.outcome {
                Outcome::Answered { text } => (payload.known.request, text),
                other => panic!("{other:?}"),
            }
        });
        answers.collect()
    }

    pub(crate) async fn letters(&self) -> Vec<DeadEntry> {
        self.drained().await;
        DeadLetters::new(&self.bus).list().await.unwrap()
    }

    pub(crate) async fn consumer(&self) -> jetstream::consumer::Info {
        let stream = self.js.get_stream_no_info(EVENTS).await.unwrap();
        let mut consumer = stream.get_consumer::<pull::Config>(CONSUMER).await.unwrap();
        consumer.info().await.unwrap().clone()
    }

    /// Waits until every request is acknowledged.
    pub(crate) async fn drained(&self) {
        self.consumer_is(|info| info.num_pending == 0 && info.num_ack_pending == 0).await;
    }

    pub(crate) async fn consumer_is(&self, wanted: impl Fn(&jetstream::consumer::Info) -> bool) {
        let reached = async {
            while !wanted(&self.consumer().await) {
                tokio::time::sleep(POLL).await;
            }
        };
        if timeout(LIMIT, reached).await.is_err() {
            panic!("the consumer stays at {:?}", self.consumer().await);
        }
    }

    pub(crate) async fn dead_count(&self) -> u64 {
        let mut stream = self.js.get_stream(DEAD).await.unwrap();
        stream.info().await.unwrap().state.messages
    }
}

/// A NATS server that can be killed and started again on its data and port.
pub(crate) struct Nats {
    pub(crate) url: String,
    child: Child,
    folder: TempDir,
}

impl Nats {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, url) = serve(folder.path(), "-1").await;
        Self { url, child, folder }
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) async fn start_again(&mut self) {
        let port = self.url.rsplit(':').next().unwrap().to_owned();
        (self.child, self.url) = serve(self.folder.path(), &port).await;
    }
}

async fn serve(folder: &Path, port: &str) -> (Child, String) {
    let child = Command::new(program())
        .args(["-js", "-a", "127.0.0.1", "-p", port, "-sd"])
        .arg(folder)
        .arg("--ports_file_dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server");
    let file = folder.join(format!("nats-server_{}.ports", child.id()));
    let url = timeout(LIMIT, async {
        loop {
            let ports = std::fs::read(&file).ok();
            let ports =
                ports.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
            match ports.as_ref().and_then(|ports| ports.pointer("/nats/0")?.as_str()) {
                Some(url) => break url.to_owned(),
                None => tokio::time::sleep(POLL).await,
            }
        }
    });
    (child, url.await.expect("the server's port"))
}

fn program() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.servers");
    let servers = std::env::var_os("NEXUS_SERVERS").map_or(ours, PathBuf::from);
    let program = servers.join("bin/nats-server");
    if program.exists() { program } else { PathBuf::from("nats-server") }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
