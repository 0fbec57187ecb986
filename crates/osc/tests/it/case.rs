//! A broker with the adapter on it, and a client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use nexus_bus::{Bus, Durability, EVENTS, Filter, Reader, Spec, Start, Topology};
use nexus_contracts::{
    ChunkDelta, Event, EventType, IncomingRequest, InferenceChunk, LOCAL_TENANT, Outcome, Pattern,
    ProcessedRequest, Timestamp, derived_id,
};
use nexus_osc::{Config, Error, Osc, Speaker, Verdict, Verify};
use rosc::{OscMessage, OscPacket, OscType};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Long enough for an answer that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);
pub(crate) const KEY: &str = "nxk_good";

pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

/// What is known of keys: how often they are asked about, whether they are revoked, and whether
/// they can be looked up.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) lookups: AtomicU32,
    pub(crate) revoked: AtomicBool,
    pub(crate) unavailable: AtomicBool,
}

pub(crate) fn verify(keys: &Arc<Keys>) -> Verify {
    let keys = Arc::clone(keys);
    Arc::new(move |key| {
        keys.lookups.fetch_add(1, Ordering::Relaxed);
        let opens = key == KEY && !keys.revoked.load(Ordering::Relaxed);
        let speaker = Speaker { tenant: LOCAL_TENANT, user: "ada".to_owned() };
        let verdict = match opens {
            _ if keys.unavailable.load(Ordering::Relaxed) => Verdict::Unavailable,
            true => Verdict::Opens(speaker),
            false => Verdict::Nothing,
        };
        async move { verdict }.boxed()
    })
}

/// A broker with the adapter on it.
pub(crate) struct Case {
    pub(crate) nats: Nats,
    pub(crate) bus: Bus,
    pub(crate) address: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) keys: Arc<Keys>,
    setup: Setup,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Case {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let nats = Nats::start().await;
        let bus = Bus::connect(&nats.url, "osc test").await.unwrap();
        let spec = Spec::read_folder(&setup.bus_config, Durability::Interval).unwrap();
        Topology::new(&bus, &spec).apply(false).await.unwrap();
        let keys = Arc::default();
        let (Running { address, tcp, task }, stop) = serve(&bus, &setup, &keys).await;
        Self { nats, bus, address, tcp, keys, setup, stop, running: task }
    }

    pub(crate) async fn restart(&mut self) {
        self.stop.cancel();
        timeout(LIMIT, &mut self.running).await.unwrap().unwrap().unwrap();
        let (running, stop) = serve(&self.bus, &self.setup, &self.keys).await;
        (self.address, self.tcp, self.running) = (running.address, running.tcp, running.task);
        self.stop = stop;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(LIMIT, self.running).await.unwrap().unwrap().unwrap();
        drop(self.nats);
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_through(self.address).await
    }

    /// A client that knows the server under another address.
    pub(crate) async fn client_through(&self, server: SocketAddr) -> Client {
        Client { socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), server }
    }

    /// All events of a type, once there are so many.
    pub(crate) async fn stored<P: nexus_contracts::Payload>(
        &self,
        kind: EventType,
        count: usize,
    ) -> Vec<Event<P>> {
        let filter = Filter::Patterns(vec![Pattern::kind(kind)]);
        let mut reader = Reader::open(&self.bus, EVENTS, filter, Start::First).await.unwrap();
        let mut all = Vec::new();
        while all.len() < count {
            let message = timeout(LIMIT, reader.next()).await.expect("an event").unwrap();
            all.push(Event::decode(&message.bytes).unwrap());
        }
        assert_eq!(reader.pending(), 0, "more events than expected");
        all
    }

    pub(crate) async fn chunk(&self, asked: &Event<IncomingRequest>, offset: u64, text: &str) {
        let delta = ChunkDelta::Text { offset, text: text.to_owned() };
        let chunk = InferenceChunk { call: derived_id(asked.id, "call"), attempt: 1, delta };
        self.bus.publish_chunk(&asked.reply(chunk, now())).await;
    }

    pub(crate) async fn answer(&self, asked: &Event<IncomingRequest>, text: &str) {
        self.end(asked, Outcome::Answered { text: text.to_owned() }).await;
    }

    pub(crate) async fn end(&self, asked: &Event<IncomingRequest>, outcome: Outcome) {
        let processed = ProcessedRequest::of(asked.id, outcome);
        self.bus.publish(&asked.reply(processed, now())).await.unwrap();
    }
}

