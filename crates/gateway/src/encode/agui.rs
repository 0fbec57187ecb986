use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::calls::{Asks, By, Calls, News};
use super::text::Text;
use super::{Encoder, SseEvent};
use crate::cursor::Cursor;
use crate::frames::{DoneFrame, ServerFrame};

/// The version of the protocol that is spoken.
///
/// # Source
/// `PROTOCOL_VERSION` of `@ag-ui/core` 1.0.0.
const PROTOCOL_VERSION: &str = "1.0";

/// One answer as AG-UI events.
#[derive(Debug)]
pub(crate) struct Agui {
    thread: String,
    /// The client's id of the run.
    run_id: String,
    run: Uuid,
    calls: Calls,
    text: Text,
    /// The model call whose message is open, and the message's id.
    open: Option<(Uuid, String)>,
    /// Id of the reasoning that is open, and how many there were.
    thinking: Option<String>,
    thoughts: u32,
    /// Times that messages were begun again, so that no id is used twice.
    resets: u32,
    /// The model call that asked for tools last.
    asked_by: Option<String>,
    /// All messages of the conversation, those of this response included.
    messages: Vec<Value>,
    interrupts: Vec<Value>,
    over: bool,
    answered: bool,
}

impl Agui {
    /// `messages`: what the client has already; `before`: what it has answered, when a run goes on.
    pub(crate) fn new(
        thread: String,
        run_id: String,
        run: Uuid,
        sequence: u64,
        messages: Vec<Value>,
        before: BTreeSet<Uuid>,
    ) -> Self {
        Self {
            thread,
            run_id,
            run,
            calls: Calls::new(run, sequence, Asks::CallsAndApprovals, before),
            text: Text::default(),
            open: None,
            thinking: None,
            thoughts: 0,
            resets: 0,
            asked_by: None,
            messages,
            interrupts: Vec::new(),
            over: false,
            answered: false,
        }
    }

    fn reasoning(&mut self, call: Uuid, piece: &str, out: &mut Vec<SseEvent>) {
        let id = if let Some(id) = &self.thinking {
            id.clone()
        } else {
            self.end_text(out);
            self.thoughts += 1;
            let id = format!("{call}-reasoning-{}", self.thoughts);
            out.push(event(json!({ "type": "REASONING_START", "messageId": id })));
            out.push(event(
                json!({ "type": "REASONING_MESSAGE_START", "messageId": id, "role": "reasoning" }),
            ));
            self.thinking = Some(id.clone());
            id
        };
        out.push(event(
            json!({ "type": "REASONING_MESSAGE_CONTENT", "messageId": id, "delta": piece }),
        ));
    }

    fn end_reasoning(&mut self, out: &mut Vec<SseEvent>) {
        if let Some(id) = self.thinking.take() {
            out.push(event(json!({ "type": "REASONING_MESSAGE_END", "messageId": id })));
            out.push(event(json!({ "type": "REASONING_END", "messageId": id })));
        }
    }

    fn delta(&mut self, call: Uuid, piece: &str, out: &mut Vec<SseEvent>) {
        self.end_reasoning(out);
        if self.open.as_ref().is_none_or(|(of, _)| *of != call) {
            self.end_text(out);
            let id =
                if self.resets == 0 { call.to_string() } else { format!("{call}-{}", self.resets) };
            out.push(event(
                json!({ "type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant" }),
            ));
            self.messages.push(json!({ "id": id, "role": "assistant", "content": "" }));
            self.open = Some((call, id));
        }
        self.text.push(call, piece);
        let Some((_, id)) = &self.open else { return };
        if let Some(message) = self.messages.last_mut() {
            let content = message["content"].as_str().unwrap_or_default();
            message["content"] = json!(format!("{content}{piece}"));
        }
        out.push(event(json!({ "type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": piece })));
    }

    fn end_text(&mut self, out: &mut Vec<SseEvent>) {
        self.end_reasoning(out);
        if let Some((_, id)) = self.open.take() {
            out.push(event(json!({ "type": "TEXT_MESSAGE_END", "messageId": id })));
        }
    }

    /// Takes back what a call has said: the client's messages are set to those that stand.
    fn reset(&mut self, call: Uuid, out: &mut Vec<SseEvent>) {
        self.end_reasoning(out);
        self.text.reset(call);
        self.resets += 1;
        if self.open.as_ref().is_some_and(|(of, _)| *of == call) {
            self.end_text(out);
            self.messages.pop();
            out.push(event(json!({ "type": "MESSAGES_SNAPSHOT", "messages": self.messages })));
        }
    }

