//! OpenAI's Responses API, as OpenAI and Perplexity speak it.
//!
//! Nothing is stored at the provider: reasoning comes back to us encrypted, and goes along with
//! the next request. The protocol has no seed and no stop words.

use nexus_contracts::{Finish, Message, ResponseFormat, Role, Usage, sha256_hex_of};
use rig_core::completion::CompletionRequest;
use rig_core::message::{
    AssistantContent, Opaque, Reasoning, Text, ToolCall, ToolFunction, ToolName,
};
use rig_core::providers::openai::responses_api::wire::Responses;
use rig_core::providers::openai::wire::{OPENAI, OpenAIConfig};
use serde::Deserialize;
use serde_json::{Value, json};

use super::rig::{self, Notice, Protocol};
use super::{Codec, Opened, failure, reported};
use crate::call::{Call, CallError, Class};

/// Characters of a cache key; OpenAI takes 64.
const CACHE_KEY: usize = 32;

/// The codec of the Responses API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenAiResponses {
    dialect: Dialect,
    /// The model is given the provider's own search.
    searches_web: bool,
}

/// Who speaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// OpenAI itself, which alone knows cache keys.
    OpenAi,
    /// Refuses fields that it does not know, and has the form of an answer in a field of its own.
    ///
    /// # Source
    /// docs.perplexity.ai, "How to migrate from Sonar".
    Perplexity,
    Other,
}

impl OpenAiResponses {
    /// The dialect of a host. A model that `searches_web` is offered the tool with which it does:
    /// without it, it answers from what it knows.
    pub(crate) fn of(host: &str, searches_web: bool) -> Self {
        let dialect = match host {
            "api.openai.com" => Dialect::OpenAi,
            "api.perplexity.ai" => Dialect::Perplexity,
            _ => Dialect::Other,
        };
        Self { dialect, searches_web }
    }
}

impl Codec for OpenAiResponses {
    fn open(&self, call: Call<'_>) -> Result<Opened, CallError> {
        rig::open(*self, call)
    }
}

impl Protocol for OpenAiResponses {
    type Wire = Responses;

    const NAME: &'static str = "openai-responses";
    const VERSION: &'static str = "/v1";

    fn wire(self, call: Call<'_>) -> Responses {
        let mut wire = Responses::new(OpenAIConfig::with_key(&OPENAI, ""), call.model);
        wire.strict_tools = false;
        wire
    }

    fn adjust(self, call: Call<'_>, request: &mut CompletionRequest) {
        let mut more = match self.dialect {
            Dialect::OpenAi | Dialect::Other => {
                json!({ "store": false, "include": ["reasoning.encrypted_content"] })
            }
            Dialect::Perplexity => json!({}),
        };
        // The crate would make every schema a strict one.
        request.output_schema = None;
        match (&call.request.sampling.response_format, self.dialect) {
            (None | Some(ResponseFormat::Text), _) => {}
            (Some(ResponseFormat::JsonObject), Dialect::Perplexity) => {
                more["response_format"] = json!({ "type": "json_object" });
            }
            (Some(ResponseFormat::JsonSchema { name, schema, .. }), Dialect::Perplexity) => {
                more["response_format"] = json!({
                    "type": "json_schema", "json_schema": { "name": name, "schema": schema } });
            }
            (Some(ResponseFormat::JsonObject), Dialect::OpenAi | Dialect::Other) => {
                more["text"] = json!({ "format": { "type": "json_object" } });
            }
            (
                Some(ResponseFormat::JsonSchema { name, schema, strict }),
                Dialect::OpenAi | Dialect::Other,
            ) => {
                more["text"] = json!({ "format": {
                    "type": "json_schema", "name": name, "schema": schema, "strict": strict } });
            }
        }
        if wants_summaries(call) {
            more["reasoning"] = json!({ "summary": "auto" });
        }
        if self.dialect == Dialect::OpenAi && call.credential.base_url.is_none() {
            more["prompt_cache_key"] = cache_key(call).into();
        }
        request.additional_params = Some(more);
    }

    fn finish(self, body: &mut Value) {
        if self.searches_web
            && let Some(body) = body.as_object_mut()
            && let Some(tools) = body.entry("tools").or_insert_with(|| json!([])).as_array_mut()
        {
            tools.insert(0, json!({ "type": "web_search" }));
        }
        if let Some(input) = body.get_mut("input").and_then(Value::as_array_mut) {
            *input = together(std::mem::take(input));
        }
        // A summary of thoughts that a model does not have is refused.
        let thinks = body.pointer("/reasoning/effort").is_some();
        if !thinks && let Some(body) = body.as_object_mut() {
            body.remove("reasoning");
        }
    }

    fn takes_image(_media_type: &str) -> bool {
        true
    }

