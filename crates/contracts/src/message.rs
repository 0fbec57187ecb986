use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::digest::sha256_hex;
use crate::inference::RequestedCall;

/// One message of a conversation with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    pub role: Role,
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of one text.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text { text: text.into() }] }
    }

    /// All its text, joined.
    #[must_use]
    pub fn joined_text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text { text } => Some(text.as_str()),
            Part::Attachment { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Native { .. } => None,
        });
        texts.collect()
    }
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    Text {
        text: String,
    },
    /// A file that the speaker sent along.
    Attachment {
        attachment: Attachment,
    },
    /// The whole message once more, as the provider wrote it. Only the model that wrote it is
    /// shown it, and then instead of the other parts; for every other they say all there is.
    Native {
        turn: NativeTurn,
    },
    ToolCall {
        /// Id of the `tools.execute`, or of the question whether it may be called.
        call: Uuid,
        /// The id that the provider gave, which it wants to see again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
        tool: String,
        /// JSON text, as the model wrote it.
        arguments: String,
    },
    ToolResult {
        call: Uuid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
        tool: String,
        text: String,
        is_error: bool,
    },
}

/// An answer as its provider wrote it: reasoning blocks, signatures, citations, verbatim.
///
/// Providers want to see these again with a tool's result, unchanged, and nobody else can read
/// them. `items` are the wire's own: Anthropic's content blocks, the Responses API's output items,
/// Gemini's parts, or one message of chat completions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NativeTurn {
    /// `provider/model` that wrote it.
    pub model: String,
    /// The protocol, for example `anthropic-messages`.
    pub wire: String,
    pub items: Vec<Value>,
    /// [`Self::fingerprint_of`] the same answer: a message that was changed since is not this one.
    pub fingerprint: String,
}

impl NativeTurn {
    /// SHA-256, in hexadecimal, of what the other parts of the message say.
    #[must_use]
    pub fn fingerprint_of<'c>(
        text: &str,
        calls: impl IntoIterator<Item = (&'c str, &'c str)>,
    ) -> String {
        let mut said = text.to_owned();
        for (tool, arguments) in calls {
            said.push_str(&format!("\u{0}{tool}\u{0}{arguments}"));
        }
        sha256_hex(said.as_bytes())
    }

    /// [`Self::fingerprint_of`] an answer.
    #[must_use]
    pub fn fingerprint_of_answer(text: &str, calls: &[RequestedCall]) -> String {
        let calls = calls.iter().map(|call| (call.tool.as_str(), call.arguments.as_str()));
        Self::fingerprint_of(text, calls)
    }

    /// Whether `message` still says what this turn says.
    #[must_use]
    pub fn is_of(&self, message: &Message) -> bool {
        let calls = message.parts.iter().filter_map(|part| match part {
            Part::ToolCall { tool, arguments, .. } => Some((tool.as_str(), arguments.as_str())),
            Part::Text { .. }
            | Part::Attachment { .. }
            | Part::Native { .. }
            | Part::ToolResult { .. } => None,
        });
        self.fingerprint == Self::fingerprint_of(&message.joined_text(), calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_belongs_to_the_message_that_says_the_same() {
        let call = RequestedCall {
            provider_id: None,
            tool: "clock".to_owned(),
            arguments: "{}".to_owned(),
        };
        let turn = NativeTurn {
            model: "p/m".to_owned(),
            wire: "anthropic-messages".to_owned(),
            items: Vec::new(),
            fingerprint: NativeTurn::fingerprint_of_answer("Hm.", &[call]),
        };
        let mut message = Message::text(Role::Assistant, "Hm.");
        message.parts.push(Part::Native { turn: turn.clone() });
        assert!(!turn.is_of(&message));
        message.parts.push(Part::ToolCall {
            call: Uuid::nil(),
            provider_id: Some("x".to_owned()),
            tool: "clock".to_owned(),
            arguments: "{}".to_owned(),
        });
        assert!(turn.is_of(&message));
    }
}
