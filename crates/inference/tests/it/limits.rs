//! Several workers on one bus.

use std::time::Duration;

use futures_util::future::join_all;
use nexus_bench::mockllm::{Fault, Options};
use nexus_bus::{Bucket, EVENTS, Filter, Reader, Records, Shelf, Start};
use nexus_contracts::{
    EmbedRequest, Event, EventType, InferenceRequest, KeyOwner, Message, Pattern, Role,
    StoredSubject,
};
use nexus_inference::Config;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Screen, World, failure, now, request, text, within};

/// A key that may be used twenty times a minute, two hundred calls, two workers.
#[tokio::test]
async fn limit_holds_over_all_workers_and_nothing_is_lost() {
    let limits = json!({ "limits": { "requests_per_minute": 20 } });
    let world = World::with(Options::default(), limits, now).await;
    let spare =
        json!({ "kind": "openai-chat", "base_url": world.mock.url(), "models": ["mock-spare"] });
    world.bus.put_setting(Bucket::Config, "provider.spare", &spare).await.unwrap();
    world.listed("spare/mock-spare").await;
    world.route("safe", &["mock/mock-plain", "spare/mock-spare"]).await;
    world.join().await;

    let asked = join_all((0..100).map(|_| world.put(request("mock/mock-plain")))).await;
    let mut refused = 0;
    let short = InferenceRequest { timeout_ms: 2000, ..request("mock/mock-plain") };
    let more = join_all((0..100).map(|_| world.put(short.clone()))).await;
    for request in asked.iter().chain(&more) {
        let response = world.answer(request).await;
        if response.model == "mock/mock-plain"
            && response.attempts.iter().all(|a| a.failure.is_none())
        {
            assert_eq!(text(&response), "DONE hi");
        } else {
            let (code, _) = failure(&response);
            assert_eq!(code, "provider_rate_limited", "{response:?}");
            refused += 1;
        }
    }
    assert_eq!((refused, world.mock.stats().chat), (180, 20));

    let asked = join_all((0..20).map(|_| world.put(request("safe")))).await;
    for request in &asked {
        let response = world.answer(request).await;
        assert_eq!((text(&response), response.model.as_str()), ("DONE hi", "spare/mock-spare"));
    }
    assert_eq!(world.mock.stats().chat, 40);
}

#[tokio::test]
async fn calls_that_are_not_made_use_up_no_limit() {
    let limits = json!({ "limits": { "requests_per_minute": 8 } });
    let world = World::with(Options::default(), limits, now).await;
    world.mock.fail_next(Fault::Status(500), 5);
    for _ in 0..2 {
        assert_eq!(failure(&world.asked("mock/mock-plain", "hi").await).0, "provider_overloaded");
    }
    // It is left alone for ten seconds: none of these is put to it.
    for _ in 0..8 {
        assert_eq!(failure(&world.asked("mock/mock-plain", "hi").await).0, "provider_overloaded");
    }
    assert_eq!(world.mock.stats().chat, 5);
    let other = world.asked("mock/mock-plain-tok2", "hi").await;
    assert_eq!(text(&other), "DONE hi w1");
}

#[tokio::test]
async fn calls_and_requests_for_vectors_share_the_slots() {
    let world = World::idle(Options::default(), json!({})).await;
    let config = Config { max_in_flight: std::num::NonZeroUsize::MIN, ..Config::default() };
    world.join_as(config).await;
    world.listed("mock/mock-plain").await;
    let call = world.put(request("mock/mock-plain-lat700")).await;
    within("the call", async || (world.mock.stats().chat == 1).then_some(())).await;
    // It is refused at once, when its turn comes.
    let inputs = EmbedRequest {
        model: "default".to_owned(),
        inputs: Vec::new(),
        dimensions: None,
        start_within_ms: 30_000,
        timeout_ms: 1000,
    };
    let embed = Event::new(Uuid::now_v7(), Uuid::now_v7(), call.metadata.clone(), now(), inputs);
    world.bus.publish(&embed).await.unwrap();
    let kinds = [EventType::InferenceResponse, EventType::InferenceEmbedded];
    let filter = Filter::Patterns(kinds.into_iter().map(Pattern::kind).collect());
    let mut reader = Reader::open(&world.bus, EVENTS, filter, Start::First).await.unwrap();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let next = tokio::time::timeout(crate::world::LIMIT, reader.next()).await;
        let message = next.expect("no answer in time").unwrap();
        ended.push(StoredSubject::parse(&message.subject).unwrap().kind);
    }
    assert_eq!(ended, kinds.map(|kind| kind.as_str().to_owned()));
}

