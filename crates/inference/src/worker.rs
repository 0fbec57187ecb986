use std::sync::Arc;

use nexus_blobs::Blobs;
use nexus_bus::{Bus, Chain, Delivery, Handler, Limits, Questions, Runner, failpoint};
use nexus_contracts::{
    Attempt, Event, InferenceOutcome, InferenceRequest, InferenceResponse, Timestamp,
};
use nexus_vault::Vault;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::attempts::{Answer, Ended, Engine, Job, Ledger, Rules, lost, payer};
use crate::breaker::Breakers;
use crate::call::Completion;
use crate::catalogs::Catalogs;
use crate::choice::Choice;
use crate::config::Config;
use crate::cooling::{Cooling, Shared};
use crate::credential::Wallet;
use crate::embed::{self, Embedder};
use crate::error::Error;
use crate::files::{self, FileError};
use crate::flights::{self, Flights, News, Run};
use crate::limits::Pools;
use crate::live::{Coalesce, live};
use crate::providers::Providers;
use crate::routing::Refusal;
use crate::{Secrets, check, failure};

/// Name of the durable consumer.
const CONSUMER: &str = "inference";
/// Most bytes of an answer's event; a larger one could never be stored.
const MAX_RESPONSE: usize = 240 * 1024;

/// What the worker needs beside the bus.
#[derive(Clone)]
pub struct Resources {
    pub secrets: Secrets,
    /// The keys that people bring; without it the operator's are all there are.
    pub vault: Option<Vault>,
    /// Where attachments are read from.
    pub blobs: Blobs,
}

/// An inference worker, ready to serve.
pub struct Inference {
    worker: Arc<Worker>,
    news: News,
    questions: Questions,
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
        let catalogs = Catalogs::follow(bus, &stop).await?;
        let news = News::open(bus).await?;
        let coalesce = Coalesce { time: config.coalesce, bytes: config.coalesce_bytes.get() };
        let max_in_flight = config.max_in_flight.get();
        let Resources { secrets, vault, blobs } = resources;
        let rules = Rules {
            first_token: config.first_token_with_fallback,
            fallback_on_content_filter: config.fallback_on_content_filter,
        };
        let wallet = Wallet::open(bus, secrets, vault, stop.clone()).await?;
        let providers = Providers::open(bus, config, wallet, catalogs).await?;
        let questions = check::questions(bus).await?;
        let me = Uuid::now_v7();
        let engine = Engine {
            providers,
            breakers: Breakers::default(),
            cooling: Cooling::default(),
            shared: Shared::new(bus, me, now),
            pools: Pools::new(bus, me, now),
            rules,
        };
        let (bus, flights) = (bus.clone(), Flights::default());
        let slots = Semaphore::new(max_in_flight);
        let worker = Worker { bus, engine, blobs, flights, coalesce, slots, now };
        Ok(Self { worker: Arc::new(worker), news, questions, max_in_flight, stop })
    }

    /// `provider/model` of everything that can be asked now, preferred first.
    #[must_use]
    pub fn available(&self) -> Vec<String> {
        self.worker.engine.providers.available()
    }

    /// `provider/model` that `default` means now; `none` when there is none.
    #[must_use]
    pub fn default_model(&self) -> String {
        let default = self.worker.engine.providers.default_choice();
        default.map_or_else(|| "none".to_owned(), |choice| choice.full_name())
    }

    /// Serves until stopped, then finishes what is in hand.
    ///
    /// # Errors
    /// [`Error::Bus`] when the consumer does not exist: run `nexus bus apply`.
    pub async fn run(self) -> Result<(), Error> {
        let Self { worker, news, questions, max_in_flight, stop } = self;
        let limits = Limits { concurrency: max_in_flight, ..Limits::default() };
        let (bus, now) = (&worker.bus, worker.now);
        let calls = Runner::new(bus, CONSUMER, Arc::clone(&worker), limits, now, stop.clone());
        let embedder = Arc::new(Embedder(Arc::clone(&worker)));
        let embeddings = Runner::new(bus, embed::CONSUMER, embedder, limits, now, stop);
        // These go on while calls in hand are finished.
        let background = async {
            tokio::join!(
                flights::watch(&worker.bus, news, &worker.flights),
                worker.engine.providers.follow(),
                worker.engine.pools.keep(),
                worker.engine.shared.follow(&worker.engine.cooling),
                check::serve(questions, &worker.engine.providers)
            )
        };
        tokio::select! {
            ended = async { tokio::try_join!(calls.run(), embeddings.run()) } => {
                ended?;
                Ok(())
            }
            _ = background => Ok(()),
        }
    }
}

