//! What goes wrong, and what is seen of it.

use std::time::{Duration, Instant};

use nexus_bench::mockllm::{Fault, Options};
use nexus_contracts::{
    Event, InferenceOutcome, InferenceRequest, KeyOwner, LOCAL_TENANT, Message, Metadata, Outcome,
    ProcessedRequest, Role, RunCancel, Sampling, TenantId, Timestamp, Token,
};
use serde_json::json;
use uuid::Uuid;

use crate::world::{Screen, World, failure, now, text, within};

fn user(text: &str) -> Vec<Message> {
    vec![Message::text(Role::User, text)]
}

#[tokio::test]
async fn limited_call_waits_as_told_and_succeeds() {
    let world = World::start().await;
    world.mock.fail_next(Fault::Status(429), 1);
    let started = Instant::now();
    assert_eq!(text(&world.asked("mock/mock-plain", "hi").await), "DONE hi");
    assert!(started.elapsed() >= Duration::from_secs(1), "the provider asked for a second");
    assert_eq!(world.mock.stats().chat, 2);
}

#[tokio::test]
async fn overloaded_provider_is_asked_three_times_then_failure_is_visible() {
    let world = World::start().await;
    world.mock.fail_next(Fault::Status(500), 3);
    let response = world.asked("mock/mock-plain", "hi").await;
    let (code, message) = failure(&response);
    assert_eq!(code, "provider_overloaded");
    assert!(
        message.contains("The model provider mock") && message.contains("injected 500"),
        "{message}"
    );
    assert_eq!(world.mock.stats().chat, 3);
    assert_eq!(text(&world.asked("mock/mock-plain", "hi").await), "DONE hi");
}

#[tokio::test]
async fn refused_request_is_not_repeated() {
    let world = World::start().await;
    let response = world.asked("mock/mock-plain-e400", "hi").await;
    assert_eq!(failure(&response).0, "provider_invalid");
    assert_eq!(world.mock.stats().chat, 1);
}

#[tokio::test]
async fn cut_answer_is_reset_and_made_again() {
    let world = World::start().await;
    let mut chunks = world.chunks().await;
    world.mock.fail_next(Fault::Cut, 1);
    let request = world.ask("mock/mock-plain-tok40", user("hi"), Vec::new()).await;
    let response = world.answer(&request).await;
    let mut screen = Screen::default();
    screen.until(&mut chunks, request.id, "w39").await;
    assert_eq!(screen, Screen { text: text(&response).to_owned(), resets: 1, attempt: 2 });
    assert_eq!(world.mock.stats().chat, 2);
}

#[tokio::test]
async fn answer_that_is_cut_twice_fails() {
    let world = World::start().await;
    let response = world.asked("mock/mock-plain-tok40-cut", "hi").await;
    assert_eq!(failure(&response).0, "provider_truncated");
    assert_eq!(world.mock.stats().chat, 2);
}

#[tokio::test]
async fn silent_provider_times_out_once() {
    let world =
        World::with(Options::default(), json!({ "first_byte_timeout": "300ms" }), now).await;
    let response = world.asked("mock/mock-plain-hang", "hi").await;
    let (code, message) = failure(&response);
    assert_eq!(code, "provider_timeout");
    assert!(message.contains("0.3 s"), "{message}");
    assert_eq!(world.mock.stats().chat, 1);
}

#[tokio::test]
async fn deadline_of_the_request_holds() {
    let world = World::start().await;
    let token = |text| Token::parse(text).unwrap();
    let place = Metadata::at(LOCAL_TENANT, token("test"), token("deadline"));
    let request = InferenceRequest {
        model: "mock/mock-plain-itl100-tok100".to_owned(),
        messages: user("hi"),
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: nexus_contracts::AttemptLimits::default(),
        number: 1,
        start_within_ms: 10_000,
        timeout_ms: 400,
    };
    let event = Event::new(Uuid::now_v7(), Uuid::now_v7(), place, now(), request);
    world.bus.publish(&event).await.unwrap();
    let response = world.answer(&event).await;
    assert_eq!(failure(&response).0, "provider_timeout");
    assert!((400..2000).contains(&response.duration_ms), "{}", response.duration_ms);
}

