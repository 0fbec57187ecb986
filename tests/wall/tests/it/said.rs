//! Requests in each protocol, and what an answer says.

use nexus_wall::{Options, Protocol, Wall};
use reqwest::{Client, Response};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "sk-wall-test";

pub(crate) fn wall() -> Wall {
    Wall::start(Options { keys: vec![KEY.to_owned()], ..Options::default() }).unwrap()
}

pub(crate) fn client() -> Client {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// The smallest request that keeps the rules.
pub(crate) fn body(protocol: Protocol, model: &str, stream: bool) -> Value {
    match protocol {
        Protocol::OpenaiChat => json!({
            "model": model, "messages": [{ "role": "user", "content": "hi" }], "stream": stream,
        }),
        Protocol::OpenaiResponses => json!({
            "model": model, "input": [{ "role": "user", "content": "hi" }], "stream": stream, "store": false,
        }),
        Protocol::AnthropicMessages => json!({
            "model": model, "max_tokens": 100, "messages": [{ "role": "user", "content": "hi" }], "stream": stream,
        }),
        Protocol::Gemini => {
            json!({ "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }] })
        }
    }
}

pub(crate) fn path(protocol: Protocol, model: &str, stream: bool) -> String {
    match protocol {
        Protocol::OpenaiChat => "/chat/completions".to_owned(),
        Protocol::OpenaiResponses => "/responses".to_owned(),
        Protocol::AnthropicMessages => "/messages".to_owned(),
        Protocol::Gemini if stream => format!("/models/{model}:streamGenerateContent?alt=sse"),
        Protocol::Gemini => format!("/models/{model}:generateContent"),
    }
}

pub(crate) fn key_header(protocol: Protocol) -> (&'static str, String) {
    match protocol {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => {
            ("authorization", format!("Bearer {KEY}"))
        }
        Protocol::AnthropicMessages => ("x-api-key", KEY.to_owned()),
        Protocol::Gemini => ("x-goog-api-key", KEY.to_owned()),
    }
}

/// Sends a body where it belongs.
pub(crate) async fn send(
    wall: &Wall,
    protocol: Protocol,
    model: &str,
    stream: bool,
    body: &Value,
) -> reqwest::Result<Response> {
    let (name, key) = key_header(protocol);
    client()
        .post(format!("{}{}", wall.url(protocol), path(protocol, model, stream)))
        .header(name, key)
        .header("anthropic-version", "2023-06-01")
        .json(body)
        .send()
        .await
}

/// Sends the smallest request.
pub(crate) async fn ask(
    wall: &Wall,
    protocol: Protocol,
    model: &str,
    stream: bool,
) -> reqwest::Result<Response> {
    send(wall, protocol, model, stream, &body(protocol, model, stream)).await
}

/// The JSON of each event.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.trim_end().strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}

/// The text that the events of a stream add up to.
pub(crate) fn streamed_text(protocol: Protocol, stream: &str) -> String {
    let text = |event: &Value| {
        let text = match protocol {
            Protocol::OpenaiChat => &event["choices"][0]["delta"]["content"],
            Protocol::OpenaiResponses if event["type"] == "response.output_text.delta" => {
                &event["delta"]
            }
            Protocol::AnthropicMessages => &event["delta"]["text"],
            Protocol::Gemini => &event["candidates"][0]["content"]["parts"][0]["text"],
            Protocol::OpenaiResponses => &Value::Null,
        };
        text.as_str().map(str::to_owned)
    };
    events(stream).iter().filter_map(text).collect()
}

/// The text of an answer in one piece.
pub(crate) fn whole_text(protocol: Protocol, body: &Value) -> String {
    let text = match protocol {
        Protocol::OpenaiChat => &body["choices"][0]["message"]["content"],
        Protocol::OpenaiResponses => &body["output"][0]["content"][0]["text"],
        Protocol::AnthropicMessages => &body["content"][0]["text"],
        Protocol::Gemini => &body["candidates"][0]["content"]["parts"][0]["text"],
    };
    text.as_str().unwrap().to_owned()
}
