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
