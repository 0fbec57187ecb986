use std::sync::Arc;
use std::time::Duration;

use nexus_blobs::Blobs;
use nexus_bus::{
    Bucket, Bus, Catalog, Delivery, Handler, Limits, Reader, Runner, Start, failpoint,
};
use nexus_contracts::{Event, InferenceOutcome, InferenceRequest, InferenceResponse, Timestamp};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::attempts::{Attempts, STARTS};
use crate::call::{Call, CallError, Class, Completion};
use crate::choice::Choice;
use crate::config::Config;
use crate::credential::{Credential, Wallet};
use crate::error::Error;
use crate::files::Files;
use crate::flights::{self, Flights, Run};
use crate::live::{Coalesce, live};
use crate::providers::{Entry, Providers};
use crate::{Secrets, failure};

/// Name of the durable consumer.
const CONSUMER: &str = "inference";
/// Most bytes of an answer's event; a larger one could never be stored.
const MAX_RESPONSE: usize = 240 * 1024;

/// What the worker needs beside the bus.
#[derive(Clone)]
pub struct Resources {
    pub secrets: Secrets,
    /// Where attachments are read from.
    pub blobs: Blobs,
}

/// An inference worker, ready to serve.
pub struct Inference {
    worker: Arc<Worker>,
    news: Reader,
    max_in_flight: usize,
    stop: CancellationToken,
}

impl std::fmt::Debug for Inference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inference").field("available", &self.available()).finish_non_exhaustive()
    }
}

impl Inference {
    /// Reads the providers' settings and looks which of them can be reached.
    ///
    /// # Errors
    /// [`Error::Bus`] when the bus has not been set up or cannot be reached.
    pub async fn open(
        bus: &Bus,
        config: Config,
        resources: Resources,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let catalog = Catalog::follow(bus, Bucket::Config, "provider", stop.clone()).await?;
        let news = flights::news(bus, Start::New).await?;
        let coalesce = Coalesce { time: config.coalesce, bytes: config.coalesce_bytes.get() };
        let max_in_flight = config.max_in_flight.get();
        let Resources { secrets, blobs } = resources;
        let providers = Providers::open(bus, config, Wallet::new(secrets), catalog).await?;
        let (bus, flights) = (bus.clone(), Flights::default());
        let worker = Worker { bus, providers, blobs, flights, coalesce, now };
        Ok(Self { worker: Arc::new(worker), news, max_in_flight, stop })
    }

    /// `provider/model` of everything that can be asked now, preferred first.
    #[must_use]
    pub fn available(&self) -> Vec<String> {
        self.worker.providers.available()
    }

    /// `provider/model` that `default` means now; `none` when there is none.
    #[must_use]
    pub fn default_model(&self) -> String {
        let default = self.worker.providers.default_choice();
        default.map_or_else(|| "none".to_owned(), |choice| choice.full_name())
    }

    /// Serves until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// [`Error::Bus`] when the consumer does not exist: run `nexus bus apply`.
    pub async fn run(self) -> Result<(), Error> {
        let Self { worker, news, max_in_flight, stop } = self;
        let limits = Limits { concurrency: max_in_flight, ..Limits::default() };
        let runner =
            Runner::new(&worker.bus, CONSUMER, Arc::clone(&worker), limits, worker.now, stop);
        // These go on while calls in hand are finished.
        let background = async {
            tokio::join!(
                flights::watch(&worker.bus, news, &worker.flights),
                worker.providers.follow()
            )
        };
        tokio::select! {
            ended = runner.run() => Ok(ended?),
            _ = background => Ok(()),
        }
    }
}

/// Answers model calls.
struct Worker {
    bus: Bus,
    providers: Providers,
    #[expect(dead_code, reason = "read when attachments are shown to models")]
    blobs: Blobs,
    flights: Flights,
    coalesce: Coalesce,
    now: fn() -> Timestamp,
}

impl Handler for Worker {
    type In = InferenceRequest;
    type Out = InferenceResponse;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<InferenceRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<InferenceResponse>>, Error> {
        let started = Instant::now();
        let (model, outcome) = Box::pin(self.outcome(event, delivery, started)).await;
        failpoint::hit("inference.after_call");
        Ok(Some(self.response(event, model, outcome, started.elapsed())))
    }

    fn give_up(
        &self,
        event: &Event<InferenceRequest>,
        reason: &str,
    ) -> Option<Event<InferenceResponse>> {
        let message = format!("The model call could not be made: {reason}. Please try again.");
        let outcome = failure::failed("inference_failed", message);
        Some(self.response(event, event.payload.model.clone(), outcome, Duration::ZERO))
    }
}

impl Worker {
    fn response(
        &self,
        event: &Event<InferenceRequest>,
        model: String,
        outcome: InferenceOutcome,
        duration: Duration,
    ) -> Event<InferenceResponse> {
        let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let response = InferenceResponse::of(event.id, model, outcome, duration_ms);
        let mut reply = event.reply(response, (self.now)());
        if reply.encode().len() > MAX_RESPONSE {
            let message = format!(
                "The model's answer is larger than {} KiB. Please ask for less at once.",
                MAX_RESPONSE / 1024
            );
            reply.payload.outcome = failure::failed("answer_too_long", message);
        }
        reply
    }

