//! Closed-loop OSC load: each client asks its next question when the last is answered.
//!
//! `{{i}}` in the text and in the expected answer becomes the number of the request. A question is
//! sent again after half a second without a word, as OSC clients have to.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use nexus_bench::measure::{Meter, Outcome};
use nexus_osc_codec::{Argument, Limits, Message, decode, encode_message};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Silence after which a question is sent again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Repeats of one question before it counts as failed.
const REPEATS: u32 = 20;

/// Closed-loop OSC load; prints one JSON line.
#[derive(Parser)]
struct Args {
    /// UDP address of the OSC adapter.
    #[arg(long)]
    to: SocketAddr,
    /// API key.
    #[arg(long)]
    key: String,
    /// What is asked.
    #[arg(long)]
    text: String,
    /// Text that a right answer holds.
    #[arg(long)]
    expect: Option<String>,
    /// Clients at once.
    #[arg(short, default_value_t = 1)]
    c: usize,
    /// Questions that are measured.
    #[arg(short, default_value_t = 1000)]
    n: u64,
    /// Questions before these.
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Measure this process and its descendants.
    #[arg(long)]
    pid: Vec<u32>,
    /// A process that belongs to the test, but is not what it measures.
    #[arg(long)]
    helper: Vec<u32>,
    /// Name of the line.
    #[arg(long, default_value = "")]
    label: String,
}

struct Run {
    args: Args,
    next: AtomicU64,
    end: AtomicU64,
}

/// One OSC program with a session.
struct Client {
    socket: UdpSocket,
    session: String,
    name: String,
}

impl Client {
    async fn hello(args: &Args, number: usize) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(args.to).await?;
        let port = i32::from(socket.local_addr()?.port());
        let name = format!("load-{number}");
        let hello =
            message("/nexus/1/hello", [text(&name), Argument::Int(port), text(&args.key)].to_vec());
        let mut client = Self { socket, session: String::new(), name };
        let welcome = client.exchange(&hello, |message| message.address == "/nexus/1/welcome");
        let welcome = welcome.await.context("no welcome")?;
        client.session = string(&welcome, 0)?.to_owned();
        Ok(client)
    }

    /// Sends until an answer fits.
    async fn exchange(
        &self,
        question: &Message,
        fits: impl Fn(&Message) -> bool,
    ) -> anyhow::Result<Message> {
        let bytes = encode_message(question)?;
        for _ in 0..REPEATS {
            self.socket.send(&bytes).await?;
            let until = Instant::now() + PATIENCE;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                let Ok(answers) = tokio::time::timeout(left, self.receive()).await else { break };
                if let Some(answer) = answers?.into_iter().find(&fits) {
                    return Ok(answer);
                }
            }
        }
        bail!("no answer after {REPEATS} repeats")
    }

    async fn receive(&self) -> anyhow::Result<Vec<Message>> {
        let mut buffer = [0; 2048];
        let size = self.socket.recv(&mut buffer).await?;
        let timed = decode(&buffer[..size], &Limits::default())?;
        Ok(timed.into_iter().map(|timed| timed.message).collect())
    }

    /// Asks and waits until the answer has ended; its text.
    async fn ask(&self, i: u64, question: &str) -> anyhow::Result<String> {
        let req = format!("{i}");
        let conversation = format!("{}-{i}", self.name);
        let arguments = [
            text(&self.session),
            text(&req),
            text(question),
            text("conversation"),
            text(&conversation),
        ];
        let bytes = encode_message(&message("/nexus/1/ask", arguments.to_vec()))?;
        let mut tokens: Vec<Option<String>> = Vec::new();
        let mut total = None;
        for _ in 0..REPEATS {
            self.socket.send(&bytes).await?;
            let until = Instant::now() + PATIENCE;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                let Ok(messages) = tokio::time::timeout(left, self.receive()).await else { break };
                for message in messages? {
                    take(&message, &req, &mut tokens, &mut total)?;
                }
                let known = tokens.iter().filter(|token| token.is_some()).count();
                if total == Some(known) {
                    return Ok(tokens.into_iter().flatten().collect());
                }
            }
        }
        bail!("question {i} got no whole answer after {REPEATS} repeats")
    }
}

