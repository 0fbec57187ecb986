//! The wire types of OpenAI's chat completions, as far as this endpoint speaks them.

use nexus_contracts::{Message, Role, RunUsage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A chat completions request; fields that do not matter here are passed over.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) messages: Vec<ChatMessage>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    pub(crate) stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(crate) tools: Option<Vec<Value>>,
    #[serde(default)]
    pub(crate) n: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    pub(crate) include_usage: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ChatMessage {
    pub(crate) role: String,
    #[serde(default)]
    pub(crate) content: Value,
}

/// Why a request cannot be worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsupported {
    #[error("messages: at least one is needed, and the last has to be the user's")]
    NoQuestion,
    #[error(
        "messages[{index}].role: {role:?} is not supported; use system, developer, user or assistant"
    )]
    Role { index: usize, role: String },
    #[error("messages[{index}].content: only text is supported")]
    Content { index: usize },
    #[error("tools: an agent's tools are configured on the server; leave this field out")]
    Tools,
    #[error("n: only 1 is supported")]
    Choices,
}

impl ChatRequest {
    /// The question, and what was said before it.
    pub(crate) fn question(&self) -> Result<(String, Vec<Message>), Unsupported> {
        if self.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            return Err(Unsupported::Tools);
        }
        if self.n.is_some_and(|n| n != 1) {
            return Err(Unsupported::Choices);
        }
        let mut messages = Vec::with_capacity(self.messages.len());
        for (index, message) in self.messages.iter().enumerate() {
            let role = match message.role.as_str() {
                "system" | "developer" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                other => return Err(Unsupported::Role { index, role: other.to_owned() }),
            };
            let text = text_of(&message.content).ok_or(Unsupported::Content { index })?;
            messages.push(Message::text(role, text));
        }
        match messages.pop() {
            Some(last) if last.role == Role::User => Ok((last.joined_text(), messages)),
            Some(_) | None => Err(Unsupported::NoQuestion),
        }
    }
}

fn text_of(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match part.get("type").and_then(Value::as_str) {
                Some("text") => part.get("text").and_then(Value::as_str),
                _ => None,
            })
            .collect(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// The error envelope.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorEnvelope {
    pub(crate) error: ErrorObject,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorObject {
    pub(crate) message: String,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

impl From<RunUsage> for Usage {
    fn from(usage: RunUsage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.input_tokens + usage.output_tokens,
        }
    }
}
