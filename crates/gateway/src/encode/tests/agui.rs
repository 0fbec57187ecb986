use serde_json::{Value, json};
use uuid::Uuid;

use super::scenes::*;
use crate::cursor::Cursor;
use crate::encode::{Agui, Encoder as _};

fn encoder(before: &[Uuid]) -> Agui {
    let said = vec![json!({ "id": "u1", "role": "user", "content": "hello" })];
    Agui::new("t".to_owned(), "r".to_owned(), RUN, 1, said, super::scenes::before(before))
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn text_and_the_agents_own_tools_come_in_the_order_that_clients_check() {
    let events = encode_json(&mut encoder(&[]), &with_own_tool());
    assert_eq!(
        kinds(&events),
        [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
            "TOOL_CALL_START",
            "TOOL_CALL_ARGS",
            "TOOL_CALL_END",
            "TOOL_CALL_RESULT",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED",
        ]
    );
    assert_eq!(
        events[5]["parentMessageId"], events[1]["messageId"],
        "one message of the assistant"
    );
    assert_eq!(events[8]["content"], "12:30");
    assert_eq!(events.last().unwrap()["outcome"], json!({ "type": "success" }));
}

#[test]
fn calls_of_the_page_end_a_run_that_names_them_and_the_next_goes_on() {
    let events = encode_json(&mut encoder(&[]), &with_clients_tool().frames);
    let last = events.last().unwrap();
    assert_eq!(
        last["outcome"],
        json!({ "type": "success", "pendingToolCallIds": [shown(CALL), shown(CALL_2)] })
    );
    let starts: Vec<&Value> =
        events.iter().filter(|event| event["type"] == "TOOL_CALL_START").collect();
    assert_eq!(starts.len(), 3);
    let events = encode_json(&mut encoder(&[CALL, CALL_2]), &answered_by_client());
    assert_eq!(
        kinds(&events),
        [
            "RUN_STARTED",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED"
        ]
    );
}

#[test]
fn a_question_is_an_interrupt_and_the_call_keeps_its_id() {
    let (asked, allowed) = with_question();
    let events = encode_json(&mut encoder(&[]), &asked);
    let outcome = &events.last().unwrap()["outcome"];
    assert_eq!(
        (&outcome["type"], &outcome["interrupts"][0]["id"]),
        (&json!("interrupt"), &json!(shown(QUESTION)))
    );
    let events = encode_json(&mut encoder(&[QUESTION]), &allowed);
    assert_eq!(
        kinds(&events),
        [
            "RUN_STARTED",
            "TOOL_CALL_RESULT",
            "TEXT_MESSAGE_START",
            "TEXT_MESSAGE_CONTENT",
            "TEXT_MESSAGE_END",
            "RUN_FINISHED"
        ]
    );
    assert_eq!(events[1]["toolCallId"], shown(QUESTION));
}

#[test]
fn what_is_void_is_taken_back_by_a_snapshot() {
    let events = encode_json(&mut encoder(&[]), &with_reset());
    let at = kinds(&events).iter().position(|kind| *kind == "MESSAGES_SNAPSHOT").unwrap();
    assert_eq!(events[at]["messages"], json!([{ "id": "u1", "role": "user", "content": "hello" }]));
    let rest: String = events[at..].iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(rest, "It is so.");
    assert_ne!(events[at + 1]["messageId"], events[1]["messageId"]);
}

#[test]
fn every_end_is_told() {
    let last = |outcome| encode_json(&mut encoder(&[]), &ending(outcome)).pop().unwrap();
    assert_eq!(
        last(failed()),
        json!({ "type": "RUN_ERROR", "message": "Too slow.", "code": "inference_timeout" })
    );
    assert_eq!(last(cancelled())["outcome"], json!({ "type": "cancelled" }));
    assert_eq!(
        encode_json(&mut encoder(&[]), &steered()).last().unwrap()["outcome"]["type"],
        "success"
    );
    let mut cut = encoder(&[]);
    cut.frame(&with_own_tool()[3]);
    assert!(cut.cut(Cursor::default()).last().unwrap().data.contains("stream_cut"));
    assert!(cut.is_over());
}

#[test]
fn reasoning_is_told_as_such_and_again_when_the_model_begins_anew() {
    let events = encode_json(&mut encoder(&[]), &with_reasoning());
    let thought =
        ["REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"].as_slice();
    let ended = ["REASONING_MESSAGE_END", "REASONING_END"].as_slice();
    let said = ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT"].as_slice();
    let more = ["REASONING_MESSAGE_CONTENT"].as_slice();
    let (begin, end) =
        (["RUN_STARTED"].as_slice(), ["TEXT_MESSAGE_END", "RUN_FINISHED"].as_slice());
    assert_eq!(kinds(&events), [begin, thought, ended, thought, more, ended, said, end].concat());
    assert_ne!(events[1]["messageId"], events[6]["messageId"]);
    assert_eq!(events[2]["role"], "reasoning");
}
