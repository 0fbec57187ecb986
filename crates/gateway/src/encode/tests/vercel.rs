use nexus_contracts::Finish;
use serde_json::{Value, json};
use uuid::Uuid;

use super::scenes::*;
use crate::encode::Vercel;

fn encoder(before: &[Uuid]) -> Vercel {
    Vercel::new("my chat".to_owned(), "msg".to_owned(), RUN, 1, super::scenes::before(before))
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn each_model_call_is_a_step_with_its_text_and_its_tools() {
    let events = encode_json(&mut encoder(&[]), &with_own_tool());
    assert_eq!(
        kinds(&events),
        [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-delta",
            "text-end",
            "tool-input-available",
            "tool-output-available",
            "finish-step",
            "start-step",
            "text-start",
            "text-delta",
            "text-end",
            "finish-step",
            "finish",
        ]
    );
    assert_eq!(events[6]["providerExecuted"], true, "not for the page to run");
    assert_eq!(encode(&mut encoder(&[]), &with_own_tool()).last().unwrap().data, "[DONE]");
}

#[test]
fn calls_of_the_page_end_a_message_and_the_next_response_goes_on_with_it() {
    let events = encode_json(&mut encoder(&[]), &with_clients_tool().frames);
    let calls: Vec<&Value> =
        events.iter().filter(|event| event["type"] == "tool-input-available").collect();
    assert_eq!(calls.len(), 3);
    assert_eq!(
        (&calls[0]["toolCallId"], calls[0].get("providerExecuted")),
        (&json!(shown(CALL)), None)
    );
    assert_eq!(events.last().unwrap()["finishReason"], "tool-calls");
    let events = encode_json(&mut encoder(&[CALL, CALL_2]), &answered_by_client());
    assert_eq!(
        kinds(&events),
        ["start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "finish"]
    );
}

#[test]
fn a_question_is_put_to_the_person_and_the_call_keeps_its_id() {
    let (asked, allowed) = with_question();
    let events = encode_json(&mut encoder(&[]), &asked);
    let request = events.iter().find(|event| event["type"] == "tool-approval-request").unwrap();
    assert_eq!(
        (&request["approvalId"], &request["toolCallId"]),
        (&json!(shown(QUESTION)), &json!(shown(QUESTION)))
    );
    let events = encode_json(&mut encoder(&[QUESTION]), &allowed);
    assert_eq!(
        (&events[1]["type"], &events[1]["toolCallId"]),
        (&json!("tool-output-available"), &json!(shown(QUESTION)))
    );
}

#[test]
fn files_that_tools_made_are_told_with_their_address() {
    let file = nexus_contracts::Attachment {
        uri: "blob:x".to_owned(),
        sha256: "abc".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: 3,
        kind: nexus_contracts::AttachmentKind::Photo,
        name: None,
    };
    let mut frames = with_own_tool();
    for frame in &mut frames {
        if let crate::frames::ServerFrame::Done(done) = frame {
            done.attachments.push(file.clone());
        }
    }
    let events = encode_json(&mut encoder(&[]), &frames);
    let told = events.iter().find(|event| event["type"] == "file").unwrap();
    assert_eq!(
        (&told["url"], &told["mediaType"]),
        (&json!("/v1/files/abc?conversation=my%20chat"), &json!("image/png"))
    );
}

#[test]
fn every_end_is_told() {
    let kinds_of = |frames: &[_]| {
        kinds(&encode_json(&mut encoder(&[]), frames)).last().map(ToString::to_string).unwrap()
    };
    assert_eq!(kinds_of(&ending(failed())), "error");
    assert_eq!(kinds_of(&ending(cancelled())), "abort");
    assert_eq!(kinds_of(&with_reset()), "error");
    assert_eq!(kinds_of(&steered()), "finish");
}

#[test]
fn an_answer_that_its_model_did_not_end_says_so() {
    for (finish, reason) in [
        (Finish::Stop, "stop"),
        (Finish::Length, "length"),
        (Finish::ContentFilter, "content-filter"),
        (Finish::ToolCalls, "stop"),
    ] {
        let events = encode_json(&mut encoder(&[]), &ends_early(finish));
        assert_eq!(events.last().unwrap()["finishReason"], reason);
    }
}

#[test]
fn reasoning_is_told_as_such_and_again_when_the_model_begins_anew() {
    let events = encode_json(&mut encoder(&[]), &with_reasoning());
    assert_eq!(
        kinds(&events),
        [
            "start",
            "start-step",
            "reasoning-start",
            "reasoning-delta",
            "reasoning-end",
            "reasoning-start",
            "reasoning-delta",
            "reasoning-delta",
            "reasoning-end",
            "text-start",
            "text-delta",
            "text-delta",
            "text-end",
            "finish-step",
            "finish",
        ]
    );
    assert_ne!(events[2]["id"], events[5]["id"]);
}
