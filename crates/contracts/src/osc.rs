use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Payload;
use crate::event_type::EventType;

/// OSC messages that came in from a client or a declared target, as they were heard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OscReceived {
    /// The client's or the target's name.
    pub peer: String,
    pub messages: Vec<OscMessage>,
}

impl Payload for OscReceived {
    const TYPE: EventType = EventType::OscReceived;
    const SCHEMA: u16 = 1;
}

/// OSC messages that a tool has sent to a declared target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OscSent {
    /// The target's name.
    pub peer: String,
    pub messages: Vec<OscMessage>,
}

impl Payload for OscSent {
    const TYPE: EventType = EventType::OscSent;
    const SCHEMA: u16 = 1;
}

/// One message of a packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OscMessage {
    pub address: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<OscArgument>,
    /// When it takes effect, in microseconds from the event's `timestamp`; 0 is at once.
    #[serde(default, skip_serializing_if = "is_now")]
    pub due_us: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_now(due_us: &i64) -> bool {
    *due_us == 0
}

/// An argument with its OSC type, so that the same bytes can be sent again.
///
/// # Source
/// OSC 1.0, "OSC Type Tag String". Floats are finite: JSON has no others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub enum OscArgument {
    Int(i32),
    /// 64 bits, as decimal text: JSON numbers lose the last digits.
    Long(String),
    Float(f32),
    Double(f64),
    String(String),
    Symbol(String),
    /// Base64.
    Blob(String),
    /// NTP time tag, as decimal text.
    TimeTag(String),
    Char(char),
    Color([u8; 4]),
    Midi([u8; 4]),
    Bool(bool),
    Nil,
    Impulse,
    Array(Vec<Self>),
}
