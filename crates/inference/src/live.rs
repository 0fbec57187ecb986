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
    /// This attempt begins.
    Begin {
        attempt: u32,
        model: String,
        reset: bool,
    },
    Piece(Kind, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Text,
}

/// The end that the call writes to. Never waits: an answer is bounded, and the bus is not slow.
#[derive(Debug)]
pub(crate) struct Live {
    signals: UnboundedSender<Signal>,
    /// Whether nobody is shown what is said.
    quiet: bool,
    /// Whether somebody may have seen something that is void when the next attempt begins.
    shown: bool,
}

impl Live {
    /// The same for one of several samples: it tells what begins, and shows nothing.
    pub(crate) fn quiet(&mut self) -> Self {
        let shown = std::mem::take(&mut self.shown);
        Self { signals: self.signals.clone(), quiet: true, shown }
    }

    /// An attempt begins at `provider/model`; what an earlier one said is void.
    pub(crate) fn begin(&mut self, attempt: u32, model: &str) {
        let reset = std::mem::take(&mut self.shown);
        // Nobody listens when the call is being cut off.
        let _ = self.signals.send(Signal::Begin { attempt, model: model.to_owned(), reset });
    }
}

impl Sink for Live {
    fn take(&mut self, piece: Piece<'_>) {
        let (kind, text) = match piece {
            Piece::Text(text) if !self.quiet => (Kind::Text, text),
            Piece::Reasoning(text) if !self.quiet => (Kind::Reasoning, text),
            Piece::Text(_) | Piece::Reasoning(_) | Piece::ToolCall => return,
        };
        self.shown = true;
        let _ = self.signals.send(Signal::Piece(kind, text.to_owned()));
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
    /// Characters published so far.
    reasoning: u64,
    text: u64,
    kind: Kind,
    gathered: String,
    /// When what is gathered goes out.
    due: Instant,
}

/// Both ends for one call. `again`: somebody may have seen what a killed worker had said.
pub(crate) fn live<'a>(
    bus: &'a Bus,
    request: &'a Event<InferenceRequest>,
    again: bool,
    coalesce: Coalesce,
    now: fn() -> Timestamp,
) -> (Live, Publisher<'a>) {
    let (sender, signals) = unbounded_channel();
    let live = Live { signals: sender, quiet: false, shown: again };
    let publisher = Publisher {
        bus,
        request,
        now,
        coalesce,
        signals,
        attempt: 0,
        number: 0,
        reasoning: 0,
        text: 0,
        kind: Kind::Text,
        gathered: String::new(),
        due: Instant::now(),
    };
    (live, publisher)
}

impl Publisher<'_> {
    /// Publishes until the other end is dropped. The first piece of each kind goes out at once.
    pub(crate) async fn run(mut self) {
        loop {
            let signal = if self.gathered.is_empty() {
                self.signals.recv().await
            } else if let Ok(signal) = timeout_at(self.due, self.signals.recv()).await {
                signal
            } else {
                self.flush().await;
                continue;
            };
            match signal {
                Some(Signal::Piece(kind, text)) => self.gather(kind, &text).await,
                Some(Signal::Begin { attempt, model, reset }) => {
                    self.gathered.clear();
                    (self.attempt, self.number) = (attempt, 0);
                    (self.reasoning, self.text) = (0, 0);
                    if reset {
                        self.publish(ChunkDelta::Reset).await;
                    }
                    self.publish(ChunkDelta::Begin { model }).await;
                    self.due = Instant::now();
                }
                None => return self.flush().await,
            }
        }
    }

    async fn gather(&mut self, kind: Kind, text: &str) {
        if kind != self.kind {
            self.flush().await;
            self.kind = kind;
            self.due = Instant::now();
        }
        self.gathered.push_str(text);
        if self.gathered.len() >= self.coalesce.bytes || Instant::now() >= self.due {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.gathered);
        let characters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        let delta = match self.kind {
            Kind::Text => {
                let offset = self.text;
                self.text += characters;
                ChunkDelta::Text { offset, text }
            }
            Kind::Reasoning => {
                let offset = self.reasoning;
                self.reasoning += characters;
                ChunkDelta::Reasoning { offset, text }
            }
        };
        self.publish(delta).await;
        self.due = Instant::now() + self.coalesce.time;
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
