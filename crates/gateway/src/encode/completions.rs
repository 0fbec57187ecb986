use std::collections::BTreeSet;

use nexus_contracts::{Finish, InferenceOutcome, InferenceResponse, Usage as Tokens};
use serde_json::{Value, json};
use uuid::Uuid;

use super::calls::{Asks, By, Calls, News};
use super::text::Text;
use super::{Encoder, SseEvent, response};
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
    /// As it was asked for, until one has answered: then that one.
    model: String,
    wants_usage: bool,
    calls: Calls,
    pending: Vec<Value>,
    text: Text,
    reasoning: Text,
    /// Of the model calls so far.
    tokens: Tokens,
    cost_microusd: u64,
    /// When the last model call that failed may be tried again.
    retry_after_ms: Option<u64>,
    /// Of the last model call that has answered.
    finish: Finish,
    end: Option<End>,
}

/// How a response ended.
#[derive(Debug)]
enum End {
    Answered,
    /// The client is to call tools.
    ToolCalls,
    Failed(Refused),
}

/// What matters of a frame.
enum Piece {
    Text(String),
    Reasoning(String),
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
            reasoning: Text::default(),
            tokens: Tokens::default(),
            cost_microusd: 0,
            retry_after_ms: None,
            finish: Finish::Stop,
            end: None,
        }
    }

    /// Takes in a frame of an answer that is sent as a whole; whether it is complete.
    pub(crate) fn gather(&mut self, frame: &ServerFrame) -> bool {
        self.step(frame);
        if let ServerFrame::Reset { call, .. } = frame {
            self.text.reset(*call);
        }
        self.is_over()
    }

    /// Why there is no answer, when that is how it ended.
    pub(crate) fn refused(self) -> Option<Refused> {
        match self.end {
            Some(End::Failed(refused)) => Some(refused),
            Some(End::Answered | End::ToolCalls) | None => None,
        }
    }

    /// The answer as a whole; a failed run is an error.
    pub(crate) fn whole(self) -> Result<Value, Refused> {
        let usage = self.usage();
        let text = self.text.joined();
        let answered = self.answered();
        let (mut message, finish) = match self.end {
            Some(End::Failed(refused)) => return Err(refused),
            Some(End::ToolCalls) => {
                let content = (!text.is_empty()).then_some(text);
                let calls = &self.pending;
                let message =
                    json!({ "role": "assistant", "content": content, "tool_calls": calls });
                (message, "tool_calls")
            }
            Some(End::Answered) => (json!({ "role": "assistant", "content": text }), answered),
            None => return Err(Refused::answer_timeout()),
        };
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = json!(self.reasoning.joined());
        }
        let choice =
            json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": finish });
        Ok(json!({
            "id": format!("chatcmpl-{}", self.run), "object": "chat.completion",
            "created": created(self.run), "model": self.model, "choices": [choice],
            "usage": usage,
        }))
    }

    /// The `finish_reason` of an answer.
    fn answered(&self) -> &'static str {
        match self.finish {
            // A run that is over waits for no call, whatever its model asked for last.
            Finish::Stop | Finish::ToolCalls => "stop",
            Finish::Length => "length",
            Finish::ContentFilter => "content_filter",
        }
    }

    fn usage(&self) -> Usage {
        Usage::of(self.tokens, self.cost_microusd)
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
        if let Some(response) = response(frame) {
            self.count(&response);
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
            ServerFrame::Reasoning { call, text, .. } => {
                let is_later = !self.reasoning.is_empty();
                let begins = self.reasoning.push(*call, text);
                let gap = if begins && is_later { "\n\n" } else { "" };
                return Some(Piece::Reasoning(format!("{gap}{text}")));
            }
            ServerFrame::Reset { call, .. } => {
                self.reasoning.reset(*call);
                // A thought that was begun again does no harm.
                return self.text.has(*call).then_some(Piece::Reset);
            }
            _ => {}
        }
        if self.calls.waits() && !self.pending.is_empty() {
            self.end = Some(End::ToolCalls);
            return Some(Piece::End);
        }
        None
    }

    /// Takes in what a model call has used, and which model it was.
    fn count(&mut self, response: &InferenceResponse) {
        self.cost_microusd += response.cost.as_ref().map_or(0, |cost| cost.microusd);
        match &response.outcome {
            InferenceOutcome::Completed { usage, finish, .. } => {
                self.finish = *finish;
                self.tokens = self.tokens.plus(*usage);
                self.model.clone_from(&response.model);
            }
            InferenceOutcome::Failed(error) => self.retry_after_ms = error.retry_after_ms,
            InferenceOutcome::Cancelled => {}
        }
    }

    fn done(&mut self, done: &DoneFrame) -> Option<Piece> {
        if let Some(into) = done.into {
            self.answering = into;
            return None;
        }
        // All of the run, also what was before this response.
        self.tokens.input_tokens = done.usage.input_tokens;
        self.tokens.output_tokens = done.usage.output_tokens;
        self.cost_microusd = done.usage.cost_microusd;
        self.end = Some(match done.outcome {
            "answered" => End::Answered,
            _ => End::Failed(Refused::of_run(done, self.retry_after_ms)),
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
        let (mut out, finish) = match &self.end {
            Some(End::Answered) => (Vec::new(), self.answered()),
            Some(End::ToolCalls) => (self.tool_calls(), "tool_calls"),
            Some(End::Failed(refused)) => return vec![error(refused.body())],
            None => return Vec::new(),
        };
        out.push(self.chunk(&json!({}), Some(finish)));
        if self.wants_usage {
            out.push(self.data(&json!([]), Some(self.usage())));
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
            Some(Piece::Reasoning(text)) => {
                vec![self.chunk(&json!({ "reasoning_content": text }), None)]
            }
            // What was sent cannot be taken back on this wire.
            Some(Piece::Reset) => self.broken(Refused::restarted()),
            Some(Piece::End) => self.last(),
            None => Vec::new(),
        }
    }

    fn cut(&mut self, _cursor: Cursor) -> Vec<SseEvent> {
        self.broken(Refused::cut("The stream was cut; ask again with the same Idempotency-Key."))
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }

    fn said(&self) -> Option<String> {
        matches!(self.end, Some(End::Answered)).then(|| self.text.joined())
    }
}

impl Completions {
    fn broken(&mut self, refused: Refused) -> Vec<SseEvent> {
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
