//! Texts that do not fit into one event.

use nexus_contracts::{EventType, MemoryRecall, Message, Part, Role, RunConfiguration, RunStarted};

use super::world::World;
use crate::{MAX_COMMAND_BYTES, Verdict};

fn assert_all_commands_fit(world: &World) {
    let decided = world.steps.iter().flat_map(|(_, step)| &step.commands);
    for command in decided {
        let stored = world.record.iter().find(|event| event.id == command.id).unwrap();
        assert!(
            stored.bytes.len() <= MAX_COMMAND_BYTES,
            "{} of {} bytes",
            stored.kind,
            stored.bytes.len()
        );
    }
}

#[test]
fn context_too_long_drops_the_oldest_history_first() {
    let mut world = World::new();
    world.ask("And now?");
    let long = "x".repeat(MAX_COMMAND_BYTES / 4);
    let turns = [
        (long.as_str(), "one"),
        (long.as_str(), "two"),
        (long.as_str(), "three"),
        (long.as_str(), "four"),
    ];
    world.recall(&turns);

    let messages = world.last_request().messages;
    let kept: Vec<String> = messages.iter().map(Message::joined_text).collect();
    let expected = [
        "You are a helpful assistant.",
        "one",
        &long,
        "two",
        &long,
        "three",
        &long,
        "four",
        "And now?",
    ];
    assert_eq!(kept.len(), expected.len());
    assert!(kept.iter().eq(&expected));
    assert_all_commands_fit(&world);
}

#[test]
fn instructions_and_the_request_itself_are_never_dropped() {
    let mut world = World::new();
    let mut request = world.request("kitchen", "And now?");
    let long = "x".repeat(MAX_COMMAND_BYTES * 3 / 4);
    request.payload.history = Some(vec![
        Message::text(Role::System, "Answer in French."),
        Message::text(Role::User, long.clone()),
        Message::text(Role::Assistant, long),
    ]);
    world.put(&request);
    let kept: Vec<String> =
        world.last_request().messages.iter().map(Message::joined_text).collect();
    assert_eq!(kept[..2], ["You are a helpful assistant.", "Answer in French."]);
    assert_eq!(kept.last().unwrap(), "And now?");

    let mut world = World::new();
    let mut request = world.request("kitchen", &"y".repeat(MAX_COMMAND_BYTES / 2));
    let long = "x".repeat(MAX_COMMAND_BYTES * 3 / 4);
    request.payload.history = Some(vec![Message::text(Role::System, long)]);
    world.put(&request);
    assert_eq!(world.codes(request.id), ["context_too_long"]);
}

#[test]
fn tool_result_is_dropped_with_the_call_that_it_answers() {
    let mut world = World::new();
    let mut request = world.request("kitchen", "And now?");
    let part = Part::ToolCall {
        call: request.id,
        provider_id: None,
        tool: "clock".to_owned(),
        arguments: "x".repeat(MAX_COMMAND_BYTES),
    };
    request.payload.history = Some(vec![
        Message { role: Role::Assistant, parts: vec![part] },
        Message::text(Role::Tool, "12:00"),
        Message::text(Role::Tool, "13:00"),
        Message::text(Role::Assistant, "Noon."),
    ]);
    world.put(&request);
    let roles: Vec<Role> =
        world.last_request().messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::Assistant, Role::User]);
}

#[test]
fn context_too_long_without_history_fails() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("hello");
    world.want(&[("clock", "{}")]);
    world.give(world.last(EventType::ToolsExecute), &"x".repeat(MAX_COMMAND_BYTES));
    assert_eq!(world.codes(run), ["context_too_long"]);
}

#[test]
fn longest_request_is_recalled_with_its_beginning_and_fails_visibly() {
    let mut world = World::new();
    let text = "é".repeat(MAX_COMMAND_BYTES / 2);
    let run = world.ask(&text);
    let recall: MemoryRecall = world.payload(world.last(EventType::MemoryRecall));
    assert_eq!(recall.query, "é".repeat(8 * 1024));
    world.recall(&[]);
    assert_eq!(world.codes(run), ["context_too_long"]);
    assert_all_commands_fit(&world);
}

#[test]
fn answer_too_long_for_a_reply_fails_visibly() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("hello");
    world.say(&"x".repeat(MAX_COMMAND_BYTES));
    assert_eq!(world.codes(run), ["answer_too_long"]);
    assert_all_commands_fit(&world);
}

#[test]
fn tool_arguments_too_long_for_a_call_are_refused() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("hello");
    let long = "x".repeat(MAX_COMMAND_BYTES);
    assert_eq!(world.want(&[("clock", &long)]), Verdict::Applied);
    assert_eq!(world.ids(EventType::ToolsExecute).len(), 0);
    // The model's own words are in the context now: there is no shorter one.
    assert_eq!(world.codes(run), ["context_too_long"]);
    assert_all_commands_fit(&world);
}

#[test]
fn reason_too_long_for_a_reply_still_cancels() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("one");
    let waiting = world.ask("two");
    for request in [waiting, run] {
        let mut cancel = world.cancellation(request, None);
        cancel.payload.reason = Some("x".repeat(MAX_COMMAND_BYTES));
        world.put(&cancel);
        assert_eq!(world.codes(request), ["cancelled"]);
    }
    assert_all_commands_fit(&world);
}

#[test]
fn names_too_long_do_not_fill_the_commands() {
    let mut world = World::new();
    let mut request = world.request("kitchen", "hello");
    request.metadata.user = Some("u".repeat(MAX_COMMAND_BYTES));
    request.metadata.agent = Some("a".repeat(MAX_COMMAND_BYTES));
    world.put(&request);
    world.recall(&[]);
    world.say("Hello.");
    assert_eq!(world.codes(request.id), ["answered"]);
    assert_all_commands_fit(&world);
}

#[test]
fn agent_too_large_for_an_event_is_refused() {
    let mut world = World::with(|agent| agent.instructions = "x".repeat(MAX_COMMAND_BYTES));
    let run = world.ask("hello");
    let started: RunStarted = world.payload(world.last(EventType::RunsStarted));
    assert!(matches!(started.configuration, RunConfiguration::Refused { .. }));
    assert_eq!(world.codes(run), ["agent_too_large"]);
    assert_all_commands_fit(&world);
}
