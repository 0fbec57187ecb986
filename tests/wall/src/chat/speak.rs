//! Answers as chat completions write them.

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::ask::Ask;
use crate::play::{Beat, BeatKind};

/// Second of every answer, the same each time.
pub(crate) const CREATED: u32 = 1_767_225_600;

fn usage(answer: &Answer) -> Value {
    let bill = &answer.bill;
    json!({
        "prompt_tokens": bill.input,
        "completion_tokens": bill.output,
        "total_tokens": bill.input + bill.output,
        "prompt_tokens_details": { "cached_tokens": bill.cached, "audio_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": bill.reasoning, "audio_tokens": 0 },
    })
}

fn finish(answer: &Answer) -> &'static str {
    if answer.calls.is_empty() { "stop" } else { "tool_calls" }
}

fn id(answer: &Answer) -> String {
    format!("chatcmpl-{}", answer.id)
}

/// The answer in one piece.
pub(crate) fn whole(answer: &Answer) -> Value {
    let calls: Vec<_> = answer
        .calls
        .iter()
        .map(|call| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments.to_string() } }))
        .collect();
    let mut message = json!({ "role": "assistant", "content": answer.text(), "refusal": null });
    if !calls.is_empty() {
        message["content"] = Value::Null;
        message["tool_calls"] = json!(calls);
    }
    if let Some(thought) = &answer.thought {
        message["reasoning_content"] = json!(thought.tokens.concat());
    }
    json!({
        "id": id(answer), "object": "chat.completion", "created": CREATED, "model": answer.model,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish(answer) }],
        "usage": usage(answer), "system_fingerprint": "fp_wall",
    })
}

/// The answer as events.
pub(crate) fn beats(answer: &Answer, ask: &Ask) -> Vec<Beat> {
    let event = |kind: BeatKind, choices: Value, usage: Value| {
        let mut event = json!({
            "id": id(answer), "object": "chat.completion.chunk", "created": CREATED,
            "model": answer.model, "choices": choices,
        });
        if ask.stream_usage {
            event["usage"] = usage;
        }
        Beat::new(kind, format!("data: {event}\n\n"))
    };
    let delta = |kind, delta: Value| {
        let choice =
            json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null }]);
        event(kind, choice, Value::Null)
    };
    let mut beats = vec![delta(BeatKind::Frame, json!({ "role": "assistant", "content": "" }))];
    for token in answer.thought.iter().flat_map(|thought| &thought.tokens) {
        beats.push(delta(BeatKind::Frame, json!({ "reasoning_content": token })));
    }
    for token in &answer.tokens {
        beats.push(delta(BeatKind::Token, json!({ "content": token })));
    }
    for (i, call) in answer.calls.iter().enumerate() {
        let arguments = call.arguments.to_string();
        let (first, second) =
            arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
        let opened = json!({ "index": i, "id": call.id, "type": "function", "function": { "name": call.name, "arguments": "" } });
        beats.push(delta(BeatKind::Frame, json!({ "tool_calls": [opened] })));
        for (kind, piece) in [(BeatKind::CallBegins, first), (BeatKind::Frame, second)] {
            let piece = json!({ "index": i, "function": { "arguments": piece } });
            beats.push(delta(kind, json!({ "tool_calls": [piece] })));
        }
    }
    let finished =
        json!([{ "index": 0, "delta": {}, "logprobs": null, "finish_reason": finish(answer) }]);
    beats.push(event(BeatKind::Finish, finished, Value::Null));
    if ask.stream_usage {
        beats.push(event(BeatKind::Usage, json!([]), usage(answer)));
    }
    beats.push(Beat::new(BeatKind::Sentinel, "data: [DONE]\n\n".to_owned()));
    beats
}
