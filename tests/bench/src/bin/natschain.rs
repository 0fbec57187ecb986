//! The physical limit of an event-driven turn: a chain of events through JetStream.
//!
//! Each event is read by its own worker under explicit acks and becomes the next
//! one: publish, wait for the stream's confirmation, then acknowledge. The last
//! worker answers the client. With `--llm`, two of the workers call the model,
//! as a turn with one tool does.
#![allow(clippy::print_stdout, reason = "a command line tool")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, ensure};
use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context, Message, stream};
use clap::{Parser, ValueEnum};
use futures_util::StreamExt;
use nexus_bench::http_client;
use nexus_bench::measure::{Meter, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Longest wait for the end of a chain.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// Bytes of text in an event.
const TEXT_BYTES: usize = 200;

/// A chain of events through JetStream; prints one JSON line.
#[derive(Parser)]
struct Args {
    /// Address of a nats-server with JetStream.
    #[arg(long, default_value = "127.0.0.1:4333")]
    server: String,
    /// Its process, to be measured with this one.
    #[arg(long)]
    server_pid: Option<u32>,
    /// A process that belongs to the test, but is not what it measures.
    #[arg(long)]
    helper: Vec<u32>,
    /// Events in a chain.
    #[arg(long, default_value_t = 6)]
    events: usize,
    /// Streams that hold them.
    #[arg(long, value_enum, default_value_t = Layout::One)]
    layout: Layout,
    /// Base URL of a model server that workers 1 and 3 call, `http://127.0.0.1:18080/v1`.
    #[arg(long)]
    llm: Option<String>,
    /// Events that a worker handles at once.
    #[arg(long, default_value_t = 64)]
    inflight: usize,
    /// Clients at once.
    #[arg(short, default_value_t = 16)]
    c: usize,
    /// Chains that are measured.
    #[arg(short, default_value_t = 2000)]
    n: u64,
    /// Chains before these.
    #[arg(long, default_value_t = 200)]
    warmup: u64,
    /// Name of the line.
    #[arg(long, default_value = "chain")]
    label: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// One stream for all workers.
    One,
    /// A stream for each.
    Many,
}

#[derive(Serialize, Deserialize)]
struct Event {
    id: Uuid,
    r#type: String,
    tenant: Uuid,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    timestamp_us: u64,
    payload: Value,
}

/// What clients, workers and the end of the chain share.
struct Chain {
    args: Args,
    http: reqwest::Client,
    run: String,
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<()>>>,
}

impl Chain {
    fn subject(&self, worker: usize) -> String {
        format!("{}.{worker}", self.run)
    }

    fn stream(&self, worker: usize) -> String {
        match self.args.layout {
            Layout::One => format!("{}-all", self.run),
            Layout::Many => format!("{}-{worker}", self.run),
        }
    }

    async fn connect(&self) -> anyhow::Result<Context> {
        let client = async_nats::connect(&self.args.server).await?;
        Ok(jetstream::new(client))
    }

    /// The streams and the subjects that each holds.
    fn streams(&self) -> Vec<(String, String)> {
        match self.args.layout {
            Layout::One => vec![(self.stream(0), format!("{}.*", self.run))],
            Layout::Many => {
                (0..self.args.events).map(|k| (self.stream(k), self.subject(k))).collect()
            }
        }
    }

    async fn publish(&self, js: &Context, worker: usize, event: &Event) -> anyhow::Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, event.id.to_string());
        let body = serde_json::to_vec(event)?;
        js.publish_with_headers(self.subject(worker), headers, body.into()).await?.await?;
        Ok(())
    }

    /// Turns one event into the next, or tells the client that the chain has ended.
    async fn handle(&self, js: &Context, worker: usize, message: Message) -> anyhow::Result<()> {
        let mut event: Event = serde_json::from_slice(&message.payload)?;
        if worker + 1 == self.args.events {
            let client = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&event.correlation_id);
            // A client that gave up has reported the loss already.
            let _gone = client.map(|client| client.send(()));
        } else {
            match (&self.args.llm, worker) {
                (Some(url), 1) => self.call_model(url, Round::First, &event.payload).await?,
                (Some(url), 3) => {
                    self.call_model(url, Round::WithResult, &event.payload).await?;
                }
                _ => {}
            }
            event.causation_id = Some(event.id);
            event.id = Uuid::now_v7();
            event.r#type = format!("step.{}", worker + 1);
            self.publish(js, worker + 1, &event).await?;
        }
        message.ack().await.map_err(|e| anyhow!(e))
    }

    async fn call_model(&self, url: &str, round: Round, payload: &Value) -> anyhow::Result<()> {
        let text = &payload["text"];
        let mut messages = vec![
            json!({ "role": "system", "content": "You are a helpful assistant." }),
            json!({ "role": "user", "content": text }),
        ];
        if round == Round::WithResult {
            let function = json!({ "name": "echo", "arguments": "{}" });
            messages.push(json!({ "role": "assistant", "content": null,
                "tool_calls": [{ "id": "call_1", "type": "function", "function": function }] }));
            messages.push(json!({ "role": "tool", "tool_call_id": "call_1", "content": text }));
        }
        let parameters = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
        let function =
            json!({ "name": "echo", "description": "Echo the text.", "parameters": parameters });
        let body = json!({ "model": "mock-tool", "messages": messages, "tools": [{ "type": "function", "function": function }] });
        let answer: Value = self
            .http
            .post(format!("{url}/chat/completions"))
            .json(&body)
            .send()
            .await?
            .json()
            .await?;
        let finish = &answer["choices"][0]["finish_reason"];
        let expected = match round {
            Round::First => "tool_calls",
            Round::WithResult => "stop",
        };
        ensure!(finish == expected, "the model answered {answer}");
        Ok(())
    }

    /// Handles what arrives for one worker; each has its own connection, as processes would.
    async fn work(
        self: Arc<Self>,
        worker: usize,
        consumer: jetstream::consumer::PullConsumer,
        js: Context,
    ) -> anyhow::Result<()> {
        let slots = Arc::new(Semaphore::new(self.args.inflight));
        let mut messages = consumer.stream().max_messages_per_batch(500).messages().await?;
        let mut handlers = JoinSet::new();
        loop {
            tokio::select! {
                Some(handled) = handlers.join_next() => handled??,
                message = messages.next() => {
                    let message = message.context("the subscription ended")??;
                    let slot = Arc::clone(&slots).acquire_owned().await?;
                    let (chain, js) = (Arc::clone(&self), js.clone());
                    handlers.spawn(async move {
                        let _slot = slot;
                        chain.handle(&js, worker, message).await
                    });
                }
            }
        }
    }

    async fn client(
        self: Arc<Self>,
        js: Context,
        left: Arc<AtomicU64>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut latencies_ms = Vec::new();
        while left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            let event = Event {
                id: Uuid::now_v7(),
                r#type: "requests.incoming".into(),
                tenant: Uuid::from_u128(1),
                correlation_id: Uuid::now_v7(),
                causation_id: None,
                timestamp_us: u64::try_from(
                    SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros(),
                )?,
                payload: json!({ "text": "x".repeat(TEXT_BYTES), "channel": "bench", "user": Uuid::from_u128(1) }),
            };
            let (ended, end) = oneshot::channel();
            self.waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(event.correlation_id, ended);
            let sent = Instant::now();
            self.publish(&js, 0, &event).await?;
            tokio::time::timeout(LOST_AFTER, end).await.context("a chain was lost")??;
            latencies_ms.push(sent.elapsed().as_secs_f64() * 1e3);
        }
        Ok(latencies_ms)
    }

    async fn drive(self: &Arc<Self>, js: &Context, chains: u64) -> anyhow::Result<Outcome> {
        let left = Arc::new(AtomicU64::new(chains));
        let mut clients = JoinSet::new();
        for _ in 0..self.args.c {
            clients.spawn(Arc::clone(self).client(js.clone(), Arc::clone(&left)));
        }
        let mut all = Outcome::default();
        while let Some(latencies_ms) = clients.join_next().await {
            all.latencies_ms.extend(latencies_ms??);
        }
        Ok(all)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    WithResult,
}

