use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::envelope::Payload;
use crate::event_type::EventType;
use crate::inference::InferenceError;
use crate::spending::{Cost, KeyOwner, Usage};

/// Texts that somebody wants as vectors.
///
/// Published by adapters, answered by [`EmbedResponse`]. Belongs to no conversation's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmbedRequest {
    /// `default`, an alias of the settings, or `provider/model`.
    pub model: String,
    pub inputs: Vec<String>,
    /// Length of the vectors, where the model can choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<NonZeroU32>,
    /// The call may not start later than this after it was stored.
    pub start_within_ms: u64,
    /// The call may not take longer than this after it started.
    pub timeout_ms: u64,
}

impl Payload for EmbedRequest {
    const TYPE: EventType = EventType::InferenceEmbed;
    const SCHEMA: u16 = 1;
}

/// What came of an [`EmbedRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EmbedResponse {
    /// Id of the `inference.embed`.
    pub call: Uuid,
    /// `provider/model` that was asked.
    pub model: String,
    pub outcome: EmbedOutcome,
    pub duration_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Whose key paid for it; `None` where no key is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyOwner>,
}

impl Payload for EmbedResponse {
    const TYPE: EventType = EventType::InferenceEmbedded;
    const SCHEMA: u16 = 1;
}

/// How an embedding call ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum EmbedOutcome {
    Completed {
        vectors: Vectors,
        /// Components of each vector.
        dimensions: u32,
        usage: Usage,
    },
    Failed(InferenceError),
}

/// Vectors, in the order of the texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Vectors {
    /// Each as base64 of little-endian 32-bit floats.
    Inline { base64: Vec<String> },
    /// All of them, one after the other, little-endian 32-bit floats, in the blob store.
    Blob { attachment: Attachment },
}
