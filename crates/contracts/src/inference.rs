use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::Payload;
use crate::event_type::EventType;
use crate::message::{Message, NativeTurn};
use crate::sampling::{AttemptLimits, Sampling};
use crate::spending::{Attempt, Consensus, Cost, KeyOwner, Route, Usage};
use crate::tool::ToolSpec;

/// A model call that somebody wants made.
///
/// Published by the orchestrator, answered by [`InferenceResponse`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceRequest {
    /// `default`, `auto`, an alias of the settings, or `provider/model`.
    pub model: String,
    /// Conversation, oldest message first.
    pub messages: Vec<Message>,
    /// Tools that the model may ask for.
    pub tools: Vec<ToolSpec>,
    #[serde(default)]
    pub sampling: Sampling,
    /// The most that this call may use; what is absent is the provider's setting.
    #[serde(default, skip_serializing_if = "AttemptLimits::is_unlimited")]
    pub limits: AttemptLimits,
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
    /// What the whole call costs: all attempts that a provider charges for. The price is that of
    /// the last of them; each attempt has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Whose key paid for the answer, or for the last attempt that used tokens where none
    /// answered; `None` where no key is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyOwner>,
    /// Every attempt in the order of its number, also those of workers that were killed and those
    /// for which nobody was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Why this model was chosen, when the request left it open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// How far several samples agreed, when several were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consensus: Option<Consensus>,
}

impl InferenceResponse {
    /// A response without the bookkeeping of attempts.
    #[must_use]
    pub fn of(call: Uuid, model: String, outcome: InferenceOutcome, duration_ms: u64) -> Self {
        Self {
            call,
            model,
            outcome,
            duration_ms,
            cost: None,
            key: None,
            attempts: Vec::new(),
            route: None,
            consensus: None,
        }
    }
}

impl Payload for InferenceResponse {
    const TYPE: EventType = EventType::InferenceResponse;
    const SCHEMA: u16 = 1;
}

/// How a model call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum InferenceOutcome {
    Completed {
        text: String,
        tool_calls: Vec<RequestedCall>,
        finish: Finish,
        usage: Usage,
        /// The answer as the provider wrote it, where text and calls do not say all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<NativeTurn>,
    },
    Failed(InferenceError),
    Cancelled,
}

/// Why a model call failed, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceError {
    /// Bounded, snake case.
    pub code: String,
    pub message: String,
    /// When it may work again, as far as the provider said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl InferenceError {
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retry_after_ms: None }
    }
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
    /// An attempt begins: this `provider/model` is asked now.
    Begin { model: String },
    /// What the model thinks before it speaks; shown, never stored.
    Reasoning {
        /// Unicode scalar values of this call's reasoning before this piece.
        offset: u64,
        text: String,
    },
    Text {
        /// Unicode scalar values of this call's text before this piece.
        offset: u64,
        text: String,
    },
    /// Forget this call's text: it starts again at offset 0.
    Reset,
}
