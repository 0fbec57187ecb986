use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Extra;
use crate::ids::TenantId;
use crate::token::Token;

/// Where an event belongs and what it follows from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    pub tenant: TenantId,
    /// The adapter that the conversation goes through, for example `telegram`.
    pub channel: Token,
    /// The conversation's native id, encoded as a token.
    pub conversation: Token,
    /// Who speaks, as the channel names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent that is asked, or that acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The event that this one follows from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<Uuid>,
    /// SHA-256, in hexadecimal, over all inputs of the run up to the one this follows from.
    ///
    /// Set on the orchestrator's events: one changed byte in any input shows in the next command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs_digest: Option<String>,
    /// Version of the payload's schema.
    pub schema: u16,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(flatten)]
    pub extra: Extra,
}

impl Metadata {
    /// Metadata with the place filled in and everything else empty.
    #[must_use]
    pub fn at(tenant: TenantId, channel: Token, conversation: Token) -> Self {
        Self {
            tenant,
            channel,
            conversation,
            user: None,
            agent: None,
            causation_id: None,
            inputs_digest: None,
            schema: 1,
            traceparent: None,
            extra: Extra::new(),
        }
    }
}
