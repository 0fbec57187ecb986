//! Texts into vectors: `inference.embed` in, `inference.embedded` out.
//!
//! One model answers a request: vectors of two models cannot be compared, so that there is no
//! fallback. What failed batches have cost is in the response all the same.

mod ask;
mod gate;
mod pack;
mod retry;

use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Delivery, Handler, failpoint};
use nexus_contracts::{
    AttachmentKind, AttemptLimits, EmbedOutcome, EmbedRequest, EmbedResponse, Event,
    InferenceError, InferenceOutcome, InferenceRequest, Sampling, TenantId, Vectors,
};
use tokio::time::Instant;
use tracing::Instrument as _;

use self::ask::{Ask, Spent};
use self::gate::{Gate, Key};
use crate::attempts::{Asked, model_label};
use crate::breaker::Line;
use crate::call::Class;
use crate::choice::{Choice, Offer};
use crate::credential::Credential;
use crate::error::Error;
use crate::failure::Cause;
use crate::flights::Run;
use crate::models::Facts;
use crate::providers::Entry;
use crate::routing::Refusal;
use crate::worker::Worker;

/// Name of the durable consumer.
pub(crate) const CONSUMER: &str = "embeddings";
/// Most texts of one request.
///
/// # Source
/// OpenAI, API reference, `POST /embeddings`, `input`.
const MOST_INPUTS: usize = 2048;
/// Names that leave the model to us.
const ANY: [&str; 2] = ["default", "auto"];

/// Answers requests for vectors.
pub(crate) struct Embedder(pub(crate) Arc<Worker>);

impl Handler for Embedder {
    type In = EmbedRequest;
    type Out = EmbedResponse;
    type Error = Error;

    async fn handle(
        &self,
        event: &Event<EmbedRequest>,
        delivery: Delivery,
    ) -> Result<Option<Event<EmbedResponse>>, Error> {
        let _slot = self.0.slot().await;
        let started = Instant::now();
        let waited = self.0.now().millis_since(delivery.stored_at);
        let response = match self.target(event, waited).await {
            Ok((choice, entry)) => Box::pin(self.respond(event, &choice, &entry, started)).await,
            Err(error) => refusal(event, error),
        };
        let provider = response.model.split_once('/').map_or("none", |(provider, _)| provider);
        let outcome = match &response.outcome {
            EmbedOutcome::Completed { .. } => "completed",
            EmbedOutcome::Failed(_) => "failed",
        };
        metrics::counter!("nexus_inference_embeddings_total", "provider" => provider.to_owned(), "outcome" => outcome)
            .increment(1);
        failpoint::hit("inference.after_embed");
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Some(event.reply(EmbedResponse { duration_ms, ..response }, self.0.now())))
    }

    fn give_up(&self, event: &Event<EmbedRequest>, reason: &str) -> Option<Event<EmbedResponse>> {
        let message = format!("The vectors could not be made: {reason}. Please try again.");
        let error = InferenceError::new("inference_failed", message);
        Some(event.reply(refusal(event, error), self.0.now()))
    }
}

impl Embedder {
    /// What is asked, or why nobody is.
    async fn target(
        &self,
        event: &Event<EmbedRequest>,
        waited_ms: u64,
    ) -> Result<(Choice, Entry), InferenceError> {
        let request = &event.payload;
        if waited_ms > request.start_within_ms {
            let message = "The request waited too long before it could start. Please try again.";
            return Err(InferenceError::new("expired", message));
        }
        check(&request.inputs).map_err(|message| InferenceError::new("invalid_input", message))?;
        let providers = self.0.providers();
        let name = if ANY.contains(&request.model.as_str()) {
            providers.embedder(&event.metadata).await.ok_or_else(|| {
                let message = "No provider that can be reached has a model that makes vectors. Name one as provider/model, or start Ollama with nomic-embed-text.";
                InferenceError::new("unknown_model", message)
            })?
        } else {
            request.model.clone()
        };
        let plan = providers.plan(&event.metadata, &as_call(name)).await;
        let found = match plan {
            Ok(plan) => plan.targets.into_iter().next().and_then(|choice| {
                let entry = providers.entry(&choice.provider)?;
                Some((choice, entry))
            }),
            Err(Refusal::Unknown { .. }) => None,
            Err(refusal @ (Refusal::NotLocal { .. } | Refusal::Blind { .. })) => {
                return Err(InferenceError::new(refusal.code(), refusal.to_string()));
            }
        };
        found.ok_or_else(|| InferenceError::new("unknown_model", self.0.unknown(&request.model)))
    }

