use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::envelope::Payload;
use crate::event_type::EventType;
use crate::tool::ToolSpec;

/// A model call that somebody wants made.
///
/// Published by the orchestrator, answered by [`InferenceResponse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceRequest {
    /// `default`, or `provider/model`.
    pub model: String,
    /// Conversation, oldest message first.
    pub messages: Vec<Message>,
    /// Tools that the model may ask for.
    pub tools: Vec<ToolSpec>,
    #[serde(default)]
    pub sampling: Sampling,
    /// Which model call of the run this is, from 1.
    pub number: u32,
    /// The call may not start later than this after it was stored.
    pub start_within_ms: u64,
    /// The call may not take longer than this after it started.
    pub timeout_ms: u64,
}

impl Payload for InferenceRequest {
    const TYPE: EventType = EventType::InferenceRequest;
    const SCHEMA: u16 = 1;
}

/// How the model picks its words; what is absent is the provider's default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// One message of a conversation with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text { text: text.into() }] }
    }

    /// All its text, joined.
    #[must_use]
    pub fn joined_text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            Part::Attachment { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => None,
        });
        texts.collect()
    }
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    /// A file that the speaker sent along.
    Attachment {
        attachment: Attachment,
    },
    ToolCall {
        /// Id of the `tools.execute`, or of the question whether it may be called.
        call: Uuid,
        /// The id that the provider gave, which it wants to see again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
        tool: String,
        /// JSON text, as the model wrote it.
        arguments: String,
    },
    ToolResult {
        call: Uuid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
        tool: String,
        text: String,
        is_error: bool,
    },
}

/// What came of a model call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceResponse {
    /// Id of the `inference.request`.
    pub call: Uuid,
    /// `provider/model` that was asked.
    pub model: String,
    pub outcome: InferenceOutcome,
    /// From the start of the call to its end.
    pub duration_ms: u64,
}

impl Payload for InferenceResponse {
    const TYPE: EventType = EventType::InferenceResponse;
    const SCHEMA: u16 = 1;
}

/// How a model call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum InferenceOutcome {
    Completed { text: String, tool_calls: Vec<RequestedCall>, finish: Finish, usage: Usage },
    Failed(InferenceError),
    Cancelled,
}

/// Why a model call failed, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceError {
    /// Bounded, snake case.
    pub code: String,
    pub message: String,
}

/// A tool call that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestedCall {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    pub tool: String,
    /// JSON text, as the model wrote it.
    pub arguments: String,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

impl Finish {
    /// The name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// Tokens of one model call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Cached tokens included.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// A piece of an answer while it is being made.
///
/// Live only: whoever misses one finds the whole text in [`InferenceResponse`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceChunk {
    /// Id of the `inference.request`.
    pub call: Uuid,
    /// Counts up when the call starts again.
    pub attempt: u32,
    pub delta: ChunkDelta,
}

impl Payload for InferenceChunk {
    const TYPE: EventType = EventType::InferenceChunk;
    const SCHEMA: u16 = 1;
}

/// What a chunk adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChunkDelta {
    Text {
        /// Unicode scalar values of this call's text before this piece.
        offset: u64,
        text: String,
    },
    /// Forget this call's text: it starts again at offset 0.
    Reset,
}
