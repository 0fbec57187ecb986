use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::Payload;
use crate::event_type::EventType;
use crate::inference::Message;

/// Somebody says something to an agent.
///
/// Published by adapters; the agent that is asked stands in the metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncomingRequest {
    pub text: String,
    /// What was said before, from a client that keeps the conversation itself.
    ///
    /// `Some` replaces what memory would recall.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<Message>>,
    /// Model asked for instead of the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Payload for IncomingRequest {
    const TYPE: EventType = EventType::RequestsIncoming;
    const SCHEMA: u16 = 1;
}

/// The one final word on a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessedRequest {
    /// Id of the `requests.incoming`.
    pub request: Uuid,
    pub outcome: Outcome,
    /// `provider/model` of the last answer, when a model was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub usage: RunUsage,
}

impl Payload for ProcessedRequest {
    const TYPE: EventType = EventType::RequestsProcessed;
    const SCHEMA: u16 = 1;
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Answered {
        text: String,
    },
    /// It ends without an answer, and the speaker is told why.
    Failed {
        /// Bounded, snake case, for metrics and programs.
        code: String,
        /// For the speaker: what happened and what to do.
        message: String,
    },
    Cancelled {
        reason: String,
    },
    /// Taken into the run of an earlier request, which answers both.
    Steered {
        into: Uuid,
    },
}

impl Outcome {
    /// The outcome's name, as in its JSON `status`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Answered { .. } => "answered",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
            Self::Steered { .. } => "steered",
        }
    }

    /// What a channel that only has text should show.
    #[must_use]
    pub fn display_text(&self) -> &str {
        match self {
            Self::Answered { text } => text,
            Self::Failed { message, .. } => message,
            Self::Cancelled { reason } => reason,
            Self::Steered { .. } => "",
        }
    }
}

/// What a run has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunUsage {
    pub model_calls: u32,
    pub tool_calls: u32,
    pub input_tokens: u64,
    pub output_tokens: u64,
}