/// Takes in what a message says about the question.
fn take(
    message: &Message,
    req: &str,
    tokens: &mut Vec<Option<String>>,
    total: &mut Option<usize>,
) -> anyhow::Result<()> {
    if string(message, 0)? != req {
        return Ok(());
    }
    match message.address.as_str() {
        "/nexus/1/token" => {
            let seq = usize::try_from(number(message, 1)?)?;
            if tokens.len() <= seq {
                tokens.resize(seq + 1, None);
            }
            tokens[seq] = Some(string(message, 3)?.to_owned());
        }
        "/nexus/1/done" => *total = Some(usize::try_from(number(message, 1)?)?),
        "/nexus/1/error" => bail!("{}: {}", string(message, 1)?, string(message, 2)?),
        _ => {}
    }
    Ok(())
}

fn message(address: &str, arguments: Vec<Argument>) -> Message {
    Message { address: address.to_owned(), arguments }
}

fn text(text: &str) -> Argument {
    Argument::String(text.to_owned())
}

fn string(message: &Message, index: usize) -> anyhow::Result<&str> {
    match message.arguments.get(index) {
        Some(Argument::String(text)) => Ok(text),
        other => bail!("argument {index} of {} is {other:?}, no text", message.address),
    }
}

fn number(message: &Message, index: usize) -> anyhow::Result<i32> {
    match message.arguments.get(index) {
        Some(Argument::Int(number)) => Ok(*number),
        other => bail!("argument {index} of {} is {other:?}, no number", message.address),
    }
}

async fn client(run: Arc<Run>, client: Arc<Client>) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        let i = run.next.fetch_add(1, Relaxed);
        if i >= run.end.load(Relaxed) {
            return outcome;
        }
        let fill = |template: &str| template.replace("{{i}}", &i.to_string());
        let began = Instant::now();
        match client.ask(i, &fill(&run.args.text)).await {
            Ok(answer) => match run.args.expect.as_deref().map(fill) {
                Some(expected) if !answer.contains(&expected) => {
                    outcome.fail(format!("no {expected:?} in {answer:?}"));
                }
                _ => outcome.latencies_ms.push(began.elapsed().as_secs_f64() * 1000.0),
            },
            Err(error) => outcome.fail(format!("{error:#}")),
        }
    }
}

async fn all(run: &Arc<Run>, clients: &[Arc<Client>]) -> anyhow::Result<Outcome> {
    let mut tasks = JoinSet::new();
    for each in clients {
        tasks.spawn(client(Arc::clone(run), Arc::clone(each)));
    }
    let mut outcome = Outcome::default();
    while let Some(ended) = tasks.join_next().await {
        outcome.merge(ended?);
    }
    Ok(outcome)
}

// One thread: the load generator shares the cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.c > 0, "-c needs at least one client");
    let mut clients = Vec::new();
    for number in 0..args.c {
        clients.push(Arc::new(Client::hello(&args, number).await?));
    }
    let (warmup, n) = (args.warmup, args.n);
    let run = Arc::new(Run { args, next: AtomicU64::new(0), end: AtomicU64::new(warmup) });
    let warm = all(&run, &clients).await?;
    ensure!(warm.errors == 0, "warming up: {}", warm.sample_error.unwrap_or_default());
    run.next.store(warmup, Relaxed);
    run.end.store(warmup + n, Relaxed);
    let meter = Meter::start(&run.args.pid, &run.args.helper);
    let outcome = all(&run, &clients).await?;
    let report = meter.finish(run.args.label.clone(), run.args.c, outcome);
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
