use std::collections::BTreeSet;

use axum::response::IntoResponse as _;
use nexus_contracts::{
    Finish, InferenceOutcome, InferenceResponse, ProcessedRequest, RunUsage, Usage,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scenes::*;
use crate::encode::{Completions, Encoder as _};
use crate::feed::tests::{answered, id};
use crate::frames::ServerFrame;

fn encoder(before: &[Uuid]) -> Completions {
    Completions::new(RUN, 1, "m".to_owned(), true, super::scenes::before(before))
}

/// The joined text, and the last reason.
fn read(chunks: &[Value]) -> (String, Value) {
    let choices = || chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0"));
    let text = choices().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
    (text, choices().next_back().map_or(Value::Null, |choice| choice["finish_reason"].clone()))
}

fn whole(frames: &[ServerFrame], before: &[Uuid]) -> Value {
    let mut encoder = encoder(before);
    assert!(frames.iter().any(|frame| encoder.gather(frame)), "it does not end");
    encoder.whole().unwrap()
}

#[test]
fn the_text_of_several_model_calls_is_one_message_in_paragraphs() {
    let mut streamed = encoder(&[]);
    let chunks = encode_json(&mut streamed, &with_own_tool());
    let text = "Let me see.\n\nIt is 12:30.";
    assert_eq!(read(&chunks), (text.to_owned(), json!("stop")));
    assert_eq!(streamed.said().as_deref(), Some(text));
    assert_eq!(encode(&mut encoder(&[]), &with_own_tool()).last().unwrap().data, "[DONE]");
    let whole = whole(&with_own_tool(), &[]);
    assert_eq!(whole["choices"][0]["message"]["content"], text);
}

#[test]
fn calls_of_the_clients_tools_end_a_response_when_nobody_else_is_waited_for() {
    let frames = with_clients_tool().frames;
    // Without the result of the agent's own tool it goes on.
    let mut early = encoder(&[]);
    encode(&mut early, &frames[..frames.len() - 1]);
    assert!(!early.is_over());

    let chunks = encode_json(&mut encoder(&[]), &frames);
    assert_eq!(read(&chunks), (String::new(), json!("tool_calls")));
    let calls: Vec<&Value> =
        chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).collect();
    let named = |index: u32, call| {
        json!({ "index": index, "id": shown(call), "type": "function",
            "function": { "name": "lookup", "arguments": "{}" } })
    };
    assert_eq!(calls, [&named(0, CALL), &named(1, CALL_2)]);
    assert_eq!(chunks.last().unwrap()["usage"]["total_tokens"], 5);
    let whole = whole(&frames, &[]);
    assert_eq!(whole["choices"][0]["message"]["tool_calls"][1]["id"], shown(CALL_2));
    assert_eq!(whole["choices"][0]["message"]["content"], Value::Null);
}

#[test]
fn a_run_goes_on_behind_the_calls_that_its_client_has_made() {
    let frames = answered_by_client();
    let chunks = encode_json(&mut encoder(&[CALL, CALL_2]), &frames);
    assert_eq!(read(&chunks), ("One and two.".to_owned(), json!("stop")));
    let whole = whole(&frames, &[CALL, CALL_2]);
    assert_eq!(
        whole["choices"][0]["message"],
        json!({ "role": "assistant", "content": "One and two." })
    );
}

#[test]
fn a_question_to_a_person_is_not_asked_on_this_wire_and_its_answer_waited_for() {
    let (asked, allowed) = with_question();
    let mut waiting = encoder(&[]);
    encode(&mut waiting, &asked);
    assert!(!waiting.is_over());
    assert_eq!(whole(&allowed, &[])["choices"][0]["message"]["content"], "It is sent.");
}

#[test]
fn an_answer_that_breaks_off_is_an_error_in_a_stream_and_mended_in_a_whole() {
    let chunks = encode_json(&mut encoder(&[]), &with_reset());
    assert_eq!(chunks.last().unwrap()["error"]["code"], "restarted");
    let said = encode(&mut encoder(&[]), &with_reset());
    assert!(said.iter().all(|event| event.data != "[DONE]"), "that would be a success");
    assert_eq!(whole(&with_reset(), &[])["choices"][0]["message"]["content"], "It is so.");
}

#[test]
fn a_model_thinks_beside_its_answer_and_may_think_again() {
    let chunks = encode_json(&mut encoder(&[]), &with_reasoning());
    assert_eq!(read(&chunks), ("It is so.".to_owned(), json!("stop")));
    let deltas = chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta"));
    let thought: Vec<&str> =
        deltas.filter_map(|delta| delta["reasoning_content"].as_str()).collect();
    assert_eq!(thought, ["So", "Hmm", ", so"]);
    let message = whole(&with_reasoning(), &[])["choices"][0]["message"].clone();
    let wanted =
        json!({ "role": "assistant", "content": "It is so.", "reasoning_content": "Hmm, so" });
    assert_eq!(message, wanted);
}

