//! Spans and measurements of attempts, by the names of OpenTelemetry's conventions for generative
//! AI (semantic-conventions-genai). What was said is in none of them.

use std::time::Duration;

use metrics::Histogram;
use nexus_contracts::{Event, InferenceRequest, Usage};
use tokio::time::Instant;
use tracing::{Span, field};
use url::Url;

use super::ledger::Seen;
use super::target::Target;
use crate::breaker::Line;
use crate::call::{CallError, Completion, Identity, Piece, Sink};
use crate::models::Facts;
use crate::providers::Entry;

/// What is asked of whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    operation: &'static str,
    /// The provider's name in the table of models.
    vendor: &'a str,
    line: &'a Line,
    label: &'a str,
}

impl<'a> Asked<'a> {
    /// `operation` is one of the conventions' names.
    pub(crate) fn of(
        operation: &'static str,
        line: &'a Line,
        entry: &'a Entry,
        facts: &Facts,
    ) -> Self {
        let label = model_label(entry, facts, &line.model);
        Self { operation, vendor: entry.vendor(&line.provider), line, label }
    }

    fn chat(target: &'a Target<'_>) -> Self {
        Self::of("chat", &target.line, &target.entry, &target.facts)
    }

    /// The span of a request for vectors.
    pub(crate) fn embedding(self) -> Span {
        let address = Url::parse(&self.line.base_url).ok();
        let model = self.line.model.as_str();
        tracing::info_span!(
            "embed",
            otel.name = %format_args!("{} {model}", self.operation),
            otel.kind = "client",
            gen_ai.operation.name = self.operation,
            gen_ai.provider.name = provider_name(self.vendor),
            gen_ai.request.model = model,
            gen_ai.usage.input_tokens = field::Empty,
            server.address = address.as_ref().and_then(Url::host_str),
            server.port = address.as_ref().and_then(Url::port_or_known_default),
            error.type = field::Empty,
        )
    }

    /// So many tokens were `input` or `output`.
    pub(crate) fn used(self, kind: &str, tokens: u64) {
        let labels = [self.labels(), vec![("gen_ai_token_type", kind.to_owned())]].concat();
        // Exact up to 2^53; a call has fewer.
        #[expect(clippy::cast_precision_loss, reason = "a call has fewer tokens than 2^53")]
        metrics::histogram!("gen_ai_client_token_usage", &labels).record(tokens as f64);
    }

    /// It took so long; `error` is the bounded name of what went wrong.
    pub(crate) fn took(self, time: Duration, error: Option<&str>) {
        let mut labels = self.labels();
        labels.extend(error.map(|error| ("error_type", error.to_owned())));
        metrics::histogram!("gen_ai_client_operation_duration_seconds", &labels)
            .record(time.as_secs_f64());
    }

    fn labels(self) -> Vec<(&'static str, String)> {
        vec![
            ("gen_ai_operation_name", self.operation.to_owned()),
            ("gen_ai_provider_name", provider_name(self.vendor).to_owned()),
            ("gen_ai_request_model", self.label.to_owned()),
        ]
    }
}

/// Measures the time between the pieces of an answer.
pub(super) struct Pace<'s, S> {
    between: Histogram,
    last: Option<Instant>,
    next: &'s mut S,
}

impl<'s, S: Sink> Pace<'s, S> {
    pub(super) fn of(target: &Target<'_>, next: &'s mut S) -> Self {
        let labels = Asked::chat(target).labels();
        let name = "gen_ai_client_time_per_output_chunk_seconds";
        Self { between: metrics::histogram!(name, &labels), last: None, next }
    }
}

impl<S: Sink> Sink for Pace<'_, S> {
    fn take(&mut self, piece: Piece<'_>) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.between.record((now - last).as_secs_f64());
        }
        self.next.take(piece);
    }
}

