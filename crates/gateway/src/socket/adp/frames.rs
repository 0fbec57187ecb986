//! What a client of ADP sends.

use nexus_contracts::Decision;
use serde::Deserialize;
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::socket::answer::Answer;
use crate::socket::attached::AttachmentRef;
use crate::socket::device::DeviceHello;

/// The types of [`ClientFrame`], for the error about another one.
pub(super) const KNOWN: [&str; 9] = [
    "chat_request",
    "user_request",
    "device_hello",
    "tool_result",
    "resume",
    "approve",
    "cancel",
    "ping",
    "pong",
];

/// What a client of version 2 sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientFrame {
    #[serde(alias = "user_request")]
    ChatRequest(ChatRequest),
    DeviceHello(DeviceHello),
    ToolResult(Answer),
    Resume(Resume),
    Approve {
        correlation_id: Uuid,
        question: Uuid,
        decision: Decision,
        arguments_sha256: String,
    },
    Cancel {
        correlation_id: Uuid,
    },
    Hello {},
    Ping,
    Pong,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    #[serde(alias = "message")]
    pub(super) text: String,
    #[serde(default, alias = "conversation_id")]
    pub(super) conversation: Option<String>,
    #[serde(default)]
    pub(super) agent: Option<String>,
    #[serde(default)]
    pub(super) request_id: Option<String>,
    #[serde(default)]
    pub(super) attachments: Vec<AttachmentRef>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Resume {
    pub(super) correlation_id: Uuid,
    #[serde(default)]
    pub(super) after: Cursor,
}
