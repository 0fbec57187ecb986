use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::envelope::Payload;
use crate::event_type::EventType;

/// A tool, as it advertises itself on the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolSpec {
    pub name: String,
    /// For the model: what it does and when to use it.
    pub description: String,
    /// JSON Schema of the arguments, an object.
    pub parameters: Value,
    pub effect: Effect,
    /// The longest that one call takes, in milliseconds.
    pub timeout_ms: u64,
    /// The speaker's own program that runs it; a tools worker does when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// What a tool does to the world.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: it may be run again.
    Read,
    Write,
    Spend,
    Exec,
}

/// A tool call that an agent wants made.
///
/// Published by the orchestrator, answered by [`ToolResult`]. The event's id is the
/// idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolExecute {
    pub tool: String,
    /// JSON text, as the model wrote it.
    pub arguments: String,
    pub effect: Effect,
    /// Place among the calls of one answer, from 0.
    pub index: u32,
    /// The call may not start later than this after it was stored.
    pub start_within_ms: u64,
    /// The call may not take longer than this after it started.
    pub timeout_ms: u64,
    /// The speaker's own program that runs it; a tools worker does when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

impl Payload for ToolExecute {
    const TYPE: EventType = EventType::ToolsExecute;
    const SCHEMA: u16 = 1;
}

/// What came of a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolResult {
    /// Id of the `tools.execute`.
    pub call: Uuid,
    pub tool: String,
    pub outcome: ToolOutcome,
    /// From the start of the call to its end.
    pub duration_ms: u64,
    /// Files that it made for the speaker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

impl Payload for ToolResult {
    const TYPE: EventType = EventType::ToolsResults;
    const SCHEMA: u16 = 1;
}

/// How a tool call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum ToolOutcome {
    Completed {
        output: String,
        /// The tool said more than the limit allows.
        truncated: bool,
    },
    /// Nothing happened, and it is known why.
    Failed {
        /// Bounded, snake case.
        code: String,
        /// For the model: what was wrong and how to do it right.
        message: String,
    },
    /// It may have happened or not; it is not tried again by itself.
    Unknown {
        message: String,
    },
    /// It was not started, because it came too late.
    Expired,
    Cancelled,
}

impl ToolOutcome {
    /// The outcome's name, as in its JSON `status`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Unknown { .. } => "unknown",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the model is told.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Completed { output, truncated: false } => output.clone(),
            Self::Completed { output, truncated: true } => format!("{output}\n[output cut]"),
            Self::Failed { code, message } => format!("error ({code}): {message}"),
            Self::Unknown { message } => {
                format!(
                    "outcome unknown: {message}. It may have happened; do not repeat it without asking."
                )
            }
            Self::Expired => "error (expired): the call was not started in time".to_owned(),
            Self::Cancelled => {
                "error (cancelled): the call was cancelled before it had an effect".to_owned()
            }
        }
    }

    #[must_use]
    pub fn is_error(&self) -> bool {
        !matches!(self, Self::Completed { .. })
    }
}
