//! Clients of every adapter, who try again with the same id until they are accepted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rosc::{OscMessage, OscPacket, OscType};
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::plan::Plan;

/// Clients of each adapter that work at once.
const CLIENTS: usize = 6;

/// What clients have been promised.
#[derive(Debug, Default)]
pub(crate) struct Promised {
    /// Texts that the web clients got an answer to; each text is one request.
    pub(crate) web: BTreeSet<String>,
    /// Texts that were said in Telegram.
    pub(crate) telegram: BTreeSet<String>,
    /// Texts that the OSC adapter accepted.
    pub(crate) osc: BTreeSet<String>,
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    wanted: usize,
    asked: AtomicUsize,
    enough: AtomicBool,
    promised: Mutex<Promised>,
}

impl Load {
    pub(crate) fn start(cluster: &Cluster, plan: &Plan) -> Self {
        let shared = Arc::new(Shared {
            wanted: plan.requests,
            asked: AtomicUsize::new(0),
            enough: AtomicBool::new(false),
            promised: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap_or_default();
        for client in 0..CLIENTS {
            let url = format!("http://{}/v1/chat/completions", cluster.http);
            clients.spawn(web(Arc::clone(&shared), http.clone(), url, cluster.key.clone(), client));
            let address = SocketAddr::from(([127, 0, 0, 1], cluster.osc));
            clients.spawn(osc(Arc::clone(&shared), address, cluster.key.clone(), client));
            clients.spawn(telegram(Arc::clone(&shared), Arc::clone(&cluster.bot), client));
        }
        Self { shared, clients }
    }

    /// Whether as many requests were promised as wanted.
    pub(crate) async fn is_enough(&self) -> bool {
        let promised = self.shared.promised.lock().await;
        promised.web.len() + promised.telegram.len() + promised.osc.len() >= self.shared.wanted
    }

    /// Ends the load: what has been asked is still seen through.
    pub(crate) async fn finish(mut self, patience: Duration) -> Promised {
        self.shared.enough.store(true, Ordering::SeqCst);
        let end = async { while self.clients.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, end).await.is_err() {
            println!("  some clients were still not served after {patience:?}");
        }
        std::mem::take(&mut *self.shared.promised.lock().await)
    }
}

impl Shared {
    /// The next request's number; `None` when there are enough.
    fn next(&self) -> Option<usize> {
        (!self.enough.load(Ordering::SeqCst)).then(|| self.asked.fetch_add(1, Ordering::SeqCst))
    }
}

async fn web(shared: Arc<Shared>, http: reqwest::Client, url: String, key: String, client: usize) {
    while let Some(number) = shared.next() {
        let text = format!("web {client} {number}");
        let body = serde_json::json!({ "model": "default", "messages": [{ "role": "user", "content": text }] });
        // A conversation of several turns, so that memory and queues are in play.
        let conversation = format!("web-{client}-{}", number % 3);
        for _ in 0..200 {
            let sent = http
                .post(&url)
                .bearer_auth(&key)
                .header("X-Conversation-Id", &conversation)
                .header("Idempotency-Key", &text)
                .json(&body)
                .send()
                .await;
            let Ok(answer) = sent else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let status = answer.status();
            let answer = answer.text().await.unwrap_or_default();
            if status.is_success() && answer.contains("DONE") {
                shared.promised.lock().await.web.insert(text);
                break;
            }
            if status.is_client_error() || answer.contains("budget") {
                println!("web client was refused: {status} {answer}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        pace().await;
    }
}

async fn telegram(shared: Arc<Shared>, bot: Arc<nexus_testkit::bot_api::BotApi>, client: usize) {
    let chat = i64::try_from(client).unwrap_or(0) + 100;
    bot.add_chat(chat);
    while let Some(number) = shared.next() {
        let text = format!("telegram {client} {number}");
        let before = bot.sent().iter().filter(|sent| sent.chat == chat).count();
        bot.user_says(chat, chat, &text);
        shared.promised.lock().await.telegram.insert(text);
        bot.wait_for_sent(chat, before + 1, Duration::from_secs(30)).await;
        pace().await;
    }
}

async fn osc(shared: Arc<Shared>, server: SocketAddr, key: String, client: usize) {
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)).await else { return };
    let mut session = None;
    while let Some(number) = shared.next() {
        let text = format!("osc {client} {number}");
        for _ in 0..200 {
            if session.is_none() {
                let name = format!("crash {client}");
                let hello =
                    vec![OscType::String(name), OscType::Int(0), OscType::String(key.clone())];
                session = call(&socket, server, "/nexus/1/hello", hello, "/nexus/1/welcome")
                    .await
                    .and_then(first_text);
                if session.is_none() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
            let Some(name) = session.clone() else { continue };
            let arguments =
                [name, format!("r{number}"), text.clone()].map(OscType::String).to_vec();
            let answer =
                call(&socket, server, "/nexus/1/ask", arguments, "/nexus/1/accepted").await;
            match answer {
                Some(_) => {
                    shared.promised.lock().await.osc.insert(text.clone());
                    break;
                }
                // The adapter was killed, or has forgotten us: say hello again.
                None => {
                    session = None;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        pace().await;
    }
}

/// Sends a message and waits a moment for the answer of the wanted kind.
async fn call(
    socket: &UdpSocket,
    server: SocketAddr,
    address: &str,
    arguments: Vec<OscType>,
    wanted: &str,
) -> Option<Vec<OscType>> {
    let message = OscMessage { addr: address.to_owned(), args: arguments };
    let bytes = rosc::encoder::encode(&OscPacket::Message(message)).ok()?;
    socket.send_to(&bytes, server).await.ok()?;
    let mut buffer = vec![0; 65_536];
    let end = tokio::time::Instant::now() + Duration::from_secs(2);
    loop {
        let (length, _) =
            tokio::time::timeout_at(end, socket.recv_from(&mut buffer)).await.ok()?.ok()?;
        let Ok((_, OscPacket::Message(answer))) = rosc::decoder::decode_udp(buffer.get(..length)?)
        else {
            continue;
        };
        if answer.addr == wanted {
            return Some(answer.args);
        }
        if answer.addr == "/nexus/1/error" {
            return None;
        }
    }
}

fn first_text(arguments: Vec<OscType>) -> Option<String> {
    arguments.into_iter().next().and_then(OscType::string)
}

/// Leaves the two cores some room for the processes that are killed.
async fn pace() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}