/// Answers model calls.
pub(crate) struct Worker {
    bus: Bus,
    engine: Engine,
    blobs: Blobs,
    flights: Flights,
    coalesce: Coalesce,
    /// Calls and requests for vectors share them: each kind has a runner of its own.
    slots: Semaphore,
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
        let _slot = self.slot().await;
        let started = Instant::now();
        let span = tracing::info_span!(
            "inference",
            otel.kind = "internal",
            model = event.payload.model,
            number = event.payload.number,
            delivery = delivery.attempt
        );
        let response = Box::pin(self.respond(event, delivery, started).instrument(span)).await;
        failpoint::hit("inference.after_call");
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Some(self.reply(event, InferenceResponse { duration_ms, ..response })))
    }

    fn give_up(
        &self,
        event: &Event<InferenceRequest>,
        reason: &str,
    ) -> Option<Event<InferenceResponse>> {
        let message = format!("The model call could not be made: {reason}. Please try again.");
        let outcome = failure::failed("inference_failed", message);
        let model = event.payload.model.clone();
        Some(self.reply(event, InferenceResponse::of(event.id, model, outcome, 0)))
    }
}

impl Worker {
    fn reply(
        &self,
        event: &Event<InferenceRequest>,
        response: InferenceResponse,
    ) -> Event<InferenceResponse> {
        let mut reply = event.reply(response, (self.now)());
        let is_too_large = |reply: &Event<InferenceResponse>| reply.encode().len() > MAX_RESPONSE;
        if is_too_large(&reply)
            && let InferenceOutcome::Completed { turn, .. } = &mut reply.payload.outcome
        {
            // The answer's text and calls say all that everybody can read.
            *turn = None;
        }
        if is_too_large(&reply) {
            let message = format!(
                "The model's answer is larger than {} KiB. Please ask for less at once.",
                MAX_RESPONSE / 1024
            );
            reply.payload.outcome = failure::failed("answer_too_long", message);
        }
        reply
    }

