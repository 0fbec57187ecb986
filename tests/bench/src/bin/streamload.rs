//! Streams of chat completions from any server that has them: when the first word comes, how long
//! each token was on its way, and whether all of it comes.
//!
//! In the body `{{i}}` becomes the number of the request, in headers too.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Parser;
use nexus_bench::http_client;
use nexus_bench::measure::{Meter, Outcome};
use nexus_bench::stamp::Stamps;
use serde_json::json;
use tokio::task::JoinSet;

/// Every answer of the mock begins so.
const FIRST: &[u8] = b"DONE";
const DONE: &[u8] = b"[DONE]";

/// Reads streams; prints a JSON line for each figure.
#[derive(Parser)]
struct Args {
    /// Where requests go.
    #[arg(long)]
    url: String,
    /// JSON body to POST.
    #[arg(long)]
    body: String,
    /// Further header, `name: value`.
    #[arg(short = 'H', value_parser = header)]
    headers: Vec<(String, String)>,
    /// Streams at once.
    #[arg(short, default_value_t = 1)]
    c: usize,
    /// Streams that are measured.
    #[arg(short, default_value_t = 100)]
    n: u64,
    /// Streams before these.
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Milliseconds over which the first `c` streams begin.
    #[arg(long, default_value_t = 0)]
    ramp: u64,
    /// Tokens of each answer say when they were sent, and there have to be so many.
    #[arg(long)]
    stamps: Option<usize>,
    /// Longest stream, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Measure this process and its descendants.
    #[arg(long)]
    pid: Vec<u32>,
    /// A process that belongs to the test, but is not what it measures.
    #[arg(long)]
    helper: Vec<u32>,
    /// Name of the lines.
    #[arg(long)]
    label: String,
}

fn header(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once(':').context("a header is name: value")?;
    Ok((name.trim().into(), value.trim().into()))
}

/// What streams came to.
#[derive(Default)]
struct Seen {
    /// Milliseconds to the first word of each, and what was lost.
    first: Outcome,
    /// Milliseconds that each token was on its way.
    tokens: Vec<f64>,
    /// Longest time in milliseconds in which a stream brought nothing.
    largest_gap: f64,
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.first.merge(other.first);
        self.tokens.extend(other.tokens);
        self.largest_gap = self.largest_gap.max(other.largest_gap);
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Reads one stream to its end.
async fn read(
    args: &Args,
    http: &reqwest::Client,
    i: u64,
    run: u128,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let fill =
        |text: &str| text.replace("{{i}}", &i.to_string()).replace("{{run}}", &run.to_string());
    let mut request = http.post(&args.url).header("content-type", "application/json");
    for (name, value) in &args.headers {
        request = request.header(name, fill(value));
    }
    let sent = Instant::now();
    let mut response = request.body(fill(&args.body)).send().await?;
    ensure!(response.status().is_success(), "{}: {}", response.status(), response.text().await?);
    let (mut stamps, mut delays, mut first, mut is_whole) =
        (Stamps::default(), Vec::new(), None, false);
    let (mut last, mut gap, mut tail) = (None, 0.0_f64, Vec::new());
    while let Some(bytes) = response.chunk().await? {
        let now = Instant::now();
        // A word may be cut by the chunks.
        tail.extend_from_slice(&bytes);
        if first.is_none() && holds(&tail, FIRST) {
            first = Some(sent.elapsed().as_secs_f64() * 1e3);
        }
        is_whole |= holds(&tail, DONE);
        tail.drain(..tail.len().saturating_sub(FIRST.len() + DONE.len()));
        let new = stamps.delays(&bytes);
        if !new.is_empty() {
            let since = last.replace(now).map_or(0.0, |last: Instant| (now - last).as_secs_f64());
            gap = gap.max(since * 1e3);
        }
        delays.extend(new);
    }
    ensure!(is_whole, "a stream ended without [DONE]");
    if let Some(wanted) = args.stamps {
        ensure!(delays.len() == wanted, "{} of {wanted} tokens came", delays.len());
    }
    seen.first.latencies_ms.push(first.context("a stream without its first word")?);
    seen.tokens.extend(delays);
    seen.largest_gap = seen.largest_gap.max(gap);
    Ok(())
}

async fn load(args: &Arc<Args>, http: &reqwest::Client, streams: u64) -> anyhow::Result<Seen> {
    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let (next, mut clients) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for client in 0..args.c {
        let (args, http, next) = (Arc::clone(args), http.clone(), Arc::clone(&next));
        clients.spawn(async move {
            let share = client as f64 / args.c as f64;
            tokio::time::sleep(Duration::from_millis(args.ramp).mul_f64(share)).await;
            let mut seen = Seen::default();
            loop {
                let i = next.fetch_add(1, Relaxed);
                if i >= streams {
                    return seen;
                }
                let limit = Duration::from_secs(args.timeout);
                let read = read(&args, &http, i, run, &mut seen);
                match tokio::time::timeout(limit, read).await {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => seen.first.fail(format!("{why:#}")),
                    Err(_) => seen.first.fail(format!("no end within {} s", args.timeout)),
                }
            }
        });
    }
    let mut all = Seen::default();
    while let Some(seen) = clients.join_next().await {
        all.merge(seen?);
    }
    Ok(all)
}

// One thread: the load generator shares the cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    let http = http_client()?;
    load(&args, &http, args.warmup).await?;
    let (first, tokens) =
        (Meter::start(&args.pid, &args.helper), Meter::start(&args.pid, &args.helper));
    let seen = load(&args, &http, args.n).await?;
    let lost = seen.first.errors;
    let report = first.finish(format!("{}-first", args.label), args.c, seen.first);
    println!("{}", serde_json::to_string(&report)?);
    if args.stamps.is_some() {
        let outcome = Outcome { latencies_ms: seen.tokens, ..Outcome::default() };
        let report = tokens.finish(format!("{}-tokens", args.label), args.c, outcome);
        println!("{}", serde_json::to_string(&report)?);
        let gap = (seen.largest_gap * 10.0).round() / 10.0;
        for (name, value) in [("lost_streams", json!(lost)), ("largest_gap_ms", json!(gap))] {
            println!("{}", json!({ "label": args.label, "fact": name, "value": value }));
        }
    }
    Ok(())
}
