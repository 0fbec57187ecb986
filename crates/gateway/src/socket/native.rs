//! The native protocol, version 1: JSON text frames, each an object with a `type`.
//!
//! From the client, after `hello {key?, client?}`:
//! - `ask {id, conversation, text, agent?, instructions?, attachments?, tools?}`: `id` is the client's
//!   number, unique in the conversation; attachments are `{base64, media_type?, name?}` or `{file_id}`;
//!   `tools` are `{name, description, parameters, effect?, timeout_ms?}`, run by this client
//! - `follow {conversation, cursor?}`, `unfollow {conversation}`, `cancel {conversation, run}`
//! - `tool_result {call, ok?, output?, error?}`, `approve {conversation, run, question, decision,
//!   arguments_sha256}` with `approved` or `denied`
//! - `device_hello {device, tools}`: this connection is the user's device of that name
//! - `ping`, `pong`
//!
//! From the server: `welcome`, `accepted`, `event`, `delta`, `reasoning`, `reset`, `tool_call`, `approval`,
//! `done`, `caught_up`, `device_ready`, `error`, `ping`, `pong` and, before a slow reader is cut off, `resume`.
//! `reasoning {run, call, offset, text}` is what the model thinks before it speaks: live only, and after a
//! reconnect again from offset 0 or not at all; `reset` voids it as it voids the text.
//! An unknown type is an `error` with code `unknown_frame`; the connection stays.

use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::{Decision, ToolApproval};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::frames::ServerFrame;

use super::answer::Answer;
use super::attached::AttachmentRef;
use super::device::{self, DeviceHello};
use super::dialect::{
    Asking, Call, Command, Dialect, Happening, Refused, SLOW, Taken, encode, send,
};
use super::offer::{Declaration, Numbers, Offer};

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientFrame {
    Hello {},
    Ask(Ask),
    Follow {
        conversation: String,
        #[serde(default)]
        cursor: Cursor,
    },
    Unfollow {
        conversation: String,
    },
    Cancel {
        conversation: String,
        run: Uuid,
    },
    ToolResult(Answer),
    Approve {
        conversation: String,
        run: Uuid,
        question: Uuid,
        decision: Decision,
        arguments_sha256: String,
    },
    DeviceHello(DeviceHello),
    Ping,
    Pong,
}

/// The types of [`ClientFrame`], for the error about another one.
const KNOWN: [&str; 10] = [
    "hello",
    "ask",
    "follow",
    "unfollow",
    "cancel",
    "tool_result",
    "approve",
    "device_hello",
    "ping",
    "pong",
];

#[derive(Debug, Deserialize)]
struct Ask {
    /// The client's own number of the message, unique in the conversation.
    id: String,
    conversation: String,
    text: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default)]
    attachments: Vec<AttachmentRef>,
    #[serde(default)]
    tools: Vec<Declaration>,
}

/// A call for the client that runs the tool.
#[derive(Debug, Serialize)]
struct ToolCall<'a> {
    r#type: &'static str,
    conversation: &'a str,
    run: Uuid,
    call: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a str>,
    tool: &'a str,
    arguments: &'a Value,
    timeout_ms: u64,
}

/// The native protocol of one connection; it remembers nothing.
#[derive(Debug)]
pub(super) struct Native;

impl Dialect for Native {
    fn said(&mut self, text: &str, _at: Duration) -> Vec<Command> {
        match serde_json::from_str(text) {
            Ok(frame) => vec![command(frame).unwrap_or_else(refused)],
            Err(error) => {
                let (code, message) = unreadable(text, &error, &KNOWN);
                vec![refused(Refused::new(code, message))]
            }
        }
    }

