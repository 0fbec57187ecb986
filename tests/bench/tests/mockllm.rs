//! The mock answers as a provider would, and refuses what a provider would refuse.
#![allow(clippy::unwrap_used, reason = "a failed request fails the test")]

use std::time::Duration;

use nexus_bench::http_client;
use nexus_bench::mockllm::{Fault, MockLlm, Options, Stats};
use reqwest::Response;
use serde_json::{Value, json};

fn start() -> MockLlm {
    MockLlm::start(Options::default()).unwrap()
}

async fn post(mock: &MockLlm, body: &Value) -> reqwest::Result<Response> {
    let url = format!("{}/chat/completions", mock.url());
    let request = http_client().unwrap().post(url).timeout(Duration::from_secs(10));
    request.json(body).send().await
}

async fn ask(mock: &MockLlm, body: &Value) -> Value {
    post(mock, body).await.unwrap().json().await.unwrap()
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn offered() -> Value {
    let function = json!({ "name": "echo", "parameters": { "type": "object", "properties": {} } });
    json!([{ "type": "function", "function": function }])
}

fn called(ids: &[&str]) -> Value {
    let function = json!({ "name": "echo", "arguments": "{}" });
    let calls: Vec<_> = ids
        .iter()
        .map(|id| json!({ "id": id, "type": "function", "function": function }))
        .collect();
    json!({ "role": "assistant", "content": null, "tool_calls": calls })
}

fn answered(id: &str, text: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": text })
}

#[tokio::test]
async fn turn_with_two_parallel_calls_ends_with_their_results() {
    let mock = start();
    let said = r#"say "hi""#;
    let mut body =
        json!({ "model": "mock-parallel2", "messages": [user(said)], "tools": offered() });

    let first = ask(&mock, &body).await;
    let message = first["choices"][0]["message"].clone();
    let calls = message["tool_calls"].as_array().unwrap().clone();
    assert_eq!(first["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(calls.len(), 2);
    let arguments: Value =
        serde_json::from_str(calls[1]["function"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "text": said }));

    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(message);
    messages.push(answered(calls[1]["id"].as_str().unwrap(), "one"));
    messages.push(answered(calls[0]["id"].as_str().unwrap(), "two"));
    let last = ask(&mock, &body).await;
    assert_eq!(last["choices"][0]["message"]["content"], "DONE one two");
    assert_eq!(last["choices"][0]["finish_reason"], "stop");

    let prompt_bytes = mock.stats().prompt_bytes;
    let expected = Stats { chat: 2, tool_calls: 2, finals: 1, prompt_bytes, ..Stats::default() };
    assert_eq!(mock.stats(), expected);
    assert_eq!((mock.calls_for(said), mock.calls_for("hi"), mock.requests().len()), (2, 0, 2));
}

#[tokio::test]
async fn streamed_pieces_join_to_the_whole_answer() {
    let mock = start();
    let body = json!({ "model": "mock-tok3-itl1", "messages": [user("hi")], "stream": true,
        "stream_options": { "include_usage": true } });
    let text = post(&mock, &body).await.unwrap().text().await.unwrap();
    let mut events: Vec<_> =
        text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.pop(), Some("[DONE]"));
    let chunks: Vec<Value> = events.iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    let said: String =
        chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(said, "DONE hi w1 w2");
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[chunks.len() - 1]["choices"], json!([]));
    assert_eq!(chunks[chunks.len() - 1]["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn streamed_arguments_join_to_json() {
    let mock = start();
    let body =
        json!({ "model": "mock", "messages": [user("hé")], "tools": offered(), "stream": true });
    let text = post(&mock, &body).await.unwrap().text().await.unwrap();
    let arguments: String = text
        .split_terminator("\n\n")
        .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| {
            let call = &chunk["choices"][0]["delta"]["tool_calls"][0];
            call["function"]["arguments"].as_str().map(String::from)
        })
        .collect();
    assert_eq!(arguments, r#"{"text":"hé"}"#);
}

#[tokio::test]
async fn without_an_offered_tool_it_answers_with_text() {
    let mock = start();
    let answer = ask(&mock, &json!({ "model": "mock-tool", "messages": [user("hi")] })).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "DONE hi");
}

#[tokio::test]
async fn broken_protocol_is_refused_with_the_reason() {
    let mock = start();
    let (hi, call, result) = (user("hi"), called(&["a", "b"]), answered("a", "1"));
    let not_json = json!({ "role": "assistant", "content": null, "tool_calls": [
        { "id": "a", "type": "function", "function": { "name": "echo", "arguments": "{" } }] });
    let cases = [
        (json!([]), "messages is an empty list"),
        (json!([user("")]), "messages[0]: empty user message"),
        (
            json!([{ "role": "function", "content": "x" }]),
            r#"messages[0]: unknown role "function""#,
        ),
        (json!([hi, called(&[])]), "messages[1]: tool_calls is an empty list"),
        (json!([hi, called(&["a"])]), r#"tool calls {"a"} are not answered"#),
        (
            json!([hi, call, result, user("more")]),
            r#"messages[3]: user before tool calls {"b"} are answered"#,
        ),
        (
            json!([hi, called(&["a"]), result, result]),
            r#"messages[3]: no open tool call has the id "a""#,
        ),
        (json!([hi, called(&["a", "a"])]), r#"messages[1]: two tool calls with the id "a""#),
        (json!([hi, { "role": "tool", "content": "x" }]), "messages[1]: tool without tool_call_id"),
        (
            json!([hi, not_json]),
            "messages[1]: arguments of tool call a are not the JSON text of an object",
        ),
        (
            json!([hi, { "role": "assistant", "content": "x" }]),
            "the last message is the assistant's: nothing to answer",
        ),
    ];
    for (messages, why) in &cases {
        let response =
            post(&mock, &json!({ "model": "mock", "messages": messages })).await.unwrap();
        assert_eq!(response.status(), 400, "{why}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["message"], *why);
    }
    let stats = mock.stats();
    assert_eq!((stats.chat, stats.bad_requests), (11, 11));
    assert_eq!(stats.last_bad_request.as_deref(), Some(cases[10].1));
}

#[tokio::test]
async fn offered_tools_need_a_schema_of_an_object() {
    let mock = start();
    for tools in [
        json!([]),
        json!([{ "type": "function", "function": { "name": "echo" } }]),
        json!([{ "type": "function", "function": { "name": "echo", "parameters": { "type": "string" } } }]),
        json!([{ "type": "function", "function": { "name": "e cho", "parameters": { "type": "object" } } }]),
    ] {
        let body = json!({ "model": "mock", "messages": [user("hi")], "tools": tools });
        assert_eq!(post(&mock, &body).await.unwrap().status(), 400, "{tools}");
    }
}

#[tokio::test]
async fn ordered_faults_come_once_each_and_then_stop() {
    let mock = start();
    let order = json!({ "kind": "429", "count": 1 });
    let url = format!("http://{}/admin/faults", mock.address());
    http_client().unwrap().post(url).json(&order).send().await.unwrap().error_for_status().unwrap();
    mock.fail_next(Fault::Cut, 1);

    let body = json!({ "model": "mock", "messages": [user("hi")] });
    let refused = post(&mock, &body).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()),
        (429, "1")
    );
    let cut = post(&mock, &body).await.unwrap();
    assert_eq!(cut.status(), 200);
    cut.bytes().await.unwrap_err();
    assert_eq!(ask(&mock, &body).await["choices"][0]["message"]["content"], "DONE hi");
    assert_eq!((mock.stats().faults, mock.calls_for("hi")), (2, 3));
}

#[tokio::test]
async fn shutdown_breaks_a_hanging_request_and_frees_the_port() {
    let mock = start();
    let port = mock.address().port();
    let url = format!("{}/chat/completions", mock.url());
    let body = json!({ "model": "mock-hang", "messages": [user("hi")] });
    let hanging = tokio::spawn(http_client().unwrap().post(url).json(&body).send());
    while mock.stats().faults == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mock.shutdown();
    hanging.await.unwrap().unwrap_err();
    MockLlm::start(Options { port, ..Options::default() }).unwrap();
}

#[tokio::test]
async fn wrong_api_key_is_refused() {
    let mock =
        MockLlm::start(Options { api_key: Some("sk-1".into()), ..Options::default() }).unwrap();
    let body = json!({ "model": "mock", "messages": [user("hi")] });
    assert_eq!(post(&mock, &body).await.unwrap().status(), 401);
    let url = format!("{}/chat/completions", mock.url());
    let right = http_client().unwrap().post(url).bearer_auth("sk-1").json(&body).send().await;
    assert_eq!(right.unwrap().status(), 200);
}
