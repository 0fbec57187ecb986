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

/// Channels whose users are those of our own API keys, and so the same people in each.
pub const ACCOUNT_CHANNELS: [&str; 2] = ["web", "osc"];

impl Metadata {
    /// The user of our own API keys who speaks here, if it is one. Somebody of the same name in
    /// another channel, for example Telegram, is somebody else.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        let known = ACCOUNT_CHANNELS.contains(&self.channel.as_str());
        self.user.as_deref().filter(|_| known)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LOCAL_TENANT;

    #[test]
    fn only_who_shows_an_api_key_is_a_user_of_ours() {
        let account = |channel: &str, user: Option<&str>| {
            let token = |text: &str| Token::parse(text).unwrap();
            let place = Metadata::at(LOCAL_TENANT, token(channel), token("c"));
            let speaker = Metadata { user: user.map(str::to_owned), ..place };
            speaker.account().map(str::to_owned)
        };
        for channel in ["web", "osc"] {
            assert_eq!(account(channel, Some("42")).as_deref(), Some("42"), "{channel}");
            assert_eq!(account(channel, None), None, "{channel}");
        }
        for channel in ["telegram", "kitchen"] {
            assert_eq!(account(channel, Some("42")), None, "{channel}");
        }
    }
}
