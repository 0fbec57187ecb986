//! Live pieces of an answer: gathered for a moment, then published.

use nexus_bus::Bus;
use nexus_contracts::{
    ChunkDelta, Event, InferenceChunk, InferenceRequest, Timestamp, derived_id, traceparent,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Duration, Instant, timeout_at};

use crate::call::{Piece, Sink};

/// What the call tells the publisher.
#[derive(Debug)]
enum Signal {
    Text(String),
    /// The text so far is void; this attempt begins.
    Restart(u32),
}

/// The end that the call writes to. Never waits: an answer is bounded, and the bus is not slow.
#[derive(Debug)]
pub(crate) struct Live {
    signals: UnboundedSender<Signal>,
    provider: String,
    started: Instant,
    /// Whether this attempt has said anything.
    begun: bool,
    /// Whether any attempt has.
    heard: bool,
}

impl Live {
    /// Whether the current attempt has said anything.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// Voids what was said; another attempt follows.
    pub(crate) fn restart(&mut self, attempt: u32) {
        self.begun = false;
        // Nobody listens when the call is being cut off.
        let _ = self.signals.send(Signal::Restart(attempt));
    }
}

impl Sink for Live {
    fn take(&mut self, piece: Piece<'_>) {
        self.begun = true;
        if !std::mem::replace(&mut self.heard, true) {
            metrics::histogram!("nexus_inference_first_token_seconds", "provider" => self.provider.clone())
                .record(self.started.elapsed().as_secs_f64());
        }
        if let Piece::Text(text) = piece {
            let _ = self.signals.send(Signal::Text(text.to_owned()));
        }
    }
}

/// How text is gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Coalesce {
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

/// Publishes what a call says.
#[derive(Debug)]
pub(crate) struct Publisher<'a> {
    bus: &'a Bus,
    request: &'a Event<InferenceRequest>,
    now: fn() -> Timestamp,
    coalesce: Coalesce,
    signals: UnboundedReceiver<Signal>,
    attempt: u32,
    number: u32,
    offset: u64,
    gathered: String,
}

/// Both ends for one call, whose first attempt has this number.
pub(crate) fn live<'a>(
    bus: &'a Bus,
    request: &'a Event<InferenceRequest>,
    provider: &str,
    attempt: u32,
    coalesce: Coalesce,
    now: fn() -> Timestamp,
) -> (Live, Publisher<'a>) {
    let (sender, signals) = unbounded_channel();
    let provider = provider.to_owned();
    let live =
        Live { signals: sender, provider, started: Instant::now(), begun: false, heard: false };
    let gathered = String::new();
    (
        live,
        Publisher { bus, request, now, coalesce, signals, attempt, number: 0, offset: 0, gathered },
    )
}

impl Publisher<'_> {
    /// Publishes until the other end is dropped. The first piece goes out at once.
    pub(crate) async fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let signal = if self.gathered.is_empty() {
                self.signals.recv().await
            } else if let Ok(signal) = timeout_at(due, self.signals.recv()).await {
                signal
            } else {
                self.flush().await;
                due = Instant::now() + self.coalesce.time;
                continue;
            };
            match signal {
                Some(Signal::Text(text)) => {
                    self.gathered.push_str(&text);
                    if self.gathered.len() >= self.coalesce.bytes || Instant::now() >= due {
                        self.flush().await;
                        due = Instant::now() + self.coalesce.time;
                    }
                }
                Some(Signal::Restart(attempt)) => {
                    self.gathered.clear();
                    (self.attempt, self.number, self.offset) = (attempt, 0, 0);
                    self.publish(ChunkDelta::Reset).await;
                    due = Instant::now();
                }
                None => return self.flush().await,
            }
        }
    }

    async fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.gathered);
        let offset = self.offset;
        self.offset += u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        self.publish(ChunkDelta::Text { offset, text }).await;
    }

    async fn publish(&mut self, delta: ChunkDelta) {
        let request = self.request;
        let chunk = InferenceChunk { call: request.id, attempt: self.attempt, delta };
        let mut event = request.reply(chunk, (self.now)());
        // A reply's id is for the one answer; pieces are many.
        event.id = derived_id(request.id, &format!("chunk {} {}", self.attempt, self.number));
        event.metadata.traceparent = Some(traceparent(request.correlation_id, event.id));
        self.number += 1;
        self.bus.publish_chunk(&event).await;
    }
}
