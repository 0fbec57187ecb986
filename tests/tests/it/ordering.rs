//! Each conversation is answered in its own order, whoever dies meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_bus::{Bus, EVENTS, Filter, Reader, Start};
use nexus_contracts::{Event, EventType, IncomingRequest, LOCAL_TENANT, Metadata, Pattern, Token};
use nexus_embedded::{DataLock, Durability, Servers};
use nexus_testkit::process::{Options, Place, Running, servers};
use serde_json::Value;
use uuid::Uuid;

use crate::support::{json, lines, succeeded};

const ORCHESTRATORS: usize = 3;
/// Without a final word for so long, something is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// How much: more with `NEXUS_FULL=1`.
fn size() -> (usize, usize) {
    if std::env::var("NEXUS_FULL").is_ok_and(|full| full == "1") { (200, 50) } else { (40, 10) }
}

/// Servers, and each worker as a process of its own.
struct Cluster {
    place: Place,
    servers: Servers,
    _lock: DataLock,
    _others: Running,
    orchestrators: Vec<Running>,
    started: usize,
}

impl Cluster {
    async fn start() -> Self {
        let mut place = Place::new(&Options::default()).unwrap();
        let data = place.folder().join("data");
        let lock = DataLock::acquire(&data).unwrap();
        let servers = Servers::start(nexus_embedded::Config {
            data,
            servers: vec![servers()],
            durability: Durability::Interval,
            nats_port: None,
            postgres_port: None,
        });
        let servers = servers.await.unwrap();
        place.set("NEXUS_NATS_URL", servers.nats_url());
        place.set("NEXUS_DATABASE_URL", servers.database_url());
        succeeded(place.run(&["bus", "apply"]).await.unwrap());
        let mut others =
            place.start("others", &["worker", "tools", "inference", "memory"]).unwrap();
        others.ready().await.unwrap();
        let mut cluster = Self {
            place,
            servers,
            _lock: lock,
            _others: others,
            orchestrators: Vec::new(),
            started: 0,
        };
        for _ in 0..ORCHESTRATORS {
            cluster.start_orchestrator().await;
        }
        cluster
    }

    async fn start_orchestrator(&mut self) {
        self.started += 1;
        let name = format!("orchestrator-{}", self.started);
        let mut orchestrator = self.place.start(&name, &["worker", "orchestrator"]).unwrap();
        orchestrator.ready().await.unwrap();
        self.orchestrators.push(orchestrator);
    }

    /// `kill -9` of the one that lives longest, and a new one in its place.
    async fn replace_orchestrator(&mut self) {
        self.orchestrators.remove(0).kill().unwrap();
        self.start_orchestrator().await;
    }
}

fn request(conversation: &str, number: usize) -> Event<IncomingRequest> {
    let metadata = Metadata::at(
        LOCAL_TENANT,
        Token::encode("web").unwrap(),
        Token::encode(conversation).unwrap(),
    );
    let (id, now) = (Uuid::now_v7(), jiff::Timestamp::now().into());
    // Every third has a tool round, so that runs differ in length.
    let text = if number.is_multiple_of(3) {
        format!("calculate {number} + 1")
    } else {
        format!("message {number}")
    };
    Event::new(id, id, metadata, now, IncomingRequest::text(text))
}

/// Sends everything at once: many conversations side by side, each in its order.
async fn send_all(
    bus: &Bus,
    conversations: usize,
    messages: usize,
) -> BTreeMap<String, Vec<String>> {
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..messages {
        let round = (0..conversations).map(|conversation| format!("ordering-{conversation}"));
        let events: Vec<(String, Event<IncomingRequest>)> = round
            .map(|conversation| (conversation.clone(), request(&conversation, number)))
            .collect();
        let stored = events.iter().map(|(_, event)| bus.publish(event));
        for stored in futures_util::future::join_all(stored).await {
            stored.unwrap();
        }
        for (conversation, event) in events {
            asked.entry(conversation).or_default().push(event.id.to_string());
        }
    }
    asked
}

#[tokio::test]
async fn conversations_are_answered_in_order_while_orchestrators_die() {
    let (conversations, messages) = size();
    let mut cluster = Cluster::start().await;
    let bus = Bus::connect(cluster.servers.nats_url(), "test").await.unwrap();
    let asked = send_all(&bus, conversations, messages).await;

    let total = conversations * messages;
    let pattern = Pattern::kind(EventType::RequestsProcessed);
    let mut reader =
        Reader::open(&bus, EVENTS, Filter::Patterns(vec![pattern]), Start::First).await.unwrap();
    let (mut answered, mut seen, mut kills) = (BTreeMap::<String, Vec<String>>::new(), 0, 0);
    let began = Instant::now();
    while seen < total {
        let reply = tokio::time::timeout(STUCK, reader.next()).await;
        let reply = json(
            &reply.unwrap_or_else(|_| panic!("{seen} of {total} after {kills} kills")).unwrap(),
        );
        assert_eq!(reply["payload"]["outcome"]["status"], "answered", "{reply}");
        let conversation = reply["metadata"]["conversation"].as_str().unwrap().to_owned();
        answered
            .entry(conversation)
            .or_default()
            .push(reply["payload"]["request"].as_str().unwrap().to_owned());
        seen += 1;
        // Spread over the work, and none at its end.
        if kills < 2 * ORCHESTRATORS && seen > (kills + 1) * total / (2 * ORCHESTRATORS + 1) {
            kills += 1;
            cluster.replace_orchestrator().await;
        }
    }
    eprintln!("{total} answers in {:?} with {kills} kills", began.elapsed());
    assert_eq!(kills, 2 * ORCHESTRATORS);
    for (conversation, asked) in &asked {
        assert_eq!(&answered[conversation], asked, "{conversation}");
    }
    let ledger: Value =
        lines(&succeeded(cluster.place.run(&["ledger", "--json"]).await.unwrap())).remove(0);
    assert_eq!(
        (&ledger["total"]["answered"], &ledger["second_replies"]),
        (&total.into(), &0.into()),
        "{ledger}"
    );
    succeeded(cluster.place.run(&["replay", "--since", "1h", "--verify"]).await.unwrap());
    cluster.orchestrators.clear();
    cluster.servers.stop().await;
}