    /// What comes of a call, and `provider/model` that was asked.
    async fn outcome(
        &self,
        event: &Event<InferenceRequest>,
        delivery: Delivery,
        started: Instant,
    ) -> (String, InferenceOutcome) {
        let request = &event.payload;
        if (self.now)().millis_since(delivery.stored_at) > request.start_within_ms {
            count("none", "expired");
            let message = "The model call waited too long before it could start. Please try again."
                .to_owned();
            return (request.model.clone(), failure::failed("expired", message));
        }
        let target = self.providers.plan(request).and_then(|plan| {
            let choice = plan.targets.into_iter().next()?;
            let entry = self.providers.entry(&choice.provider)?;
            Some((choice, entry))
        });
        let Some((choice, entry)) = target else {
            count("none", "unknown_model");
            return (
                request.model.clone(),
                failure::failed("unknown_model", self.unknown(&request.model)),
            );
        };
        let flight = self.flights.enter(Run::new(&event.metadata, event.correlation_id), event.id);
        let asked = self.ask(event, delivery, &choice, &entry, started);
        let result = tokio::select! {
            biased;
            () = flight.cancelled.cancelled() => None,
            result = asked => Some(result),
        };
        let outcome = match result {
            None => InferenceOutcome::Cancelled,
            Some(Ok(Completion { text, tool_calls, finish, usage, turn, .. })) => {
                let usage = usage.unwrap_or_default();
                InferenceOutcome::Completed { text, tool_calls, finish, usage, turn }
            }
            Some(Err(error)) => {
                if error.class == Class::Transport {
                    self.providers.doubt();
                }
                tracing::warn!(model = %choice.full_name(), class = error.class.as_str(), error = %error.message, "model call failed");
                failure::outcome(&choice.provider, entry.provider.place(), &error)
            }
        };
        count(&choice.provider, name(&outcome));
        (choice.full_name(), outcome)
    }

    /// Asks a provider, and publishes what it says while it says it.
    async fn ask(
        &self,
        event: &Event<InferenceRequest>,
        delivery: Delivery,
        choice: &Choice,
        entry: &Entry,
        started: Instant,
    ) -> Result<Completion, CallError> {
        let limit = Duration::from_millis(event.payload.timeout_ms);
        let earlier =
            u32::try_from(delivery.attempt.saturating_sub(1)).unwrap_or(u32::MAX / STARTS);
        let first = earlier.saturating_mul(STARTS).saturating_add(1);
        let (mut sink, publisher) =
            live(&self.bus, event, &choice.provider, first, self.coalesce, self.now);
        if earlier > 0 {
            // Somebody may have seen what a killed worker had said.
            sink.restart(first);
        }
        let credential = match entry.endpoint() {
            Some(endpoint) => {
                let wallet = self.providers.wallet();
                wallet.credential(&event.metadata, &choice.provider, endpoint).await?
            }
            None => Credential::default(),
        };
        let call = Call {
            full_name: &choice.full_name(),
            model: &choice.model,
            request: &event.payload,
            files: &Files::default(),
            credential: &credential,
            patience: entry.patience(),
        };
        let deadline = started + limit;
        let (name, provider) = (choice.provider.as_str(), entry.provider.as_ref());
        let attempts = Attempts { name, provider, call, id: event.id, first, deadline };
        let calling = async {
            let late = || {
                CallError::new(
                    Class::Timeout,
                    &format!("no whole answer within {} s", limit.as_secs_f32()),
                )
            };
            timeout_at(deadline, attempts.run(sink)).await.unwrap_or_else(|_| Err(late()))
        };
        // The sink is dropped with the call, which ends the publisher.
        let (result, ()) = tokio::join!(calling, publisher.run());
        result
    }

    fn unknown(&self, model: &str) -> String {
        let available = self.providers.available();
        if available.is_empty() {
            return format!(
                "There is no model {model:?}, and no model provider that can be reached. Set OPENAI_API_KEY, or start Ollama or a llama.cpp server."
            );
        }
        const SHOWN: usize = 20;
        let more = if available.len() > SHOWN { ", ..." } else { "" };
        let shown: Vec<&str> = available.iter().map(String::as_str).take(SHOWN).collect();
        format!("There is no model {model:?}. There are: {}{more}.", shown.join(", "))
    }
}

/// Bounded name of an outcome, for metrics.
fn name(outcome: &InferenceOutcome) -> &'static str {
    match outcome {
        InferenceOutcome::Completed { .. } => "completed",
        InferenceOutcome::Failed(_) => "failed",
        InferenceOutcome::Cancelled => "cancelled",
    }
}

fn count(provider: &str, outcome: &'static str) {
    metrics::counter!("nexus_inference_calls_total", "provider" => provider.to_owned(), "outcome" => outcome).increment(1);
}
