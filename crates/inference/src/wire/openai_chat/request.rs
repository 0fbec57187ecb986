use std::borrow::Cow;
use std::num::NonZeroU32;

use nexus_contracts::{
    Effort, Message, Part, ResponseFormat, Role, Sampling, ToolChoice, ToolSpec,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::LimitName;
use crate::call::Call;
use crate::files::{Content as FileContent, Files};

/// Structs keep the order of fields, so equal calls have equal bytes and prompt caches hit.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<NonZeroU32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<NonZeroU32>,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: OfferedFunction<'a>,
}

#[derive(Serialize)]
struct OfferedFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum WireMessage<'a> {
    System {
        content: String,
    },
    User {
        content: Content,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
    },
    Tool {
        tool_call_id: String,
        content: &'a str,
    },
}

/// Text alone stays a string: many servers know nothing else.
#[derive(Serialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart {
    Text { text: String },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: String,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
}

/// The body of a streamed call.
pub(super) fn body(call: Call<'_>, limit: LimitName) -> Vec<u8> {
    let Call { model, request, files, .. } = call;
    let sampling = &request.sampling;
    let limit_if = |name| sampling.max_output_tokens.filter(|_| limit == name);
    let body = Body {
        model,
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: (!request.tools.is_empty()).then(|| tool_choice(sampling)),
        response_format: sampling.response_format.as_ref().and_then(response_format),
        messages: request.messages.iter().flat_map(|message| messages(message, files)).collect(),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        seed: sampling.seed,
        stop: &sampling.stop,
        reasoning_effort: sampling.reasoning.map(effort),
        max_tokens: limit_if(LimitName::MaxTokens),
        max_completion_tokens: limit_if(LimitName::MaxCompletionTokens),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
    };
    // Serialising fails only for maps with keys that are no strings; there are none.
    serde_json::to_vec(&body).unwrap_or_default()
}

fn tool_choice(sampling: &Sampling) -> Value {
    match &sampling.tool_choice {
        None | Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Required) => json!("required"),
        Some(ToolChoice::Tool { name }) => {
            json!({ "type": "function", "function": { "name": name } })
        }
    }
}

fn response_format(format: &ResponseFormat) -> Option<Value> {
    match format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!({ "type": "json_object" })),
        ResponseFormat::JsonSchema { name, schema, strict } => Some(json!({
            "type": "json_schema",
            "json_schema": { "name": name, "schema": schema, "strict": strict },
        })),
    }
}

fn effort(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
    }
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    let ToolSpec { name, description, parameters, .. } = spec;
    Tool { r#type: "function", function: OfferedFunction { name, description, parameters } }
}

/// A message on the wire: none when it says nothing, several when it holds several tool results.
///
/// `Part::Native` is not replayed: nobody who speaks this protocol wants its reasoning back.
fn messages<'a>(message: &'a Message, files: &Files) -> Vec<WireMessage<'a>> {
    match message.role {
        Role::System => said(message, files)
            .map(|content| WireMessage::System { content })
            .into_iter()
            .collect(),
        Role::User => {
            user(message, files).map(|content| WireMessage::User { content }).into_iter().collect()
        }
        Role::Assistant => {
            let content = said(message, files);
            let tool_calls: Vec<_> = message.parts.iter().filter_map(tool_call).collect();
            let silent = content.is_none() && tool_calls.is_empty();
            (!silent)
                .then_some(WireMessage::Assistant { content, tool_calls })
                .into_iter()
                .collect()
        }
        Role::Tool => message.parts.iter().filter_map(tool_result).collect(),
    }
}

/// All that is said, and the text of each file, or a note about it.
fn said(message: &Message, files: &Files) -> Option<String> {
    let mut said = message.joined_text();
    for part in &message.parts {
        if let Part::Attachment { attachment } = part {
            let gap = if said.is_empty() { "" } else { "\n" };
            said.push_str(gap);
            said.push_str(&attachment.note());
            if let Some(FileContent::Text(text)) = files.content(attachment) {
                said.push('\n');
                said.push_str(text);
            }
        }
    }
    (!said.is_empty()).then_some(said)
}

/// What a person says and shows.
fn user(message: &Message, files: &Files) -> Option<Content> {
    let images: Vec<_> = message.parts.iter().filter_map(|part| image(part, files)).collect();
    if images.is_empty() {
        return said(message, files).map(Content::Text);
    }
    let shown = |part: &Part| image(part, files).is_some();
    let rest = message.parts.iter().filter(|part| !shown(part)).cloned().collect();
    let text = said(&Message { role: message.role, parts: rest }, files);
    let text = text.map(|text| ContentPart::Text { text });
    Some(Content::Parts(text.into_iter().chain(images).collect()))
}

fn image(part: &Part, files: &Files) -> Option<ContentPart> {
    let Part::Attachment { attachment } = part else {
        return None;
    };
    match files.content(attachment)? {
        FileContent::Image { media_type, base64 } => Some(ContentPart::ImageUrl {
            image_url: ImageUrl { url: format!("data:{media_type};base64,{base64}") },
        }),
        FileContent::Text(_) => None,
    }
}

fn tool_call(part: &Part) -> Option<ToolCall<'_>> {
    match part {
        Part::ToolCall { call, provider_id, tool, arguments } => Some(ToolCall {
            id: wire_id(*call, provider_id.as_deref()),
            r#type: "function",
            function: CalledFunction { name: tool, arguments: as_object(arguments) },
        }),
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::Native { .. }
        | Part::ToolResult { .. } => None,
    }
}

fn tool_result(part: &Part) -> Option<WireMessage<'_>> {
    match part {
        Part::ToolResult { call, provider_id, text, .. } => Some(WireMessage::Tool {
            tool_call_id: wire_id(*call, provider_id.as_deref()),
            content: text,
        }),
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::Native { .. }
        | Part::ToolCall { .. } => None,
    }
}

fn wire_id(call: Uuid, provider_id: Option<&str>) -> String {
    provider_id.map_or_else(|| call.to_string(), str::to_owned)
}

/// Arguments as providers accept them back: strict ones refuse what is no JSON object, also when
/// their own model wrote it.
fn as_object(arguments: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Value>(arguments) {
        Ok(Value::Object(_)) => Cow::Borrowed(arguments),
        _ => Cow::Owned(json!({ "not_json": arguments }).to_string()),
    }
}

#[cfg(test)]
mod tests;
