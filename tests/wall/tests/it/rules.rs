//! Requests that real providers refuse.

use nexus_wall::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
use serde_json::{Value, json};

use crate::said::{KEY, ask, body, client, path, send, wall};

/// A valid request with these fields set; `null` takes one away.
fn changed(protocol: Protocol, model: &str, changes: &Value) -> Value {
    let mut body = body(protocol, model, true);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
            value => body[name] = value.clone(),
        }
    }
    body
}

#[tokio::test]
async fn every_broken_rule_is_refused_with_its_reason_and_kept() {
    let png = "iVBORw0KGgo=";
    let marked = &json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
    let cases: Vec<(Protocol, &str, Value, &str)> = vec![
        (OpenaiChat, "fb-ok", json!({ "foo": 1 }), "Unknown parameter: 'foo'"),
        (OpenaiChat, "fb-ok", json!({ "messages": [] }), "too short"),
        (OpenaiChat, "fb-ok", json!({ "tools": [] }), "too short"),
        (OpenaiChat, "fb-ok", json!({ "tool_choice": "auto" }), "only allowed when 'tools'"),
        (OpenaiChat, "fb-ok", json!({ "temperature": 3 }), "between 0 and 2"),
        (OpenaiChat, "fb-ok-notemp", json!({ "temperature": 1 }), "not supported with this model"),
        (
            OpenaiChat,
            "fb-ok",
            json!({ "response_format": { "type": "json_object" } }),
            "word 'json'",
        ),
        (
            OpenaiChat,
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x", "reasoning_content": "y" }] }),
            "messages[0].reasoning_content",
        ),
        (
            OpenaiChat,
            "fb-ok",
            json!({ "messages": [{ "role": "tool", "tool_call_id": "c", "content": "x" }] }),
            "preceding message with 'tool_calls'",
        ),
        (
            OpenaiChat,
            "fb-ok",
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] }, { "role": "user", "content": "x" }] }),
            "must be followed by tool messages",
        ),
        (
            OpenaiChat,
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": format!("data:image/jpeg;base64,{png}") } }] }] }),
            "does not match",
        ),
        (
            OpenaiChat,
            "fb-ok-noimages",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{png}") } }] }] }),
            "does not support image",
        ),
        (
            OpenaiChat,
            "fb-ok-noprefill",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": "y" }] }),
            "assistant message prefill",
        ),
        (OpenaiResponses, "fb-ok", json!({ "stop": ["x"] }), "Unknown parameter: 'stop'"),
        (OpenaiResponses, "fb-ok", json!({ "max_output_tokens": 5 }), ">= 16"),
        (
            OpenaiResponses,
            "fb-ok",
            json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" }] }),
            "No tool output found for function call c",
        ),
        (
            OpenaiResponses,
            "fb-ok",
            json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": "x" }] }),
            "No tool call found",
        ),
        (
            OpenaiResponses,
            "fb-ok",
            json!({ "input": [{ "type": "reasoning", "id": "rs_1", "summary": [] }, { "role": "user", "content": "x" }] }),
            "not persisted",
        ),
        (
            OpenaiResponses,
            "fb-ok",
            json!({ "input": [{ "role": "user", "content": [{ "type": "text", "text": "x" }] }] }),
            "Supported values are: input_text",
        ),
        (
            OpenaiResponses,
            "fb-ok",
            json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }),
            "tools[0].function",
        ),
        (AnthropicMessages, "fb-ok", json!({ "max_tokens": null }), "max_tokens"),
        (AnthropicMessages, "fb-ok", json!({ "temperature": 1.5 }), "between 0 and 1"),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "messages": [{ "role": "assistant", "content": "x" }] }),
            "first message must use",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "messages": [{ "role": "system", "content": "x" }] }),
            "messages[0].role",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "user", "content": "y" }] }),
            "roles must alternate",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": " " }] }] }),
            "non-whitespace",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] }, { "role": "user", "content": "y" }] }),
            "without `tool_result` blocks",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] }, { "role": "user", "content": [{ "type": "text", "text": "y" }, { "type": "tool_result", "tool_use_id": "t" }] }] }),
            "must come first",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } }),
            "greater than `thinking.budget_tokens`",
        ),
        (
            AnthropicMessages,
            "fb-ok",
            json!({ "system": [marked, marked, marked, marked, marked] }),
            "maximum of 4 blocks",
        ),
        (
            AnthropicMessages,
            "fb-ok-noprefill",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": "y" }] }),
            "assistant message prefill",
        ),
        (Gemini, "fb-ok", json!({ "system_instruction": { "parts": [] } }), "system_instruction"),
        (
            Gemini,
            "fb-ok",
            json!({ "contents": [{ "role": "assistant", "parts": [{ "text": "x" }] }] }),
            "valid role",
        ),
        (
            Gemini,
            "fb-ok",
            json!({ "contents": [{ "role": "user", "parts": [] }] }),
            "must not be empty",
        ),
        (
            Gemini,
            "fb-ok",
            json!({ "contents": [{ "role": "user", "parts": [{ "inlineData": { "mimeType": "image/gif", "data": "R0lGODlh" } }] }] }),
            "unsupported image type",
        ),
        (
            Gemini,
            "fb-ok",
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "x" }] }, { "role": "model", "parts": [{ "functionCall": { "name": "f" } }, { "functionCall": { "name": "g" } }] }, { "role": "user", "parts": [{ "functionResponse": { "name": "f", "response": {} } }] }] }),
            "number of function response parts",
        ),
        (
            Gemini,
            "fb-ok",
            json!({ "tools": [{ "functionDeclarations": [{ "name": "f", "parameters": { "type": "object", "additionalProperties": false } }] }] }),
            "additionalProperties",
        ),
        (
            Gemini,
            "fb-ok",
            json!({ "generationConfig": { "max_tokens": 5 } }),
            "generationConfig.max_tokens",
        ),
    ];
    let wall = wall();
    for (protocol, model, changes, reason) in &cases {
        let request = changed(*protocol, model, changes);
        let refused = send(&wall, *protocol, model, true, &request).await.unwrap();
        let (status, body) = (refused.status(), refused.text().await.unwrap());
        assert_eq!(status, 400, "{protocol:?} {changes}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let said = body["error"]["message"].as_str().unwrap();
        assert!(said.contains(reason), "{protocol:?} {changes}: {said}");
    }
    assert_eq!(wall.broken_rules().len(), cases.len());
    assert_eq!(wall.charged(KEY).answers, 0);
}

