use std::collections::BTreeSet;

use nexus_contracts::{Finish, InferenceOutcome, ToolOutcome};
use serde_json::{Value, json};
use uuid::Uuid;

use super::calls::{Asks, By, Calls, News};
use super::text::Text;
use super::{Encoder, SseEvent, response};
use crate::cursor::Cursor;
use crate::frames::{DoneFrame, ServerFrame};

/// One answer as a Vercel AI UI message stream, version 1.
#[derive(Debug)]
pub(crate) struct Vercel {
    chat: String,
    message: String,
    run: Uuid,
    calls: Calls,
    text: Text,
    /// The model call whose text is being said.
    open: Option<Uuid>,
    /// Id of the reasoning that is open, and how many there were.
    thinking: Option<String>,
    thoughts: u32,
    /// Whether a step is open, and the model call whose step it is, once that is known.
    step: Option<Option<Uuid>>,
    /// Of the last model call that has answered.
    finish: Finish,
    over: bool,
    answered: bool,
}

impl Vercel {
    /// `message`: id of the message that is written; `before`: what the client has answered.
    pub(crate) fn new(
        chat: String,
        message: String,
        run: Uuid,
        sequence: u64,
        before: BTreeSet<Uuid>,
    ) -> Self {
        Self {
            chat,
            message,
            run,
            calls: Calls::new(run, sequence, Asks::CallsAndApprovals, before),
            text: Text::default(),
            open: None,
            thinking: None,
            thoughts: 0,
            step: None,
            finish: Finish::Stop,
            over: false,
            answered: false,
        }
    }

    /// Begins the step of a model call, unless it has begun.
    fn step(&mut self, call: Option<Uuid>, out: &mut Vec<SseEvent>) {
        match (&mut self.step, call) {
            (Some(open), _) if call.is_none() || *open == call => return,
            (Some(open @ None), Some(_)) => {
                *open = call;
                return;
            }
            _ => {}
        }
        self.end_step(out);
        self.step = Some(call);
        out.push(event(json!({ "type": "start-step" })));
    }

    fn reasoning(&mut self, call: Uuid, piece: &str, out: &mut Vec<SseEvent>) {
        self.step(Some(call), out);
        let id = if let Some(id) = &self.thinking {
            id.clone()
        } else {
            self.end_text(out);
            self.thoughts += 1;
            let id = format!("{call}-reasoning-{}", self.thoughts);
            out.push(event(json!({ "type": "reasoning-start", "id": id })));
            self.thinking = Some(id.clone());
            id
        };
        out.push(event(json!({ "type": "reasoning-delta", "id": id, "delta": piece })));
    }

    fn end_text(&mut self, out: &mut Vec<SseEvent>) {
        if let Some(id) = self.thinking.take() {
            out.push(event(json!({ "type": "reasoning-end", "id": id })));
        }
        if let Some(call) = self.open.take() {
            out.push(event(json!({ "type": "text-end", "id": call })));
        }
    }

    fn end_step(&mut self, out: &mut Vec<SseEvent>) {
        self.end_text(out);
        if self.step.take().is_some() {
            out.push(event(json!({ "type": "finish-step" })));
        }
    }

    fn delta(&mut self, call: Uuid, piece: &str, out: &mut Vec<SseEvent>) {
        self.step(Some(call), out);
        if self.open != Some(call) || self.thinking.is_some() {
            self.end_text(out);
            self.open = Some(call);
            out.push(event(json!({ "type": "text-start", "id": call })));
        }
        self.text.push(call, piece);
        out.push(event(json!({ "type": "text-delta", "id": call, "delta": piece })));
    }

    fn news(&mut self, news: News, out: &mut Vec<SseEvent>) {
        match news {
            News::Called { id, tool, arguments, by } => self.call(&id, &tool, &arguments, by, out),
            News::Asked { id, tool, arguments, .. } => {
                self.call(&id, &tool, &arguments, By::Nexus, out);
                out.push(event(
                    json!({ "type": "tool-approval-request", "approvalId": id, "toolCallId": id }),
                ));
            }
            News::Ended { id, by: By::Nexus, outcome } => out.push(ended(&id, &outcome)),
            // The client knows what it said itself.
            News::Ended { by: By::Client, .. } => {}
        }
    }

    fn call(&mut self, id: &str, tool: &str, arguments: &str, by: By, out: &mut Vec<SseEvent>) {
        self.step(None, out);
        self.end_text(out);
        let input: Value =
            serde_json::from_str(arguments).unwrap_or_else(|_| Value::String(arguments.to_owned()));
        let mut body = json!({ "type": "tool-input-available", "toolCallId": id, "toolName": tool, "input": input });
        if by == By::Nexus {
            // A page knows its own tools by name; those of an agent it does not.
            body["providerExecuted"] = json!(true);
            body["dynamic"] = json!(true);
        }
        out.push(event(body));
    }

