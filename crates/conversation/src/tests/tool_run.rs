//! A run with one tool call, event by event.

use std::path::Path;

use nexus_contracts::{
    EventType, MemoryRecall, Message, Metadata, Outcome, Part, ProcessedRequest, RawEvent, Role,
    RunUsage, ToolExecute, traceparent,
};
use uuid::Uuid;

use super::world::World;

const QUESTION: &str = "What time is it in Tokyo?";
const TOKYO: &str = r#"{"time_zone":"Asia/Tokyo"}"#;
const NINE: &str = "2026-11-20T21:00:00+09:00[Asia/Tokyo]";

fn tool_run() -> (World, Uuid) {
    let mut world = World::new();
    let (run, _) = world.ask_the_model(QUESTION);
    world.want(&[("clock", TOKYO)]);
    world.give(world.last(EventType::ToolsExecute), NINE);
    world.say("It is 21:00 in Tokyo.");
    (world, run)
}

#[test]
fn tool_run_issues_the_events_of_the_design_in_order() {
    let (world, run) = tool_run();

    let kinds: Vec<_> = world.record.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "requests.incoming",
            "runs.started",
            "memory.recall",
            "memory.recalled",
            "inference.request",
            "inference.response",
            "tools.execute",
            "tools.results",
            "inference.request",
            "inference.response",
            "requests.processed",
        ]
    );
    assert!(world.record.iter().all(|event| event.run == run));
}

#[test]
fn each_event_of_a_run_follows_from_the_one_before() {
    let (world, run) = tool_run();
    let events: Vec<_> =
        world.record.iter().map(|event| RawEvent::decode(&event.bytes).unwrap()).collect();

    for (cause, event) in events.iter().zip(events.iter().skip(1)) {
        let expected = Metadata {
            causation_id: Some(cause.id),
            traceparent: Some(traceparent(run, event.id)),
            ..event.metadata.clone()
        };
        assert_eq!(event.metadata, expected, "{}", event.kind);
    }
}

#[test]
fn commands_carry_the_stored_time_of_their_cause() {
    let (world, _) = tool_run();
    for (index, step) in &world.steps {
        let cause = &world.record[*index];
        for command in &step.commands {
            let event = world.record.iter().find(|event| event.id == command.id).unwrap();
            assert_eq!(RawEvent::decode(&event.bytes).unwrap().timestamp, cause.stored_at);
        }
    }
}

#[test]
fn reply_tells_the_answer_the_model_and_the_usage() {
    let (world, run) = tool_run();
    let usage = RunUsage {
        model_calls: 2,
        tool_calls: 1,
        input_tokens: 80,
        output_tokens: 24,
        cost_microusd: 0,
    };
    let expected = ProcessedRequest {
        request: run,
        outcome: Outcome::Answered { text: "It is 21:00 in Tokyo.".to_owned() },
        model: Some("demo/demo".to_owned()),
        usage,
        ..ProcessedRequest::of(run, Outcome::Steered { into: run })
    };
    assert_eq!(world.ends(run), [expected]);
}

#[test]
fn model_sees_its_call_and_the_result_after_the_request() {
    let (world, _) = tool_run();
    let call = world.last(EventType::ToolsExecute);
    let (provider_id, tool) = (Some("call_0".to_owned()), "clock".to_owned());
    let asked = Part::ToolCall {
        call,
        provider_id: provider_id.clone(),
        tool: tool.clone(),
        arguments: TOKYO.to_owned(),
    };
    let text = NINE.to_owned();
    let got = Part::ToolResult { call, provider_id, tool, text, is_error: false };
    assert_eq!(
        world.last_request().messages,
        [
            Message::text(Role::System, "You are a helpful assistant."),
            Message::text(Role::User, QUESTION),
            Message { role: Role::Assistant, parts: vec![asked] },
            Message { role: Role::Tool, parts: vec![got] },
        ]
    );
}

