//! Gemini's generateContent.
//!
//! Its thoughts are signed: a signature that does not come back with the tool's result is an
//! error at newer models, so answers with signatures are kept part by part.

mod body;
mod embeddings;

use nexus_contracts::{Finish, ResponseFormat, Usage};
use reqwest::header::{HeaderMap, HeaderName};
use rig_core::completion::CompletionRequest;
use rig_core::message::{
    AssistantContent, Opaque, Reasoning, Text, ToolCall, ToolFunction, ToolName,
};
use rig_core::providers::gemini::GeminiConfig;
use rig_core::providers::gemini::completion::GenerateContent;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rig::{self, Notice, Protocol};
use super::{Codec, Opened, Question, failure, headers_with_key, reported};
use crate::call::{Call, CallError, Class, EmbedCall, Embedding};

/// What a model has to be able to do to be listed.
const METHODS: [&str; 2] = ["generateContent", "embedContent"];

/// The codec of generateContent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gemini;

impl Codec for Gemini {
    fn open(&self, call: Call<'_>) -> Result<Opened, CallError> {
        checked(call.model)?;
        rig::open(*self, call)
    }

    fn headers(&self, key: Option<&str>) -> HeaderMap {
        headers_with_key(HeaderName::from_static("x-goog-api-key"), key)
    }

    fn models_path(&self) -> &'static str {
        "/models?pageSize=1000"
    }

    fn models(&self, body: &[u8]) -> Result<Vec<String>, CallError> {
        let list: List = serde_json::from_slice(body).map_err(|_| reported::unreadable())?;
        let useful = |model: &Model| {
            let methods = model.supported_generation_methods.as_ref();
            methods.is_none_or(|methods| methods.iter().any(|m| METHODS.contains(&m.as_str())))
        };
        let names = list.models.into_iter().filter(useful).map(|model| model.name);
        Ok(names
            .map(|name| name.strip_prefix("models/").map(str::to_owned).unwrap_or(name))
            .collect())
    }

    fn embed(&self, call: EmbedCall<'_>) -> Result<Question, CallError> {
        checked(call.model)?;
        embeddings::question(call)
    }

    fn embedded(&self, call: EmbedCall<'_>, body: &[u8]) -> Result<Embedding, CallError> {
        embeddings::vectors(call, body)
    }
}

impl Protocol for Gemini {
    type Wire = GenerateContent;

    const NAME: &'static str = "gemini";
    const VERSION: &'static str = "/v1beta";

    fn wire(self, call: Call<'_>) -> GenerateContent {
        GenerateContent::new(GeminiConfig::new(""), call.model)
    }

    fn adjust(self, call: Call<'_>, request: &mut CompletionRequest) {
        if call.request.sampling.response_format == Some(ResponseFormat::JsonObject) {
            let config = json!({ "responseMimeType": "application/json" });
            request.additional_params = Some(json!({ "generationConfig": config }));
        }
    }

    fn finish(self, body: &mut Value) {
        body::tidy(body);
        // Thoughts are shown where they were asked for.
        let thinking = body.pointer_mut("/generationConfig/thinkingConfig");
        if let Some(thinking) = thinking.and_then(Value::as_object_mut)
            && thinking.get("thinkingBudget") != Some(&json!(0))
        {
            thinking.insert("includeThoughts".to_owned(), Value::Bool(true));
        }
    }

    fn takes_image(media_type: &str) -> bool {
        media_type != "image/gif"
    }

    fn block(item: &Value, call: Option<String>) -> AssistantContent {
        let function = item.get("functionCall");
        let name = function.and_then(|function| function.get("name")).and_then(Value::as_str);
        if let Some(name) = name.and_then(|name| ToolName::new(name).ok()) {
            let field = |field: &str| function.and_then(|function| function.get(field)).cloned();
            let id = call.or_else(|| Some(field("id")?.as_str()?.to_owned())).unwrap_or_default();
            let function = ToolFunction::new(name, field("args").unwrap_or_default());
            return AssistantContent::ToolCall(ToolCall::from_wire(id, function))
                .with_native(item.clone());
        }
        match item.get("text").and_then(Value::as_str) {
            Some(text) if item.get("thought") == Some(&Value::Bool(true)) => {
                AssistantContent::Reasoning(Reasoning::new(text)).with_native(item.clone())
            }
            Some(text) => AssistantContent::Text(Text::new(text)).with_native(item.clone()),
            None => AssistantContent::Opaque(Opaque { item: item.clone(), replay: true }),
        }
    }

    fn says_more(item: &Value) -> bool {
        let plain = item.get("text").is_some() || item.get("functionCall").is_some();
        let thought = item.get("thought") == Some(&Value::Bool(true));
        !plain || thought || item.get("thoughtSignature").is_some()
    }

    fn notice(data: &str) -> Option<Notice> {
        let chunk: Chunk = serde_json::from_str(data).ok()?;
        let blocked = chunk.prompt_feedback.and_then(Feedback::reason);
        let failure = match (chunk.error.filter(|error| !error.is_null()), blocked) {
            (Some(error), _) => Some(failure::in_stream(&error)),
            (None, Some(reason)) => {
                Some(failure::declined(&format!("the prompt was blocked: {reason}")))
            }
            (None, None) => None,
        };
        let finished =
            chunk.candidates.into_iter().flatten().any(|one| one.finish_reason.is_some());
        Some(Notice {
            failure,
            usage: chunk.usage_metadata.map(WireUsage::usage),
            cost_microusd: None,
            finished,
            identity: reported::identity(chunk.response_id, chunk.model_version),
        })
    }

    fn unknown_finish(reason: &str) -> Result<Finish, CallError> {
        match reason {
            "RECITATION" | "IMAGE_RECITATION" => Ok(Finish::ContentFilter),
            // Google says STOP; servers that stand in for it say this (aimock 1.43).
            "FUNCTION_CALL" => Ok(Finish::Stop),
            // A malformed call, a language it does not speak, or nothing that it tells: another
            // attempt may end well.
            other => {
                let message = format!("the provider ended the answer early: {other}");
                Err(CallError::new(Class::Truncated, &message))
            }
        }
    }
}

/// A name that stays within its place in the path.
fn checked(model: &str) -> Result<(), CallError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@');
    let wrong = model.is_empty() || !model.chars().all(plain) || model.contains("..");
    if wrong {
        return Err(CallError::new(Class::Invalid, "that is no name of a model"));
    }
    Ok(())
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    models: Vec<Model>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    name: String,
    supported_generation_methods: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<WireUsage>,
    response_id: Option<String>,
    model_version: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    finish_reason: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

impl Feedback {
    fn reason(self) -> Option<String> {
        self.block_reason.filter(|reason| !reason.ends_with("_UNSPECIFIED"))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireUsage {
    prompt_token_count: u64,
    tool_use_prompt_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
    cached_content_token_count: u64,
}

impl WireUsage {
    /// What it says does not count the thoughts; ours does.
    fn usage(self) -> Usage {
        Usage {
            cache_read_tokens: self.cached_content_token_count,
            reasoning_tokens: self.thoughts_token_count,
            ..Usage::of(
                self.prompt_token_count.saturating_add(self.tool_use_prompt_token_count),
                self.candidates_token_count.saturating_add(self.thoughts_token_count),
            )
        }
    }
}
