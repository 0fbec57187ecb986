use std::borrow::Cow;
use std::num::NonZeroU32;

use nexus_contracts::{Message, Part, Role, ToolSpec};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::LimitName;
use crate::call::Call;

/// Structs keep the order of fields, so equal calls have equal bytes and prompt caches hit.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
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
        content: String,
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
    let Call { model, request, .. } = call;
    let sampling = &request.sampling;
    let limit_if = |name| sampling.max_output_tokens.filter(|_| limit == name);
    let body = Body {
        model,
        tools: request.tools.iter().map(tool).collect(),
        tool_choice: (!request.tools.is_empty()).then_some("auto"),
        messages: request.messages.iter().flat_map(messages).collect(),
        temperature: sampling.temperature,
        max_tokens: limit_if(LimitName::MaxTokens),
        max_completion_tokens: limit_if(LimitName::MaxCompletionTokens),
        stream: true,
        stream_options: StreamOptions { include_usage: true },
    };
    // Serialising fails only for maps with keys that are no strings; there are none.
    serde_json::to_vec(&body).unwrap_or_default()
}

fn tool(spec: &ToolSpec) -> Tool<'_> {
    let ToolSpec { name, description, parameters, .. } = spec;
    Tool { r#type: "function", function: OfferedFunction { name, description, parameters } }
}

/// A message on the wire: none when it says nothing, several when it holds several tool results.
fn messages(message: &Message) -> Vec<WireMessage<'_>> {
    let content = content(message);
    let said = (!content.is_empty()).then_some(content);
    match message.role {
        Role::System => said.map(|content| WireMessage::System { content }).into_iter().collect(),
        Role::User => said.map(|content| WireMessage::User { content }).into_iter().collect(),
        Role::Assistant => {
            let tool_calls: Vec<_> = message.parts.iter().filter_map(tool_call).collect();
            let silent = said.is_none() && tool_calls.is_empty();
            (!silent)
                .then_some(WireMessage::Assistant { content: said, tool_calls })
                .into_iter()
                .collect()
        }
        Role::Tool => message.parts.iter().filter_map(tool_result).collect(),
    }
}

/// All that is said, and a note about each file: this codec sends none.
fn content(message: &Message) -> String {
    let mut content = message.joined_text();
    for part in &message.parts {
        if let Part::Attachment { attachment } = part {
            let gap = if content.is_empty() { "" } else { "\n" };
            content.push_str(&format!("{gap}{}", attachment.note()));
        }
    }
    content
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
mod tests {
    use nexus_contracts::{Effect, InferenceRequest, Sampling};

    use super::*;
    use crate::credential::Credential;
    use crate::files::Files;
    use crate::settings::Patience;

    fn request(messages: Vec<Message>, tools: Vec<ToolSpec>) -> InferenceRequest {
        InferenceRequest {
            model: "p/m".to_owned(),
            messages,
            tools,
            sampling: Sampling {
                max_output_tokens: NonZeroU32::new(9),
                temperature: Some(0.5),
                ..Sampling::default()
            },
            limits: nexus_contracts::AttemptLimits::default(),
            number: 1,
            start_within_ms: 1,
            timeout_ms: 1,
        }
    }

    fn encoded(request: &InferenceRequest, limit: LimitName) -> Value {
        let call = Call {
            full_name: "p/m",
            model: "m",
            request,
            files: &Files::default(),
            credential: &Credential::default(),
            patience: Patience::OF_THE_DEMO,
        };
        serde_json::from_slice(&body(call, limit)).unwrap()
    }

    #[test]
    fn tool_round_keeps_ids_and_gives_each_result_its_message() {
        let call = Uuid::from_u128(7);
        let asked = |provider_id: Option<&str>, arguments: &str| Part::ToolCall {
            call,
            provider_id: provider_id.map(str::to_owned),
            tool: "echo".to_owned(),
            arguments: arguments.to_owned(),
        };
        let result = |provider_id: Option<&str>| Part::ToolResult {
            call,
            provider_id: provider_id.map(str::to_owned),
            tool: "echo".to_owned(),
            text: "hi".to_owned(),
            is_error: false,
        };
        let spec = ToolSpec {
            name: "echo".to_owned(),
            description: "says it again".to_owned(),
            parameters: json!({ "type": "object" }),
            effect: Effect::Read,
            timeout_ms: 1,
            client: None,
        };
        let parts = vec![asked(Some("call_1"), r#"{"a": 1}"#), asked(None, "oops")];
        let history = vec![
            Message::text(Role::System, "be brief"),
            Message::text(Role::User, "hi"),
            Message { role: Role::Assistant, parts },
            Message { role: Role::Tool, parts: vec![result(Some("call_1")), result(None)] },
            Message::text(Role::User, ""),
        ];
        let id = call.to_string();
        let function = |arguments: &str| json!({ "name": "echo", "arguments": arguments });
        let wanted = json!({
            "model": "m",
            "tools": [{ "type": "function", "function": {
                "name": "echo", "description": "says it again", "parameters": { "type": "object" } } }],
            "tool_choice": "auto",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": "hi" },
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "call_1", "type": "function", "function": function(r#"{"a": 1}"#) },
                    { "id": id, "type": "function", "function": function(r#"{"not_json":"oops"}"#) } ] },
                { "role": "tool", "tool_call_id": "call_1", "content": "hi" },
                { "role": "tool", "tool_call_id": id, "content": "hi" },
            ],
            "temperature": 0.5, "max_tokens": 9,
            "stream": true, "stream_options": { "include_usage": true },
        });
        assert_eq!(encoded(&request(history, vec![spec]), LimitName::MaxTokens), wanted);
    }

    #[test]
    fn call_without_tools_has_no_tool_fields() {
        let request = request(vec![Message::text(Role::User, "hi")], Vec::new());
        let body = encoded(&request, LimitName::MaxCompletionTokens);
        assert_eq!(
            (body.get("tools"), body.get("tool_choice"), body.get("max_tokens")),
            (None, None, None)
        );
        assert_eq!(body["max_completion_tokens"], 9);
    }
}
