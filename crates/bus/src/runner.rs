use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind};
use futures_util::{FutureExt as _, StreamExt as _};
use nexus_contracts::{Event, EventType, Payload, StoredSubject, Subject, Timestamp, derived_id};
use tokio::sync::Semaphore;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::connection::Bus;
use crate::dead_letter::DeadLetters;
use crate::error::Error;
use crate::handler::{Chain, Delivery, Disposition, Fault as _, Handler};
use crate::reader::{Message, convert};
use crate::{EVENTS, failpoint};

/// How hard a worker works, and when it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Events worked on at once.
    pub concurrency: usize,
    /// Deliveries after which an event is given up.
    pub deliveries: u64,
    /// Longest wait for work in hand when the worker stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrency: 64, deliveries: 25, drain: Duration::from_secs(20) }
    }
}

/// Runs a handler on a durable consumer of EVENTS until it is told to stop.
///
/// Owns everything around the handler: fetching, concurrency, progress on long work, publishing
/// before acknowledging, retries, dead letters, panics, drain.
#[derive(Debug)]
pub struct Runner<H> {
    bus: Bus,
    consumer: String,
    handler: Arc<H>,
    limits: Limits,
    now: fn() -> Timestamp,
    stop: CancellationToken,
}

impl<H: Handler> Runner<H> {
    pub fn new(
        bus: &Bus,
        consumer: &str,
        handler: Arc<H>,
        limits: Limits,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Self {
        Self { bus: bus.clone(), consumer: consumer.to_owned(), handler, limits, now, stop }
    }

    /// Works until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// [`Error::Request`] when the consumer does not exist: run `nexus bus apply`.
    pub async fn run(self) -> Result<(), Error> {
        let slots = Arc::new(Semaphore::new(self.limits.concurrency));
        let tasks = TaskTracker::new();
        let (drain, stop) = (self.limits.drain, self.stop.clone());
        // Once at the start, so that a missing consumer is told to whoever starts the worker.
        self.consumer().await?;
        let this = Arc::new(self);
        while !stop.is_cancelled() {
            if let Err(error) = this.clone().pull(&slots, &tasks).await {
                tracing::warn!(consumer = %this.consumer, error = %Chain(&error), "fetching broke off, trying again");
                let pause = Duration::from_millis(250);
                let _ = tokio::time::timeout(pause, stop.cancelled()).await;
            }
        }
        tasks.close();
        if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
            tracing::warn!(consumer = %this.consumer, left = tasks.len(), "stopped with work in hand; it is delivered again");
        }
        Ok(())
    }

    async fn consumer(&self) -> Result<PullConsumer, Error> {
        let found = self.bus.js.get_consumer_from_stream(&self.consumer, EVENTS).await;
        found.map_err(Error::request(format!(
            "finding consumer {}; is `nexus bus apply` done?",
            self.consumer
        )))
    }