/// How a case is set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) bus_config: PathBuf,
    pub(crate) now: fn() -> Timestamp,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config { listen: Some("127.0.0.1:0".parse().unwrap()), ..Config::default() },
            bus_config: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config"),
            now,
        }
    }
}

struct Running {
    address: SocketAddr,
    tcp: SocketAddr,
    task: JoinHandle<Result<(), Error>>,
}

async fn serve(bus: &Bus, setup: &Setup, keys: &Arc<Keys>) -> (Running, CancellationToken) {
    let stop = CancellationToken::new();
    let osc =
        Osc::open(bus, setup.config.clone(), verify(keys), setup.now, stop.clone()).await.unwrap();
    let (address, tcp) = (osc.local_addr().unwrap(), osc.local_tcp_addr().unwrap());
    (Running { address, tcp, task: tokio::spawn(osc.run()) }, stop)
}

pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    /// Returns the datagram's size.
    pub(crate) async fn say(&self, addr: &str, args: Vec<OscType>) -> usize {
        let message = OscPacket::Message(OscMessage { addr: addr.to_owned(), args });
        self.send(&rosc::encoder::encode(&message).unwrap()).await
    }

    pub(crate) async fn send(&self, packet: &[u8]) -> usize {
        self.socket.send_to(packet, self.server).await.unwrap()
    }

    pub(crate) async fn next_within(&self, limit: Duration) -> Option<(usize, OscMessage)> {
        let mut buffer = [0; 2048];
        let (size, from) = timeout(limit, self.socket.recv_from(&mut buffer)).await.ok()?.unwrap();
        assert_eq!(from, self.server);
        match rosc::decoder::decode_udp(&buffer[..size]).unwrap().1 {
            OscPacket::Message(message) => Some((size, message)),
            OscPacket::Bundle(bundle) => panic!("{bundle:?}"),
        }
    }

    pub(crate) async fn hear(&self, addr: &str) -> Vec<OscType> {
        let (_, message) = self.next_within(LIMIT).await.expect("a datagram");
        assert_eq!(message.addr, addr, "{message:?}");
        message.args
    }

    pub(crate) async fn silent(&self) {
        assert_eq!(self.next_within(SILENCE).await, None);
    }

    pub(crate) async fn hello(&self, client: &str, key: &str) -> String {
        self.say("/nexus/1/hello", vec![client.into(), 0.into(), key.into()]).await;
        match self.hear("/nexus/1/welcome").await.as_slice() {
            [OscType::String(session), OscType::String(lease), OscType::Int(20)]
                if lease == "60" =>
            {
                session.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn accepted(&self, req: &str) -> Uuid {
        match self.hear("/nexus/1/accepted").await.as_slice() {
            [OscType::String(named), OscType::String(run)] if named == req => run.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// A NATS server of its own for one test.
pub(crate) struct Nats {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, url) = nats(folder.path(), "-1").await;
        Self { child, url, folder }
    }

    /// Kills it and starts it on its port again.
    pub(crate) async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let port = self.url.rsplit(':').next().unwrap().to_owned();
        (self.child, self.url) = nats(self.folder.path(), &port).await;
    }
}

async fn nats(folder: &Path, port: &str) -> (Child, String) {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.servers/bin/nats-server");
    let child = Command::new(if binary.exists() { binary } else { PathBuf::from("nats-server") })
        .args(["-js", "-a", "127.0.0.1", "-p", port, "-sd"])
        .arg(folder)
        .arg("--ports_file_dir")
        .arg(folder)
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
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    (child, url.await.expect("the server's port"))
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
