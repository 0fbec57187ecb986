//! OSC over TCP, in both framings.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use nexus_contracts::{Event, EventType, IncomingRequest};
use nexus_osc::{Config, Error, Osc, Tcp};
use nexus_osc_codec::framing::{Detect, Framing};
use nexus_osc_codec::{Argument, Limits, Message, decode, encode_message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::case::{Case, KEY, LIMIT, Setup, now, verify};

const FRAMINGS: [Framing; 2] = [Framing::LengthPrefixed, Framing::Slip];

pub(crate) struct Connection {
    stream: TcpStream,
    framing: Framing,
    reader: Detect,
    heard: VecDeque<Message>,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr, framing: Framing) -> Self {
        Self::over(TcpStream::connect(server).await.unwrap(), framing)
    }

    fn over(stream: TcpStream, framing: Framing) -> Self {
        Self { stream, framing, reader: Detect::new(65_536), heard: VecDeque::new() }
    }

    async fn say(&mut self, address: &str, arguments: &[&str]) {
        let arguments = arguments.iter().map(|argument| (*argument).into()).collect();
        let packet = encode_message(&Message::new(address, arguments)).unwrap();
        self.stream.write_all(&self.framing.encode(&packet).unwrap()).await.unwrap();
    }

    /// `None` when the connection has ended.
    async fn next(&mut self) -> Option<Message> {
        let mut buffer = [0; 4096];
        while self.heard.is_empty() {
            let read = timeout(LIMIT, self.stream.read(&mut buffer)).await.expect("a packet");
            let Ok(size @ 1..) = read else { return None };
            for packet in self.reader.push(&buffer[..size]) {
                let read = decode(&packet.unwrap(), &Limits::default()).unwrap();
                self.heard.extend(read.into_iter().map(|timed| timed.message));
            }
        }
        assert_eq!(self.reader.framing(), Some(self.framing));
        self.heard.pop_front()
    }

    async fn hear(&mut self, address: &str) -> Vec<Argument> {
        let message = self.next().await.expect("a message");
        assert_eq!(message.address, address, "{message:?}");
        message.arguments
    }

    pub(crate) async fn hello(&mut self, client: &str) -> String {
        self.say("/nexus/1/hello", &[client, "0", KEY]).await;
        match self.hear("/nexus/1/welcome").await.remove(0) {
            Argument::String(session) => session,
            other => panic!("{other:?}"),
        }
    }

    /// The text and the number of tokens, up to the end of the answer.
    async fn answer(&mut self) -> (String, i32) {
        let mut text = String::new();
        loop {
            let message = self.next().await.expect("a message");
            match (message.address.as_str(), message.arguments.as_slice()) {
                ("/nexus/1/token", [.., Argument::String(piece)]) => text.push_str(piece),
                ("/nexus/1/done", [_, Argument::Int(total), _]) => return (text, *total),
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn asked(case: &Case, number: usize) -> Event<IncomingRequest> {
    let mut all = case.stored(EventType::RequestsIncoming, number).await;
    all.remove(number - 1)
}

#[tokio::test]
async fn an_answer_streams_over_the_connection_in_its_framing() {
    let case = Case::start().await;
    for (number, framing) in (1..).zip(FRAMINGS) {
        let mut client = Connection::open(case.tcp, framing).await;
        let session = client.hello(&format!("{framing:?}")).await;
        client.say("/nexus/1/ask", &[&session, "7", "Was ist eine Kadenz?"]).await;
        assert_eq!(client.hear("/nexus/1/accepted").await[0], "7".into());
        let asked = asked(&case, number).await;
        case.chunk(&asked, 0, "Eine Schluss").await;
        assert_eq!(client.hear("/nexus/1/token").await[3], "Eine Schluss".into());
        case.answer(&asked, "Eine Schlusswendung 🎹.").await;
        assert_eq!(client.answer().await, ("wendung 🎹.".to_owned(), 2));
    }
    case.stop().await;
}

#[tokio::test]
async fn after_a_reconnect_the_same_session_gets_the_rest() {
    let case = Case::start().await;
    let mut client = Connection::open(case.tcp, Framing::Slip).await;
    let session = client.hello("max").await;
    client.say("/nexus/1/ask", &[&session, "a", "hi"]).await;
    client.hear("/nexus/1/accepted").await;
    let asked = asked(&case, 1).await;
    case.chunk(&asked, 0, "One ").await;
    client.hear("/nexus/1/token").await;
    drop(client);
    case.answer(&asked, "One two three").await;
    // The other framing, and no hello: the session is known by its name.
    let mut client = Connection::open(case.tcp, Framing::LengthPrefixed).await;
    let (mut tokens, mut total) = (BTreeMap::new(), None);
    // The answer may come while it is asked for.
    while total != i32::try_from(tokens.len()).ok() {
        client.say("/nexus/1/resend", &[&session, "a", "0", "9"]).await;
        client.say("/nexus/1/ping", &[&session]).await;
        loop {
            let message = client.next().await.expect("a message");
            match (message.address.as_str(), message.arguments.as_slice()) {
                ("/nexus/1/token", [_, Argument::Int(seq), _, Argument::String(text)]) => {
                    tokens.insert(*seq, text.clone());
                }
                ("/nexus/1/done", [_, Argument::Int(all), _]) => total = Some(*all),
                ("/nexus/1/pong", _) => break,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(tokens.into_values().collect::<String>(), "One two three");
    case.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_cut_off_and_nobody_waits_for_it() {
    let case = Case::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut lazy = Connection::over(socket.connect(case.tcp).await.unwrap(), Framing::Slip);
    let session = lazy.hello("lazy").await;
    lazy.say("/nexus/1/ask", &[&session, "a", "hi"]).await;
    lazy.hear("/nexus/1/accepted").await;
    let question = asked(&case, 1).await;
    let long = "Kontrapunkt 🎼 ".repeat(12_000);
    case.answer(&question, &long).await;

    let mut other = Connection::open(case.tcp, Framing::Slip).await;
    let busy = other.hello("busy").await;
    // While the lazy one asks for everything again and again, it never reads.
    let mut cut = false;
    for _ in 0..1000 {
        let resend = Message::new(
            "/nexus/1/resend",
            vec![session.as_str().into(), "a".into(), 0.into(), 63.into()],
        );
        let packet = Framing::Slip.encode(&encode_message(&resend).unwrap()).unwrap();
        if lazy.stream.write_all(&packet).await.is_err() {
            cut = true;
            break;
        }
        other.say("/nexus/1/ping", &[&busy]).await;
        assert_eq!(other.hear("/nexus/1/pong").await, [busy.as_str().into()]);
    }
    assert!(cut, "the lazy client is still connected");

    // Back again, it gets what it missed.
    let mut back = Connection::open(case.tcp, Framing::LengthPrefixed).await;
    assert_eq!(back.hello("lazy").await, session);
    back.say("/nexus/1/ask", &[&session, "a", "hi"]).await;
    back.hear("/nexus/1/accepted").await;
    assert_eq!(back.answer().await.0, long);
    case.stop().await;
}

#[tokio::test]
async fn broken_streams_are_told_so() {
    let case = Case::start().await;
    let mut slip = Connection::open(case.tcp, Framing::Slip).await;
    let session = slip.hello("slip").await;
    let long = Framing::Slip.encode(&vec![b'/'; 70_000]).unwrap();
    slip.stream.write_all(&long).await.unwrap();
    assert_eq!(slip.hear("/nexus/1/error").await[1], "malformed".into());
    // What follows is read as before.
    slip.say("/nexus/1/ping", &[&session]).await;
    slip.hear("/nexus/1/pong").await;

    let mut length = Connection::open(case.tcp, Framing::LengthPrefixed).await;
    length.stream.write_all(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]).await.unwrap();
    assert_eq!(length.hear("/nexus/1/error").await[1], "malformed".into());
    assert_eq!(length.next().await, None);

    let mut stranger = Connection::open(case.tcp, Framing::LengthPrefixed).await;
    stranger.say("/nexus/1/ping", &["somebody with a long name"]).await;
    assert_eq!(stranger.hear("/nexus/1/error").await[1], "unknown_session".into());
    case.stop().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_closed() {
    let mut setup = Setup::default();
    setup.config.lease = Duration::from_millis(400);
    let case = Case::with(setup).await;
    let mut silent = Connection::open(case.tcp, Framing::Slip).await;
    assert_eq!(silent.next().await, None);
    case.stop().await;
}

#[tokio::test]
async fn connections_are_limited() {
    let mut setup = Setup::default();
    setup.config.max_connections = NonZeroUsize::MIN;
    let case = Case::with(setup).await;
    let mut first = Connection::open(case.tcp, Framing::Slip).await;
    let session = first.hello("first").await;
    let mut second = Connection::open(case.tcp, Framing::Slip).await;
    assert_eq!(second.next().await, None);
    first.say("/nexus/1/ping", &[&session]).await;
    first.hear("/nexus/1/pong").await;
    drop(first);
    // Its place is free as soon as its end is noticed.
    timeout(LIMIT, async {
        loop {
            let stream = TcpStream::connect(case.tcp).await.unwrap();
            let mut third = Connection::over(stream, Framing::Slip);
            let hello = ["third", "0", KEY].map(Argument::from).to_vec();
            let packet = encode_message(&Message::new("/nexus/1/hello", hello)).unwrap();
            let _ = third.stream.write_all(&Framing::Slip.encode(&packet).unwrap()).await;
            if third.next().await.is_some_and(|heard| heard.address == "/nexus/1/welcome") {
                return;
            }
        }
    })
    .await
    .expect("a place");
    case.stop().await;
}

#[tokio::test]
async fn a_taken_tcp_port_and_an_open_door_are_said_plainly() {
    let case = Case::start().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = async |config| {
        Osc::open(&case.bus, config, verify(&case.keys), now, CancellationToken::new()).await
    };
    let udp = Some("127.0.0.1:0".parse().unwrap());
    let tcp = Tcp::At(taken.local_addr().unwrap());
    let error = open(Config { listen: udp, tcp, ..Config::default() }).await.unwrap_err();
    assert!(matches!(error, Error::Bind { transport: "TCP", .. }), "{error}");

    let exposed = Config { listen: Some("0.0.0.0:0".parse().unwrap()), ..Config::default() };
    let error = open(exposed.clone()).await.unwrap_err();
    assert!(matches!(error, Error::Exposed { .. }), "{error}");
    let allow = vec!["192.168.1.0/24".parse().unwrap()];
    assert!(open(Config { allow, ..exposed }).await.is_ok());
    let off = open(Config { listen: udp, tcp: Tcp::Off, ..Config::default() }).await.unwrap();
    assert_eq!(off.local_tcp_addr(), None);
    case.stop().await;
}
