//! Healthy models.

use nexus_wall::{CANON, Protocol, Verdict};
use serde_json::{Value, json};

use crate::said::{KEY, ask, client, events, key_header, send, streamed_text, wall, whole_text};

#[tokio::test]
async fn canonical_answer_comes_in_every_protocol_streaming_and_not() {
    let wall = wall();
    for protocol in Protocol::ALL {
        let stream = ask(&wall, protocol, "fb-ok", true).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream", "{protocol:?}");
        assert_eq!(streamed_text(protocol, &stream.text().await.unwrap()), CANON, "{protocol:?}");
        let whole: Value =
            ask(&wall, protocol, "fb-ok", false).await.unwrap().json().await.unwrap();
        assert_eq!(whole_text(protocol, &whole), CANON, "{protocol:?}");

        let seen = wall.requests(protocol, "fb-ok");
        assert_eq!(seen.len(), 2);
        for seen in seen {
            assert_eq!((seen.key.as_str(), seen.verdict), (KEY, Verdict::Answered));
            assert!(seen.whole && seen.ended.is_some());
            assert!(seen.headers.iter().all(|(_, value)| !value.contains(KEY)));
        }
    }
    let charge = wall.charged(KEY);
    assert_eq!((charge.answers, charge.output_tokens, charge.lost_answers), (8, 8 * 60, 0));
    assert_eq!(wall.broken_rules(), [""; 0]);
    wall.reset();
    assert!(wall.all().is_empty() && wall.charged(KEY).answers == 0);
}

#[tokio::test]
async fn models_are_listed_in_the_form_of_each_provider() {
    let wall = wall();
    let mut found = Vec::new();
    for protocol in [Protocol::OpenaiChat, Protocol::AnthropicMessages, Protocol::Gemini] {
        let (name, key) = key_header(protocol);
        let mut get = client().get(format!("{}/models", wall.url(protocol))).header(name, key);
        if protocol == Protocol::AnthropicMessages {
            get = get.header("anthropic-version", "2023-06-01");
        }
        let list: Value = get.send().await.unwrap().json().await.unwrap();
        found.push(match protocol {
            Protocol::Gemini => list["models"][0]["name"].clone(),
            _ => list["data"][0]["id"].clone(),
        });
    }
    assert_eq!(found, ["fb-ok", "fb-ok", "models/fb-ok"]);
}

#[tokio::test]
async fn embeddings_depend_on_the_text_alone() {
    let wall = wall();
    let post = async |protocol, path: &str, body: Value| -> Value {
        let (name, key) = key_header(protocol);
        let url = format!("{}{path}", wall.url(protocol));
        client().post(url).header(name, key).json(&body).send().await.unwrap().json().await.unwrap()
    };
    let openai = json!({ "model": "wall-embed", "input": ["a", "b"], "dimensions": 4 });
    let openai = post(Protocol::OpenaiChat, "/embeddings", openai).await;
    let one = |text: &str| json!({ "model": "models/wall-embed", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 4 });
    let gemini = json!({ "requests": [one("a"), one("b")] });
    let gemini = post(Protocol::Gemini, "/models/wall-embed:batchEmbedContents", gemini).await;
    for i in [0, 1] {
        let vector = &openai["data"][i]["embedding"];
        assert_eq!(vector.as_array().unwrap().len(), 4);
        assert_eq!(vector, &gemini["embeddings"][i]["values"]);
    }
    assert_ne!(openai["data"][0]["embedding"], openai["data"][1]["embedding"]);
}

fn tool(protocol: Protocol) -> Value {
    let schema = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
    match protocol {
        Protocol::OpenaiChat => {
            json!([{ "type": "function", "function": { "name": "echo", "parameters": schema } }])
        }
        Protocol::OpenaiResponses => {
            json!([{ "type": "function", "name": "echo", "parameters": schema }])
        }
        Protocol::AnthropicMessages => json!([{ "name": "echo", "input_schema": schema }]),
        Protocol::Gemini => {
            json!([{ "functionDeclarations": [{ "name": "echo", "parametersJsonSchema": schema }] }])
        }
    }
}

