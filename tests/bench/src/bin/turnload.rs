//! Closed-loop HTTP load: each client sends its next request when the last is answered.
//!
//! In the URL, the headers, the body and the expected text, `{{i}}` becomes the
//! number of the request and `{{run}}` a number unique to the run.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use nexus_bench::http_client;
use nexus_bench::measure::{Meter, Outcome};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::task::JoinSet;

/// Longest part of a wrong answer that is reported.
const SAMPLE_BYTES: usize = 300;

/// Closed-loop HTTP load; prints one JSON line.
#[derive(Parser)]
struct Args {
    /// Where requests go.
    #[arg(long)]
    url: String,
    /// JSON body to POST; without it, GET.
    #[arg(long)]
    body: Option<String>,
    /// Further header, `name: value`.
    #[arg(short = 'H', value_parser = header)]
    headers: Vec<(String, String)>,
    /// Text that a right answer holds.
    #[arg(long)]
    expect: Option<String>,
    /// Clients at once.
    #[arg(short, default_value_t = 1)]
    c: usize,
    /// Requests that are measured.
    #[arg(short, default_value_t = 1000)]
    n: u64,
    /// Requests before these.
    #[arg(long, default_value_t = 0)]
    warmup: u64,
    /// Start no request later than this many seconds after the first.
    #[arg(long, default_value_t = 3600)]
    max_seconds: u64,
    /// Longest wait for an answer, in seconds.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
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

fn header(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once(':').context("a header is name: value")?;
    Ok((name.trim().into(), value.trim().into()))
}

/// One run: what is sent, and how much of it is left.
struct Run {
    args: Arc<Args>,
    http: reqwest::Client,
    id: u128,
    next: AtomicU64,
    end: u64,
    deadline: Instant,
}

impl Run {
    fn fill(&self, template: &str, i: u64) -> String {
        template.replace("{{i}}", &i.to_string()).replace("{{run}}", &self.id.to_string())
    }

    async fn request(&self, i: u64) -> anyhow::Result<()> {
        let args = &self.args;
        let url = self.fill(&args.url, i);
        let mut headers = HeaderMap::new();
        for (name, value) in &args.headers {
            headers
                .insert(HeaderName::try_from(name)?, HeaderValue::try_from(self.fill(value, i))?);
        }
        let request = match &args.body {
            Some(body) => self
                .http
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(self.fill(body, i)),
            None => self.http.get(url),
        };
        let response = request.headers(headers).send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        let sample = || String::from_utf8_lossy(&body[..body.len().min(SAMPLE_BYTES)]).into_owned();
        ensure!(status.is_success(), "{status}: {}", sample());
        if let Some(expected) = &args.expect {
            let expected = self.fill(expected, i);
            let found =
                body.windows(expected.len().max(1)).any(|window| window == expected.as_bytes());
            ensure!(found, "no {expected:?} in {}", sample());
        }
        Ok(())
    }

    async fn client(self: Arc<Self>) -> Outcome {
        let mut outcome = Outcome::default();
        while Instant::now() < self.deadline {
            let i = self.next.fetch_add(1, Relaxed);
            if i >= self.end {
                break;
            }
            let sent = Instant::now();
            match self.request(i).await {
                Ok(()) => outcome.latencies_ms.push(sent.elapsed().as_secs_f64() * 1e3),
                Err(why) => outcome.fail(format!("{why:#}")),
            }
        }
        outcome
    }
}

async fn load(args: &Arc<Args>, http: &reqwest::Client, requests: u64) -> anyhow::Result<Outcome> {
    let run = Arc::new(Run {
        args: Arc::clone(args),
        http: http.clone(),
        id: SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros(),
        next: AtomicU64::new(0),
        end: requests,
        deadline: Instant::now() + Duration::from_secs(args.max_seconds),
    });
    let mut clients = JoinSet::new();
    for _ in 0..args.c {
        clients.spawn(Arc::clone(&run).client());
    }
    let mut all = Outcome::default();
    while let Some(outcome) = clients.join_next().await {
        all.merge(outcome?);
    }
    Ok(all)
}

// One thread: the load generator shares the cores with what it measures.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Arc::new(Args::parse());
    if args.expect.as_ref().is_some_and(String::is_empty) {
        bail!("--expect is empty");
    }
    let http = http_client()?;
    load(&args, &http, args.warmup).await?;
    let meter = Meter::start(&args.pid, &args.helper);
    let outcome = load(&args, &http, args.n).await?;
    let report = meter.finish(args.label.clone(), args.c, outcome);
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
