//! Several tool calls at once, and calls of tools that the agent does not have.

use nexus_contracts::{EventType, InferenceRequest, Part, Role, ToolExecute, ToolOutcome};

use super::fixtures::completed;
use super::world::World;
use crate::Verdict;

const THREE: [(&str, &str); 3] =
    [("clock", "{}"), ("append_line", r#"{"line":"a"}"#), ("clock", r#"{"a":1}"#)];

fn three_calls() -> World {
    let mut world = World::new();
    world.ask_the_model("do three things");
    world.want(&THREE);
    world
}

#[test]
fn parallel_calls_are_issued_together_and_numbered() {
    let world = three_calls();
    let calls = world.ids(EventType::ToolsExecute).into_iter().map(|id| world.payload(id));
    let calls: Vec<_> = calls.map(|call: ToolExecute| (call.index, call.tool)).collect();
    let expected = [(0, "clock"), (1, "append_line"), (2, "clock")];
    assert_eq!(calls, expected.map(|(index, tool)| (index, tool.to_owned())));
}

#[test]
fn results_in_any_order_give_the_same_request_ordered_by_index() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let requests = orders.map(|order| {
        let mut world = three_calls();
        let calls = world.ids(EventType::ToolsExecute);
        for (answered, index) in order.into_iter().enumerate() {
            assert_eq!(world.ids(EventType::InferenceRequest).len(), 1, "after {answered} results");
            world.give(calls[index], &format!("result {index}"));
        }
        world.last_request()
    });
    let texts = |request: &InferenceRequest| -> Vec<String> {
        let parts = request.messages.iter().flat_map(|message| message.parts.clone());
        parts
            .filter_map(|part| match part {
                Part::ToolResult { text, .. } => Some(text),
                Part::Text { .. }
                | Part::Attachment { .. }
                | Part::Native { .. }
                | Part::ToolCall { .. } => None,
            })
            .collect()
    };
    assert_eq!(texts(&requests[0]), ["result 0", "result 1", "result 2"]);
    assert!(requests.iter().all(|request| *request == requests[0]));
}

#[test]
fn second_result_of_a_call_does_not_count_for_another() {
    let mut world = three_calls();
    let calls = world.ids(EventType::ToolsExecute);
    world.give(calls[0], "first");
    let before = world.state.clone();

    assert_eq!(world.give(calls[0], "second"), Verdict::Late);
    assert_eq!(world.state, before);
}

#[test]
fn unknown_tool_is_refused_without_an_event() {
    let mut world = World::new();
    let (run, _) = world.ask_the_model("format the disk");
    world.want(&[("format_disk", "{}")]);

    assert_eq!(world.ids(EventType::ToolsExecute).len(), 0);
    let request = world.last_request();
    assert_eq!(request.number, 2);
    let Part::ToolResult { text, is_error, .. } = &request.messages.last().unwrap().parts[0] else {
        panic!("the model is not told");
    };
    let told = "error (tool_not_allowed): there is no tool \"format_disk\" for this agent; it has: clock, append_line";
    assert_eq!((text.as_str(), *is_error), (told, true));
    world.say("I cannot do that.");
    assert_eq!(world.codes(run), ["answered"]);
}

#[test]
fn unknown_tool_beside_a_known_one_keeps_its_place() {
    let mut world = World::new();
    world.ask_the_model("two things");
    world.want(&[("format_disk", "{}"), ("clock", "{}")]);
    let call = world.last(EventType::ToolsExecute);
    assert_eq!(world.payload::<ToolExecute>(call).index, 1);
    world.give(call, "noon");

    let messages = world.last_request().messages;
    let results: Vec<_> = messages.iter().filter(|message| message.role == Role::Tool).collect();
    let tools = results.iter().map(|message| match &message.parts[0] {
        Part::ToolResult { tool, is_error, .. } => (tool.as_str(), *is_error),
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::Native { .. }
        | Part::ToolCall { .. } => panic!("no result"),
    });
    assert_eq!(tools.collect::<Vec<_>>(), [("format_disk", true), ("clock", false)]);
    let ids = messages.iter().flat_map(|message| &message.parts).filter_map(|part| match part {
        Part::ToolCall { call, .. } | Part::ToolResult { call, .. } => Some(*call),
        Part::Text { .. } | Part::Attachment { .. } | Part::Native { .. } => None,
    });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids[..2], ids[2..], "results name the calls they answer");
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn model_is_told_how_each_call_ended() {
    let outcomes = [
        completed("done"),
        ToolOutcome::Completed { output: "do".to_owned(), truncated: true },
        ToolOutcome::Failed { code: "bad".to_owned(), message: "why".to_owned() },
        ToolOutcome::Unknown { message: "the worker died".to_owned() },
        ToolOutcome::Expired,
        ToolOutcome::Cancelled,
    ];
    for outcome in outcomes {
        let mut world = World::new();
        world.ask_the_model("hello");
        world.want(&[("clock", "{}")]);
        let call = world.last(EventType::ToolsExecute);
        world.put(&world.result(call, outcome.clone()));

        let part = world.last_request().messages.last().unwrap().parts[0].clone();
        let (provider_id, tool) = (Some("call_0".to_owned()), "clock".to_owned());
        let (text, is_error) = (outcome.text(), outcome.is_error());
        assert_eq!(part, Part::ToolResult { call, provider_id, tool, text, is_error });
    }
}
