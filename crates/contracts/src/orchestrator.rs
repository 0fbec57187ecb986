use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Payload;
use crate::event_type::EventType;

/// An orchestrator takes a partition: from this event's sequence on, only it may command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrchestratorEpoch {
    pub partition: u16,
    /// Id of the orchestrator process.
    pub owner: String,
    /// Version of its engine.
    pub engine: u32,
}

impl Payload for OrchestratorEpoch {
    const TYPE: EventType = EventType::OrchestratorEpoch;
    const SCHEMA: u16 = 1;
}
