//! NPC sessions of a game: the time from a player's line to the character's first words.
//!
//! Each session is one connection with one character, and says a line every so often, as players
//! do; the beginnings are spread over that time. With `--bare`, the same lines at the same times
//! are asked of the model itself. With `--interrupt`, each line is interrupted at its first words,
//! and what is measured is how long after that words still come.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _};
use nexus_bench::http_client;
use nexus_bench::measure::{Meter, Outcome};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// NPC sessions; prints one JSON line.
#[derive(Parser)]
struct Args {
    /// `ws://HOST:PORT/v1/ws`, or with `--bare` the model's `http://HOST:PORT/v1`.
    #[arg(long)]
    url: String,
    /// API key.
    #[arg(long, default_value = "")]
    key: String,
    /// Sessions at once.
    #[arg(short, default_value_t = 200)]
    c: usize,
    /// Lines of each session that are measured.
    #[arg(short, default_value_t = 10)]
    n: usize,
    /// Lines of each session before these.
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// Time between two lines of a session, in milliseconds.
    #[arg(long, default_value_t = 4000)]
    every_ms: u64,
    /// State frames a second, beside the lines.
    #[arg(long, default_value_t = 0)]
    states: u32,
    /// Agent of the characters.
    #[arg(long, default_value = "npc")]
    agent: String,
    /// Ask the model itself.
    #[arg(long)]
    bare: bool,
    /// Model that is asked.
    #[arg(long, default_value = "mock-plain")]
    model: String,
    /// Interrupt each line, and measure how long words still come.
    #[arg(long)]
    interrupt: bool,
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

/// One session, at the game or at the model.
enum Session {
    Npc(Box<Game>),
    Bare(reqwest::Client),
}

struct Game {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    line: u64,
    rev: u32,
}

impl Game {
    async fn open(args: &Args) -> anyhow::Result<Self> {
        let (socket, _) = connect_async(&args.url).await.context("connecting")?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_nodelay(true)?;
        }
        let mut game = Self { socket, line: 0, rev: 0 };
        game.send(&json!({ "type": "hello", "protocol": "npc", "key": args.key })).await?;
        game.next("welcome").await?;
        let open = json!({
            "type": "npc.open", "npc": "smith", "persona": "You are Ada, a smith.",
            "persona_ref": args.agent, "fallback_after_ms": 0,
        });
        game.send(&open).await?;
        game.next("npc.opened").await?;
        Ok(game)
    }

    async fn send(&mut self, frame: &Value) -> anyhow::Result<()> {
        self.socket.send(Message::text(frame.to_string())).await.context("sending")
    }

    /// The next frame of this type.
    async fn next(&mut self, kind: &str) -> anyhow::Result<Value> {
        loop {
            let frame = self.any().await?;
            ensure!(frame["type"] != "error", "{frame}");
            if frame["type"] == kind {
                return Ok(frame);
            }
        }
    }

    async fn any(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.socket.next().await.context("the gateway closed the connection")?? {
                Message::Text(text) => return Ok(serde_json::from_str(text.as_str())?),
                Message::Close(reason) => bail!("closed: {reason:?}"),
                _ => {}
            }
        }
    }

    async fn say(&mut self) -> anyhow::Result<String> {
        self.line += 1;
        let (say, text) = (self.line.to_string(), format!("line {}", self.line));
        self.send(&json!({ "type": "say", "npc": "smith", "text": text, "id": say })).await?;
        Ok(say)
    }

    /// One line; from the line to its first words.
    async fn first_words(&mut self) -> anyhow::Result<Duration> {
        let sent = Instant::now();
        let say = self.say().await?;
        let delta = self.next("delta").await?;
        let took = sent.elapsed();
        ensure!(delta["say"] == say, "words of another line: {delta}");
        let done = self.next("done").await?;
        ensure!(done["status"] == "answered", "{done}");
        Ok(took)
    }

    /// One line, interrupted; from the interrupt to its last words.
    async fn last_words(&mut self) -> anyhow::Result<Duration> {
        self.say().await?;
        self.next("delta").await?;
        self.send(&json!({ "type": "interrupt", "npc": "smith" })).await?;
        let (sent, mut last) = (Instant::now(), Duration::ZERO);
        // The run itself ends later; words of it would still come here.
        let end = sent + Duration::from_secs(1);
        while let Ok(frame) = tokio::time::timeout_at(end.into(), self.any()).await {
            if frame?["type"] == "delta" {
                last = sent.elapsed();
            }
        }
        Ok(last)
    }

    async fn states(&mut self, until: Instant, per_second: u32) -> anyhow::Result<()> {
        if per_second > 0 {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
            while Instant::now() < until {
                ticks.tick().await;
                self.rev += 1;
                let set = json!({ "tick": self.rev, "player": { "hp": 80, "place": "smithy" } });
                let frame = json!({ "type": "state", "npc": "smith", "rev": self.rev, "set": set });
                self.send(&frame).await?;
            }
        }
        tokio::time::sleep_until(until.into()).await;
        Ok(())
    }
}