/// Asks for an answer of ten seconds, and waits until it is being made.
async fn long_call(world: &World) -> Event<InferenceRequest> {
    let request = world.ask("mock/mock-plain-itl100-tok100", user("hi"), Vec::new()).await;
    within("the call", async || (world.mock.stats().chat > 0).then_some(())).await;
    request
}

#[tokio::test]
async fn cancelled_run_is_cut_off_at_once() {
    let settings = json!({ "api_key_env": "MOCK_KEY" });
    let world = World::with(Options::default(), settings, now).await;
    let request = long_call(&world).await;
    let cancel = RunCancel::of(request.correlation_id, None);
    let cancel =
        Event::new(Uuid::now_v7(), request.correlation_id, request.metadata.clone(), now(), cancel);
    world.bus.publish(&cancel).await.unwrap();
    let started = Instant::now();
    let response = world.answer(&request).await;
    assert_eq!(response.outcome, InferenceOutcome::Cancelled);
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    let [cut] = response.attempts.as_slice() else { panic!("{response:?}") };
    assert_eq!(cut.failure.as_deref(), Some("cancelled"));
    let operator = Some(KeyOwner::Operator);
    assert_eq!((cut.key, response.key), (operator, operator), "who pays is known all the same");
    assert!(cut.usage.is_some_and(|usage| usage.estimated && usage.input_tokens > 0), "{cut:?}");
}

#[tokio::test]
async fn run_that_ends_takes_its_call_with_it() {
    let world = World::start().await;
    let request = long_call(&world).await;
    let outcome = Outcome::Failed { code: "timeout".to_owned(), message: String::new() };
    let run = request.correlation_id;
    let processed = ProcessedRequest::of(run, outcome);
    let processed = Event::new(Uuid::now_v7(), run, request.metadata.clone(), now(), processed);
    world.bus.publish(&processed).await.unwrap();
    assert_eq!(world.answer(&request).await.outcome, InferenceOutcome::Cancelled);
}

#[tokio::test]
async fn another_tenant_cancels_nothing() {
    let world = World::start().await;
    let request = world.ask("mock/mock-plain-lat700", user("hi"), Vec::new()).await;
    within("the call", async || (world.mock.stats().chat > 0).then_some(())).await;
    let theirs = Metadata { tenant: TenantId(Uuid::from_u128(99)), ..request.metadata.clone() };
    let cancel = RunCancel::of(request.correlation_id, None);
    let cancel = Event::new(Uuid::now_v7(), request.correlation_id, theirs, now(), cancel);
    world.bus.publish(&cancel).await.unwrap();
    assert_eq!(text(&world.answer(&request).await), "DONE hi");
}

#[tokio::test]
async fn unknown_model_is_answered_with_what_there_is() {
    let world = World::start().await;
    for model in ["nobody/x", "gpt-unknown", "openai/other"] {
        let response = world.asked(model, "hi").await;
        let (code, message) = failure(&response);
        assert_eq!(code, "unknown_model");
        assert!(
            message.contains(model)
                && message.contains("mock/mock")
                && message.contains("demo/demo"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn provider_without_its_key_says_which_is_missing() {
    let world = World::start().await;
    let response = world.asked("openai/gpt-5.6", "hi").await;
    let (code, message) = failure(&response);
    assert_eq!(code, "no_llm_key");
    assert!(
        message
            .starts_with("No LLM key configured. Provide your own key or request operator access.")
            && message.contains("OPENAI_API_KEY"),
        "{message}"
    );
}

#[tokio::test]
async fn provider_that_is_down_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world =
        World::with(Options::default(), json!({ "base_url": format!("http://{free}/v1") }), now)
            .await;
    assert_eq!(world.default_model, "demo/demo");
    let response = world.asked("mock/any", "hi").await;
    let (code, message) = failure(&response);
    assert_eq!(code, "provider_transport");
    assert!(
        message.starts_with(&format!("The model provider mock cannot be reached at {free}.")),
        "{message}"
    );
}

fn in_an_hour() -> Timestamp {
    now().plus_millis(3_600_000)
}

#[tokio::test]
async fn call_that_comes_too_late_does_not_start() {
    let world = World::with(Options::default(), json!({}), in_an_hour).await;
    let response = world.asked("mock/mock-plain", "hi").await;
    assert_eq!(failure(&response).0, "expired");
    assert_eq!(world.mock.stats().chat, 0);
}