    fn finish(&mut self, reason: &str, out: &mut Vec<SseEvent>) {
        self.end_step(out);
        out.push(event(json!({ "type": "finish", "finishReason": reason })));
        self.end(out);
    }

    fn end(&mut self, out: &mut Vec<SseEvent>) {
        out.push(SseEvent::text("[DONE]"));
        self.over = true;
    }

    fn error(&mut self, message: &str, out: &mut Vec<SseEvent>) {
        self.end_step(out);
        out.push(event(json!({ "type": "error", "errorText": message })));
        self.end(out);
    }

    fn done(&mut self, done: &DoneFrame, out: &mut Vec<SseEvent>) {
        if let Some(into) = done.into {
            self.run = into;
            self.calls = Calls::new(into, 0, Asks::CallsAndApprovals, BTreeSet::new());
            return;
        }
        match (done.outcome, &done.error) {
            ("answered", _) => {
                self.answered = true;
                for file in &done.attachments {
                    let url = file_url(&self.chat, &file.sha256);
                    out.push(event(
                        json!({ "type": "file", "url": url, "mediaType": file.media_type }),
                    ));
                }
                self.finish(answered(self.finish), out);
            }
            ("cancelled", _) => {
                self.end_step(out);
                out.push(event(json!({ "type": "abort", "reason": done.text })));
                self.end(out);
            }
            (_, Some(error)) => self.error(&error.message, out),
            (_, None) => self.error(&done.text, out),
        }
    }
}

impl Encoder for Vercel {
    fn begin(&mut self) -> Vec<SseEvent> {
        vec![event(json!({ "type": "start", "messageId": self.message }))]
    }

    fn frame(&mut self, frame: &ServerFrame) -> Vec<SseEvent> {
        let mut out = Vec::new();
        if frame.run() != Some(self.run) {
            return out;
        }
        if let Some(news) = self.calls.frame(frame) {
            self.news(news, &mut out);
        }
        if let Some(InferenceOutcome::Completed { finish, .. }) =
            response(frame).map(|response| response.outcome)
        {
            self.finish = finish;
        }
        match frame {
            ServerFrame::Done(done) => self.done(done, &mut out),
            _ if self.calls.is_behind() => {}
            ServerFrame::Delta { call, text, .. } => self.delta(*call, text, &mut out),
            ServerFrame::Reasoning { call, text, .. } => self.reasoning(*call, text, &mut out),
            // A thought that is begun again does no harm.
            ServerFrame::Reset { call, .. } if !self.text.has(*call) => self.end_text(&mut out),
            // What was sent cannot be taken back on this wire; the resumed stream has it whole.
            ServerFrame::Reset { .. } => self.error(
                "The model's answer broke off and was begun again; resume the stream to get it whole.",
                &mut out,
            ),
            _ if self.calls.waits() => self.finish("tool-calls", &mut out),
            _ => {}
        }
        out
    }

    fn cut(&mut self, _cursor: Cursor) -> Vec<SseEvent> {
        let mut out = Vec::new();
        self.error("The stream was cut; resume it.", &mut out);
        out
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn said(&self) -> Option<String> {
        self.answered.then(|| self.text.joined())
    }
}

/// The `finishReason` of an answer.
fn answered(finish: Finish) -> &'static str {
    match finish {
        // A run that is over waits for no call, whatever its model asked for last.
        Finish::Stop | Finish::ToolCalls => "stop",
        Finish::Length => "length",
        Finish::ContentFilter => "content-filter",
    }
}

/// Where a file is that was made in a conversation.
fn file_url(conversation: &str, sha256: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let escaped = conversation.bytes().map(|byte| {
        if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    format!("/v1/files/{sha256}?conversation={}", escaped.collect::<String>())
}

fn ended(id: &str, outcome: &ToolOutcome) -> SseEvent {
    let mut body = if let ToolOutcome::Failed { code, .. } = outcome
        && code == "denied"
    {
        json!({ "type": "tool-output-denied" })
    } else if outcome.is_error() {
        json!({ "type": "tool-output-error", "errorText": outcome.text(), "dynamic": true })
    } else {
        json!({ "type": "tool-output-available", "output": outcome.text(), "dynamic": true })
    };
    body["toolCallId"] = json!(id);
    if body["type"] != "tool-output-denied" {
        body["providerExecuted"] = json!(true);
    }
    event(body)
}

fn event(body: Value) -> SseEvent {
    SseEvent::json(&body)
}
