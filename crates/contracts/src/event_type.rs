use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The events that this version knows: the first two tokens of their subjects.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum EventType {
    #[serde(rename = "requests.incoming")]
    RequestsIncoming,
    #[serde(rename = "requests.processed")]
    RequestsProcessed,
    #[serde(rename = "runs.started")]
    RunsStarted,
    #[serde(rename = "runs.cancel")]
    RunsCancel,
    #[serde(rename = "runs.timeout")]
    RunsTimeout,
    #[serde(rename = "memory.recall")]
    MemoryRecall,
    #[serde(rename = "memory.recalled")]
    MemoryRecalled,
    #[serde(rename = "inference.request")]
    InferenceRequest,
    #[serde(rename = "inference.response")]
    InferenceResponse,
    #[serde(rename = "inference.chunk")]
    InferenceChunk,
    #[serde(rename = "inference.embed")]
    InferenceEmbed,
    #[serde(rename = "inference.embedded")]
    InferenceEmbedded,
    #[serde(rename = "tools.execute")]
    ToolsExecute,
    #[serde(rename = "tools.results")]
    ToolsResults,
    #[serde(rename = "tools.approval")]
    ToolsApproval,
    #[serde(rename = "notify.deliver")]
    NotifyDeliver,
    #[serde(rename = "adapters.unread")]
    AdaptersUnread,
    #[serde(rename = "osc.received")]
    OscReceived,
    #[serde(rename = "osc.sent")]
    OscSent,
    #[serde(rename = "orchestrator.epoch")]
    OrchestratorEpoch,
    #[serde(rename = "dead.letter")]
    DeadLetter,
}

impl EventType {
    pub const ALL: [Self; 21] = [
        Self::RequestsIncoming,
        Self::RequestsProcessed,
        Self::RunsStarted,
        Self::RunsCancel,
        Self::RunsTimeout,
        Self::MemoryRecall,
        Self::MemoryRecalled,
        Self::InferenceRequest,
        Self::InferenceResponse,
        Self::InferenceChunk,
        Self::InferenceEmbed,
        Self::InferenceEmbedded,
        Self::ToolsExecute,
        Self::ToolsResults,
        Self::ToolsApproval,
        Self::NotifyDeliver,
        Self::AdaptersUnread,
        Self::OscReceived,
        Self::OscSent,
        Self::OrchestratorEpoch,
        Self::DeadLetter,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestsIncoming => "requests.incoming",
            Self::RequestsProcessed => "requests.processed",
            Self::RunsStarted => "runs.started",
            Self::RunsCancel => "runs.cancel",
            Self::RunsTimeout => "runs.timeout",
            Self::MemoryRecall => "memory.recall",
            Self::MemoryRecalled => "memory.recalled",
            Self::InferenceRequest => "inference.request",
            Self::InferenceResponse => "inference.response",
            Self::InferenceChunk => "inference.chunk",
            Self::InferenceEmbed => "inference.embed",
            Self::InferenceEmbedded => "inference.embedded",
            Self::ToolsExecute => "tools.execute",
            Self::ToolsResults => "tools.results",
            Self::ToolsApproval => "tools.approval",
            Self::NotifyDeliver => "notify.deliver",
            Self::AdaptersUnread => "adapters.unread",
            Self::OscReceived => "osc.received",
            Self::OscSent => "osc.sent",
            Self::OrchestratorEpoch => "orchestrator.epoch",
            Self::DeadLetter => "dead.letter",
        }
    }

    /// The part of the system that publishes it.
    #[must_use]
    pub fn emitter(self) -> &'static str {
        match self {
            Self::RequestsIncoming
            | Self::RunsCancel
            | Self::ToolsApproval
            | Self::AdaptersUnread
            | Self::OscReceived
            | Self::InferenceEmbed => "adapter",
            Self::RequestsProcessed
            | Self::RunsStarted
            | Self::RunsTimeout
            | Self::MemoryRecall
            | Self::InferenceRequest
            | Self::ToolsExecute
            | Self::NotifyDeliver
            | Self::OrchestratorEpoch => "orchestrator",
            Self::MemoryRecalled => "memory",
            Self::InferenceResponse | Self::InferenceChunk | Self::InferenceEmbedded => "inference",
            Self::ToolsResults | Self::OscSent => "tools",
            Self::DeadLetter => "worker",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no event that this version knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type {0:?}")]
pub struct UnknownType(pub String);

impl FromStr for EventType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| UnknownType(text.to_owned()))
    }
}
