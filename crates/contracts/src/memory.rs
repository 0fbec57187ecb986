use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::envelope::Payload;
use crate::event_type::EventType;
use crate::timestamp::Timestamp;

/// What does memory know that helps with this request?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryRecall {
    /// The request that is being worked on.
    pub request: Uuid,
    pub query: String,
    /// Most turns to return.
    pub turns: u32,
    /// Stream sequence of the conversation's last reply: the answer has to know it. 0 when none.
    pub no_older_than: u64,
    /// Milliseconds that memory may wait for that sequence.
    pub wait_ms: u64,
}

impl Payload for MemoryRecall {
    const TYPE: EventType = EventType::MemoryRecall;
    const SCHEMA: u16 = 1;
}

/// What memory knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryRecalled {
    /// Id of the `memory.recall`.
    pub call: Uuid,
    /// Recent turns of the conversation, oldest first.
    pub turns: Vec<RecalledTurn>,
    /// Why the answer may be incomplete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

impl Payload for MemoryRecalled {
    const TYPE: EventType = EventType::MemoryRecalled;
    const SCHEMA: u16 = 1;
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecalledTurn {
    /// Source: id of the `requests.incoming`.
    pub request: Uuid,
    pub input: String,
    pub output: String,
    pub at: Timestamp,
}