    async fn respond(
        &self,
        event: &Event<EmbedRequest>,
        choice: &Choice,
        entry: &Entry,
        started: Instant,
    ) -> EmbedResponse {
        let request = &event.payload;
        let (model, providers) = (choice.full_name(), self.0.providers());
        let deadline = started + Duration::from_millis(request.timeout_ms);
        let failed = |error| EmbedResponse { model: model.clone(), ..refusal(event, error) };
        let place = entry.provider.place();
        let credential = match entry.endpoint() {
            Some(endpoint) => {
                let wallet = providers.wallet();
                wallet.credential(&event.metadata, &choice.provider, endpoint).await
            }
            None => Ok(Credential::default()),
        };
        let credential = match credential {
            Ok(credential) => credential,
            Err(error) => {
                return failed(said(Cause::Call(error).outcome(&choice.provider, place, &model)));
            }
        };
        let facts = providers.facts(entry, choice);
        let ask = Ask {
            provider: entry.provider.as_ref(),
            model: &choice.model,
            inputs: &request.inputs,
            dimensions: request.dimensions.map(u32::from),
            gate: self.gate(choice, entry, &facts, &credential, deadline),
            id: event.id,
        };
        let asked = Asked::of("embeddings", &ask.gate.line, entry, &facts);
        let (span, asked_at) = (asked.embedding(), Instant::now());
        let run = Run::new(&event.metadata, event.correlation_id);
        let flight = self.0.flights().enter(run, event.id);
        let mut spent = Spent::default();
        let made = tokio::select! {
            biased;
            () = flight.cancelled.cancelled() => None,
            made = ask.run(&mut spent).instrument(span.clone()) => Some(made),
        };
        let failure = match &made {
            Some(Ok(_)) => None,
            Some(Err(cause)) => Some(cause.label()),
            None => Some("cancelled"),
        };
        asked.took(asked_at.elapsed(), failure);
        span.record("error.type", failure);
        let usage = spent.total();
        span.record("gen_ai.usage.input_tokens", usage.input_tokens);
        asked.used("input", usage.input_tokens);
        let cost = (usage.input_tokens > 0 || matches!(made, Some(Ok(_))))
            .then(|| facts.cost(usage, self.0.now()));
        let outcome = match made {
            Some(Ok(vectors)) => {
                self.outcome(event, &model, vectors).await.map(|(vectors, length)| {
                    EmbedOutcome::Completed { vectors, dimensions: length, usage }
                })
            }
            Some(Err(cause)) => {
                self.learn(event, &credential, &cause).await;
                let error = said(cause.outcome(&choice.provider, place, &model));
                tracing::warn!(%model, class = cause.label(), error = %error.message, "embedding call failed");
                Err(error)
            }
            None => {
                let message = "Whoever asked for the vectors waits for them no longer.";
                Err(InferenceError::new("cancelled", message))
            }
        };
        EmbedResponse {
            call: event.id,
            model: model.clone(),
            outcome: outcome.unwrap_or_else(EmbedOutcome::Failed),
            duration_ms: 0,
            cost: cost.flatten(),
            key: credential.owner,
        }
    }

    /// Those who ask next are spared what a failure tells.
    async fn learn(&self, event: &Event<EmbedRequest>, credential: &Credential, cause: &Cause) {
        let Cause::Call(error) = cause else { return };
        if error.class == Class::Transport {
            self.0.providers().doubt();
        }
        if error.refuses_the_key() {
            self.0.providers().wallet().refused(event.metadata.tenant, credential).await;
        }
    }