#[test]
fn tool_is_called_as_the_model_wrote_it_within_the_agents_limits() {
    let (world, _) = tool_run();
    let execute: ToolExecute = world.payload(world.last(EventType::ToolsExecute));
    let expected = ToolExecute {
        tool: "clock".to_owned(),
        arguments: TOKYO.to_owned(),
        effect: nexus_contracts::Effect::Read,
        index: 0,
        start_within_ms: 60_000,
        timeout_ms: 5_000,
        client: None,
    };
    assert_eq!(execute, expected);
}

#[test]
fn recall_is_no_older_than_the_conversations_last_reply() {
    let (mut world, _) = tool_run();
    let reply = world.record.last().unwrap().sequence;
    let next = world.ask("And in Paris?");

    let recall: MemoryRecall = world.payload(world.last(EventType::MemoryRecall));
    let expected = MemoryRecall {
        request: next,
        query: "And in Paris?".to_owned(),
        turns: 20,
        no_older_than: reply,
        wait_ms: 10_000,
    };
    assert_eq!(recall, expected);
}

#[test]
fn recalled_turns_stand_between_instructions_and_request() {
    let mut world = World::new();
    world.ask("And in Paris?");
    world.recall(&[(QUESTION, "It is 21:00 in Tokyo.")]);
    assert_eq!(
        world.last_request().messages,
        [
            Message::text(Role::System, "You are a helpful assistant."),
            Message::text(Role::User, QUESTION),
            Message::text(Role::Assistant, "It is 21:00 in Tokyo."),
            Message::text(Role::User, "And in Paris?"),
        ]
    );
}

#[test]
fn agent_that_remembers_nothing_asks_the_model_at_once() {
    let mut world = World::with(|agent| agent.recall_turns = 0);
    let run = world.ask("hello");
    assert_eq!(world.kinds(run), ["requests.incoming", "runs.started", "inference.request"]);
}

#[test]
fn clients_own_history_and_model_replace_memory_and_the_agents_model() {
    let mut world = World::new();
    let mut request = world.request("kitchen", "And in Paris?");
    let history =
        vec![Message::text(Role::User, QUESTION), Message::text(Role::Assistant, "21:00")];
    request.payload.history = Some(history.clone());
    request.payload.model = Some("demo/other".to_owned());
    world.put(&request);

    assert_eq!(world.kinds(request.id), ["requests.incoming", "runs.started", "inference.request"]);
    assert_eq!(world.last_request().model, "demo/other");
    assert_eq!(world.last_request().messages[1..3], history);
}

/// What engine 1 recorded is decided the same way today, and what engine 2 did when objects of
/// tools had their keys sorted.
#[test]
fn records_of_older_engines_still_verify() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["tool_run_engine_1.jsonl", "tool_run_engine_2.jsonl"] {
        let (world, _) = tool_run();
        let text = std::fs::read_to_string(golden.join(name)).unwrap();
        let lines = world.record.iter().zip(text.lines());
        let record: Vec<_> = lines
            .map(|(event, line)| crate::Recorded {
                bytes: line.as_bytes().to_vec(),
                ..event.clone()
            })
            .collect();
        let result = crate::verify(&record, None, false);
        assert_eq!((result.identical, result.mismatches), (6, Vec::new()), "{name}");
    }
}

/// After a change that is meant: `UPDATE_GOLDEN=1 cargo test -p nexus-conversation golden`,
/// and raise `ENGINE` if logs with the old bytes exist.
#[test]
fn tool_run_has_the_golden_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tool_run.jsonl");
    let (world, _) = tool_run();
    let lines: Vec<&str> =
        world.record.iter().map(|event| std::str::from_utf8(&event.bytes).unwrap()).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }

    let golden = std::fs::read_to_string(&path).unwrap();
    for (number, (line, golden)) in lines.iter().zip(golden.lines()).enumerate() {
        assert_eq!(*line, golden, "{} line {}", path.display(), number + 1);
    }
    assert_eq!(lines.len(), golden.lines().count());
}