    fn happened(&mut self, what: Happening, _at: Duration) -> Vec<Command> {
        vec![match what {
            Happening::Welcome { session, user, agents, heartbeat } => {
                send(&ServerFrame::Welcome {
                    session,
                    user,
                    agents,
                    heartbeat_s: heartbeat.as_secs(),
                })
            }
            Happening::Accepted(Taken { tag, conversation, run, cursor, .. }) => {
                let before = Cursor::at(cursor.sequence.saturating_sub(1));
                let keep_up =
                    Command::KeepUp { conversation: conversation.clone(), cursor: before };
                let accepted = ServerFrame::Accepted { id: tag, run, conversation, cursor };
                return vec![send(&accepted), keep_up];
            }
            Happening::Refused(what) => refused(what),
            // Calls go to the program that runs the tool, and to it alone.
            Happening::Frame(ServerFrame::ToolCall(_)) => return Vec::new(),
            Happening::Frame(frame @ ServerFrame::Resume { .. }) => {
                return vec![send(&frame), Command::Close(SLOW)];
            }
            Happening::Frame(frame) => send(&frame),
            Happening::Call(call) => send(&tool_call(&call)),
            Happening::Attached { device, tools } => {
                send(&json!({ "type": "device_ready", "device": device, "tools": tools }))
            }
            Happening::Found { .. }
            | Happening::Recalled { .. }
            | Happening::Saved { .. }
            | Happening::Loaded { .. } => return Vec::new(),
        }]
    }

    fn fault(&self, code: &'static str, message: String) -> String {
        encode(&ServerFrame::Error { code, message, id: None, conversation: None })
    }

    fn beat(&self) -> Option<String> {
        Some(encode(&ServerFrame::Ping))
    }
}

fn command(frame: ClientFrame) -> Result<Command, Refused> {
    Ok(match frame {
        ClientFrame::Ping => send(&ServerFrame::Pong),
        // Nothing is to be done, and the caller wants one command.
        ClientFrame::Pong | ClientFrame::Hello {} => Command::Idle,
        ClientFrame::Ask(ask) => Command::Ask(Box::new(asking(ask)?)),
        ClientFrame::Follow { conversation, cursor } => {
            Command::Follow { conversation, cursor, timeline: true }
        }
        ClientFrame::Unfollow { conversation } => Command::Unfollow { conversation },
        ClientFrame::Cancel { conversation, run } => Command::Cancel { conversation, run },
        ClientFrame::ToolResult(answer) => {
            Command::Answer { call: answer.call, outcome: answer.outcome() }
        }
        ClientFrame::Approve { conversation, run, question, decision, arguments_sha256 } => {
            let approval = ToolApproval { question, decision, arguments_sha256 };
            Command::Decide { conversation, run, approval }
        }
        ClientFrame::DeviceHello(hello) => hello.attach()?,
    })
}

fn asking(ask: Ask) -> Result<Asking, Refused> {
    let tools = if ask.tools.is_empty() {
        None
    } else {
        let offer = Offer::new(ask.tools, device::PATIENCE, Numbers::Any).map_err(|error| {
            let refused = Refused::new("bad_tool", error.to_string());
            refused.tag(ask.id.clone()).conversation(ask.conversation.clone())
        })?;
        Some(Arc::new(offer))
    };
    Ok(Asking {
        tag: ask.id.clone(),
        id: Some(ask.id),
        conversation: ask.conversation,
        agent: ask.agent,
        text: ask.text,
        attachments: ask.attachments,
        instructions: ask.instructions,
        history: None,
        tools,
        with_devices: true,
        findable: true,
    })
}

fn tool_call(call: &Call) -> ToolCall<'_> {
    ToolCall {
        r#type: "tool_call",
        conversation: &call.conversation,
        run: call.run,
        call: call.call,
        device: call.device.as_deref(),
        tool: &call.tool,
        arguments: &call.arguments,
        timeout_ms: call.timeout_ms,
    }
}

fn refused(what: Refused) -> Command {
    let Refused { code, message, tag, conversation, .. } = what;
    send(&ServerFrame::Error { code, message, id: tag, conversation })
}

/// Code and message for a frame that cannot be read.
pub(super) fn unreadable(
    text: &str,
    error: &serde_json::Error,
    known: &[&str],
) -> (&'static str, String) {
    let frame = serde_json::from_str::<Value>(text).ok();
    let kind = frame.as_ref().and_then(|frame| frame.get("type")).and_then(Value::as_str);
    match kind {
        Some(kind) if !known.contains(&kind) => {
            let kind: String = kind.chars().take(64).collect();
            (
                "unknown_frame",
                format!("there is no frame {kind:?}; there are: {}", known.join(", ")),
            )
        }
        _ => ("bad_frame", format!("the frame cannot be read: {error}")),
    }
}

#[cfg(test)]
#[path = "native/tests.rs"]
mod tests;