/// The span of one attempt; what is known only at its end is filled in then.
pub(super) fn span(event: &Event<InferenceRequest>, target: &Target<'_>) -> Span {
    let sampling = &target.request.sampling;
    let address = Url::parse(&target.line.base_url).ok();
    let model = target.choice.model.as_str();
    tracing::info_span!(
        "model_attempt",
        otel.name = %format_args!("chat {model}"),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = provider_name(target.vendor()),
        gen_ai.conversation.id = %event.metadata.conversation,
        gen_ai.request.model = model,
        gen_ai.request.stream = true,
        gen_ai.request.max_tokens = sampling.max_output_tokens.map(std::num::NonZeroU32::get),
        gen_ai.request.temperature = sampling.temperature,
        gen_ai.request.top_p = sampling.top_p,
        gen_ai.request.seed = sampling.seed,
        gen_ai.response.model = field::Empty,
        gen_ai.response.id = field::Empty,
        gen_ai.response.finish_reasons = field::Empty,
        gen_ai.response.time_to_first_chunk = field::Empty,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        gen_ai.usage.cache_read.input_tokens = field::Empty,
        gen_ai.usage.cache_creation.input_tokens = field::Empty,
        gen_ai.usage.reasoning.output_tokens = field::Empty,
        server.address = address.as_ref().and_then(Url::host_str),
        server.port = address.as_ref().and_then(Url::port_or_known_default),
        error.type = field::Empty,
    )
}

/// The attempt has answered.
pub(super) fn answered(
    span: &Span,
    target: &Target<'_>,
    completion: &Completion,
    usage: Usage,
    seen: &Seen,
) {
    span.record("gen_ai.response.finish_reasons", completion.finish.as_str());
    let Identity { id, model } = &completion.identity;
    // Who does not say which model answered answers with the one that was asked.
    span.record("gen_ai.response.model", model.as_ref().unwrap_or(&target.choice.model));
    if let Some(id) = id {
        span.record("gen_ai.response.id", id.as_str());
    }
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    span.record("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens);
    span.record("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens);
    span.record("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens);
    let asked = Asked::chat(target);
    asked.used("input", usage.input_tokens);
    asked.used("output", usage.output_tokens);
    ended(span, target, "answered", seen);
}

/// The attempt has failed.
pub(super) fn failed(span: &Span, target: &Target<'_>, error: &CallError, seen: &Seen) {
    span.record("error.type", error.class.as_str());
    ended(span, target, error.class.as_str(), seen);
}

fn ended(span: &Span, target: &Target<'_>, outcome: &'static str, seen: &Seen) {
    let asked = Asked::chat(target);
    if let Some(first) = seen.first_ms().map(Duration::from_millis) {
        span.record("gen_ai.response.time_to_first_chunk", first.as_secs_f64());
        metrics::histogram!("gen_ai_client_time_to_first_chunk_seconds", &asked.labels())
            .record(first.as_secs_f64());
    }
    asked.took(seen.elapsed(), (outcome != "answered").then_some(outcome));
    let provider = target.choice.provider.clone();
    metrics::counter!("nexus_inference_attempts_total", "provider" => provider, "outcome" => outcome)
        .increment(1);
}

/// A model's name in metrics. Those that nobody lists are one: who asks chooses their names.
pub(crate) fn model_label<'m>(entry: &Entry, facts: &Facts, model: &'m str) -> &'m str {
    if facts.name.is_some() || entry.offers(model) { model } else { "other" }
}

/// The conventions' name of a provider; its own where they have none.
fn provider_name(vendor: &str) -> &str {
    match vendor {
        "gemini" | "google" => "gcp.gemini",
        "moonshot" => "moonshot_ai",
        "xai" => "x_ai",
        "mistral" => "mistral_ai",
        "local" => "llamacpp",
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use metrics::HistogramFn;

    use super::*;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<f64>>);

    impl HistogramFn for Recorded {
        fn record(&self, value: f64) {
            self.0.lock().unwrap().push(value);
        }
    }

    struct Deaf;

    impl Sink for Deaf {
        fn take(&mut self, _piece: Piece<'_>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_measured_between_pieces_and_not_before_the_first() {
        let recorded = Arc::new(Recorded::default());
        let between = Histogram::from_arc(Arc::clone(&recorded));
        let mut pace = Pace { between, last: None, next: &mut Deaf };
        for (piece, ms) in
            [(Piece::Reasoning("a"), 500), (Piece::Text("b"), 250), (Piece::ToolCall, 125)]
        {
            tokio::time::advance(Duration::from_millis(ms)).await;
            pace.take(piece);
        }
        assert_eq!(*recorded.0.lock().unwrap(), [0.25, 0.125]);
    }

    #[test]
    fn providers_have_the_names_of_the_conventions() {
        let named = ["openai", "gemini", "moonshot", "ollama", "local"].map(provider_name);
        assert_eq!(named, ["openai", "gcp.gemini", "moonshot_ai", "ollama", "llamacpp"]);
    }
}