#[tokio::test]
async fn key_belongs_in_the_header_of_its_protocol() {
    let wall = wall();
    for protocol in Protocol::ALL {
        let url = format!("{}{}", wall.url(protocol), path(protocol, "fb-ok", true));
        let post = || client().post(&url).header("anthropic-version", "2023-06-01");
        let request = body(protocol, "fb-ok", true);
        let without = post().json(&request).send().await.unwrap();
        let wanted = if protocol == Gemini { 400 } else { 401 };
        assert_eq!(without.status(), wanted, "{protocol:?}");
        let (name, wrong) = match protocol {
            OpenaiChat | OpenaiResponses => ("authorization", "Bearer sk-wrong"),
            AnthropicMessages => ("x-api-key", "sk-wrong"),
            Gemini => ("x-goog-api-key", "sk-wrong"),
        };
        let wrong = post().header(name, wrong).json(&request).send().await.unwrap();
        assert_eq!(wrong.status(), wanted, "{protocol:?}");
        assert!(wrong.text().await.unwrap().contains("sk-wrong"), "it repeats what it got");
    }
    let url = format!("{}/models/fb-ok:generateContent?key={KEY}", wall.url(Gemini));
    let in_url = client().post(url).json(&body(Gemini, "fb-ok", false)).send().await.unwrap();
    assert!(in_url.text().await.unwrap().contains("addresses end in logs"));
    // Without its version.
    let url = format!("{}/messages", wall.url(AnthropicMessages));
    let post = client().post(url).header("x-api-key", KEY);
    let post = post.json(&body(AnthropicMessages, "fb-ok", false)).send().await.unwrap();
    assert!(post.text().await.unwrap().contains("anthropic-version"));
    assert_eq!(ask(&wall, Gemini, "fb-ok", true).await.unwrap().status(), 200);
}
