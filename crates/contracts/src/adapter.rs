use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Payload;
use crate::event_type::EventType;

/// Something from a channel that its adapter passed over, kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdapterUnread {
    /// The channel's own number of it, for example Telegram's `update_id`.
    pub native_id: String,
    /// Bounded, snake case: what it is, or what is wrong with it.
    pub reason: String,
    /// As received; cut when it is longer than an event may be.
    pub raw: String,
}

impl Payload for AdapterUnread {
    const TYPE: EventType = EventType::AdaptersUnread;
    const SCHEMA: u16 = 1;
}