#[test]
fn the_model_that_answered_is_named_with_what_was_used_and_paid() {
    let usage = Usage { cache_read_tokens: 2, reasoning_tokens: 1, ..Usage::of(3, 2) };
    let outcome = InferenceOutcome::Completed {
        text: "Hi.".to_owned(),
        tool_calls: Vec::new(),
        finish: Finish::Stop,
        usage,
        turn: None,
    };
    let response = InferenceResponse::of(FIRST, "b/y".to_owned(), outcome, 1);
    let mut processed = ProcessedRequest::of(RUN, answered("Hi."));
    processed.usage =
        RunUsage { input_tokens: 3, output_tokens: 2, cost_microusd: 150, ..RunUsage::default() };
    let frames = Scene::begun()
        .event(|log| log.stored(RUN, id(60), response))
        .event(|log| log.stored(RUN, id(61), processed))
        .frames;
    let wanted = json!({
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
        "prompt_tokens_details": { "cached_tokens": 2 },
        "completion_tokens_details": { "reasoning_tokens": 1 }, "cost": 0.00015,
    });
    let whole = whole(&frames, &[]);
    assert_eq!((&whole["model"], &whole["usage"]), (&json!("b/y"), &wanted));
    let chunks = encode_json(&mut encoder(&[]), &frames);
    let last = chunks.last().unwrap();
    assert_eq!((&last["model"], &last["usage"]), (&json!("b/y"), &wanted));
}

#[test]
fn an_answer_that_its_model_did_not_end_says_so() {
    for (finish, reason) in [
        (Finish::Stop, "stop"),
        (Finish::Length, "length"),
        (Finish::ContentFilter, "content_filter"),
        (Finish::ToolCalls, "stop"),
    ] {
        let chunks = encode_json(&mut encoder(&[]), &ends_early(finish));
        assert_eq!(read(&chunks), ("Let me see.\n\nIt is 12".to_owned(), json!(reason)));
        let whole = whole(&ends_early(finish), &[]);
        assert_eq!(whole["choices"][0]["finish_reason"], reason);
    }
}

#[tokio::test]
async fn failed_model_calls_have_the_status_that_tells_what_to_do() {
    for (code, retry, status, told, after) in [
        ("no_llm_key", None, 403, "no_llm_key", None),
        ("provider_no_key", None, 403, "no_llm_key", None),
        ("provider_rate_limited", Some(1_500), 429, "rate_limited", Some("2")),
        ("rate_limited", None, 429, "rate_limited", None),
        ("provider_context_length", None, 400, "context_length_exceeded", None),
        ("provider_content_filter", None, 400, "content_filter", None),
        ("model_unfit", None, 400, "model_unfit", None),
        ("not_an_image", None, 400, "not_an_image", None),
        ("image_too_large", None, 400, "image_too_large", None),
        ("provider_timeout", None, 504, "provider_timeout", None),
        ("inference_timeout", None, 504, "inference_timeout", None),
        ("run_timeout", None, 504, "run_timeout", None),
        ("provider_overloaded", Some(9_000), 502, "provider_overloaded", Some("9")),
        ("provider_transport", None, 502, "provider_transport", None),
        ("provider_auth", None, 502, "provider_auth", None),
        ("provider_invalid", None, 400, "provider_invalid", None),
        ("unknown_model", None, 404, "unknown_model", None),
    ] {
        let mut failed = encoder(&[]);
        assert!(model_fails(code, retry).iter().any(|frame| failed.gather(frame)));
        let refused = failed.refused().unwrap();
        assert_eq!(refused.body().code.as_deref(), Some(told), "{code}");
        let response = refused.into_response();
        assert_eq!(response.status().as_u16(), status, "{code}");
        let header = response.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(header, after, "{code}");
    }
}

#[test]
fn failures_and_cancellations_are_errors_with_their_codes() {
    for (outcome, code) in [(failed(), "inference_timeout"), (cancelled(), "cancelled")] {
        let chunks = encode_json(&mut encoder(&[]), &ending(outcome.clone()));
        assert_eq!(chunks.last().unwrap()["error"]["code"], code);
        let mut gathering = encoder(&[]);
        assert!(ending(outcome).iter().any(|frame| gathering.gather(frame)));
        assert_eq!(gathering.whole().unwrap_err().body().code.as_deref(), Some(code));
    }
}

#[test]
fn a_steered_request_is_answered_by_the_run_that_took_it() {
    let chunks = encode_json(&mut encoder(&[]), &steered());
    assert_eq!(read(&chunks), ("Both answered.".to_owned(), json!("stop")));
}

#[test]
fn without_an_end_there_is_no_answer() {
    let nothing = Completions::new(RUN, 1, "m".to_owned(), false, BTreeSet::new());
    assert_eq!(nothing.whole().unwrap_err().body().code.as_deref(), Some("answer_timeout"));
}
