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

/// Model, what is changed in a valid request, and part of the reason.
type Case = (&'static str, Value, &'static str);

/// The smallest thing that begins as a PNG does.
const PNG: &str = "iVBORw0KGgo=";

fn chat() -> Vec<Case> {
    vec![
        ("fb-ok", json!({ "foo": 1 }), "Unknown parameter: 'foo'"),
        ("fb-ok", json!({ "messages": [] }), "too short"),
        ("fb-ok", json!({ "tools": [] }), "too short"),
        ("fb-ok", json!({ "tool_choice": "auto" }), "only allowed when 'tools'"),
        ("fb-ok", json!({ "temperature": 3 }), "between 0 and 2"),
        ("fb-ok-notemp", json!({ "temperature": 1 }), "not supported with this model"),
        ("fb-ok", json!({ "response_format": { "type": "json_object" } }), "word 'json'"),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x", "reasoning_content": "y" }] }),
            "messages[0].reasoning_content",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "tool", "tool_call_id": "c", "content": "x" }] }),
            "preceding message with 'tool_calls'",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] }, { "role": "user", "content": "x" }] }),
            "must be followed by tool messages",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": format!("data:image/jpeg;base64,{PNG}") } }] }] }),
            "does not match",
        ),
        (
            "fb-ok-noimages",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": format!("data:image/png;base64,{PNG}") } }] }] }),
            "does not support image",
        ),
        (
            "fb-ok-noprefill",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": "y" }] }),
            "assistant message prefill",
        ),
    ]
}

fn responses() -> Vec<Case> {
    vec![
        ("fb-ok", json!({ "stop": ["x"] }), "Unknown parameter: 'stop'"),
        ("fb-ok", json!({ "max_output_tokens": 5 }), ">= 16"),
        (
            "fb-ok",
            json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" }] }),
            "No tool output found for function call c",
        ),
        (
            "fb-ok",
            json!({ "input": [{ "type": "function_call_output", "call_id": "c", "output": "x" }] }),
            "No tool call found",
        ),
        (
            "fb-ok",
            json!({ "input": [{ "type": "reasoning", "id": "rs_1", "summary": [] }, { "role": "user", "content": "x" }] }),
            "not persisted",
        ),
        (
            "fb-ok",
            json!({ "input": [{ "role": "user", "content": [{ "type": "text", "text": "x" }] }] }),
            "Supported values are: input_text",
        ),
        (
            "fb-ok",
            json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }),
            "tools[0].function",
        ),
    ]
}

fn anthropic() -> Vec<Case> {
    let marked = &json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
    vec![
        ("fb-ok", json!({ "max_tokens": null }), "max_tokens"),
        ("fb-ok", json!({ "temperature": 1.5 }), "between 0 and 1"),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "assistant", "content": "x" }] }),
            "first message must use",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "system", "content": "x" }] }),
            "messages[0].role",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "user", "content": "y" }] }),
            "roles must alternate",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": " " }] }] }),
            "non-whitespace",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] }, { "role": "user", "content": "y" }] }),
            "without `tool_result` blocks",
        ),
        (
            "fb-ok",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] }, { "role": "user", "content": [{ "type": "text", "text": "y" }, { "type": "tool_result", "tool_use_id": "t" }] }] }),
            "must come first",
        ),
        (
            "fb-ok",
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 } }),
            "greater than `thinking.budget_tokens`",
        ),
        (
            "fb-ok",
            json!({ "system": [marked, marked, marked, marked, marked] }),
            "maximum of 4 blocks",
        ),
        (
            "fb-ok-noprefill",
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "assistant", "content": "y" }] }),
            "assistant message prefill",
        ),
    ]
}

fn gemini() -> Vec<Case> {
    vec![
        ("fb-ok", json!({ "system_instruction": { "parts": [] } }), "system_instruction"),
        (
            "fb-ok",
            json!({ "contents": [{ "role": "assistant", "parts": [{ "text": "x" }] }] }),
            "valid role",
        ),
        ("fb-ok", json!({ "contents": [{ "role": "user", "parts": [] }] }), "must not be empty"),
        (
            "fb-ok",
            json!({ "contents": [{ "role": "user", "parts": [{ "inlineData": { "mimeType": "image/gif", "data": "R0lGODlh" } }] }] }),
            "unsupported image type",
        ),
        (
            "fb-ok",
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "x" }] }, { "role": "model", "parts": [{ "functionCall": { "name": "f" } }, { "functionCall": { "name": "g" } }] }, { "role": "user", "parts": [{ "functionResponse": { "name": "f", "response": {} } }] }] }),
            "number of function response parts",
        ),
        (
            "fb-ok",
            json!({ "tools": [{ "functionDeclarations": [{ "name": "f", "parameters": { "type": "object", "additionalProperties": false } }] }] }),
            "additionalProperties",
        ),
        (
            "fb-ok",
            json!({ "generationConfig": { "max_tokens": 5 } }),
            "generationConfig.max_tokens",
        ),
    ]
}

#[tokio::test]
async fn every_broken_rule_is_refused_with_its_reason_and_kept() {
    let wall = wall();
    let all = [
        (OpenaiChat, chat()),
        (OpenaiResponses, responses()),
        (AnthropicMessages, anthropic()),
        (Gemini, gemini()),
    ];
    let mut broken = 0;
    for (protocol, cases) in all {
        for (model, changes, reason) in cases {
            let request = changed(protocol, model, &changes);
            let refused = send(&wall, protocol, model, true, &request).await.unwrap();
            let (status, body) = (refused.status(), refused.text().await.unwrap());
            assert_eq!(status, 400, "{protocol:?} {changes}");
            let body: Value = serde_json::from_str(&body).unwrap();
            let said = body["error"]["message"].as_str().unwrap();
            assert!(said.contains(reason), "{protocol:?} {changes}: {said}");
            broken += 1;
        }
    }
    assert_eq!(wall.broken_rules().len(), broken);
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