impl Session {
    async fn open(args: &Args) -> anyhow::Result<Self> {
        if args.bare {
            return Ok(Self::Bare(http_client()?));
        }
        Ok(Self::Npc(Box::new(Game::open(args).await?)))
    }

    async fn wait(&mut self, args: &Args, until: Instant) -> anyhow::Result<()> {
        match self {
            Self::Npc(game) => game.states(until, args.states).await,
            Self::Bare(_) => {
                tokio::time::sleep_until(until.into()).await;
                Ok(())
            }
        }
    }

    async fn measure(&mut self, args: &Args) -> anyhow::Result<Duration> {
        match self {
            Self::Npc(game) if args.interrupt => game.last_words().await,
            Self::Npc(game) => game.first_words().await,
            Self::Bare(http) => bare(http, args).await,
        }
    }
}

/// One line asked of the model itself; from the request to its first words.
async fn bare(http: &reqwest::Client, args: &Args) -> anyhow::Result<Duration> {
    let body = json!({
        "model": args.model, "stream": true,
        "messages": [{ "role": "system", "content": "You are Ada, a smith." }, { "role": "user", "content": "line" }],
    });
    let sent = Instant::now();
    let url = format!("{}/chat/completions", args.url);
    let answer = http.post(url).json(&body).send().await?.error_for_status()?;
    let (mut pieces, mut seen, mut took) = (answer.bytes_stream(), String::new(), None);
    while let Some(piece) = pieces.next().await {
        seen.push_str(&String::from_utf8_lossy(&piece?));
        if took.is_none() && seen.contains("DONE") {
            took = Some(sent.elapsed());
        }
    }
    took.context("an answer without words")
}

/// The lines of one session, on time.
async fn play(args: Arc<Args>, mut session: Session, first: Instant) -> Outcome {
    let mut outcome = Outcome::default();
    let every = Duration::from_millis(args.every_ms);
    let mut at = first;
    for number in 0..args.warmup + args.n {
        let measured = async {
            session.wait(&args, at).await?;
            session.measure(&args).await
        };
        match measured.await {
            Ok(took) if number >= args.warmup => {
                outcome.latencies_ms.push(took.as_secs_f64() * 1e3)
            }
            Ok(_) => {}
            Err(error) => {
                outcome.fail(format!("{error:#}"));
                break;
            }
        }
        at += every;
    }
    outcome
}

// One thread: the load generator shares the cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    ensure!(args.c > 0 && args.n > 0, "nothing to measure");
    let mut sessions = Vec::new();
    for _ in 0..args.c {
        sessions.push(Session::open(&args).await?);
    }
    let meter = Meter::start(&args.pid, &args.helper);
    let (begin, every) = (Instant::now(), Duration::from_millis(args.every_ms));
    let mut players = JoinSet::new();
    for (number, session) in (0..).zip(sessions) {
        let first = begin + every * number / u32::try_from(args.c)?;
        players.spawn(play(Arc::clone(&args), session, first));
    }
    let mut all = Outcome::default();
    while let Some(outcome) = players.join_next().await {
        all.merge(outcome?);
    }
    println!("{}", serde_json::to_string(&meter.finish(args.label.clone(), args.c, all))?);
    Ok(())
}
