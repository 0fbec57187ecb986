//! The wire contract of Nexus: what is said on the bus, and nothing else.
//!
//! Owns the envelope, ids, subjects, every event's payload, and their JSON Schemas.
//! Does no I/O, knows no clock and no random numbers: times and ids come in as values.

mod adapter;
mod agent;
mod attachment;
mod dead;
mod digest;
mod embedding;
mod envelope;
mod event_type;
mod examples;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod ids;
mod inference;
mod memory;
mod message;
mod metadata;
mod notify;
mod orchestrator;
mod osc;
mod request;
mod run;
mod sampling;
pub mod schema;
mod spending;
mod subject;
mod timestamp;
mod token;
mod tool;

pub use adapter::AdapterUnread;
pub use agent::{AgentDefinition, AgentSnapshot, Approvals, Budget, CallLimits, OnMessage, Tenant};
pub use attachment::{Attachment, AttachmentKind};
pub use dead::DeadLetter;
pub use digest::{sha256_hex, sha256_hex_of};
pub use embedding::{EmbedOutcome, EmbedRequest, EmbedResponse, Vectors};
pub use envelope::{DecodeError, Event, Open, Payload, RawEvent};
pub use event_type::EventType;
pub use ids::{LOCAL_TENANT, TenantId, command_id, derived_id, edge_id, span_id, traceparent};
pub use inference::{
    ChunkDelta, Finish, InferenceChunk, InferenceError, InferenceOutcome, InferenceRequest,
    InferenceResponse, RequestedCall,
};
pub use memory::{MemoryRecall, MemoryRecalled, RecalledTurn};
pub use message::{Message, NativeTurn, Part, Role};
pub use metadata::{ACCOUNT_CHANNELS, Metadata};
pub use notify::{Decision, Notice, NotifyDeliver, ToolApproval};
pub use orchestrator::OrchestratorEpoch;
pub use osc::{OscArgument, OscMessage, OscReceived, OscSent};
pub use request::{IncomingRequest, Outcome, ProcessedRequest, RequestKind, RunUsage};
pub use run::{CancelScope, RunCancel, RunConfiguration, RunStarted, RunTimeout, TimeoutScope};
pub use sampling::{AttemptLimits, Effort, ResponseFormat, Sampling, ToolChoice};
pub use spending::{Attempt, Consensus, Cost, KeyOwner, Route, Usage};
pub use subject::{
    PARTITIONS, Partition, Pattern, StoredSubject, Subject, SubjectError, epoch_subject,
};
pub use timestamp::Timestamp;
pub use token::{Token, TokenError};
pub use tool::{Effect, ToolExecute, ToolOutcome, ToolResult, ToolSpec};

/// Unknown fields of an object, kept as they came.
pub type Extra = serde_json::Map<String, serde_json::Value>;