/// Makes the consumer of a worker and starts it.
async fn start_worker(
    chain: &Arc<Chain>,
    worker: usize,
    workers: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let js = chain.connect().await?;
    let config = pull::Config {
        durable_name: Some(format!("w{worker}")),
        filter_subject: chain.subject(worker),
        ack_policy: AckPolicy::Explicit,
        ack_wait: LOST_AFTER,
        max_ack_pending: 10_000,
        ..Default::default()
    };
    let consumer = js.get_stream(chain.stream(worker)).await?.create_consumer(config).await?;
    workers.spawn(Arc::clone(chain).work(worker, consumer, js));
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let run = format!("b{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
    let chain = Arc::new(Chain {
        args: Args::parse(),
        http: http_client()?,
        run,
        waiting: Mutex::default(),
    });
    let js = chain.connect().await?;
    for (name, subject) in chain.streams() {
        let duplicate_window = Duration::from_secs(120);
        js.create_stream(stream::Config {
            name,
            subjects: vec![subject],
            duplicate_window,
            ..Default::default()
        })
        .await?;
    }
    let mut workers = JoinSet::new();
    for worker in 0..chain.args.events {
        start_worker(&chain, worker, &mut workers).await?;
    }
    let measured =
        [Some(std::process::id()), chain.args.server_pid].into_iter().flatten().collect::<Vec<_>>();
    let clients = async {
        chain.drive(&js, chain.args.warmup).await?;
        let meter = Meter::start(&measured, &chain.args.helper);
        let outcome = chain.drive(&js, chain.args.n).await?;
        Ok::<_, anyhow::Error>(meter.finish(chain.args.label.clone(), chain.args.c, outcome))
    };
    let report = tokio::select! {
        report = clients => report?,
        Some(ended) = workers.join_next() => return Err(ended?.err().unwrap_or_else(|| anyhow!("a worker ended"))),
    };
    println!("{}", serde_json::to_string(&report)?);
    for (name, _) in chain.streams() {
        js.delete_stream(name).await?;
    }
    Ok(())
}