    /// Fetches until stopped or until the subscription breaks.
    async fn pull(
        self: Arc<Self>,
        slots: &Arc<Semaphore>,
        tasks: &TaskTracker,
    ) -> Result<(), Error> {
        let doing = || format!("fetching from consumer {}", self.consumer);
        let consumer = self.consumer().await?;
        let patience = consumer.cached_info().config.ack_wait;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(self.limits.concurrency.clamp(1, 256))
            .expires(Duration::from_secs(20))
            .heartbeat(Duration::from_secs(3))
            .messages()
            .await
            .map_err(Error::request(doing()))?;
        loop {
            let permit = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                permit = Arc::clone(slots).acquire_owned() => permit.map_err(Error::request(doing()))?,
            };
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                next = messages.next() => next,
            };
            let ended =
                || Error::Request { doing: doing(), source: "the subscription ended".into() };
            let message = next.ok_or_else(ended)?.map_err(Error::request(doing()))?;
            failpoint::hit("bus.after_receive");
            let this = Arc::clone(&self);
            tasks.spawn(async move {
                this.deliver(message, patience).await;
                drop(permit);
            });
        }
        // What was fetched ahead goes back at once, instead of waiting for its time to run out.
        // The subscription ends first, or the server would hand the same to it again. Unconstrained,
        // because a spent budget looks like an empty subscription.
        let mut ahead = Vec::new();
        while let Some(Some(Ok(message))) = unconstrained(messages.next()).now_or_never() {
            ahead.push(message);
        }
        drop(messages);
        for message in ahead {
            let _ = message.ack_with(AckKind::Nak(None)).await;
        }
        Ok(())
    }

    async fn deliver(&self, raw: jetstream::Message, patience: Duration) {
        let message = match convert(&raw) {
            Ok(message) => message,
            Err(error) => return tracing::warn!(error = %Chain(&error), "message without a place"),
        };
        let started = Instant::now();
        let progress = async {
            let mut ticks = tokio::time::interval(patience / 3);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let _ = raw.ack_with(AckKind::Progress).await;
            }
        };
        let verdict = tokio::select! {
            verdict = self.process(&message, &raw) => verdict,
            () = progress => return,
        };
        metrics::histogram!("nexus_worker_seconds", "consumer" => self.consumer.clone())
            .record(started.elapsed().as_secs_f64());
        metrics::counter!("nexus_worker_events_total", "consumer" => self.consumer.clone(), "verdict" => verdict.name())
            .increment(1);
        let settled = match verdict {
            Settled::Done | Settled::Buried => raw.double_ack_with(AckKind::Ack).await,
            Settled::Retry(delay) => raw.ack_with(AckKind::Nak(Some(delay))).await,
        };
        if let Err(error) = settled {
            tracing::debug!(%error, "acknowledging failed; the event is delivered again");
        }
        failpoint::hit("bus.after_ack");
    }

    async fn process(&self, message: &Message, raw: &jetstream::Message) -> Settled {
        let event = match read::<H::In>(message) {
            Ok(event) => event,
            Err(reason) => return self.bury(message, "malformed", reason).await,
        };
        let span = tracing::info_span!(
            "deliver", consumer = %self.consumer, event_id = %event.id, event_type = %event.kind,
            correlation_id = %event.correlation_id, tenant = %event.metadata.tenant,
            sequence = message.sequence, attempt = message.attempt
        );
        self.work(&event, message, raw).instrument(span).await
    }

    async fn work(
        &self,
        event: &Event<H::In>,
        message: &Message,
        raw: &jetstream::Message,
    ) -> Settled {
        if message.attempt > self.limits.deliveries {
            let reason = format!("not done after {} deliveries", self.limits.deliveries);
            return self.give_up(event, message, "exhausted", reason).await;
        }
        if message.attempt > 1 && self.answered(event).await {
            return Settled::Done;
        }
        if failpoint::ablated("ack-first") {
            let _ = raw.double_ack().await;
            failpoint::hit("bus.after_early_ack");
        }
        let delivery = Delivery {
            sequence: message.sequence,
            stored_at: message.stored_at,
            attempt: message.attempt,
        };
        let handled = AssertUnwindSafe(self.handler.handle(event, delivery)).catch_unwind().await;
        failpoint::hit("bus.after_handle");
        let answer = match handled {
            Err(_) => {
                let reason = "the worker panicked on it; its log has the place".to_owned();
                return self.give_up(event, message, "panicked", reason).await;
            }
            Ok(Err(error)) => match error.disposition() {
                Disposition::Retry(delay) => {
                    if error.is_wait() {
                        tracing::debug!(?delay, "work waits for its turn");
                    } else {
                        tracing::warn!(error = %Chain(&error), "work failed, it is tried again");
                    }
                    return Settled::Retry(delay);
                }
                Disposition::Reject => {
                    return self
                        .give_up(event, message, "rejected", Chain(&error).to_string())
                        .await;
                }
            },
            Ok(Ok(answer)) => answer,
        };
        match answer {
            Some(answer) => match self.publish(&answer).await {
                Err(error) if error.disposition() == Disposition::Reject => {
                    self.give_up(event, message, "rejected", Chain(&error).to_string()).await
                }
                published => settled(published),
            },
            None => Settled::Done,
        }
    }

    async fn publish(&self, answer: &Event<H::Out>) -> Result<(), Error> {
        self.bus.publish(answer).await?;
        failpoint::hit("bus.after_publish");
        Ok(())
    }

    /// Whether an earlier delivery got as far as storing its answer.
    async fn answered(&self, event: &Event<H::In>) -> bool {
        if H::Out::TYPE == H::In::TYPE {
            return false; // a handler that answers nothing
        }
        let expected = derived_id(event.id, H::Out::TYPE.as_str());
        let subject = Subject::of(H::Out::TYPE, &event.metadata).stored();
        let last = self.bus.last_on(EVENTS, &subject).await;
        matches!(last, Ok(Some((_, Some(id)))) if id == expected)
    }

    async fn give_up(
        &self,
        event: &Event<H::In>,
        message: &Message,
        code: &str,
        reason: String,
    ) -> Settled {
        if let Some(answer) = self.handler.give_up(event, &reason)
            && let Err(error) = self.publish(&answer).await
            && error.disposition() != Disposition::Reject
        {
            return settled(Err(error));
        }
        self.bury(message, code, reason).await
    }

    async fn bury(&self, message: &Message, code: &str, reason: String) -> Settled {
        let letters = DeadLetters::new(&self.bus);
        match letters.bury(&self.consumer, message, code, reason, (self.now)()).await {
            Ok(()) => Settled::Buried,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the dead letter could not be stored");
                Settled::Retry(Duration::from_secs(5))
            }
        }
    }
}

/// What becomes of a delivery.
enum Settled {
    Done,
    Buried,
    Retry(Duration),
}

/// An answer that could not be stored now is made again.
fn settled(published: Result<(), Error>) -> Settled {
    match published {
        Ok(()) => Settled::Done,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "the answer could not be stored, the work is tried again");
            Settled::Retry(Duration::from_secs(1))
        }
    }
}

impl Settled {
    fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Buried => "buried",
            Self::Retry(_) => "retried",
        }
    }
}

/// Reads a message as an event that belongs where it was found.
pub(crate) fn read<P: Payload>(message: &Message) -> Result<Event<P>, String> {
    let subject =
        StoredSubject::parse(&message.subject).map_err(|error| Chain(&error).to_string())?;
    let event = Event::<P>::decode(&message.bytes).map_err(|error| Chain(&error).to_string())?;
    if subject.kind != P::TYPE.as_str() || !subject.matches(&event.metadata) {
        return Err(format!("metadata names another place than the subject {}", message.subject));
    }
    if P::TYPE == EventType::RequestsIncoming && event.correlation_id != event.id {
        return Err("a request's correlation_id has to be its own id".to_owned());
    }
    Ok(event)
}
