//! The wire types of OpenAI's chat completions, as far as this endpoint speaks them.

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
    pub(crate) tools: Option<Vec<WireTool>>,
    #[serde(default)]
    pub(crate) n: Option<u32>,
    #[serde(default)]
    pub(crate) metadata: Option<Value>,
    // How the model picks its words: read one by one, so that what is wrong is refused by name.
    #[serde(default)]
    pub(crate) tool_choice: Option<Value>,
    #[serde(default)]
    pub(crate) temperature: Option<Value>,
    #[serde(default)]
    pub(crate) top_p: Option<Value>,
    #[serde(default)]
    pub(crate) max_tokens: Option<Value>,
    #[serde(default)]
    pub(crate) max_completion_tokens: Option<Value>,
    #[serde(default)]
    pub(crate) seed: Option<Value>,
    #[serde(default)]
    pub(crate) stop: Option<Value>,
    #[serde(default)]
    pub(crate) response_format: Option<Value>,
    #[serde(default)]
    pub(crate) reasoning_effort: Option<Value>,
    /// What only we know.
    #[serde(default)]
    pub(crate) nexus: Option<Value>,
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
    #[serde(default)]
    pub(crate) tool_calls: Option<Vec<WireCall>>,
    #[serde(default)]
    pub(crate) tool_call_id: Option<String>,
}

/// A tool that the client's own program runs.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireTool {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) function: Option<WireFunction>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireFunction {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) parameters: Option<Value>,
}

/// A tool call of an assistant message.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireCall {
    pub(crate) id: String,
    pub(crate) function: WireCallee,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct WireCallee {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) arguments: String,
}

/// What Open WebUI's side calls begin with, and what tells them from its prompt for documents.
///
/// # Source
/// Open WebUI, `backend/open_webui/config.py`, the `DEFAULT_*_PROMPT_TEMPLATE`s.
const SIDE_CALL: &str = "### Task:";
const SIDE_CALL_MARKS: [&str; 3] =
    ["<chat_history>", "### Chat History:", "You are an autocompletion system"];
const EMOJI_CALL: &str = "Your task is to reflect the speaker's likely facial expression";

impl ChatRequest {
    /// Whether a program asks about a conversation: a title, tags, what could be asked next.
    pub(crate) fn is_aside(&self) -> bool {
        let task = self.metadata.as_ref().and_then(|metadata| metadata.get("task"));
        if task.is_some_and(|task| task.as_str().is_some_and(|task| !task.is_empty())) {
            return true;
        }
        let mut spoken = self.messages.iter().filter(|message| message.role != "system");
        let (Some(only), None) = (spoken.next(), spoken.next()) else { return false };
        let text = only.content.as_str().unwrap_or_default().trim_start();
        let marked = || SIDE_CALL_MARKS.iter().any(|mark| text.contains(mark));
        only.role == "user"
            && (text.starts_with(SIDE_CALL) && marked() || text.starts_with(EMOJI_CALL))
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

/// What a response has used, in OpenAI's terms; `cost` is ours, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
    /// What is known of it; absent when nobody charges anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl Usage {
    /// `cost` in millionths of a US dollar.
    pub(crate) fn of(tokens: nexus_contracts::Usage, cost: u64) -> Self {
        Self {
            prompt_tokens: tokens.input_tokens,
            completion_tokens: tokens.output_tokens,
            total_tokens: tokens.input_tokens.saturating_add(tokens.output_tokens),
            prompt_tokens_details: PromptDetails { cached_tokens: tokens.cache_read_tokens },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: tokens.reasoning_tokens,
            },
            cost: (cost > 0).then(|| dollars(cost)),
        }
    }
}

/// Millionths of a US dollar in dollars.
#[expect(clippy::cast_precision_loss, reason = "exact up to nine thousand million dollars")]
pub(crate) fn dollars(microusd: u64) -> f64 {
    microusd as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_aside(messages: Value) -> bool {
        let request = json!({ "model": "m", "messages": messages });
        serde_json::from_value::<ChatRequest>(request).unwrap().is_aside()
    }

    #[test]
    fn side_calls_are_known_by_their_prompts() {
        let title = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n### Guidelines:\n...\n### Chat History:\n<chat_history>\nUSER: hi\n</chat_history>";
        assert!(is_aside(json!([{ "role": "user", "content": title }])));
        let completion =
            "### Task:\nYou are an autocompletion system. Continue the text in `<text>`.";
        assert!(is_aside(json!([{ "role": "user", "content": completion }])));

        let documents = "### Task:\nRespond to the user query using the provided context.\n<context>x</context>";
        for turn in [documents, "hello", "What does `### Task:` mean in <chat_history>?"] {
            assert!(!is_aside(json!([{ "role": "user", "content": turn }])), "{turn}");
        }
        // Somebody who quotes such a prompt in a conversation speaks.
        let quoted = json!([{ "role": "user", "content": "hi" }, { "role": "assistant", "content": "hi" },
            { "role": "user", "content": title }]);
        assert!(!is_aside(quoted));
    }

    #[test]
    fn a_side_call_that_says_so_is_one() {
        let request = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }],
            "metadata": { "task": "title_generation" } });
        assert!(serde_json::from_value::<ChatRequest>(request).unwrap().is_aside());
    }
}
