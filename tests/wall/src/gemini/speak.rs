//! Answers as generateContent writes them.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::play::{Beat, BeatKind};

/// Candidates and thoughts are counted apart.
fn usage(answer: &Answer) -> Value {
    let bill = &answer.bill;
    let mut usage = json!({
        "promptTokenCount": bill.input, "candidatesTokenCount": bill.output - bill.reasoning,
        "totalTokenCount": bill.input + bill.output,
    });
    if bill.cached > 0 {
        usage["cachedContentTokenCount"] = json!(bill.cached);
    }
    if bill.reasoning > 0 {
        usage["thoughtsTokenCount"] = json!(bill.reasoning);
    }
    usage
}

/// What has to come back: the signature of the first call.
pub(crate) fn thoughts(answer: &Answer) -> Vec<Value> {
    answer.thought.iter().map(|thought| json!(thought.signature)).collect()
}

/// Calls have no ids, as the older models write them.
fn calls(answer: &Answer) -> Vec<Value> {
    let mut signature = answer.thought.as_ref().map(|thought| &thought.signature);
    let calls = answer.calls.iter().map(|call| {
        let mut part = json!({ "functionCall": { "name": call.name, "args": call.arguments } });
        if let Some(signature) = signature.take() {
            part["thoughtSignature"] = json!(signature);
        }
        part
    });
    calls.collect()
}

fn answered(answer: &Answer, parts: Value, finish: Value, usage: Value) -> Value {
    let mut candidate = json!({ "content": { "parts": parts, "role": "model" }, "index": 0 });
    if !finish.is_null() {
        candidate["finishReason"] = finish;
    }
    let mut body = json!({
        "candidates": [candidate], "modelVersion": answer.model, "responseId": answer.id,
    });
    if !usage.is_null() {
        body["usageMetadata"] = usage;
    }
    body
}

/// The answer in one piece.
pub(crate) fn whole(answer: &Answer) -> Value {
    let thought = answer.thought.iter();
    let mut parts: Vec<_> = thought
        .map(|thought| json!({ "text": thought.tokens.concat(), "thought": true }))
        .collect();
    if !answer.tokens.is_empty() {
        parts.push(json!({ "text": answer.text() }));
    }
    parts.extend(calls(answer));
    answered(answer, json!(parts), json!("STOP"), usage(answer))
}

fn event(kind: BeatKind, event: &Value) -> Beat {
    Beat::new(kind, format!("data: {event}\r\n\r\n"))
}

/// The answer as events; there is no sentinel. `late_usage` says it in an event of its own.
pub(crate) fn beats(answer: &Answer, late_usage: bool) -> Vec<Beat> {
    let so_far =
        json!({ "promptTokenCount": answer.bill.input, "totalTokenCount": answer.bill.input });
    let so_far = if late_usage { Value::Null } else { so_far };
    let piece = |kind, part: Value| {
        event(kind, &answered(answer, json!([part]), Value::Null, so_far.clone()))
    };
    let mut beats = Vec::new();
    for token in answer.thought.iter().flat_map(|thought| &thought.tokens) {
        beats.push(piece(BeatKind::Frame, json!({ "text": token, "thought": true })));
    }
    for token in &answer.tokens {
        beats.push(piece(BeatKind::Token, json!({ "text": token })));
    }
    for part in calls(answer) {
        beats.push(piece(BeatKind::CallWhole, part));
    }
    let empty = json!([{ "text": "" }]);
    if late_usage {
        beats.push(event(BeatKind::Finish, &answered(answer, empty, json!("STOP"), Value::Null)));
        let last = json!({ "usageMetadata": usage(answer), "modelVersion": answer.model, "responseId": answer.id });
        beats.push(event(BeatKind::Usage, &last));
    } else {
        beats.push(event(BeatKind::Finish, &answered(answer, empty, json!("STOP"), usage(answer))));
    }
    beats
}

/// What Gemini answers, with 200, to a prompt that breaks its policy.
pub(crate) fn blocked(model: &str) -> Value {
    json!({
        "promptFeedback": { "blockReason": "PROHIBITED_CONTENT", "safetyRatings": [] },
        "usageMetadata": { "promptTokenCount": 9, "totalTokenCount": 9 },
        "modelVersion": model,
    })
}
