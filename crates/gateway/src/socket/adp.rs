//! The frames of the platform's first clients (ADP-03, ADP-04), versions 1 and 2 on one socket.
//!
//! The first frame brings the key (`api_key`, or the header `Authorization: Bearer`) and chooses.
//!
//! Version 1 knows no types: `{message, conversation?, agent?}` is answered by `{"token": text}` any
//! number of times and `{"done": true, response, actions}`, or by `{"error": {code, message}}`.
//! Its heartbeat is the WebSocket's own ping.
//!
//! Version 2, each frame with a `type`. From the client:
//! - `chat_request {text or message, conversation?, agent?, request_id?, attachments?}`; without a
//!   conversation it is the connection's own
//! - `user_request`: the same, from a program that names its `source` and `scope`
//! - `device_hello {device, tools}`, `tool_result {call, ok?, output?, error?}`
//! - `resume {correlation_id, after?}`: what comes after the cursor `after`, also much later and on
//!   another connection
//! - `approve {correlation_id, question, decision, arguments_sha256}` with `approved` or `denied`
//! - `cancel {correlation_id}`, `ping`, `pong`
//!
//! From the server: `accepted {request_id?, correlation_id, conversation}`, `text_chunk
//! {correlation_id, text, cursor}`, `text_reset` (forget the chunks since `keep` characters), `final
//! {done, correlation_id, conversation, status, response, actions, error?, cursor}` once per accepted
//! request, `tool_call {call, correlation_id, device?, tool, arguments, timeout_ms}`, `device_ready`,
//! `approval` (a person is asked whether a tool may be called), `error {code, message, request_id?, correlation_id?}`, `ping` every 30 s, `pong`.
//! `actions` are the tools that the run has called, `{tool, status}`.

mod frames;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use nexus_contracts::{EventType, ToolApproval};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::frames::{DoneFrame, EventFrame, ServerFrame};

use super::dialect::{
    Asking, Call, Called, Command, Dialect, Found, Happening, Refused, SLOW, Taken, encode, send,
};
use super::native::unreadable;
use super::runs::Runs;
use frames::{ChatRequest, ClientFrame, KNOWN, Resume};

/// Time between two pings (capabilities, ADP-03).
const HEARTBEAT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Version {
    One,
    #[default]
    Two,
}

/// A request on its way.
#[derive(Debug)]
struct Asked {
    version: Version,
    request_id: Option<String>,
}

/// A run that the client waits for.
#[derive(Debug)]
struct Chat {
    version: Version,
    conversation: String,
    /// Tools called so far, in order.
    actions: Vec<Called>,
    /// Characters sent of each model call.
    sent: BTreeMap<Uuid, usize>,
}

/// The state of one connection.
#[derive(Debug, Default)]
pub(super) struct Adp {
    session: Uuid,
    is_greeted: bool,
    /// As the client spoke last.
    version: Version,
    requests: u64,
    asked: HashMap<String, Asked>,
    resumed: HashMap<Uuid, Resume>,
    runs: Runs<Chat>,
}

impl Adp {
    /// For a client that says hello first.
    pub(super) fn greeted() -> Self {
        Self { is_greeted: true, ..Self::default() }
    }

    /// Whether a first frame is of this protocol.
    pub(super) fn opens(frame: &Map<String, Value>) -> bool {
        match frame.get("type") {
            None => frame.contains_key("message"),
            Some(kind) => {
                let first = ["chat_request", "user_request", "device_hello", "resume"];
                kind.as_str().is_some_and(|kind| first.contains(&kind))
            }
        }
    }

    fn read(&mut self, text: &str) -> Result<Command, Refused> {
        let unreadable = |error: &serde_json::Error| {
            let (code, message) = unreadable(text, error, &KNOWN);
            Refused::new(code, message)
        };
        let frame: Value = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        if frame.get("type").is_none() && frame.get("message").is_some() {
            self.version = Version::One;
            let chat = serde_json::from_value(frame).map_err(|error| unreadable(&error))?;
            return Ok(self.ask(chat));
        }
        self.version = Version::Two;
        let frame = serde_json::from_value(frame).map_err(|error| unreadable(&error))?;
        Ok(match frame {
            ClientFrame::ChatRequest(chat) => self.ask(chat),
            ClientFrame::DeviceHello(hello) => hello.attach()?,
            ClientFrame::ToolResult(answer) => {
                Command::Answer { call: answer.call, outcome: answer.outcome() }
            }
            ClientFrame::Resume(resume) => {
                let run = resume.correlation_id;
                self.resumed.insert(run, resume);
                Command::Find { run }
            }
            ClientFrame::Approve { correlation_id: run, question, decision, arguments_sha256 } => {
                let approval = ToolApproval { question, decision, arguments_sha256 };
                Command::Decide { conversation: self.conversation(run)?, run, approval }
            }
            ClientFrame::Cancel { correlation_id: run } => {
                Command::Cancel { conversation: self.conversation(run)?, run }
            }
            ClientFrame::Ping => send(&json!({ "type": "pong" })),
            ClientFrame::Hello {} | ClientFrame::Pong => Command::Idle,
        })
    }