    /// The way to a model.
    fn gate<'a>(
        &'a self,
        choice: &Choice,
        entry: &Entry,
        facts: &Facts,
        credential: &'a Credential,
        deadline: Instant,
    ) -> Gate<'a> {
        let engine = self.0.engine();
        let own = credential.base_url.as_ref().map(|url| url.as_str().to_owned());
        let base_url = own.or_else(|| Some(entry.endpoint()?.base_url.clone()));
        let (provider, model) = (choice.provider.clone(), choice.model.clone());
        Gate {
            line: Line { provider, base_url: base_url.unwrap_or_default(), model },
            credential,
            cooling: &engine.cooling,
            breakers: &engine.breakers,
            label: model_label(entry, facts, &choice.model).to_owned(),
            key: entry.endpoint().map(|endpoint| Key {
                limits: endpoint.limits,
                pools: &engine.pools,
                others: &engine.shared,
            }),
            patience: entry.patience(),
            deadline,
        }
    }

    /// The vectors as the event carries them, and their length.
    async fn outcome(
        &self,
        event: &Event<EmbedRequest>,
        model: &str,
        vectors: Vec<Vec<f32>>,
    ) -> Result<(Vectors, u32), InferenceError> {
        let length = vectors.first().map_or(0, Vec::len);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if let Some(wanted) = event.payload.dimensions.map(u32::from)
            && wanted != length
        {
            let message = format!(
                "{model} makes vectors of {length} numbers, {wanted} were asked for. Leave dimensions out, or choose a model that can shorten them."
            );
            return Err(InferenceError::new("dimensions_not_taken", message));
        }
        if pack::fits(&vectors) {
            return Ok((Vectors::Inline { base64: pack::inline(&vectors) }, length));
        }
        Ok((self.keep(event.metadata.tenant, &vectors).await?, length))
    }

    /// Puts vectors into the blob store.
    async fn keep(
        &self,
        tenant: TenantId,
        vectors: &[Vec<f32>],
    ) -> Result<Vectors, InferenceError> {
        let (bytes, name) = (pack::bytes(vectors), Some("vectors.f32".to_owned()));
        let kind = AttachmentKind::Document;
        let kept = self.0.blobs().put(tenant, kind, name, None, bytes.into()).await;
        match kept {
            Ok(attachment) => Ok(Vectors::Blob { attachment }),
            Err(nexus_blobs::Error::TooLarge { bytes, limit }) => {
                let message = format!(
                    "The vectors have {bytes} bytes, the limit is {limit}. Please ask for fewer texts or fewer dimensions at once."
                );
                Err(InferenceError::new("vectors_too_large", message))
            }
            Err(error) => {
                tracing::error!(error = %nexus_bus::Chain(&error), "vectors cannot be stored");
                let message = "The vectors could not be stored. Please try again.";
                Err(InferenceError::new("inference_failed", message))
            }
        }
    }
}

/// A response without any vectors.
fn refusal(event: &Event<EmbedRequest>, error: InferenceError) -> EmbedResponse {
    EmbedResponse {
        call: event.id,
        model: event.payload.model.clone(),
        outcome: EmbedOutcome::Failed(error),
        duration_ms: 0,
        cost: None,
        key: None,
    }
}

/// What a failed call is in the words that model calls fail with.
fn said(outcome: InferenceOutcome) -> InferenceError {
    match outcome {
        InferenceOutcome::Failed(error) => error,
        InferenceOutcome::Completed { .. } | InferenceOutcome::Cancelled => {
            InferenceError::new("inference_failed", "The vectors could not be made.")
        }
    }
}

/// The texts, or what is wrong with them.
fn check(inputs: &[String]) -> Result<(), String> {
    if inputs.is_empty() {
        return Err("There are no texts. Send at least one.".to_owned());
    }
    if inputs.len() > MOST_INPUTS {
        let count = inputs.len();
        return Err(format!(
            "There are {count} texts, the limit is {MOST_INPUTS}. Send fewer at once."
        ));
    }
    match inputs.iter().position(String::is_empty) {
        Some(index) => Err(format!("Text {index} (from 0) is empty. Leave it out.")),
        None => Ok(()),
    }
}

/// The first model that can be asked and by its name makes vectors; offers come preferred first.
pub(crate) fn first_embedder(offers: &[Offer]) -> Option<String> {
    offers.iter().filter(|offer| offer.available).find_map(|offer| {
        let model = offer.models.iter().find(|model| model.to_lowercase().contains("embed"))?;
        Some(format!("{}/{model}", offer.provider))
    })
}

/// A model call with nothing but a model, for routing: which model a name means is the same for both.
fn as_call(model: String) -> InferenceRequest {
    InferenceRequest {
        model,
        messages: Vec::new(),
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: AttemptLimits::default(),
        number: 1,
        start_within_ms: 0,
        timeout_ms: 0,
    }
}

#[cfg(test)]
mod tests;
