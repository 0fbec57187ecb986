//! `oscsend` and `oscdump` of liblo-tools, and python-osc.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nexus_testkit::process::Nexus;

use super::python;
use crate::support::{fresh, shared, until};

/// `oscdump` on a port of its own, with what it has heard.
struct Dump {
    process: Child,
    port: u16,
    file: PathBuf,
}

impl Dump {
    fn start(nexus: &Nexus) -> Self {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = nexus.place().folder().join(format!("osc-{port}"));
        let mut dump = Command::new("oscdump");
        dump.args(["-L", &port.to_string()])
            .stdout(File::create(&file).unwrap())
            .stderr(Stdio::null());
        let process = dump.spawn().expect("oscdump is missing; scripts/test installs liblo-tools");
        Self { process, port, file }
    }

    /// The first message that begins like this; its words after the types.
    async fn heard(&self, beginning: &str) -> Vec<String> {
        until(beginning, async || self.all(beginning).into_iter().next()).await
    }

    fn all(&self, beginning: &str) -> Vec<Vec<String>> {
        let heard = fs::read_to_string(&self.file).unwrap();
        let lines =
            heard.lines().filter_map(|line| line.find("/nexus/").map(|at| line[at..].to_owned()));
        let ours = lines.filter(|line| line.starts_with(beginning));
        ours.map(|line| {
            line.split('"')
                .filter(|part| !part.trim().is_empty())
                .map(|part| part.trim().to_owned())
                .collect()
        })
        .collect()
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(nexus: &Nexus, address: &str, arguments: &[&str]) {
    let mut send = Command::new("oscsend");
    send.args(["127.0.0.1", &nexus.osc_port().to_string(), address]).args(arguments);
    assert!(
        send.status().expect("oscsend is missing; scripts/test installs liblo-tools").success()
    );
}

/// Says hello until somebody answers: oscdump may not listen yet. The session.
async fn hello(nexus: &Nexus, dump: &Dump) -> String {
    let (port, key) = (dump.port.to_string(), nexus.key().unwrap());
    // A client's sessions are told apart by its name, so each test is a client of its own.
    let client = format!("test-{port}");
    until("a welcome", async || {
        send(nexus, "/nexus/1/hello", &["sis", &client, &port, &key]);
        dump.all("/nexus/1/welcome").into_iter().next()
    })
    .await[1]
        .clone()
}

#[tokio::test]
async fn a_conversation_over_osc_goes_from_hello_to_done() {
    let nexus = shared().await;
    let dump = Dump::start(nexus);
    let session = hello(nexus, &dump).await;
    let conversation = fresh("osc");
    let question = "what time is it in Tokyo?";
    send(nexus, "/nexus/1/ask", &["sssss", &session, "7", question, "conversation", &conversation]);

    assert_eq!(dump.heard("/nexus/1/accepted").await[1], "7");
    let done = dump.heard("/nexus/1/done").await;
    assert_eq!((done[1].as_str(), done.last().unwrap().as_str()), ("7", "answered"), "{done:?}");
    let total: usize = done[2].parse().unwrap();
    let tokens = dump.all("/nexus/1/token");
    assert_eq!(tokens.len(), total);
    let text: String =
        tokens.iter().map(|token| token.last().unwrap().as_str()).collect::<Vec<_>>().join(" ");
    assert!(text.contains("Tokyo"), "{text}");
}

#[tokio::test]
async fn oscsend_asks_over_tcp_in_liblos_framing() {
    let nexus = shared().await;
    let dump = Dump::start(nexus);
    let session = hello(nexus, &dump).await;
    // oscsend closes its connection at once, so the answer waits for who asks for it over UDP.
    let server = format!("osc.tcp://127.0.0.1:{}", nexus.osc_port());
    let question = "what time is it in Tokyo?";
    let mut send = Command::new("oscsend");
    send.args([&server, "/nexus/1/ask", "sss", &session, "tcp", question]);
    assert!(send.status().expect("oscsend").success());
    let done = until("the answer over UDP", async || {
        send_again(nexus, &dump, &session, question);
        dump.all("/nexus/1/done").into_iter().find(|done| done[1] == "tcp")
    })
    .await;
    assert_eq!(done.last().unwrap(), "answered");
    let runs: BTreeSet<String> =
        dump.all("/nexus/1/accepted").into_iter().map(|accepted| accepted[2].clone()).collect();
    // An answer that was there before the first repeat over UDP comes without its acceptance.
    assert!(runs.len() <= 1, "asked twice: {runs:?}");
    let answers: BTreeSet<Vec<String>> = dump.all("/nexus/1/done").into_iter().collect();
    assert_eq!(answers.len(), 1, "answered twice: {answers:?}");
}

/// Says hello from UDP again, so that replies go there, and repeats the question.
fn send_again(nexus: &Nexus, dump: &Dump, session: &str, question: &str) {
    let (port, key) = (dump.port.to_string(), nexus.key().unwrap());
    send(nexus, "/nexus/1/hello", &["sis", &format!("test-{port}"), &port, &key]);
    send(nexus, "/nexus/1/ask", &["sss", session, "tcp", question]);
}

#[tokio::test]
async fn python_osc_works_over_udp_and_both_tcp_framings() {
    let nexus = shared().await;
    python("osc_client.py", &[&nexus.osc_port().to_string(), &nexus.key().unwrap()]).await;
}

#[tokio::test]
async fn a_wrong_key_over_osc_is_an_error() {
    let nexus = shared().await;
    let dump = Dump::start(nexus);
    let port = dump.port.to_string();
    let error = until("an error", async || {
        send(nexus, "/nexus/1/hello", &["sis", "test", &port, "nx_wrong"]);
        dump.all("/nexus/1/error").into_iter().next()
    })
    .await;
    assert!(error.join(" ").contains("unauthori"), "{error:?}");
    assert_eq!(dump.all("/nexus/1/welcome").len(), 0);
}

#[tokio::test]
async fn hostile_datagrams_do_no_harm() {
    let nexus = shared().await;
    let (pid, socket) = (nexus.pid(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut hostile: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 1],
        vec![b'/'; 1500],
        vec![0xff; 60_000],
        b"#bundle\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xff".to_vec(),
        b"/nexus/1/ask\0\0\0\0,[[[[[[[[\0\0\0\0".to_vec(),
        b"/nexus/1/ask\0\0\0\0,b\0\0\xff\xff\xff\xff".to_vec(),
        b"/nexus/1/hello\0\0,s\0\0no end".to_vec(),
    ];
    let deep = [b"/a\0\0,".to_vec(), vec![b'['; 8000], vec![0; 4]].concat();
    hostile.push(deep);
    let mut nested = b"#bundle\0\0\0\0\0\0\0\0\x01".to_vec();
    for _ in 0..2000 {
        nested.extend(b"\0\0\xea\x60#bundle\0\0\0\0\0\0\0\0\x01");
    }
    hostile.push(nested);
    for datagram in hostile {
        socket.send_to(&datagram, ("127.0.0.1", nexus.osc_port())).unwrap();
    }
    let dump = Dump::start(nexus);
    hello(nexus, &dump).await;
    assert_eq!(nexus.pid(), pid);
    assert!(std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}
