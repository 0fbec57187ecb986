//! What works.

use nexus_bench::mockllm::Options;
use nexus_bus::Bucket;
use nexus_contracts::{Finish, InferenceOutcome, Message, Part, RequestedCall, Role};
use serde_json::json;
use uuid::Uuid;

use crate::world::{KEY, Screen, World, echo_tool, now, text};

#[tokio::test]
async fn plain_answer_is_shown_live_and_stored_whole() {
    let mut world = World::start().await;
    let mut chunks = world.chunks().await;
    let question = vec![Message::text(Role::User, "Grüße 🌍")];
    let request = world.ask("mock/mock-plain-itl5-tok30", question, Vec::new()).await;

    let response = world.answer(&request).await;
    let mut screen = Screen::default();
    screen.until(&mut chunks, request.id, "w29").await;

    let InferenceOutcome::Completed { text, tool_calls, finish, usage, .. } = response.outcome
    else {
        panic!()
    };
    assert!(text.starts_with("DONE Grüße 🌍 w1"), "{text}");
    assert_eq!((tool_calls.as_slice(), finish), ([].as_slice(), Finish::Stop));
    assert!(usage.input_tokens > 0 && usage.output_tokens == 30, "{usage:?}");
    assert_eq!(response.model, "mock/mock-plain-itl5-tok30");
    assert_eq!(screen, Screen { text, resets: 0, attempt: 1 });
    world.stop().await;
}

#[tokio::test]
async fn parallel_tool_calls_come_back_with_their_ids() {
    let world = World::start().await;
    let mut history =
        vec![Message::text(Role::System, "be brief"), Message::text(Role::User, "say \"hi\"")];
    let request = world.ask("mock/mock-parallel2", history.clone(), vec![echo_tool()]).await;
    let InferenceOutcome::Completed { text: said, tool_calls, finish, .. } =
        world.answer(&request).await.outcome
    else {
        panic!()
    };
    assert_eq!((said.as_str(), finish, tool_calls.len()), ("", Finish::ToolCalls, 2));
    assert!(
        tool_calls
            .iter()
            .all(|call| call.tool == "echo" && call.arguments == r#"{"text":"say \"hi\""}"#),
        "{tool_calls:?}"
    );

    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for RequestedCall { provider_id, tool, arguments } in tool_calls {
        assert!(provider_id.is_some());
        let call = Uuid::now_v7();
        asked.push(Part::ToolCall {
            call,
            provider_id: provider_id.clone(),
            tool: tool.clone(),
            arguments,
        });
        answered.push(Part::ToolResult {
            call,
            provider_id,
            tool,
            text: "hi".to_owned(),
            is_error: false,
        });
    }
    history.push(Message { role: Role::Assistant, parts: asked });
    history.push(Message { role: Role::Tool, parts: answered });
    let request = world.ask("mock/mock-parallel2", history, vec![echo_tool()]).await;
    assert_eq!(text(&world.answer(&request).await), "DONE hi hi");
    assert_eq!(world.mock.stats().bad_requests, 0);
}

#[tokio::test]
async fn calls_without_ids_of_the_provider_keep_the_protocol() {
    let world = World::start().await;
    let call = Uuid::now_v7();
    let (tool, arguments) = ("echo".to_owned(), "no json".to_owned());
    let asked = Part::ToolCall { call, provider_id: None, tool: tool.clone(), arguments };
    let answered =
        Part::ToolResult { call, provider_id: None, tool, text: "x".to_owned(), is_error: true };
    let history = vec![
        Message::text(Role::User, "hi"),
        Message { role: Role::Assistant, parts: vec![asked] },
        Message { role: Role::Tool, parts: vec![answered] },
    ];
    let request = world.ask("mock/mock-tool", history, vec![echo_tool()]).await;
    assert_eq!(text(&world.answer(&request).await), "DONE x");
}

#[tokio::test]
async fn many_calls_at_once_are_all_answered() {
    let world = World::start().await;
    let asked = (0..40).map(|i| (i, Message::text(Role::User, format!("n{i}"))));
    let requests = asked.map(async |(i, message)| {
        (i, world.ask("mock/mock-plain-lat20", vec![message], Vec::new()).await)
    });
    for (i, request) in futures_util::future::join_all(requests).await {
        assert_eq!(text(&world.answer(&request).await), format!("DONE n{i}"));
    }
}

#[tokio::test]
async fn key_is_sent_and_appears_in_no_event() {
    let options = Options { api_key: Some(KEY.to_owned()), ..Options::default() };
    let world = World::with(options, json!({ "api_key_env": "MOCK_KEY" }), now).await;
    assert_eq!(text(&world.asked("mock/mock-plain", "hi").await), "DONE hi");
    let stored = world.stored().await;
    assert!(stored.len() > 3, "{stored:?}");
    assert!(stored.iter().all(|text| !text.contains(KEY)));
}

#[tokio::test]
async fn default_is_the_best_that_is_there() {
    let world = World::start().await;
    assert_eq!(world.default_model, "mock/mock");
    assert_eq!(world.available, ["mock/mock", "mock/mock-plain", "mock/mock-tool", "demo/demo"]);
    assert_eq!(world.listed("demo/demo").await, world.available);
    assert_eq!(world.asked("default", "hi").await.model, "mock/mock");
    assert_eq!(world.asked("mock-plain", "hi").await.model, "mock/mock-plain");
}

#[tokio::test]
async fn provider_is_served_as_soon_as_it_is_configured() {
    let world = World::start().await;
    let settings =
        json!({ "kind": "openai-chat", "base_url": world.mock.url(), "models": ["late-plain"] });
    world.bus.put_setting(Bucket::Config, "provider.added", &settings).await.unwrap();
    world.listed("added/late-plain").await;
    assert_eq!(text(&world.asked("added/late-plain", "hi").await), "DONE hi");
}

#[tokio::test]
async fn demo_answers_and_streams_without_any_provider() {
    let world = World::start().await;
    let mut chunks = world.chunks().await;
    let request =
        world.ask("demo/demo", vec![Message::text(Role::User, "hello")], Vec::new()).await;
    let response = world.answer(&request).await;
    assert!(text(&response).contains("not a language model"), "{response:?}");
    let mut screen = Screen::default();
    screen.until(&mut chunks, request.id, "web page.").await;
    assert_eq!(screen.text, text(&response));
}
