//! Routes by the settings on the bus.

use nexus_bus::Bucket;
use nexus_contracts::{Cost, InferenceResponse, LOCAL_TENANT, Message, Role};
use serde_json::{Value, json};

use crate::world::{World, failure, text, within};

const EASY: &str = "Hello!";
const HARD: &str = "Prove that there are infinitely many primes, derive a bound, and discuss it.";

async fn put(world: &World, key: &str, value: Value) {
    world.bus.put_setting(Bucket::Config, key, &value).await.unwrap();
}

async fn asked_in(world: &World, conversation: &str, text: &str) -> InferenceResponse {
    let messages = vec![Message::text(Role::User, text)];
    let request = world.ask_in(conversation, "auto", messages, Vec::new()).await;
    world.answer(&request).await
}

/// Model, chain, and whether an earlier question was the reason.
fn way(response: &InferenceResponse) -> (&str, &str, bool) {
    let route = response.route.as_ref().unwrap();
    (&response.model, &route.target, route.sticky)
}

#[tokio::test]
async fn auto_goes_by_the_question_and_does_not_fall_back_within_a_conversation() {
    let world = World::start().await;
    for (tier, model) in [("easy", "mock"), ("medium", "mock-tool"), ("hard", "mock-plain")] {
        put(&world, &format!("route.{tier}"), json!({ "chain": [format!("mock/{model}")] })).await;
    }
    within("routes", async || {
        let answer = world.asked("auto", HARD).await;
        (way(&answer) == ("mock/mock-plain", "hard", false)).then_some(())
    })
    .await;

    assert_eq!(way(&asked_in(&world, "one", EASY).await), ("mock/mock", "easy", false));
    assert_eq!(way(&asked_in(&world, "one", HARD).await), ("mock/mock-plain", "hard", false));
    assert_eq!(way(&asked_in(&world, "one", EASY).await), ("mock/mock-plain", "hard", true));
    assert_eq!(way(&asked_in(&world, "two", EASY).await), ("mock/mock", "easy", false));
}

#[tokio::test]
async fn alias_holds_as_soon_as_it_is_set_and_costs_nothing_on_this_machine() {
    let world = World::start().await;
    put(&world, "route.quick", json!({ "chain": ["openai", "mock/mock-plain"] })).await;
    let answer = within("alias", async || {
        let answer = world.asked("quick", "hi").await;
        (answer.model == "mock/mock-plain").then_some(answer)
    })
    .await;
    assert_eq!((text(&answer), &answer.route), ("DONE hi", &None));
    assert_eq!(answer.cost, Some(Cost { microusd: 0, price: "local".to_owned() }));
}

#[tokio::test]
async fn names_that_are_no_models_are_published_as_soon_as_they_mean_something() {
    let world = World::start().await;
    let shipped = ["auto", "easy", "hard", "medium", "vision", "web"];
    assert_eq!(world.listed_as("routes", "auto").await, shipped);
    for (name, route) in [
        ("default", json!({ "chain": ["mock"] })),
        ("after-mock", json!({ "after": "mock/mock", "chain": ["demo"] })),
        ("nobody", json!({ "chain": ["nobody"] })),
        ("own", json!({ "chain": ["closed/secret"] })),
        ("quick", json!({ "chain": ["nobody", "mock/mock-plain"] })),
    ] {
        put(&world, &format!("route.{name}"), route).await;
    }
    world.listed_as("routes", "quick").await;
    // One after the other: what a look at the providers finds by chance is not all of them.
    for name in ["x1", "x2", "x3", "x4"] {
        put(&world, &format!("route.{name}"), json!({ "chain": ["mock"] })).await;
        world.listed_as("routes", name).await;
    }
    let closed = json!({ "kind": "openai-chat", "base_url": world.mock.url(),
        "api_key_env": "KEY_THAT_NOBODY_SET", "models": ["secret"] });
    put(&world, "provider.closed", closed).await;
    let wanted =
        ["auto", "easy", "hard", "medium", "own", "quick", "vision", "web", "x1", "x2", "x3", "x4"];
    assert_eq!(world.listed_as("routes", "own").await, wanted);
    let others = world.listed_as("others", "closed/secret").await;
    for (name, is_there) in [
        ("openai/gpt-5.6", true),
        ("ollama/*", true),
        ("mock/*", true),
        ("mock/mock", false),
        ("openai/*", false),
        ("demo/*", false),
    ] {
        assert_eq!(others.iter().any(|other| other == name), is_there, "{name} in {others:?}");
    }
    assert_eq!(world.listed("demo/demo").await, world.available);
}

#[tokio::test]
async fn tenant_of_this_machine_is_answered_here_or_not_at_all() {
    let world = World::start().await;
    // TEST-NET-1: whoever connects to it waits.
    let outside =
        json!({ "kind": "openai-chat", "base_url": "http://192.0.2.1/v1", "models": ["far"] });
    put(&world, "provider.outside", outside).await;
    let tenant = json!({ "id": LOCAL_TENANT, "name": "local", "local_models_only": true });
    put(&world, "tenant.local", tenant).await;
    put(&world, "route.chain", json!({ "chain": ["outside", "mock/mock-plain"] })).await;
    within("settings", async || {
        let refused = world.asked("openai/gpt-5.6", "hi").await;
        let answer = world.asked("chain", "hi").await;
        (failure(&refused).0 == "not_local" && answer.model == "mock/mock-plain").then_some(())
    })
    .await;
    world.listed("outside/far").await;

    let refused = world.asked("outside/far", "hi").await;
    let (code, message) = failure(&refused);
    assert_eq!(code, "not_local");
    assert!(message.starts_with("\"outside/far\" is not on this machine"), "{message}");
    assert_eq!(refused.attempts, []);
    assert_eq!(text(&world.asked("chain", "hi").await), "DONE hi");
    assert_eq!(world.asked("default", "hi").await.model, "mock/mock");
}
