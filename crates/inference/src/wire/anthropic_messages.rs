//! Anthropic's Messages API.

use nexus_contracts::{Effort, Finish, ResponseFormat, ToolChoice, Usage};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rig_core::completion::CompletionRequest;
use rig_core::message::{
    AssistantContent, Message, Opaque, Reasoning, Text, ToolCall, ToolFunction, ToolName,
};
use rig_core::providers::anthropic::wire::{
    ANTHROPIC, AnthropicConfig, Messages, ToolInputStreaming,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rig::{self, Notice, Protocol};
use super::{Codec, Opened, Question, embeddings, failure, headers_with_key, reported};
use crate::call::{Call, CallError, Class, EmbedCall, Embedding};

/// Version of the API that all we send and read belongs to.
const VERSION: &str = "2023-06-01";
/// Longest answer where the request names none: the protocol wants a number.
const DEFAULT_MAX_TOKENS: u64 = 8192;
/// Room for thought on top of that, where thought is wanted.
const ROOM_FOR_THOUGHT: u64 = 24_576;
/// Cache breakpoints in the conversation; with tools and system, the protocol's four.
const CACHED_TURNS: usize = 2;

/// The codec of the Messages API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn open(&self, call: Call<'_>) -> Result<Opened, CallError> {
        rig::open(*self, call)
    }

    fn headers(&self, key: Option<&str>) -> HeaderMap {
        let mut headers = headers_with_key(HeaderName::from_static("x-api-key"), key);
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        headers
    }

    fn models_path(&self) -> &'static str {
        "/models?limit=1000"
    }

    fn embed(&self, _call: EmbedCall<'_>) -> Result<Question, CallError> {
        let message = "Anthropic's API makes no embeddings; name a model of another provider, for example of openai or gemini";
        Err(CallError::new(Class::Invalid, message))
    }

    fn embedded(&self, call: EmbedCall<'_>, _body: &[u8]) -> Result<Embedding, CallError> {
        self.embed(call).and_then(|_| Err(embeddings::unreadable()))
    }
}

impl Protocol for AnthropicMessages {
    type Wire = Messages;

    const NAME: &'static str = "anthropic-messages";
    const VERSION: &'static str = "/v1";

    fn wire(self, call: Call<'_>) -> Messages {
        let thinks = wants_thought(call);
        let room = DEFAULT_MAX_TOKENS + if thinks { ROOM_FOR_THOUGHT } else { 0 };
        let limit = ANTHROPIC.default_max_tokens(call.model).unwrap_or(DEFAULT_MAX_TOKENS);
        Messages {
            provider: AnthropicConfig::with_key(&ANTHROPIC, ""),
            model: call.model.to_owned(),
            default_max_tokens: Some(room.min(limit)),
            // Ours are better: they move with the conversation.
            prompt_caching: false,
            static_prefix_cache_ttl: None,
            strict_tools: false,
            // Nobody is shown arguments while they are written.
            tool_input_streaming: ToolInputStreaming::Off,
        }
    }

    fn adjust(self, call: Call<'_>, request: &mut CompletionRequest) {
        if !wants_thought(call) {
            // It cannot think and be forced; being forced is what the caller relies on.
            if call.request.sampling.reasoning.is_some_and(|effort| effort != Effort::None) {
                request.options.reasoning = None;
            }
        } else {
            // Thought goes with the usual sampling only.
            request.temperature = None;
            request.options.top_p = None;
        }
        if call.request.sampling.response_format == Some(ResponseFormat::JsonObject) {
            let system = |message: &Message| matches!(message, Message::System { .. });
            let at = request.chat_history.iter().take_while(|message| system(message)).count();
            let content = "Answer with one JSON object and nothing else.".to_owned();
            request.chat_history.insert(at, Message::System { content });
        }
    }

