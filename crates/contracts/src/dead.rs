use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Payload;
use crate::event_type::EventType;

/// A message that a worker gave up on, with everything needed to try again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// The durable consumer that gave up.
    pub worker: String,
    /// Bounded, snake case: `malformed`, `rejected`, `exhausted` or `panicked`.
    pub code: String,
    /// For people: what was wrong, with all causes.
    pub reason: String,
    pub deliveries: u64,
    pub stream: String,
    pub sequence: u64,
    /// Subject as stored.
    pub subject: String,
    /// The message's bytes, base64.
    pub message: String,
}

impl Payload for DeadLetter {
    const TYPE: EventType = EventType::DeadLetter;
    const SCHEMA: u16 = 1;
}
