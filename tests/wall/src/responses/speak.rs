//! Answers as responses write them.

use serde_json::{Value, json};

use crate::answer::{Answer, Thought};
use crate::chat::CREATED;
use crate::play::{Beat, BeatKind};

fn usage(answer: &Answer) -> Value {
    let bill = &answer.bill;
    json!({
        "input_tokens": bill.input,
        "input_tokens_details": { "cached_tokens": bill.cached },
        "output_tokens": bill.output,
        "output_tokens_details": { "reasoning_tokens": bill.reasoning },
        "total_tokens": bill.input + bill.output,
    })
}

fn response(answer: &Answer, status: &str, output: Value, usage: Value) -> Value {
    json!({
        "id": format!("resp_{}", answer.id), "object": "response", "created_at": CREATED,
        "status": status, "background": false, "error": null, "incomplete_details": null,
        "instructions": null, "max_output_tokens": null, "model": answer.model, "output": output,
        "parallel_tool_calls": true, "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null }, "store": false, "temperature": 1.0,
        "text": { "format": { "type": "text" } }, "tool_choice": "auto", "tools": [],
        "top_p": 1.0, "truncation": "disabled", "usage": usage, "user": null, "metadata": {},
    })
}

fn reasoning(thought: &Thought) -> Value {
    json!({
        "id": thought.id, "type": "reasoning", "encrypted_content": thought.signature,
        "summary": [{ "type": "summary_text", "text": thought.tokens.concat() }],
    })
}

/// What has to come back: summary and encrypted content.
pub(crate) fn thoughts(answer: &Answer) -> Vec<Value> {
    let items = answer.thought.iter().map(reasoning);
    items.map(|item| json!([item["summary"], item["encrypted_content"]])).collect()
}

fn message(answer: &Answer) -> Value {
    json!({
        "id": format!("msg_{}", answer.id), "type": "message", "status": "completed", "role": "assistant",
        "content": [{ "type": "output_text", "text": answer.text(), "annotations": [], "logprobs": [] }],
    })
}

fn output(answer: &Answer) -> Vec<Value> {
    let mut output: Vec<Value> = answer.thought.iter().map(reasoning).collect();
    if !answer.tokens.is_empty() {
        output.push(message(answer));
    }
    output.extend(answer.calls.iter().map(|call| {
        json!({
            "id": format!("fc_{}", call.id), "type": "function_call", "status": "completed",
            "call_id": call.id, "name": call.name, "arguments": call.arguments.to_string(),
        })
    }));
    output
}

/// The answer in one piece.
pub(crate) fn whole(answer: &Answer) -> Value {
    response(answer, "completed", json!(output(answer)), usage(answer))
}

/// Writes events, with a number each.
#[derive(Default)]
struct Script {
    beats: Vec<Beat>,
}

impl Script {
    fn say(&mut self, kind: BeatKind, name: &str, mut event: Value) {
        event["type"] = json!(name);
        event["sequence_number"] = json!(self.beats.len());
        self.beats.push(Beat::new(kind, format!("event: {name}\ndata: {event}\n\n")));
    }

    fn thought(&mut self, at: usize, thought: &Thought) {
        let item = reasoning(thought);
        let (id, text) = (&thought.id, thought.tokens.concat());
        let empty = json!({ "id": id, "type": "reasoning", "summary": [] });
        self.say(
            BeatKind::Frame,
            "response.output_item.added",
            json!({ "output_index": at, "item": empty }),
        );
        let part = |text: &str| json!({ "item_id": id, "output_index": at, "summary_index": 0, "part": { "type": "summary_text", "text": text } });
        self.say(BeatKind::Frame, "response.reasoning_summary_part.added", part(""));
        for token in &thought.tokens {
            let delta =
                json!({ "item_id": id, "output_index": at, "summary_index": 0, "delta": token });
            self.say(BeatKind::Frame, "response.reasoning_summary_text.delta", delta);
        }
        let done = json!({ "item_id": id, "output_index": at, "summary_index": 0, "text": text });
        self.say(BeatKind::Frame, "response.reasoning_summary_text.done", done);
        self.say(BeatKind::Frame, "response.reasoning_summary_part.done", part(&text));
        self.say(
            BeatKind::Frame,
            "response.output_item.done",
            json!({ "output_index": at, "item": item }),
        );
    }

    fn text(&mut self, at: usize, answer: &Answer) {
        let item = message(answer);
        let id = item["id"].clone();
        let empty = json!({ "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [] });
        self.say(
            BeatKind::Frame,
            "response.output_item.added",
            json!({ "output_index": at, "item": empty }),
        );
        let part = |text: &str| json!({ "item_id": id, "output_index": at, "content_index": 0, "part": { "type": "output_text", "text": text, "annotations": [], "logprobs": [] } });
        self.say(BeatKind::Frame, "response.content_part.added", part(""));
        for token in &answer.tokens {
            let delta = json!({ "item_id": id, "output_index": at, "content_index": 0, "delta": token, "logprobs": [] });
            self.say(BeatKind::Token, "response.output_text.delta", delta);
        }
        let text = answer.text();
        let done = json!({ "item_id": id, "output_index": at, "content_index": 0, "text": text, "logprobs": [] });
        self.say(BeatKind::Frame, "response.output_text.done", done);
        self.say(BeatKind::Frame, "response.content_part.done", part(&text));
        self.say(
            BeatKind::Frame,
            "response.output_item.done",
            json!({ "output_index": at, "item": item }),
        );
    }

    fn call(&mut self, at: usize, item: &Value) {
        let mut empty = item.clone();
        (empty["arguments"], empty["status"]) = (json!(""), json!("in_progress"));
        self.say(
            BeatKind::Frame,
            "response.output_item.added",
            json!({ "output_index": at, "item": empty }),
        );
        let arguments = item["arguments"].as_str().unwrap_or_default();
        let (first, second) =
            arguments.split_at(arguments.floor_char_boundary(arguments.len() / 2));
        for (kind, piece) in [(BeatKind::CallBegins, first), (BeatKind::Frame, second)] {
            let delta = json!({ "item_id": item["id"], "output_index": at, "delta": piece });
            self.say(kind, "response.function_call_arguments.delta", delta);
        }
        let done = json!({ "item_id": item["id"], "output_index": at, "arguments": arguments, "name": item["name"] });
        self.say(BeatKind::Frame, "response.function_call_arguments.done", done);
        self.say(
            BeatKind::Frame,
            "response.output_item.done",
            json!({ "output_index": at, "item": item }),
        );
    }
}

/// The answer as events; the last one is reason and usage at once, and there is no sentinel.
pub(crate) fn beats(answer: &Answer) -> Vec<Beat> {
    let mut script = Script::default();
    for name in ["response.created", "response.in_progress"] {
        let begun = response(answer, "in_progress", json!([]), Value::Null);
        script.say(BeatKind::Frame, name, json!({ "response": begun }));
    }
    for (at, item) in output(answer).iter().enumerate() {
        match (item["type"].as_str(), &answer.thought) {
            (Some("reasoning"), Some(thought)) => script.thought(at, thought),
            (Some("message"), _) => script.text(at, answer),
            _ => script.call(at, item),
        }
    }
    script.say(BeatKind::Finish, "response.completed", json!({ "response": whole(answer) }));
    script.beats
}