    fn block(item: &Value, call: Option<String>) -> AssistantContent {
        let text = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default();
        let opaque = || AssistantContent::Opaque(Opaque { item: item.clone(), replay: true });
        let joined = |field: &str| -> String {
            let parts = item.get(field).and_then(Value::as_array);
            let texts = parts.into_iter().flatten().filter_map(|part| part.get("text")?.as_str());
            texts.collect()
        };
        match text("type") {
            "message" => {
                AssistantContent::Text(Text::new(joined("content"))).with_native(item.clone())
            }
            "reasoning" => AssistantContent::Reasoning(Reasoning::new(joined("summary")))
                .with_native(item.clone()),
            "function_call" => match ToolName::new(text("name")) {
                Ok(name) => {
                    let id = call.unwrap_or_else(|| text("call_id").to_owned());
                    let function = ToolFunction::parse(name, text("arguments"));
                    AssistantContent::ToolCall(ToolCall::from_wire(id, function))
                        .with_native(item.clone())
                }
                Err(_) => opaque(),
            },
            _ => opaque(),
        }
    }

    fn says_more(item: &Value) -> bool {
        let kind = item.get("type").and_then(Value::as_str);
        !matches!(kind, Some("message" | "function_call"))
    }

    fn notice(data: &str) -> Option<Notice> {
        let event: Event = serde_json::from_str(data).ok()?;
        let kind = event.kind.as_deref();
        if kind == Some("error") {
            let nested = event.error.filter(Value::is_object);
            let error = nested.or_else(|| serde_json::from_str(data).ok()).unwrap_or_default();
            let failure = Some(failure::in_stream(&error));
            return Some(Notice { failure, ..Notice::default() });
        }
        // A whole answer of a server that does not stream is the response itself.
        let whole = kind.is_none() && event.status.is_some();
        let response = if whole { serde_json::from_str(data).ok() } else { event.response };
        let error = event.error.filter(|error| kind.is_none() && !error.is_null());
        let Some(response) = response else {
            let failure = error.map(|error| failure::in_stream(&error));
            // Without a type it is no event, and without a status no answer.
            return (kind.is_some() || failure.is_some())
                .then(|| Notice { failure, ..Notice::default() });
        };
        let status = response.status.as_deref();
        let failed =
            kind == Some("response.failed") || matches!(status, Some("failed" | "cancelled"));
        let usage = response.usage.as_ref();
        Some(Notice {
            failure: failed.then(|| failure::in_stream(&response.error.unwrap_or_default())),
            usage: usage.map(WireUsage::usage),
            cost_microusd: usage.and_then(|usage| reported::cost_microusd(usage.cost.as_ref()?)),
            finished: matches!(kind, Some("response.completed" | "response.incomplete")),
            identity: reported::identity(response.id, response.model),
        })
    }

    /// All others are troubles of the provider: an answer that is queued, or whose end it does
    /// not explain.
    fn unknown_finish(reason: &str) -> Result<Finish, CallError> {
        let message = format!("the provider ended the answer early: {reason}");
        Err(CallError::new(Class::Truncated, &message))
    }
}

/// The input with what a user says and shows at once in one message: the crate makes one of each.
fn together(input: Vec<Value>) -> Vec<Value> {
    let users = |item: &Value| item.get("role").and_then(Value::as_str) == Some("user");
    let mut joined: Vec<Value> = Vec::with_capacity(input.len());
    for mut item in input {
        let more = item.get_mut("content").and_then(Value::as_array_mut).map(std::mem::take);
        let last = joined.last_mut().filter(|last| users(last) && users(&item));
        match (last.and_then(|last| last.get_mut("content")?.as_array_mut()), more) {
            (Some(content), Some(more)) => content.extend(more),
            (None, Some(content)) => {
                item["content"] = Value::Array(content);
                joined.push(item);
            }
            (_, None) => joined.push(item),
        }
    }
    joined
}

/// Thoughts are shown where they were asked for.
fn wants_summaries(call: Call<'_>) -> bool {
    use nexus_contracts::Effort;
    call.request.sampling.reasoning.is_some_and(|effort| effort != Effort::None)
}

/// The same for all calls of a conversation, so that they meet the same cache; different for
/// every credential.
fn cache_key(call: Call<'_>) -> String {
    let begin = |role: Role| {
        call.request.messages.iter().find(|message| message.role == role).map(Message::joined_text)
    };
    let (system, first) = (begin(Role::System), begin(Role::User));
    let parts = [&call.credential.id, &system.unwrap_or_default(), &first.unwrap_or_default()];
    let mut key = sha256_hex_of(&parts.map(String::as_bytes));
    key.truncate(CACHE_KEY);
    key
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: Option<String>,
    response: Option<Response>,
    error: Option<Value>,
    status: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    id: Option<String>,
    model: Option<Value>,
    status: Option<String>,
    error: Option<Value>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
    cost: Option<Value>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
}

impl WireUsage {
    fn usage(&self) -> Usage {
        let cached = self.input_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        let thought = self.output_tokens_details.as_ref();
        Usage {
            cache_read_tokens: cached.unwrap_or_default(),
            reasoning_tokens: thought
                .and_then(|details| details.reasoning_tokens)
                .unwrap_or_default(),
            ..Usage::of(self.input_tokens, self.output_tokens)
        }
    }
}