#[tokio::test]
async fn key_rests_that_another_worker_was_told_is_limited() {
    let world = World::start().await;
    let told: Records<Value> = Records::open(&world.bus, Shelf::Limits).await.unwrap();
    let until = now().plus_millis(2500);
    let limited = json!({ "id": "operator.mock", "until": until });
    told.put("rest._b3BlcmF0b3IubW9jaw", &limited).await.unwrap();
    // Who heard of it waits until then.
    let waited = within("a call that waits", async || {
        let response = world.asked("mock/mock-plain", "hi").await;
        (response.duration_ms > 500).then_some(response)
    });
    let waited = waited.await;
    assert_eq!((text(&waited), waited.attempts.len()), ("DONE hi", 1));
    assert!(now() >= until, "it was asked before its time: {waited:?}");
}

#[tokio::test]
async fn slots_are_shared_and_calls_wait_for_them() {
    let limits = json!({ "limits": { "concurrency": 2 } });
    let world = World::with(Options::default(), limits, now).await;
    world.join().await;
    let asked = join_all((0..12).map(|_| world.put(request("mock/mock-plain-lat150")))).await;
    let started = std::time::Instant::now();
    for request in &asked {
        assert_eq!(text(&world.answer(request).await), "DONE hi");
    }
    // Six times two: whoever let more through would be faster.
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    assert_eq!(world.mock.stats().chat, 12);
}

#[tokio::test]
async fn call_of_a_killed_worker_ends_once_and_lists_what_was_lost() {
    let world = World::idle(Options::default(), json!({ "api_key_env": "MOCK_KEY" })).await;
    let model = "mock/mock-plain-itl60-tok60";
    let prices = json!([{ "from": "2026-01-01", "input": 10.0, "output": 20.0 }]);
    let facts = json!({ "name": model, "prices": prices });
    world.bus.put_setting(Bucket::Config, "model.mock", &facts).await.unwrap();
    let mut chunks = world.chunks().await;
    let doomed = world.join_doomed().await;
    let question = vec![Message::text(Role::User, "hi")];
    let asked = world.ask(model, question, Vec::new()).await;
    let mut screen = Screen::default();
    screen.until(&mut chunks, asked.id, "w9").await;
    drop(doomed);
    world.join().await;
    screen.until(&mut chunks, asked.id, "w59").await;
    let response = world.answer(&asked).await;
    assert_eq!(screen, Screen { text: text(&response).to_owned(), resets: 1, attempt: 2 });
    let [lost, answered] = response.attempts.as_slice() else { panic!("{response:?}") };
    assert_eq!(
        (lost.number, lost.model.as_str(), lost.failure.as_deref()),
        (1, model, Some("lost"))
    );
    assert!(
        lost.usage.is_some_and(|usage| usage.estimated && usage.output_tokens >= 5),
        "{lost:?}"
    );
    assert_eq!((answered.number, answered.failure.as_deref()), (2, None));
    let operator = Some(KeyOwner::Operator);
    assert_eq!((lost.key, answered.key, response.key), (operator, operator, operator));
    let costs = response.attempts.iter().filter_map(|attempt| attempt.cost.as_ref());
    let sum = costs.map(|cost| cost.microusd).sum::<u64>();
    assert_eq!(response.cost.map(|cost| cost.microusd), Some(sum));
    assert!(lost.cost.as_ref().is_some_and(|cost| cost.microusd > 0), "{lost:?}");
}
