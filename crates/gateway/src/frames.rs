//! The frames of the native WebSocket, version 1.

use axum::body::Bytes;
use nexus_contracts::{Attachment, EventType, Timestamp};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::cursor::Cursor;

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ServerFrame {
    Welcome {
        session: Uuid,
        user: String,
        agents: Vec<String>,
        heartbeat_s: u64,
    },
    Accepted {
        id: String,
        run: Uuid,
        conversation: String,
        cursor: Cursor,
    },
    Event(EventFrame),
    Delta {
        conversation: String,
        run: Uuid,
        call: Uuid,
        offset: usize,
        text: String,
        cursor: Cursor,
    },
    /// What the model thinks before it speaks, live only: whoever comes back may get it again, from
    /// offset 0, or not at all.
    Reasoning {
        conversation: String,
        run: Uuid,
        call: Uuid,
        offset: usize,
        text: String,
        cursor: Cursor,
    },
    /// Forget the text and the reasoning of this call.
    Reset {
        conversation: String,
        run: Uuid,
        call: Uuid,
        cursor: Cursor,
    },
    /// A tool that a client runs is to be called; the client named in it answers.
    ToolCall(ToolCallFrame),
    /// A person is asked whether a tool may be called.
    Approval(ApprovalFrame),
    Done(DoneFrame),
    CaughtUp {
        conversation: String,
        cursor: Cursor,
    },
    Error {
        code: &'static str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation: Option<String>,
    },
    Ping,
    Pong,
    Resume {
        conversation: String,
        cursor: Cursor,
    },
}

impl ServerFrame {
    /// Of a frame of a conversation: its type, its run if it has one, and what a client has with it.
    pub(crate) fn place(&self) -> Option<(&'static str, Option<Uuid>, Cursor)> {
        Some(match self {
            Self::Event(frame) => ("event", Some(frame.run), frame.cursor),
            Self::Delta { run, cursor, .. } => ("delta", Some(*run), *cursor),
            Self::Reasoning { run, cursor, .. } => ("reasoning", Some(*run), *cursor),
            Self::Reset { run, cursor, .. } => ("reset", Some(*run), *cursor),
            Self::ToolCall(frame) => ("tool_call", Some(frame.run), frame.cursor),
            Self::Approval(frame) => ("approval", Some(frame.run), frame.cursor),
            Self::Done(frame) => ("done", Some(frame.run), frame.cursor),
            Self::CaughtUp { cursor, .. } => ("caught_up", None, *cursor),
            Self::Resume { cursor, .. } => ("resume", None, *cursor),
            _ => return None,
        })
    }

    pub(crate) fn run(&self) -> Option<Uuid> {
        self.place().and_then(|(_, run, _)| run)
    }
}

/// One stored event of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EventFrame {
    pub(crate) conversation: String,
    pub(crate) run: Uuid,
    pub(crate) cursor: Cursor,
    pub(crate) sequence: u64,
    pub(crate) event: EventType,
    pub(crate) emitter: &'static str,
    /// When it was stored.
    pub(crate) at: Timestamp,
    pub(crate) summary: Value,
    /// The whole event, for encodings that show more of it than the summary does.
    #[serde(skip)]
    pub(crate) stored: Bytes,
}

/// A call of a tool that a client of the conversation runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ToolCallFrame {
    pub(crate) conversation: String,
    pub(crate) run: Uuid,
    pub(crate) call: Uuid,
    /// Which client.
    pub(crate) client: String,
    pub(crate) tool: String,
    /// JSON text, as the model wrote it.
    pub(crate) arguments: String,
    pub(crate) timeout_ms: u64,
    pub(crate) cursor: Cursor,
}

/// The question whether a tool may be called.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ApprovalFrame {
    pub(crate) conversation: String,
    pub(crate) run: Uuid,
    pub(crate) question: Uuid,
    pub(crate) tool: String,
    /// JSON text, as the model wrote it.
    pub(crate) arguments: String,
    pub(crate) arguments_sha256: String,
    pub(crate) expires_after_ms: u64,
    pub(crate) cursor: Cursor,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DoneFrame {
    pub(crate) conversation: String,
    pub(crate) run: Uuid,
    pub(crate) outcome: &'static str,
    pub(crate) text: String,
    /// The run that answers in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) into: Option<Uuid>,
    /// Files that tools made for the speaker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) usage: nexus_contracts::RunUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorBody>,
    pub(crate) cursor: Cursor,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorBody {
    pub(crate) code: String,
    pub(crate) message: String,
}
