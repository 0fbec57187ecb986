use nexus_contracts::{
    DecodeError, Event, EventType, IncomingRequest, InferenceResponse, MemoryRecalled, Metadata,
    ProcessedRequest, RunCancel, RunStarted, RunTimeout, Timestamp, ToolApproval, ToolResult,
};
use uuid::Uuid;

/// One stored event that decisions depend on.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// Stream sequence.
    pub sequence: u64,
    /// When the stream stored it.
    pub stored_at: Timestamp,
    /// The event as stored.
    pub bytes: &'a [u8],
    pub event: InputEvent,
}

/// The event types that the engine reads; it passes over all others.
#[derive(Debug, Clone)]
pub enum InputEvent {
    Incoming(Event<IncomingRequest>),
    Started(Event<RunStarted>),
    Recalled(Event<MemoryRecalled>),
    Response(Event<InferenceResponse>),
    Result(Event<ToolResult>),
    Cancel(Event<RunCancel>),
    Timeout(Event<RunTimeout>),
    Processed(Event<ProcessedRequest>),
    Approval(Event<ToolApproval>),
}

impl InputEvent {
    /// Reads an event of type `kind`; `None` when the engine does not read that type.
    #[must_use]
    pub fn decode(kind: EventType, bytes: &[u8]) -> Option<Result<Self, DecodeError>> {
        let event = match kind {
            EventType::RequestsIncoming => Event::decode(bytes).map(Self::Incoming),
            EventType::RunsStarted => Event::decode(bytes).map(Self::Started),
            EventType::MemoryRecalled => Event::decode(bytes).map(Self::Recalled),
            EventType::InferenceResponse => Event::decode(bytes).map(Self::Response),
            EventType::ToolsResults => Event::decode(bytes).map(Self::Result),
            EventType::RunsCancel => Event::decode(bytes).map(Self::Cancel),
            EventType::RunsTimeout => Event::decode(bytes).map(Self::Timeout),
            EventType::RequestsProcessed => Event::decode(bytes).map(Self::Processed),
            EventType::ToolsApproval => Event::decode(bytes).map(Self::Approval),
            EventType::MemoryRecall
            | EventType::InferenceRequest
            | EventType::InferenceChunk
            | EventType::InferenceEmbed
            | EventType::InferenceEmbedded
            | EventType::ToolsExecute
            | EventType::NotifyDeliver
            | EventType::AdaptersUnread
            | EventType::OscReceived
            | EventType::OscSent
            | EventType::OrchestratorEpoch
            | EventType::DeadLetter => return None,
        };
        Some(event)
    }

    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Self::Incoming(event) => event.id,
            Self::Started(event) => event.id,
            Self::Recalled(event) => event.id,
            Self::Response(event) => event.id,
            Self::Result(event) => event.id,
            Self::Cancel(event) => event.id,
            Self::Timeout(event) => event.id,
            Self::Processed(event) => event.id,
            Self::Approval(event) => event.id,
        }
    }

    #[must_use]
    pub fn correlation_id(&self) -> Uuid {
        match self {
            Self::Incoming(event) => event.correlation_id,
            Self::Started(event) => event.correlation_id,
            Self::Recalled(event) => event.correlation_id,
            Self::Response(event) => event.correlation_id,
            Self::Result(event) => event.correlation_id,
            Self::Cancel(event) => event.correlation_id,
            Self::Timeout(event) => event.correlation_id,
            Self::Processed(event) => event.correlation_id,
            Self::Approval(event) => event.correlation_id,
        }
    }

    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Incoming(event) => &event.metadata,
            Self::Started(event) => &event.metadata,
            Self::Recalled(event) => &event.metadata,
            Self::Response(event) => &event.metadata,
            Self::Result(event) => &event.metadata,
            Self::Cancel(event) => &event.metadata,
            Self::Timeout(event) => &event.metadata,
            Self::Processed(event) => &event.metadata,
            Self::Approval(event) => &event.metadata,
        }
    }
}