    fn conversation(&mut self, run: Uuid) -> Result<String, Refused> {
        let chat = self.runs.get(run).ok_or_else(|| unknown_run(run))?;
        Ok(chat.conversation.clone())
    }

    fn ask(&mut self, chat: ChatRequest) -> Command {
        self.requests += 1;
        let tag = self.requests.to_string();
        let request_id = chat.request_id.clone();
        self.asked.insert(tag.clone(), Asked { version: self.version, request_id });
        self.runs.asked();
        let own = || format!("adp-{}", self.session.simple());
        Command::Ask(Box::new(Asking {
            tag,
            id: chat.request_id,
            conversation: chat.conversation.unwrap_or_else(own),
            agent: chat.agent,
            text: chat.text,
            attachments: chat.attachments,
            with_devices: true,
            findable: true,
            ..Asking::default()
        }))
    }

    fn accepted(&mut self, taken: Taken) -> Vec<Command> {
        let Taken { tag, conversation, run, cursor, repeated } = taken;
        let Some(Asked { version, request_id }) = self.asked.remove(&tag) else {
            return Vec::new();
        };
        let mut commands = Vec::new();
        let (place, before) = (conversation.clone(), Cursor::at(cursor.sequence.saturating_sub(1)));
        commands.push(if repeated {
            // Its frames may be long gone: from the request on, they come again.
            Command::Follow { conversation: place, cursor: before, timeline: true }
        } else {
            Command::KeepUp { conversation: place, cursor: before }
        });
        if version == Version::Two {
            commands.push(send(&json!({
                "type": "accepted", "request_id": request_id, "correlation_id": run,
                "conversation": conversation,
            })));
        }
        let chat = Chat { version, conversation, actions: Vec::new(), sent: BTreeMap::new() };
        let early = self.runs.accepted(run, chat);
        commands.extend(early.into_iter().flat_map(|frame| self.frame(frame)));
        commands
    }

    fn refused(&mut self, what: Refused) -> Vec<Command> {
        let asked = what.tag.as_ref().and_then(|tag| self.asked.remove(tag));
        if asked.is_some() {
            self.runs.refused();
        }
        let (version, request_id) = match asked {
            Some(Asked { version, request_id }) => (version, request_id),
            None => (self.version, None),
        };
        vec![error(version, what.code, &what.message, request_id)]
    }

    fn found(&mut self, run: Uuid, found: Option<Found>) -> Vec<Command> {
        let Some(resume) = self.resumed.remove(&run) else { return Vec::new() };
        let Some(found) = found else { return self.refused(unknown_run(run)) };
        let Found { conversation, sequence, called: actions } = found;
        let cursor = match resume.after {
            Cursor { sequence: 0, .. } => Cursor::at(sequence.saturating_sub(1)),
            after => after,
        };
        let sent = cursor.partial.map(|partial| (partial.call, partial.characters));
        let sent = sent.into_iter().collect();
        let version = self.version;
        self.runs.adopt(run, Chat { version, conversation: conversation.clone(), actions, sent });
        vec![Command::Follow { conversation, cursor, timeline: true }]
    }

    fn frame(&mut self, frame: ServerFrame) -> Vec<Command> {
        if let ServerFrame::Resume { conversation, cursor } = frame {
            let resume = json!({ "type": "resume", "conversation": conversation, "after": cursor });
            return vec![send(&resume), Command::Close(SLOW)];
        }
        let Some(frame) = self.runs.ours(frame) else { return Vec::new() };
        match frame {
            ServerFrame::Event(event) => self.event(&event),
            ServerFrame::Delta { run, call, text, cursor, .. } => {
                let Some(chat) = self.runs.get(run) else { return Vec::new() };
                *chat.sent.entry(call).or_default() += text.chars().count();
                match chat.version {
                    Version::One => vec![send(&json!({ "token": text }))],
                    Version::Two => vec![send(&json!({
                        "type": "text_chunk", "correlation_id": run, "text": text, "cursor": cursor,
                    }))],
                }
            }
            ServerFrame::Reset { run, call, cursor, .. } => {
                let Some(chat) = self.runs.get(run) else { return Vec::new() };
                chat.sent.remove(&call);
                let keep: usize = chat.sent.values().sum();
                match chat.version {
                    // It has no way to take a token back; the final frame has the right text.
                    Version::One => Vec::new(),
                    Version::Two => vec![send(&json!({
                        "type": "text_reset", "correlation_id": run, "keep": keep, "cursor": cursor,
                    }))],
                }
            }
            ServerFrame::Done(done) => self.done(&done),
            ServerFrame::Approval(frame) => vec![send(&json!({
                "type": "approval", "correlation_id": frame.run, "question": frame.question,
                "tool": frame.tool, "arguments": frame.arguments,
                "arguments_sha256": frame.arguments_sha256,
                "expires_after_ms": frame.expires_after_ms,
            }))],
            _ => Vec::new(),
        }
    }

