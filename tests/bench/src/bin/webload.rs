//! Streams from Nexus beside streams from the model itself: how much later each piece comes.
//!
//! The model puts the time of sending into its tokens. Also counts what an idle connection costs,
//! and what readers that stall do to the others.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use futures_util::{SinkExt, StreamExt as _};
use nexus_bench::http_client;
use nexus_bench::measure::{Meter, Outcome};
use nexus_bench::stamp::Stamps;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Streams read from the model directly, so that the generator's own delay is known.
const BARE: usize = 20;
/// Receive buffer of a reader that stalls: small, so that it stalls soon.
const STALLED_BUFFER: u32 = 4096;
/// Idle connections are opened so many at a time.
const AT_ONCE: usize = 50;

/// Measures streams; prints a JSON line for each figure.
#[derive(Parser)]
struct Args {
    /// `http://HOST:PORT` of Nexus.
    #[arg(long)]
    nexus: String,
    /// API key.
    #[arg(long)]
    key: String,
    /// `http://HOST:PORT` of the mock.
    #[arg(long)]
    mock: String,
    /// Model of the mock, with `stamp` in its name; Nexus has to use it by default.
    #[arg(long)]
    model: String,
    /// Streams at once.
    #[arg(short, default_value_t = 1000)]
    c: usize,
    /// Seconds over which the streams begin.
    #[arg(long, default_value_t = 5)]
    ramp: u64,
    /// Readers that take nothing, besides these.
    #[arg(long, default_value_t = 0)]
    stalled: usize,
    /// Open so many idle connections instead, and see what each costs.
    #[arg(long)]
    idle: Option<usize>,
    /// These are native WebSockets; event streams otherwise.
    #[arg(long)]
    ws: bool,
    /// Process of Nexus.
    #[arg(long)]
    pid: u32,
    /// A process that belongs to the test, but is not what it measures.
    #[arg(long)]
    helper: Vec<u32>,
    /// Name of the line.
    #[arg(long, default_value = "web")]
    label: String,
}

fn question(model: &str) -> Value {
    json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "hello" }] })
}

/// Reads one stream to its end; the delay of each token.
async fn read(request: reqwest::RequestBuilder, wait: Duration) -> anyhow::Result<Vec<f64>> {
    tokio::time::sleep(wait).await;
    let mut response = request.send().await?;
    ensure!(response.status().is_success(), "{}", response.text().await?);
    let (mut stamps, mut delays, mut is_whole) = (Stamps::default(), Vec::new(), false);
    while let Some(bytes) = response.chunk().await? {
        delays.extend(stamps.delays(&bytes));
        is_whole |= bytes.windows(6).any(|window| window == b"[DONE]");
    }
    ensure!(is_whole, "a stream ended early");
    Ok(delays)
}

async fn gather(mut streams: JoinSet<anyhow::Result<Vec<f64>>>) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    while let Some(read) = streams.join_next().await {
        match read? {
            Ok(delays) => outcome.latencies_ms.extend(delays),
            Err(why) => outcome.fail(format!("{why:#}")),
        }
    }
    Ok(outcome)
}

/// Begins a stream and takes nothing of it.
async fn stall(args: &Args) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(STALLED_BUFFER)?;
    let address = args.nexus.strip_prefix("http://").context("http:// is missing")?;
    let mut stream = socket.connect(address.parse()?).await?;
    let body = question("default").to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        args.key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

