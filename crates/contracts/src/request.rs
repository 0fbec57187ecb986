use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::envelope::Payload;
use crate::event_type::EventType;
use crate::message::Message;
use crate::sampling::Sampling;
use crate::tool::ToolSpec;

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
    /// Files that came with the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Tools that the speaker's own program runs, offered for this run.
    ///
    /// Each names its `client`; a name that the agent's own tools have is theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_tools: Vec<ToolSpec>,
    /// What the place adds to the agent's instructions: a persona, the state of a game.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// How the model picks its words, before what the agent says.
    #[serde(default, skip_serializing_if = "Sampling::is_default")]
    pub sampling: Sampling,
    #[serde(default, skip_serializing_if = "RequestKind::is_turn")]
    pub kind: RequestKind,
}

impl IncomingRequest {
    /// A turn that says `text`, and nothing else.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            history: None,
            model: None,
            attachments: Vec::new(),
            client_tools: Vec::new(),
            instructions: None,
            sampling: Sampling::default(),
            kind: RequestKind::Turn,
        }
    }
}

/// What a request is to its conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// Somebody speaks.
    #[default]
    Turn,
    /// A program asks about a conversation (a title, tags): one model call, no tools, not
    /// remembered.
    Aside,
}

impl RequestKind {
    #[must_use]
    pub fn is_turn(&self) -> bool {
        *self == Self::Turn
    }
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
    /// Files that tools made for the speaker, in the order of the calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "RequestKind::is_turn")]
    pub kind: RequestKind,
}

impl ProcessedRequest {
    /// The last word on a turn that no model was asked about.
    #[must_use]
    pub fn of(request: Uuid, outcome: Outcome) -> Self {
        Self {
            request,
            outcome,
            model: None,
            usage: RunUsage::default(),
            attachments: Vec::new(),
            kind: RequestKind::Turn,
        }
    }
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
    /// Of all model calls whose price is known, in millionths of a US dollar.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cost_microusd: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
