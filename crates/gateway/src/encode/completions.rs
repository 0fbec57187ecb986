use std::collections::BTreeSet;

use nexus_contracts::RunUsage;
use serde_json::{Value, json};
use uuid::Uuid;

use super::calls::{Asks, By, Calls, News};
use super::text::Text;
use super::{Encoder, SseEvent};
use crate::cursor::Cursor;
use crate::frames::{DoneFrame, ServerFrame};
use crate::openai::{ErrorEnvelope, ErrorObject, Usage};
use crate::refused::Refused;

/// One answer in the shape of OpenAI's chat completions, streamed or whole.
#[derive(Debug)]
pub(crate) struct Completions {
    run: Uuid,
    /// The run whose text is the answer: another one, when the request was taken into it.
    answering: Uuid,
    model: String,
    wants_usage: bool,
    calls: Calls,
    pending: Vec<Value>,
    text: Text,
    usage: RunUsage,
    end: Option<End>,
}

/// How a response ended.
#[derive(Debug)]
enum End {
    Answered(RunUsage),
    /// The client is to call tools.
    ToolCalls,
    Failed(Refused),
}

/// What matters of a frame.
enum Piece {
    Text(String),
    /// What was said is void.
    Reset,
    End,
}

impl Completions {
    /// `before`: the calls that the client has made, when a run goes on.
    pub(crate) fn new(
        run: Uuid,
        sequence: u64,
        model: String,
        wants_usage: bool,
        before: BTreeSet<Uuid>,
    ) -> Self {
        Self {
            run,
            answering: run,
            model,
            wants_usage,
            calls: Calls::new(run, sequence, Asks::Calls, before),
            pending: Vec::new(),
            text: Text::default(),
            usage: RunUsage::default(),
            end: None,
        }
    }

    /// Takes in a frame of an answer that is sent as a whole; whether it is complete.
    pub(crate) fn gather(&mut self, frame: &ServerFrame) -> bool {
        if let Some(Piece::Reset) = self.step(frame)
            && let ServerFrame::Reset { call, .. } = frame
        {
            self.text.reset(*call);
        }
        self.is_over()
    }

    /// The answer as a whole; a failed run is an error.
    pub(crate) fn whole(self) -> Result<Value, Refused> {
        let text = self.text.joined();
        let (message, finish, usage) = match self.end {
            Some(End::Failed(refused)) => return Err(refused),
            Some(End::ToolCalls) => {
                let content = (!text.is_empty()).then_some(text);
                let calls = &self.pending;
                let message =
                    json!({ "role": "assistant", "content": content, "tool_calls": calls });
                (message, "tool_calls", self.usage)
            }
            Some(End::Answered(usage)) => {
                (json!({ "role": "assistant", "content": text }), "stop", usage)
            }
            None => return Err(Refused::answer_timeout()),
        };
        let choice =
            json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": finish });
        Ok(json!({
            "id": format!("chatcmpl-{}", self.run), "object": "chat.completion",
            "created": created(self.run), "model": self.model, "choices": [choice],
            "usage": Usage::from(usage),
        }))
    }

    fn step(&mut self, frame: &ServerFrame) -> Option<Piece> {
        if frame.run() != Some(self.answering) {
            return None;
        }
        if self.answering == self.run
            && let Some(News::Called { id, tool, arguments, by: By::Client }) =
                self.calls.frame(frame)
        {
            let function = json!({ "name": tool, "arguments": arguments });
            self.pending.push(json!({ "id": id, "type": "function", "function": function }));
        }
        if let ServerFrame::Event(event) = frame {
            self.count(&event.summary);
        }
        match frame {
            ServerFrame::Done(done) => return self.done(done),
            _ if self.calls.is_behind() => return None,
            ServerFrame::Delta { call, text, .. } => {
                let is_later = !self.text.is_empty();
                let begins = self.text.push(*call, text);
                let gap = if begins && is_later { "\n\n" } else { "" };
                return Some(Piece::Text(format!("{gap}{text}")));
            }
            ServerFrame::Reset { .. } => return Some(Piece::Reset),
            _ => {}
        }
        if self.calls.waits() && !self.pending.is_empty() {
            self.end = Some(End::ToolCalls);
            return Some(Piece::End);
        }
        None
    }

    /// The tokens of a model call, for a response that ends before its run.
    fn count(&mut self, summary: &Value) {
        let tokens = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.usage.input_tokens += tokens("input_tokens");
        self.usage.output_tokens += tokens("output_tokens");
    }

    fn done(&mut self, done: &DoneFrame) -> Option<Piece> {
        if let Some(into) = done.into {
            self.answering = into;
            return None;
        }
        self.end = Some(match done.outcome {
            "answered" => End::Answered(done.usage),
            _ => End::Failed(Refused::of_run(done)),
        });
        Some(Piece::End)
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> SseEvent {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        self.data(&json!([choice]), None)
    }

    fn data(&self, choices: &Value, usage: Option<Usage>) -> SseEvent {
        let mut body = json!({
            "id": format!("chatcmpl-{}", self.run), "object": "chat.completion.chunk",
            "created": created(self.run), "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            body["usage"] = json!(usage);
        }
        SseEvent::json(&body)
    }

    fn last(&self) -> Vec<SseEvent> {
        let (mut out, finish, usage) = match &self.end {
            Some(End::Answered(usage)) => (Vec::new(), "stop", *usage),
            Some(End::ToolCalls) => (self.tool_calls(), "tool_calls", self.usage),
            Some(End::Failed(refused)) => return vec![error(refused.body())],
            None => return Vec::new(),
        };
        out.push(self.chunk(&json!({}), Some(finish)));
        if self.wants_usage {
            out.push(self.data(&json!([]), Some(usage.into())));
        }
        out.push(SseEvent::text("[DONE]"));
        out
    }

    fn tool_calls(&self) -> Vec<SseEvent> {
        let calls = self.pending.iter().enumerate().map(|(index, call)| {
            let mut call = call.clone();
            call["index"] = json!(index);
            self.chunk(&json!({ "tool_calls": [call] }), None)
        });
        calls.collect()
    }
}

impl Encoder for Completions {
    fn begin(&mut self) -> Vec<SseEvent> {
        vec![self.chunk(&json!({ "role": "assistant", "content": "" }), None)]
    }

    fn frame(&mut self, frame: &ServerFrame) -> Vec<SseEvent> {
        match self.step(frame) {
            Some(Piece::Text(text)) => vec![self.chunk(&json!({ "content": text }), None)],
            // What was sent cannot be taken back on this wire.
            Some(Piece::Reset) => self.broken(
                "The model's answer broke off and was begun again; ask again with the same Idempotency-Key to get it whole.",
            ),
            Some(Piece::End) => self.last(),
            None => Vec::new(),
        }
    }

    fn cut(&mut self, _cursor: Cursor) -> Vec<SseEvent> {
        self.broken("The stream was cut; ask again with the same Idempotency-Key.")
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn said(&self) -> Option<String> {
        matches!(self.end, Some(End::Answered(_))).then(|| self.text.joined())
    }
}

impl Completions {
    fn broken(&mut self, message: &str) -> Vec<SseEvent> {
        let refused = Refused::cut(message);
        let event = error(refused.body());
        self.end = Some(End::Failed(refused));
        vec![event]
    }
}

fn error(body: &ErrorObject) -> SseEvent {
    SseEvent::json(&ErrorEnvelope { error: body.clone() })
}

/// Seconds since 1970 of a request's id, when it holds a time.
fn created(run: Uuid) -> u64 {
    run.get_timestamp().map_or(0, |at| at.to_unix().0)
}