/// The request after a round of tools, with the model's own turn as it was.
fn second_round(protocol: Protocol, mut body: Value, answer: &Value) -> Value {
    match protocol {
        Protocol::OpenaiChat => {
            let mut turn = answer["choices"][0]["message"].clone();
            turn.as_object_mut().unwrap().remove("reasoning_content");
            let calls = turn["tool_calls"].as_array().unwrap().clone();
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(turn);
            messages.extend(calls.iter().map(
                |call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "hi" }),
            ));
        }
        Protocol::OpenaiResponses => {
            let items = answer["output"].as_array().unwrap();
            let input = body["input"].as_array_mut().unwrap();
            input.extend(items.iter().cloned());
            let calls = items.iter().filter(|item| item["type"] == "function_call");
            input.extend(calls.map(
                |call| json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "hi" }),
            ));
        }
        Protocol::AnthropicMessages => {
            let blocks = answer["content"].as_array().unwrap();
            let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
            let results: Vec<_> = calls
                .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "hi" }))
                .collect();
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(json!({ "role": "assistant", "content": blocks }));
            messages.push(json!({ "role": "user", "content": results }));
        }
        Protocol::Gemini => {
            let content = &answer["candidates"][0]["content"];
            let calls = content["parts"].as_array().unwrap().iter();
            let calls = calls.filter(|part| part.get("functionCall").is_some());
            let results: Vec<_> = calls
                .map(|_| json!({ "functionResponse": { "name": "echo", "response": { "result": "hi" } } }))
                .collect();
            let contents = body["contents"].as_array_mut().unwrap();
            contents.push(content.clone());
            contents.push(json!({ "role": "user", "parts": results }));
        }
    }
    body
}

#[tokio::test]
async fn thought_has_to_come_back_with_the_results_as_it_was() {
    let (wall, model) = (wall(), "fb-ok-tool-parallel2-think");
    for protocol in Protocol::ALL {
        let mut first = crate::said::body(protocol, model, false);
        first["tools"] = tool(protocol);
        let answer = send(&wall, protocol, model, false, &first).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let second = second_round(protocol, first, &answer);
        let done = send(&wall, protocol, model, false, &second).await.unwrap();
        assert_eq!(done.status(), 200, "{protocol:?}: {}", done.text().await.unwrap());
        if protocol == Protocol::OpenaiChat {
            continue;
        }
        let forged = second.to_string().replace("c2lnbmF0dXJl", "Zm9yZ2Vk");
        let forged: Value = serde_json::from_str(&forged).unwrap();
        let refused = send(&wall, protocol, model, false, &forged).await.unwrap();
        assert_eq!(refused.status(), 400, "{protocol:?}");
    }
    assert_eq!(wall.broken_rules().len(), 3);
}

#[tokio::test]
async fn usage_says_cached_and_reasoning_tokens_as_each_provider_counts_them() {
    let (wall, model) = (wall(), "fb-ok-cached-think-tok10");
    let stream = async |protocol| {
        let mut body = crate::said::body(protocol, model, true);
        if protocol == Protocol::OpenaiChat {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let answer = send(&wall, protocol, model, true, &body).await.unwrap();
        (events(&answer.text().await.unwrap()), body.to_string().len() as u64 / 4 + 1)
    };
    let (chat, _) = stream(Protocol::OpenaiChat).await;
    let usage = &chat.last().unwrap()["usage"];
    assert_eq!(usage["completion_tokens"], 16);
    assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 6);
    let (anthropic, input) = stream(Protocol::AnthropicMessages).await;
    let usage = &anthropic[0]["message"]["usage"];
    let cached = usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(usage["input_tokens"].as_u64().unwrap() + cached, input);
    let (gemini, _) = stream(Protocol::Gemini).await;
    let usage = &gemini.last().unwrap()["usageMetadata"];
    assert_eq!(
        (&usage["candidatesTokenCount"], &usage["thoughtsTokenCount"]),
        (&json!(10), &json!(6))
    );
}