    fn event(&mut self, event: &EventFrame) -> Vec<Command> {
        if event.event == EventType::ToolsResults
            && let Some(chat) = self.runs.get(event.run)
        {
            let Ok(called) = Called::deserialize(&event.summary) else { return Vec::new() };
            // The first answer of a call counts.
            if !chat.actions.iter().any(|known| known.call == called.call) {
                chat.actions.push(called);
            }
        }
        Vec::new()
    }

    fn done(&mut self, done: &DoneFrame) -> Vec<Command> {
        let Some(chat) = self.runs.ended(done.run) else { return Vec::new() };
        let actions = chat.actions;
        let text = if done.outcome == "answered" { done.text.as_str() } else { "" };
        let failure =
            done.error.as_ref().map(|error| (error.code.as_str(), error.message.as_str()));
        let failure = match done.outcome {
            "answered" => None,
            outcome => Some(failure.unwrap_or((outcome, done.text.as_str()))),
        };
        let error = failure.map(|(code, message)| json!({ "code": code, "message": message }));
        let mut last = json!({ "done": true, "response": text, "actions": actions });
        if let Some(fields) = last.as_object_mut() {
            fields.extend(error.map(|error| ("error".to_owned(), error)));
        }
        if chat.version == Version::Two {
            last["type"] = json!("final");
            last["correlation_id"] = json!(done.run);
            last["conversation"] = json!(done.conversation);
            last["status"] = json!(done.outcome);
            last["cursor"] = json!(done.cursor);
            if !done.attachments.is_empty() {
                last["attachments"] = json!(done.attachments);
            }
        }
        vec![send(&last)]
    }
}

impl Dialect for Adp {
    fn said(&mut self, text: &str, _at: Duration) -> Vec<Command> {
        match self.read(text) {
            Ok(command) => vec![command],
            Err(what) => self.refused(what),
        }
    }

    fn happened(&mut self, what: Happening, _at: Duration) -> Vec<Command> {
        match what {
            Happening::Welcome { session, user, agents, .. } => {
                self.session = session;
                // Clients that begin with a request do not expect an answer to something else.
                let frame = json!({
                    "type": "welcome", "session": session, "user": user, "agents": agents,
                    "heartbeat_s": HEARTBEAT.as_secs(),
                });
                self.is_greeted.then(|| send(&frame)).into_iter().collect()
            }
            Happening::Accepted(taken) => self.accepted(taken),
            Happening::Refused(what) => self.refused(what),
            Happening::Frame(frame) => self.frame(frame),
            Happening::Call(call) => vec![tool_call(&call)],
            Happening::Attached { device, tools } => {
                vec![send(&json!({ "type": "device_ready", "device": device, "tools": tools }))]
            }
            Happening::Found { run, found } => self.found(run, found),
            Happening::Recalled { .. } | Happening::Saved { .. } | Happening::Loaded { .. } => {
                Vec::new()
            }
        }
    }

    fn fault(&self, code: &'static str, message: String) -> String {
        encode(&error_frame(self.version, code, &message, None))
    }

    fn beat(&self) -> Option<String> {
        (self.version == Version::Two).then(|| json!({ "type": "ping" }).to_string())
    }

    fn heartbeat(&self, _configured: Duration) -> Duration {
        HEARTBEAT
    }
}

fn tool_call(call: &Call) -> Command {
    send(&json!({
        "type": "tool_call", "call": call.call, "correlation_id": call.run,
        "conversation": call.conversation, "device": call.device, "tool": call.tool,
        "arguments": call.arguments, "timeout_ms": call.timeout_ms,
    }))
}

fn unknown_run(run: Uuid) -> Refused {
    let message = format!("there is no run {run} of yours; was it accepted?");
    Refused::new("unknown_run", message)
}

fn error(version: Version, code: &str, message: &str, request_id: Option<String>) -> Command {
    send(&error_frame(version, code, message, request_id))
}

fn error_frame(version: Version, code: &str, message: &str, request_id: Option<String>) -> Value {
    match version {
        Version::One => json!({ "error": { "code": code, "message": message } }),
        Version::Two => json!({
            "type": "error", "code": code, "message": message, "request_id": request_id,
        }),
    }
}

#[cfg(test)]
#[path = "adp/tests.rs"]
mod tests;