async fn streams(args: &Args) -> anyhow::Result<()> {
    let http = http_client()?;
    let mut stalled = Vec::new();
    for _ in 0..args.stalled {
        stalled.push(stall(args).await?);
    }
    let spread = |count: usize| {
        let ramp = Duration::from_secs(args.ramp);
        (0..count)
            .map(move |i| ramp * u32::try_from(i).unwrap_or(0) / u32::try_from(count).unwrap_or(1))
    };
    let (mut ours, mut bare) = (JoinSet::new(), JoinSet::new());
    let measured = Meter::start(&[args.pid], &args.helper);
    let beside = Meter::start(&args.helper, &[args.pid]);
    for wait in spread(args.c) {
        let url = format!("{}/v1/chat/completions", args.nexus);
        let request = http.post(url).bearer_auth(&args.key).json(&question("default"));
        ours.spawn(read(request, wait));
    }
    for wait in spread(BARE) {
        let url = format!("{}/v1/chat/completions", args.mock);
        bare.spawn(read(http.post(url).json(&question(&args.model)), wait));
    }
    let (ours, bare) = tokio::try_join!(gather(ours), gather(bare))?;
    let label = args.label.clone();
    println!("{}", serde_json::to_string(&measured.finish(label.clone(), args.c, ours))?);
    println!("{}", serde_json::to_string(&beside.finish(format!("{label}-bare"), BARE, bare))?);
    drop(stalled);
    Ok(())
}

/// Resident memory of the process in KiB.
fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.parse()?)
}

/// A connection that is kept open.
enum Open {
    Stream(reqwest::Response),
    Socket(Box<WebSocketStream<MaybeTlsStream<TcpStream>>>),
}

/// Follows conversations in which nothing happens; KiB of memory for each connection.
async fn idle(args: Arc<Args>, count: usize) -> anyhow::Result<()> {
    // What the first of them need once is no cost of a connection.
    let mut open = idle_streams(&args, AT_ONCE, "warm").await?;
    let before = resident_kib(args.pid)?;
    for batch in 0..count / AT_ONCE {
        open.extend(idle_streams(&args, AT_ONCE, &batch.to_string()).await?);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let opened = (open.len() - AT_ONCE) as f64;
    let each = (resident_kib(args.pid)? - before) / opened;
    let name = if args.ws { "idle_websocket_kib" } else { "idle_stream_kib" };
    let fact = json!({ "label": args.label, "fact": name, "value": (each * 10.0).round() / 10.0 });
    println!("{fact}");
    for connection in open {
        match connection {
            Open::Stream(response) => drop(response),
            Open::Socket(mut socket) => SinkExt::close(&mut socket).await?,
        }
    }
    Ok(())
}

async fn idle_streams(args: &Arc<Args>, count: usize, batch: &str) -> anyhow::Result<Vec<Open>> {
    let mut opening: JoinSet<anyhow::Result<Open>> = JoinSet::new();
    for number in 0..count {
        let (args, conversation) = (Arc::clone(args), format!("idle-{batch}-{number}"));
        if args.ws {
            opening.spawn(async move { idle_socket(&args, &conversation).await });
            continue;
        }
        let http = http_client()?;
        let url = format!("{}/v1/conversations/{conversation}/events", args.nexus);
        opening.spawn(async move {
            let mut response = http.get(url).bearer_auth(&args.key).send().await?;
            ensure!(response.status().is_success(), "{}", response.text().await?);
            response.chunk().await?.context("it says nothing")?;
            Ok(Open::Stream(response))
        });
    }
    let mut open = Vec::with_capacity(count);
    while let Some(response) = opening.join_next().await {
        open.push(response??);
    }
    Ok(open)
}

async fn idle_socket(args: &Args, conversation: &str) -> anyhow::Result<Open> {
    let url = format!("{}/v1/ws", args.nexus.replace("http://", "ws://"));
    let (mut socket, _) = connect_async(url).await?;
    let hello = json!({ "type": "hello", "key": args.key });
    let follow = json!({ "type": "follow", "conversation": conversation });
    for frame in [hello, follow] {
        socket.send(Message::text(frame.to_string())).await?;
    }
    let mut last = String::new();
    while let Some(message) = socket.next().await {
        message?.to_text()?.clone_into(&mut last);
        if last.contains("caught_up") {
            return Ok(Open::Socket(Box::new(socket)));
        }
    }
    bail!("the connection was closed after {last}")
}

// One thread: the load generator shares the cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    match args.idle {
        Some(count) => idle(args, count).await,
        None => streams(&args).await,
    }
}
