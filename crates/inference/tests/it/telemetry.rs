//! What an attempt's span says.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Mutex, OnceLock, PoisonError};

use nexus_bench::mockllm::Options;
use nexus_contracts::{InferenceRequest, Sampling};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::embeddings;
use crate::raw::{accept, listen, say, settings};
use crate::world::{World, now, request};

type Fields = BTreeMap<String, String>;

/// Spans of attempts by their id.
static SPANS: Mutex<Option<HashMap<u64, Fields>>> = Mutex::new(None);

struct Capture;

struct Take<'f>(&'f mut Fields);

impl Visit for Take<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Capture {
    fn on_new_span(&self, span: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if ["model_attempt", "embed"].contains(&span.metadata().name()) {
            let mut fields = Fields::new();
            span.record(&mut Take(&mut fields));
            let mut spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
            spans.get_or_insert_default().insert(id.into_u64(), fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fields) = spans.get_or_insert_default().get_mut(&id.into_u64()) {
            record.record(&mut Take(fields));
        }
    }
}

/// Starts to capture, once for all tests of this process.
fn capture() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        tracing::subscriber::set_global_default(Registry::default().with(Capture)).unwrap();
    });
}

/// The spans of a conversation.
fn of(conversation: &str) -> Vec<Fields> {
    with("gen_ai.conversation.id", conversation)
}

/// The spans that say this.
fn with(name: &str, value: &str) -> Vec<Fields> {
    let spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
    let all = spans.iter().flatten().map(|(_, fields)| fields);
    let says = |fields: &&Fields| fields.get(name).is_some_and(|found| found == value);
    all.filter(says).cloned().collect()
}

#[tokio::test]
async fn attempt_has_a_span_by_the_conventions_and_without_content() {
    capture();
    let world = World::start().await;
    let sampling = Sampling { temperature: Some(0.5), ..Sampling::default() };
    let asked = world.put(InferenceRequest { sampling, ..request("mock/mock-plain") }).await;
    let response = world.answer(&asked).await;
    let usage = response.attempts[0].usage.unwrap();
    let conversation = asked.metadata.conversation.to_string();
    let spans = of(&conversation);
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    let mut span = span.clone();
    assert!(span.remove("gen_ai.response.time_to_first_chunk").is_some());
    assert!(span.remove("server.port").is_some());
    assert_eq!(span.remove("gen_ai.response.id"), response.attempts[0].provider_request_id);
    let tokens = [usage.input_tokens.to_string(), usage.output_tokens.to_string()];
    let expected = [
        ("otel.name", "chat mock-plain"),
        ("otel.kind", "client"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "mock"),
        ("gen_ai.conversation.id", &conversation),
        ("gen_ai.request.model", "mock-plain"),
        ("gen_ai.request.stream", "true"),
        ("gen_ai.request.temperature", "0.5"),
        ("gen_ai.response.model", "mock-plain"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", &tokens[0]),
        ("gen_ai.usage.output_tokens", &tokens[1]),
        ("gen_ai.usage.cache_read.input_tokens", "0"),
        ("gen_ai.usage.cache_creation.input_tokens", "0"),
        ("gen_ai.usage.reasoning.output_tokens", "0"),
        ("server.address", "127.0.0.1"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(span, Fields::from(expected));
}

#[tokio::test]
async fn failed_attempt_says_of_what_kind() {
    capture();
    let world = World::start().await;
    let asked = world.put(request("mock/mock-plain-e400")).await;
    world.answer(&asked).await;
    let spans = of(&asked.metadata.conversation.to_string());
    let kinds: Vec<_> = spans.iter().map(|fields| fields["error.type"].as_str()).collect();
    assert_eq!(kinds, ["invalid"]);
}

#[tokio::test]
async fn answer_is_named_as_it_names_itself_and_not_by_its_request() {
    capture();
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let asked = world.put(request("mock/m")).await;
    let (mut socket, _) = accept(&listener, "/v1/chat/completions").await;
    let answer = json!({ "id": "chatcmpl-1", "model": "m-2026-11-20", "choices": [
        { "index": 0, "message": { "role": "assistant", "content": "hi" }, "finish_reason": "stop" }
    ] });
    say(&mut socket, "200 OK\r\nx-request-id: req_1", &answer).await;
    let response = world.answer(&asked).await;
    let [attempt] = response.attempts.as_slice() else { panic!("{response:?}") };
    assert_eq!(attempt.provider_request_id.as_deref(), Some("req_1"));
    let spans = of(&asked.metadata.conversation.to_string());
    let [span] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(span["gen_ai.request.model"], "m");
    assert_eq!(span["gen_ai.response.model"], "m-2026-11-20");
    assert_eq!(span["gen_ai.response.id"], "chatcmpl-1");
}

#[tokio::test]
async fn vectors_have_a_span_by_the_conventions() {
    capture();
    let (listener, url) = listen().await;
    let world = World::with(Options::default(), settings(&url), now).await;
    let asked = embeddings::asked(&world).await;
    let (mut socket, _) = accept(&listener, embeddings::PATH).await;
    say(&mut socket, "500 Internal Server Error", &json!({})).await;
    let (mut socket, _) = accept(&listener, embeddings::PATH).await;
    let vectors =
        json!({ "data": [{ "index": 0, "embedding": [1.0] }], "usage": { "prompt_tokens": 3 } });
    say(&mut socket, "200 OK", &vectors).await;
    embeddings::made(&world, &asked).await;
    let port = listener.local_addr().unwrap().port().to_string();
    let expected = [
        ("otel.name", "embeddings m"),
        ("otel.kind", "client"),
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.provider.name", "mock"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.usage.input_tokens", "3"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(with("server.port", &port), [Fields::from(expected)]);
}