    /// What comes of a call.
    async fn respond(
        &self,
        event: &Event<InferenceRequest>,
        delivery: Delivery,
        started: Instant,
    ) -> InferenceResponse {
        let request = &event.payload;
        let refused = |metric, code, message| {
            count("none", metric);
            let model = request.model.clone();
            InferenceResponse::of(event.id, model, failure::failed(code, message), 0)
        };
        if (self.now)().millis_since(delivery.stored_at) > request.start_within_ms {
            let message = "The model call waited too long before it could start. Please try again."
                .to_owned();
            return refused("expired", "expired", message);
        }
        let plan = match self.engine.providers.plan(&event.metadata, request).await {
            Ok(plan) => plan,
            Err(refusal) => {
                let message = match &refusal {
                    Refusal::Unknown { .. } => self.unknown(&request.model),
                    Refusal::NotLocal { .. } | Refusal::Blind { .. } => refusal.to_string(),
                };
                return refused(refusal.code(), refusal.code(), message);
            }
        };
        let ledger = Ledger::new(request, self.now);
        let flight = self.flights.enter(Run::new(&event.metadata, event.correlation_id), event.id);
        let asked = self.ask(event, delivery, &plan.targets, &ledger, started);
        let ended = tokio::select! {
            biased;
            () = flight.cancelled.cancelled() => None,
            ended = asked => Some(ended),
        };
        if let Some(busy) = ledger.smooth() {
            metrics::histogram!("nexus_inference_overhead_seconds")
                .record(started.elapsed().saturating_sub(busy).as_secs_f64());
        }
        let (attempts, cost) = ledger.close();
        let (mut key, mut consensus) = (payer(&attempts), None);
        let (model, provider, outcome) = match ended {
            None => {
                let last = attempts.last().map(|attempt| attempt.model.clone());
                let planned = || plan.targets.first().map(Choice::full_name);
                let model = last.or_else(planned).unwrap_or_else(|| request.model.clone());
                let provider = model.split_once('/').map_or("none", |(provider, _)| provider);
                (model.clone(), provider.to_owned(), InferenceOutcome::Cancelled)
            }
            Some(Err(error)) => {
                let model = plan.targets.first().map(Choice::full_name).unwrap_or_default();
                tracing::info!(error = %Chain(&error), "the request's files cannot be shown");
                (model, "none".to_owned(), failure::failed(error.code(), error.to_string()))
            }
            Some(Ok(Ended { choice, place, result })) => {
                let model = choice.full_name();
                let outcome = match result {
                    Ok(Answer { completion, usage, key: owner, consensus: agreement }) => {
                        (key, consensus) = (owner, agreement);
                        let Completion { text, tool_calls, finish, turn, .. } = completion;
                        // It goes back to its model with the results of its calls, or nowhere.
                        let turn = turn.filter(|_| !tool_calls.is_empty());
                        InferenceOutcome::Completed { text, tool_calls, finish, usage, turn }
                    }
                    Err(cause) => cause.outcome(&choice.provider, &place, &model),
                };
                (model, choice.provider, outcome)
            }
        };
        count(&provider, name(&outcome));
        for (provider, microusd) in attempts.iter().filter_map(charge) {
            metrics::counter!("nexus_inference_cost_microusd_total", "provider" => provider)
                .increment(microusd);
        }
        InferenceResponse {
            cost,
            key,
            attempts,
            consensus,
            route: plan.route,
            ..InferenceResponse::of(event.id, model, outcome, 0)
        }
    }

    /// Asks the targets, and publishes what they say while they say it.
    async fn ask(
        &self,
        event: &Event<InferenceRequest>,
        delivery: Delivery,
        targets: &[Choice],
        ledger: &Ledger<'_>,
        started: Instant,
    ) -> Result<Ended, FileError> {
        let again = delivery.attempt > 1;
        if again {
            lost::enter(&self.bus, &self.engine.providers, event, delivery, ledger).await;
        }
        let files = files::load(&self.blobs, event.metadata.tenant, &event.payload).await?;
        let (mut sink, publisher) = live(&self.bus, event, again, self.coalesce, self.now);
        let job = Job::new(&self.engine, event, &files, ledger, started);
        let asking = async {
            let ended = match event.payload.sampling.samples {
                Some(samples) if samples.get() > 1 => {
                    job.samples(samples.get().into(), targets, &mut sink).await
                }
                _ => job.run(targets, &mut sink).await,
            };
            // Dropping the sink ends the publisher.
            drop(sink);
            ended
        };
        let (ended, ()) = tokio::join!(asking, publisher.run());
        Ok(ended)
    }

    /// Leave to work on one event; the wait for it counts as the event's wait for a start.
    pub(crate) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.slots.acquire().await.ok()
    }

    pub(crate) fn providers(&self) -> &Providers {
        &self.engine.providers
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn flights(&self) -> &Flights {
        &self.flights
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(crate) fn unknown(&self, model: &str) -> String {
        let available = self.engine.providers.available();
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

/// Which provider an attempt is charged by, and how much.
fn charge(attempt: &Attempt) -> Option<(String, u64)> {
    let (provider, _) = attempt.model.split_once('/')?;
    attempt.cost.as_ref().map(|cost| (provider.to_owned(), cost.microusd))
}

fn count(provider: &str, outcome: &'static str) {
    metrics::counter!("nexus_inference_calls_total", "provider" => provider.to_owned(), "outcome" => outcome).increment(1);
}
