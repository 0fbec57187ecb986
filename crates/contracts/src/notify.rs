use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::envelope::Payload;
use crate::event_type::EventType;

/// Something that a conversation's people are to see, outside of answers.
///
/// Published by the orchestrator and others, shown by the channel's adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotifyDeliver {
    pub notice: Notice,
}

impl Payload for NotifyDeliver {
    const TYPE: EventType = EventType::NotifyDeliver;
    const SCHEMA: u16 = 1;
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    Text {
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<Attachment>,
    },
    /// A person is asked whether a tool may be called; answered by [`ToolApproval`].
    ///
    /// The event's id is the id of the question.
    Approval {
        tool: String,
        /// JSON text, as the model wrote it.
        arguments: String,
        /// SHA-256 of `arguments`, in hexadecimal: an answer is good for these alone.
        arguments_sha256: String,
        /// Who may answer; the user of the event's metadata when empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        users: Vec<String>,
        /// Counted from when the question was stored; nobody's answer means no.
        expires_after_ms: u64,
    },
}

/// A person's answer to the question whether a tool may be called.
///
/// Published by adapters, who know the person; the user stands in the metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolApproval {
    /// Id of the `notify.deliver` that asked.
    pub question: Uuid,
    pub decision: Decision,
    /// Of the arguments that the person was shown.
    pub arguments_sha256: String,
}

impl Payload for ToolApproval {
    const TYPE: EventType = EventType::ToolsApproval;
    const SCHEMA: u16 = 1;
}

/// What a person says to a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approved,
    Denied,
}