    /// Marks what the provider is to keep: tools, system, and the last two of the user's turns.
    fn finish(self, body: &mut Value) {
        for field in ["tools", "system"] {
            let last = body.get_mut(field).and_then(Value::as_array_mut);
            mark(last.and_then(|blocks| blocks.last_mut()));
        }
        let messages = body.get_mut("messages").and_then(Value::as_array_mut);
        let turns = messages.into_iter().flatten().rev();
        let turns = turns.filter(|message| message.get("role") == Some(&json!("user")));
        for turn in turns.take(CACHED_TURNS) {
            let content = turn.get_mut("content").and_then(Value::as_array_mut);
            mark(content.and_then(|blocks| blocks.last_mut()));
        }
    }

    fn takes_image(_media_type: &str) -> bool {
        true
    }

    fn block(item: &Value, call: Option<String>) -> AssistantContent {
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
        let opaque = || AssistantContent::Opaque(Opaque { item: item.clone(), replay: true });
        match text("type") {
            "text" => AssistantContent::Text(Text::new(text("text"))).with_native(item.clone()),
            "thinking" => AssistantContent::Reasoning(Reasoning::new(text("thinking")))
                .with_native(item.clone()),
            "redacted_thinking" => {
                AssistantContent::Reasoning(Reasoning { redacted: true, ..Reasoning::default() })
                    .with_native(item.clone())
            }
            "tool_use" => match ToolName::new(text("name")) {
                Ok(name) => {
                    let input = item.get("input").cloned().unwrap_or_default();
                    let id = call.unwrap_or_else(|| text("id").to_owned());
                    AssistantContent::ToolCall(ToolCall::from_wire(
                        id,
                        ToolFunction::new(name, input),
                    ))
                    .with_native(item.clone())
                }
                Err(_) => opaque(),
            },
            _ => opaque(),
        }
    }

    fn says_more(item: &Value) -> bool {
        let cited = item.get("citations").and_then(Value::as_array);
        let plain = matches!(item.get("type").and_then(Value::as_str), Some("text" | "tool_use"));
        !plain || cited.is_some_and(|citations| !citations.is_empty())
    }

    fn notice(data: &str) -> Option<Notice> {
        let event: Event = serde_json::from_str(data).ok()?;
        let message = event.message.unwrap_or_default();
        let finished = event.delta.is_some_and(|delta| delta.stop_reason.is_some());
        let failed = event.kind.as_deref() == Some("error");
        Some(Notice {
            failure: failed.then(|| CallError {
                provider_request_id: event.request_id,
                ..failure::in_stream(&event.error.unwrap_or_default())
            }),
            usage: message.usage.map(WireUsage::usage),
            cost_microusd: None,
            finished,
            identity: reported::identity(message.id, message.model),
        })
    }

    /// Reasons that came after us end an answer like any other.
    fn unknown_finish(_reason: &str) -> Result<Finish, CallError> {
        Ok(Finish::Stop)
    }
}

/// Whether the model is to think; it does not where it is made to call a tool.
fn wants_thought(call: Call<'_>) -> bool {
    let sampling = &call.request.sampling;
    let forced =
        matches!(sampling.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool { .. }));
    let forced = forced && !call.request.tools.is_empty();
    sampling.reasoning.is_some_and(|effort| effort != Effort::None) && !forced
}

fn mark(block: Option<&mut Value>) {
    if let Some(block) = block.and_then(Value::as_object_mut) {
        block.insert("cache_control".to_owned(), json!({ "type": "ephemeral" }));
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<Begun>,
    delta: Option<Delta>,
    error: Option<Value>,
    request_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Begun {
    id: Option<String>,
    model: Option<Value>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Delta {
    stop_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl WireUsage {
    /// The input does not count what the cache read or wrote; ours does.
    fn usage(self) -> Usage {
        let (read, written) = (
            self.cache_read_input_tokens.unwrap_or_default(),
            self.cache_creation_input_tokens.unwrap_or_default(),
        );
        let input =
            self.input_tokens.unwrap_or_default().saturating_add(read).saturating_add(written);
        Usage {
            cache_read_tokens: read,
            cache_write_tokens: written,
            ..Usage::of(input, self.output_tokens.unwrap_or_default())
        }
    }
}