    fn news(&mut self, news: News, out: &mut Vec<SseEvent>) {
        match news {
            News::Called { id, tool, arguments, .. } => self.call(&id, &tool, &arguments, out),
            News::Asked { id, tool, arguments, expires_after_ms } => {
                self.call(&id, &tool, &arguments, out);
                let schema = json!({ "type": "object", "required": ["approved"],
                    "properties": { "approved": { "type": "boolean" } } });
                self.interrupts.push(json!({
                    "id": id, "reason": "tool_approval", "toolCallId": id, "responseSchema": schema,
                    "message": format!("May the agent call {tool}?"),
                    "metadata": { "tool": tool, "arguments": arguments, "expiresAfterMs": expires_after_ms },
                }));
            }
            News::Ended { id, by: By::Nexus, outcome } => {
                let message = format!("{id}-result");
                let content = outcome.text();
                self.messages.push(
                    json!({ "id": message, "role": "tool", "toolCallId": id, "content": content }),
                );
                out.push(event(json!({ "type": "TOOL_CALL_RESULT", "messageId": message,
                    "toolCallId": id, "content": content, "role": "tool" })));
            }
            // The client knows what it said itself.
            News::Ended { by: By::Client, .. } => {}
        }
    }

    fn call(&mut self, id: &str, tool: &str, arguments: &str, out: &mut Vec<SseEvent>) {
        self.end_text(out);
        let parent = self.asked_by.clone().unwrap_or_else(|| id.to_owned());
        out.push(event(json!({ "type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": tool,
            "parentMessageId": parent })));
        if !arguments.is_empty() {
            out.push(event(
                json!({ "type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": arguments }),
            ));
        }
        out.push(event(json!({ "type": "TOOL_CALL_END", "toolCallId": id })));
        let call = json!({ "id": id, "type": "function",
            "function": { "name": tool, "arguments": arguments } });
        let place = self.messages.iter_mut().find(|message| message["id"] == parent.as_str());
        match place {
            Some(message) => match message["toolCalls"].as_array_mut() {
                Some(calls) => calls.push(call),
                None => message["toolCalls"] = json!([call]),
            },
            None => {
                self.messages
                    .push(json!({ "id": parent, "role": "assistant", "toolCalls": [call] }));
            }
        }
    }

    fn finished(&mut self, more: Value, out: &mut Vec<SseEvent>) {
        self.end_text(out);
        let mut body =
            json!({ "type": "RUN_FINISHED", "threadId": self.thread, "runId": self.run_id });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        out.push(event(body));
        self.over = true;
    }

    fn error(&mut self, code: &str, message: &str, out: &mut Vec<SseEvent>) {
        self.end_text(out);
        out.push(event(json!({ "type": "RUN_ERROR", "message": message, "code": code })));
        self.over = true;
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
                let usage = json!([{ "inputTokens": done.usage.input_tokens, "outputTokens": done.usage.output_tokens,
                    "totalTokens": done.usage.input_tokens + done.usage.output_tokens }]);
                self.finished(json!({ "outcome": { "type": "success" }, "usage": usage }), out);
            }
            ("cancelled", _) => self.finished(json!({ "outcome": { "type": "cancelled" } }), out),
            (_, Some(error)) => self.error(&error.code, &error.message, out),
            (outcome, None) => self.error(outcome, &done.text, out),
        }
    }
}

impl Encoder for Agui {
    fn begin(&mut self) -> Vec<SseEvent> {
        vec![event(json!({ "type": "RUN_STARTED", "threadId": self.thread, "runId": self.run_id,
            "protocolVersion": PROTOCOL_VERSION }))]
    }

    fn frame(&mut self, frame: &ServerFrame) -> Vec<SseEvent> {
        let mut out = Vec::new();
        if frame.run() != Some(self.run) {
            return out;
        }
        if let ServerFrame::Event(event) = frame
            && event.summary.get("finish").is_some()
        {
            self.asked_by = event.summary["call"].as_str().map(|call| {
                // Its text, if any, and its calls are one message.
                let of =
                    |(open, id): &(Uuid, String)| (open.to_string() == call).then(|| id.clone());
                self.open.as_ref().and_then(of).unwrap_or_else(|| call.to_owned())
            });
        }
        if let Some(news) = self.calls.frame(frame) {
            self.news(news, &mut out);
        }
        match frame {
            ServerFrame::Done(done) => self.done(done, &mut out),
            _ if self.calls.is_behind() => {}
            ServerFrame::Delta { call, text, .. } => self.delta(*call, text, &mut out),
            ServerFrame::Reasoning { call, text, .. } => self.reasoning(*call, text, &mut out),
            ServerFrame::Reset { call, .. } => self.reset(*call, &mut out),
            _ if self.calls.waits() => {
                let outcome = if self.interrupts.is_empty() {
                    json!({ "type": "success", "pendingToolCallIds": self.calls.open() })
                } else {
                    json!({ "type": "interrupt", "interrupts": self.interrupts })
                };
                self.finished(json!({ "outcome": outcome }), &mut out);
            }
            _ => {}
        }
        out
    }

    fn cut(&mut self, _cursor: Cursor) -> Vec<SseEvent> {
        let mut out = Vec::new();
        let message = "The stream was cut; the answer will be in the conversation.";
        self.error("stream_cut", message, &mut out);
        out
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn said(&self) -> Option<String> {
        self.answered.then(|| self.text.joined())
    }
}

fn event(body: Value) -> SseEvent {
    SseEvent::json(&body)
}
