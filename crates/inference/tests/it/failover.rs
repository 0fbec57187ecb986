//! From one model to the next.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::{Duration, Instant};

use nexus_bench::mockllm::{Fault, Options};
use nexus_contracts::{
    AttemptLimits, ChunkDelta, InferenceRequest, InferenceResponse, KeyOwner, Message, Role,
    Sampling,
};
use serde_json::json;

use crate::world::{Screen, World, failure, now, request, text, within};

/// Model and failure of each attempt, and that they are numbered from 1.
fn attempts(response: &InferenceResponse) -> Vec<(&str, Option<&str>)> {
    for (at, attempt) in response.attempts.iter().enumerate() {
        assert_eq!(attempt.number as usize, at + 1, "{response:?}");
    }
    let attempts = response.attempts.iter();
    attempts.map(|attempt| (attempt.model.as_str(), attempt.failure.as_deref())).collect()
}

/// A world in which the chain is known to the worker.
async fn chained(settings: serde_json::Value, chain: &[&str]) -> World {
    let world = World::with(Options::default(), settings, now).await;
    world.route("safe", chain).await;
    world.route("probe", &["demo/demo"]).await;
    // Routes come in order: who knows the last knows the first.
    within("the route", async || {
        let response = world.asked("probe", "hi").await;
        (response.model == "demo/demo").then_some(())
    })
    .await;
    world
}

#[tokio::test]
async fn next_model_answers_and_all_attempts_are_listed() {
    let chain = ["mock/mock-plain-e500", "mock/mock-plain"];
    let world = chained(json!({ "api_key_env": "MOCK_KEY" }), &chain).await;
    let response = world.asked("safe", "hi").await;
    assert_eq!((text(&response), response.model.as_str()), ("DONE hi", chain[1]));
    let overloaded = (chain[0], Some("overloaded"));
    assert_eq!(attempts(&response), [overloaded, overloaded, overloaded, (chain[1], None)]);
    let operator = Some(KeyOwner::Operator);
    assert!(response.attempts.iter().all(|attempt| attempt.asked && attempt.key == operator));
    assert!(
        response
            .attempts
            .iter()
            .take(3)
            .all(|attempt| { attempt.usage.is_none() && attempt.cost.is_none() })
    );
    assert_eq!(world.mock.stats().chat, 4);
}

#[tokio::test]
async fn cut_answer_is_made_anew_by_the_next_model() {
    let chain = ["mock/mock-plain-tok40-cut", "mock/mock-plain-tok40"];
    let world = chained(json!({}), &chain).await;
    let mut chunks = world.chunks().await;
    let asked = world.ask("safe", vec![Message::text(Role::User, "hi")], Vec::new()).await;
    let response = world.answer(&asked).await;
    assert_eq!(attempts(&response), [(chain[0], Some("truncated")), (chain[1], None)]);
    let mut screen = Screen::default();
    screen.until(&mut chunks, asked.id, "w39").await;
    assert_eq!(screen, Screen { text: text(&response).to_owned(), resets: 1, attempt: 2 });
}

#[tokio::test]
async fn silent_model_is_left_for_the_next_once() {
    let chain = ["mock/mock-plain-hang", "mock/mock-plain"];
    let world = chained(json!({}), &chain).await;
    let limits = AttemptLimits { first_token_ms: Some(300), ..AttemptLimits::default() };
    let asked = world.put(InferenceRequest { limits, ..request("safe") }).await;
    let response = world.answer(&asked).await;
    assert_eq!(attempts(&response), [(chain[0], Some("timeout")), (chain[1], None)]);
    assert!((300..5000).contains(&response.duration_ms), "{}", response.duration_ms);
}

#[tokio::test]
async fn failure_of_the_first_model_is_shown_when_nobody_answers() {
    let chain = ["mock/mock-plain-e503", "openai/gpt-5.6", "mock/mock-plain-e500"];
    let world = chained(json!({}), &chain[..1]).await;
    let alone = world.asked("safe", "hi").await;
    assert_eq!(failure(&alone).0, "provider_overloaded");
    assert_eq!(alone.model, chain[0]);
    assert_eq!(alone.attempts.len(), 3);
}

