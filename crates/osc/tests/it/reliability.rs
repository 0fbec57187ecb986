//! Losses, repetitions, restarts, revoked keys.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexus_contracts::{EventType, IncomingRequest, RunCancel, Timestamp};
use rosc::OscType;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::case::{Case, Client, KEY, LIMIT, SILENCE, Setup, now};

#[tokio::test]
async fn losses_are_made_good_by_resend() {
    let case = Case::start().await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    for _ in 0..5 {
        client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    }
    client.accepted("a").await;
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
    let long = "Kontrapunkt 🎼 ".repeat(1000);
    case.answer(&asked, &long).await;

    let (mut tokens, mut total, mut heard) = (BTreeMap::new(), None, 0);
    while total != i32::try_from(tokens.len()).ok() {
        let Some((_, message)) = client.next_within(SILENCE).await else {
            let gap = (0..).find(|seq| !tokens.contains_key(seq)).unwrap();
            client.say("/nexus/1/resend", vec!["a".into(), gap.into(), (gap + 3).into()]).await;
            continue;
        };
        heard += 1;
        match (message.addr.as_str(), message.args.as_slice()) {
            _ if heard % 3 == 0 => {}
            ("/nexus/1/token", [_, OscType::Int(seq), _, OscType::String(text)]) => {
                tokens.insert(*seq, text.clone());
            }
            ("/nexus/1/done", [_, OscType::Int(all), _]) => total = Some(*all),
            // The repeated questions that came after the first was accepted.
            ("/nexus/1/accepted", _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(tokens.into_values().collect::<String>(), long);
    case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await;
    case.stop().await;
}

/// Between a client and the server: of a hundred datagrams five are lost, five come twice, and
/// every third is overtaken by those after it.
struct Proxy {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn start(server: SocketAddr, seed: u64) -> Self {
        let inner = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        Self { address, task: tokio::spawn(pass_on(inner, outer, server, seed)) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(inner: UdpSocket, outer: UdpSocket, server: SocketAddr, seed: u64) {
    let mut dice = seed;
    let mut roll = move |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    // Datagrams wait for their turn, the earliest on top.
    let mut waiting = BinaryHeap::new();
    let (mut client, mut turn) = (None, 0_u64);
    let (mut to_server, mut to_client) = ([0; 4096], [0; 4096]);
    loop {
        let received = tokio::select! {
            received = inner.recv_from(&mut to_server) => {
                let (size, from) = received.unwrap();
                client = Some(from);
                Some((true, to_server[..size].to_vec()))
            }
            received = outer.recv_from(&mut to_client) => {
                Some((false, to_client[..received.unwrap().0].to_vec()))
            }
            // Nothing comes after them, so those that wait go now.
            () = tokio::time::sleep(Duration::from_millis(5)), if !waiting.is_empty() => None,
        };
        turn += 1;
        let silent = received.is_none();
        if let Some((up, bytes)) = received {
            let copies = match roll(100) {
                0..5 => 0,
                5..10 => 2,
                _ => 1,
            };
            for _ in 0..copies {
                let delay = if roll(3) == 0 { 1 + roll(8) } else { 0 };
                waiting.push(std::cmp::Reverse((turn + delay, up, bytes.clone())));
            }
        }
        while let Some(std::cmp::Reverse((at, up, bytes))) = waiting.pop() {
            if at > turn && !silent {
                waiting.push(std::cmp::Reverse((at, up, bytes)));
                break;
            }
            match (up, client) {
                (true, _) => drop(outer.send_to(&bytes, server).await),
                (false, Some(client)) => drop(inner.send_to(&bytes, client).await),
                (false, None) => {}
            }
        }
    }
}

/// What a careful client does: says everything until it is answered, and asks for gaps.
struct Careful {
    client: Client,
    tokens: BTreeMap<i32, (String, String)>,
    accepted: bool,
    total: Option<i32>,
}

impl Careful {
    async fn hello(&mut self) -> String {
        loop {
            self.client.say("/nexus/1/hello", vec!["pd".into(), 0.into(), KEY.into()]).await;
            while let Some((_, message)) = self.client.next_within(SILENCE).await {
                if let ("/nexus/1/welcome", [OscType::String(session), ..]) =
                    (message.addr.as_str(), message.args.as_slice())
                {
                    return session.clone();
                }
            }
        }
    }

    fn take(&mut self, address: &str, arguments: &[OscType]) {
        match (address, arguments) {
            (
                "/nexus/1/token",
                [_, OscType::Int(seq), OscType::String(kind), OscType::String(text)],
            ) => {
                let token = (kind.clone(), text.clone());
                let before = self.tokens.insert(*seq, token.clone());
                assert!(before.is_none_or(|before| before == token), "token {seq} has changed");
            }
            ("/nexus/1/done", [_, OscType::Int(total), _]) => self.total = Some(*total),
            ("/nexus/1/accepted", _) => self.accepted = true,
            ("/nexus/1/welcome", _) => {}
            other => panic!("{other:?}"),
        }
    }

    async fn listen(&mut self) -> bool {
        match self.client.next_within(SILENCE).await {
            Some((_, message)) => self.take(&message.addr, &message.args),
            None => return false,
        }
        true
    }

    async fn ask(&mut self, session: &str) {
        while !self.accepted {
            let question = vec![session.into(), "a".into(), "hi".into()];
            self.client.say("/nexus/1/ask", question).await;
            while self.listen().await && !self.accepted {}
        }
    }

    /// The text, when it is whole.
    async fn answer(&mut self, session: &str) -> String {
        loop {
            let whole = self.total.is_some_and(|total| self.tokens.keys().copied().eq(0..total));
            if whole {
                break;
            }
            if !self.listen().await {
                let gap = (0..).find(|seq| !self.tokens.contains_key(seq)).unwrap();
                let wanted = vec![session.into(), "a".into(), gap.into(), (gap + 31).into()];
                self.client.say("/nexus/1/resend", wanted).await;
            }
        }
        let reset = self.tokens.iter().rfind(|(_, (kind, _))| kind == "reset");
        let first = reset.map_or(0, |(seq, _)| seq + 1);
        self.tokens.range(first..).map(|(_, (_, text))| text.as_str()).collect()
    }
}

#[tokio::test]
async fn a_bad_network_gives_the_exact_text_and_one_run() {
    for seed in [1, 2, 3, 5, 8, 13] {
        let case = Case::start().await;
        let proxy = Proxy::start(case.address, seed).await;
        let client = case.client_through(proxy.address).await;
        let mut client = Careful { client, tokens: BTreeMap::new(), accepted: false, total: None };
        let session = client.hello().await;
        client.ask(&session).await;
        let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await.remove(0);
        let long = "Kontrapunkt 🎼 ".repeat(3000);
        let mut offset = 0;
        for piece in ["Zuerst etwas anderes, ", "das der Schluss verwirft."] {
            case.chunk(&asked, offset, piece).await;
            offset += piece.chars().count() as u64;
        }
        case.answer(&asked, &long).await;
        let text = timeout(LIMIT, client.answer(&session)).await.expect("the answer");
        assert_eq!(text, long, "seed {seed}");
        // One event: the question was asked once.
        case.stored::<IncomingRequest>(EventType::RequestsIncoming, 1).await;
        case.stop().await;
    }
}

/// `bus-config/` with a duplicate window of a moment.
fn forgetful_bus_config() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
    copy(&from, folder.path());
    let events = folder.path().join("streams/events.toml");
    let text = std::fs::read_to_string(&events).unwrap();
    let changed = text.replace("duplicate_window = \"10m\"", "duplicate_window = \"100ms\"");
    assert_ne!(changed, text);
    std::fs::write(&events, changed).unwrap();
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_question_of_long_ago_gets_its_answer_again_and_is_not_asked_twice() {
    let folder = forgetful_bus_config();
    let setup = Setup { bus_config: folder.path().to_owned(), ..Setup::default() };
    let mut case = Case::with(setup).await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    for (number, conversation) in (1..).zip(["solo", "band"]) {
        let question = ["conversation", conversation];
        let question = [&session, conversation, "hi"].into_iter().chain(question);
        client.say("/nexus/1/ask", question.map(OscType::from).collect()).await;
        client.accepted(conversation).await;
        let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, number).await;
        if conversation == "solo" {
            case.answer(&asked[number - 1], "hello").await;
            client.hear("/nexus/1/token").await;
            client.hear("/nexus/1/done").await;
        }
    }
    // The stream has forgotten when it takes an old id again.
    let asked = case.stored::<IncomingRequest>(EventType::RequestsIncoming, 2).await;
    let probe = asked[0].reply(RunCancel::of(asked[0].id, None), now());
    timeout(LIMIT, async {
        case.bus.publish(&probe).await.unwrap();
        while case.bus.publish(&probe).await.unwrap().duplicate {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the window to pass");

    case.restart().await;
    let client = case.client().await;
    assert_eq!(client.hello("pd", KEY).await, session);
    let ask = async |req: &str, text: &str| {
        let question = [&session, req, text, "conversation", req];
        client.say("/nexus/1/ask", question.map(OscType::from).to_vec()).await;
    };
    ask("solo", "hi").await;
    client.accepted("solo").await;
    assert_eq!(client.hear("/nexus/1/token").await[3], "hello".into());
    assert_eq!(client.hear("/nexus/1/done").await, ["solo".into(), 1.into(), "answered".into()]);
    ask("solo", "something else").await;
    assert_eq!(client.hear("/nexus/1/error").await[..2], ["solo".into(), "conflict".into()]);
    // The other is still open, and answered when the answer comes.
    ask("band", "hi").await;
    client.accepted("band").await;
    client.silent().await;
    case.answer(&asked[1], "later").await;
    assert_eq!(client.hear("/nexus/1/token").await[3], "later".into());
    client.hear("/nexus/1/done").await;
    ask("new", "hi").await;
    client.accepted("new").await;
    case.stored::<IncomingRequest>(EventType::RequestsIncoming, 3).await;
    case.stop().await;
}

/// Milliseconds that the clocks below are ahead, one for each test.
static AHEAD: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

fn ahead<const TEST: usize>() -> Timestamp {
    now().plus_millis(AHEAD[TEST].load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_revoked_key_ends_its_session() {
    let case = Case::with(Setup { now: ahead::<0>, ..Setup::default() }).await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    let ping = || client.say("/nexus/1/ping", vec![session.as_str().into()]);
    // With the usual heartbeats the key is not looked up each time.
    for _ in 0..4 {
        AHEAD[0].fetch_add(10_000, Ordering::Relaxed);
        ping().await;
        client.hear("/nexus/1/pong").await;
    }
    assert_eq!(case.keys.lookups.load(Ordering::Relaxed), 2);
    case.keys.revoked.store(true, Ordering::Relaxed);
    AHEAD[0].fetch_add(30_000, Ordering::Relaxed);
    ping().await;
    client.hear("/nexus/1/pong").await;
    assert_eq!(client.hear("/nexus/1/error").await[..2], ["".into(), "unauthorised".into()]);
    client.say("/nexus/1/ask", vec![session.as_str().into(), "a".into(), "hi".into()]).await;
    assert_eq!(client.hear("/nexus/1/error").await[..2], ["a".into(), "unknown_session".into()]);
    case.stop().await;
}

#[tokio::test]
async fn while_keys_cannot_be_looked_up_open_sessions_go_on() {
    let case = Case::with(Setup { now: ahead::<1>, ..Setup::default() }).await;
    let client = case.client().await;
    let session = client.hello("pd", KEY).await;
    case.keys.unavailable.store(true, Ordering::Relaxed);
    AHEAD[1].fetch_add(30_000, Ordering::Relaxed);
    for _ in 0..3 {
        client.say("/nexus/1/ping", vec![session.as_str().into()]).await;
        client.hear("/nexus/1/pong").await;
    }
    let stranger = case.client().await;
    for _ in 0..20 {
        stranger.say("/nexus/1/hello", vec!["a new one".into(), 0.into(), KEY.into()]).await;
        assert_eq!(stranger.hear("/nexus/1/error").await[..2], ["".into(), "unavailable".into()]);
    }
    // None of that counted as guessing.
    case.keys.unavailable.store(false, Ordering::Relaxed);
    stranger.hello("a new one", KEY).await;
    case.keys.revoked.store(true, Ordering::Relaxed);
    client.say("/nexus/1/ping", vec![session.as_str().into()]).await;
    client.hear("/nexus/1/pong").await;
    assert_eq!(client.hear("/nexus/1/error").await[..2], ["".into(), "unauthorised".into()]);
    case.stop().await;
}
