//! Answers as messages write them.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::play::{Beat, BeatKind};

/// Input that was neither read from the cache nor written to it stands alone here.
fn usage(answer: &Answer, output: u64) -> Value {
    let bill = &answer.bill;
    json!({
        "input_tokens": bill.input - bill.cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": bill.cached, "output_tokens": output, "service_tier": "standard",
    })
}

/// What has to come back: the block of the thought, as it is.
pub(crate) fn thoughts(answer: &Answer) -> Vec<Value> {
    let thoughts = answer.thought.iter();
    thoughts
        .map(|thought| json!({ "type": "thinking", "thinking": thought.tokens.concat(), "signature": thought.signature }))
        .collect()
}

fn call_id(id: &str) -> String {
    format!("toolu_{id}")
}

fn stop(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "end_turn" } else { "tool_use" }
}

/// The answer in one piece.
pub(crate) fn whole(answer: &Answer) -> Value {
    let mut content = thoughts(answer);
    if !answer.tokens.is_empty() {
        content.push(json!({ "type": "text", "text": answer.text() }));
    }
    content.extend(answer.calls.iter().map(|call| {
        json!({ "type": "tool_use", "id": call_id(&call.id), "name": call.name, "input": call.arguments })
    }));
    json!({
        "id": format!("msg_{}", answer.id), "type": "message", "role": "assistant",
        "model": answer.model, "content": content, "stop_reason": stop(answer),
        "stop_sequence": null, "usage": usage(answer, answer.bill.output),
    })
}

fn event(kind: BeatKind, name: &str, mut event: Value) -> Beat {
    event["type"] = json!(name);
    Beat::new(kind, format!("event: {name}\ndata: {event}\n\n"))
}

/// The answer as events.
pub(crate) fn beats(answer: &Answer) -> Vec<Beat> {
    use BeatKind::{CallBegins, Finish, Frame, Sentinel, Token};
    let mut begun = whole(answer);
    (begun["content"], begun["stop_reason"]) = (json!([]), Value::Null);
    begun["usage"] = usage(answer, 1);
    let mut beats = vec![event(Frame, "message_start", json!({ "message": begun }))];
    let mut index = 0;
    let start = |index: usize, block: Value| {
        event(Frame, "content_block_start", json!({ "index": index, "content_block": block }))
    };
    let delta = |kind, index: usize, delta: Value| {
        event(kind, "content_block_delta", json!({ "index": index, "delta": delta }))
    };
    let stopped = |index: usize| event(Frame, "content_block_stop", json!({ "index": index }));
    if let Some(thought) = &answer.thought {
        beats.push(start(index, json!({ "type": "thinking", "thinking": "", "signature": "" })));
        for token in &thought.tokens {
            beats.push(delta(Frame, index, json!({ "type": "thinking_delta", "thinking": token })));
        }
        let signature = json!({ "type": "signature_delta", "signature": thought.signature });
        beats.extend([delta(Frame, index, signature), stopped(index)]);
        index += 1;
    }
    if !answer.tokens.is_empty() {
        beats.push(start(index, json!({ "type": "text", "text": "" })));
        beats.push(event(Frame, "ping", json!({})));
        for token in &answer.tokens {
            beats.push(delta(Token, index, json!({ "type": "text_delta", "text": token })));
        }
        beats.push(stopped(index));
        index += 1;
    }
    for call in &answer.calls {
        let block =
            json!({ "type": "tool_use", "id": call_id(&call.id), "name": call.name, "input": {} });
        beats.push(start(index, block));
        let arguments = call.arguments.to_string();
        let (first, second) =
            arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
        for (kind, piece) in [(Frame, ""), (CallBegins, first), (Frame, second)] {
            beats.push(delta(
                kind,
                index,
                json!({ "type": "input_json_delta", "partial_json": piece }),
            ));
        }
        beats.push(stopped(index));
        index += 1;
    }
    let last = json!({ "stop_reason": stop(answer), "stop_sequence": null });
    let usage = json!({ "output_tokens": answer.bill.output });
    beats.push(event(Finish, "message_delta", json!({ "delta": last, "usage": usage })));
    beats.push(event(Sentinel, "message_stop", json!({})));
    beats
}