#[tokio::test]
async fn attempts_end_where_the_request_says() {
    let world = chained(json!({}), &["mock/mock-plain-e500", "mock/mock-plain"]).await;
    let max_attempts = NonZeroU32::new(2);
    let limits = AttemptLimits { max_attempts, ..AttemptLimits::default() };
    let asked = world.put(InferenceRequest { limits, ..request("safe") }).await;
    let response = world.answer(&asked).await;
    assert_eq!(failure(&response).0, "provider_overloaded");
    assert_eq!(world.mock.stats().chat, 2);
}

#[tokio::test]
async fn model_that_fails_again_and_again_is_left_alone_and_tried_again() {
    let world = World::start().await;
    world.mock.fail_next(Fault::Status(500), 5);
    for _ in 0..2 {
        assert_eq!(failure(&world.asked("mock/mock-plain", "hi").await).0, "provider_overloaded");
    }
    assert_eq!(world.mock.stats().chat, 5);
    let open = world.asked("mock/mock-plain", "hi").await;
    assert_eq!(attempts(&open), [("mock/mock-plain", Some("breaker_open"))]);
    assert!(!open.attempts[0].asked && open.key.is_none(), "{open:?}");
    assert!(failure(&open).1.contains("is left alone for"), "{open:?}");
    assert_eq!(world.mock.stats().chat, 5, "it was not asked");
    let works = within("the probe", async || {
        let response = world.asked("mock/mock-plain", "hi").await;
        response.attempts.iter().all(|attempt| attempt.failure.is_none()).then_some(response)
    });
    assert_eq!(text(&works.await), "DONE hi");
}

#[tokio::test]
async fn limited_key_rests_for_all_who_use_it() {
    let world = World::start().await;
    world.mock.fail_next(Fault::Status(429), 1);
    let started = Instant::now();
    let (first, second) = tokio::join!(world.asked("mock/mock-plain", "a"), async {
        within("the first", async || (world.mock.stats().faults > 0).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.asked("mock/mock-plain-tok2", "b").await
    });
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(text(&first), "DONE a");
    assert_eq!(text(&second), "DONE b w1");
    assert_eq!(second.attempts.len(), 1, "it waited instead of asking");
    assert!(second.duration_ms >= 500, "{second:?}");
}

#[tokio::test]
async fn samples_are_weighed_and_shown_only_at_the_end() {
    let world = World::start().await;
    let mut chunks = world.chunks().await;
    let sampling = Sampling { samples: NonZeroU8::new(5), ..Sampling::default() };
    let asked = world.put(InferenceRequest { sampling, ..request("mock/mock-plain-lat20") }).await;
    let response = world.answer(&asked).await;
    assert_eq!(text(&response), "DONE hi");
    let consensus = response.consensus.expect("weighed");
    assert_eq!((consensus.asked, consensus.disagreement), (5, 0.0));
    assert!((3..5).contains(&consensus.answered), "three of five settle it: {consensus:?}");
    let samples: Vec<_> = response.attempts.iter().map(|attempt| attempt.sample).collect();
    assert_eq!(samples, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    // Its last piece is of the last sample's beginning: none of them showed a text.
    for _ in 0..5 {
        let chunk = chunks.next().await.unwrap().payload.known;
        assert!(matches!(chunk.delta, ChunkDelta::Begin { .. }), "{chunk:?}");
    }
}

#[tokio::test]
async fn samples_stay_within_the_budget_together() {
    let model = "mock/mock-plain-itl20-tok20";
    // A thousand tokens, which nobody limits, are expected to cost twenty thousand.
    let prices = json!([{ "from": "2026-01-01", "input": 10.0, "output": 20.0 }]);
    let facts = json!({ "name": model, "context_tokens": 8192, "prices": prices });
    // On this machine only who takes a key takes money.
    let charged = json!({ "api_key_env": "MOCK_KEY" });
    let entries = [("model.mock".to_owned(), facts)];
    let world = World::built(Options::default(), charged, &entries, now).await;
    let sampling = Sampling { samples: NonZeroU8::new(5), ..Sampling::default() };
    let limits = AttemptLimits { max_cost_microusd: Some(30_000), ..AttemptLimits::default() };
    let asked = world.put(InferenceRequest { sampling, limits, ..request(model) }).await;
    let response = world.answer(&asked).await;
    assert!(text(&response).ends_with("w19"), "{response:?}");
    let refused = (model, Some("over_budget"));
    assert_eq!(attempts(&response), [(model, None), refused, refused, refused, refused]);
    assert_eq!(world.mock.stats().chat, 1);
}
