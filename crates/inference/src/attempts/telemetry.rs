//! Spans and measurements of attempts, by the names of OpenTelemetry's conventions for generative
//! AI (semantic-conventions-genai). What was said is in none of them.

use std::time::Duration;

use nexus_contracts::{Event, InferenceRequest, Usage};
use tracing::{Span, field};
use url::Url;

use super::ledger::Seen;
use super::target::Target;
use crate::call::{CallError, Completion};

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
    span.record("gen_ai.response.model", target.choice.model.as_str());
    span.record("gen_ai.response.finish_reasons", completion.finish.as_str());
    if let Some(id) = &completion.provider_request_id {
        span.record("gen_ai.response.id", id.as_str());
    }
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    span.record("gen_ai.usage.cache_read.input_tokens", usage.cache_read_tokens);
    span.record("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens);
    span.record("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens);
    for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
        let labels = [labels(target), vec![("gen_ai_token_type", kind.to_owned())]].concat();
        // Exact up to 2^53; a call has fewer.
        #[expect(clippy::cast_precision_loss, reason = "a call has fewer tokens than 2^53")]
        metrics::histogram!("gen_ai_client_token_usage", &labels).record(tokens as f64);
    }
    ended(span, target, "answered", seen);
}

/// The attempt has failed.
pub(super) fn failed(span: &Span, target: &Target<'_>, error: &CallError, seen: &Seen) {
    span.record("error.type", error.class.as_str());
    ended(span, target, error.class.as_str(), seen);
}

fn ended(span: &Span, target: &Target<'_>, outcome: &'static str, seen: &Seen) {
    let mut labels = labels(target);
    if let Some(first) = seen.first_ms().map(Duration::from_millis) {
        span.record("gen_ai.response.time_to_first_chunk", first.as_secs_f64());
        metrics::histogram!("gen_ai_client_time_to_first_chunk_seconds", &labels)
            .record(first.as_secs_f64());
    }
    if outcome != "answered" {
        labels.push(("error_type", outcome.to_owned()));
    }
    metrics::histogram!("gen_ai_client_operation_duration_seconds", &labels)
        .record(seen.elapsed().as_secs_f64());
    let provider = target.choice.provider.clone();
    metrics::counter!("nexus_inference_attempts_total", "provider" => provider, "outcome" => outcome)
        .increment(1);
}

/// Models that nobody lists are one: who asks chooses their names.
fn labels(target: &Target<'_>) -> Vec<(&'static str, String)> {
    let listed = target.facts.name.is_some() || target.entry.offers(&target.choice.model);
    let model = if listed { target.choice.model.as_str() } else { "other" };
    vec![
        ("gen_ai_operation_name", "chat".to_owned()),
        ("gen_ai_provider_name", provider_name(target.vendor()).to_owned()),
        ("gen_ai_request_model", model.to_owned()),
    ]
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
    use super::*;

    #[test]
    fn providers_have_the_names_of_the_conventions() {
        let named = ["openai", "gemini", "moonshot", "ollama", "local"].map(provider_name);
        assert_eq!(named, ["openai", "gcp.gemini", "moonshot_ai", "ollama", "llamacpp"]);
    }
}
