use std::num::NonZeroU32;

use nexus_contracts::{
    Attachment, AttachmentKind, Effect, Effort, NativeTurn, Part, RequestedCall, ResponseFormat,
    ToolChoice, ToolSpec,
};
use uuid::Uuid;

use super::*;
use crate::call::{Class, EmbedCall};
use crate::files::Content;

/// What is sent, as JSON.
fn sent(question: &Question) -> Value {
    let headers = question.headers.iter();
    let headers: serde_json::Map<_, _> =
        headers.map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap()))).collect();
    let body: Value = serde_json::from_slice(&question.body).unwrap();
    json!({ "path": question.path, "headers": headers, "body": body })
}

fn spec(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: format!("what {name} does"),
        parameters: json!({ "type": "object", "properties": { "text": { "type": "string", "maxLength": 9 } } }),
        effect: Effect::Read,
        timeout_ms: 1,
        client: None,
    }
}

fn attachment(name: &str, media_type: &str, kind: AttachmentKind) -> Part {
    Part::Attachment {
        attachment: Attachment {
            uri: format!("blob:t/{name}"),
            sha256: "00".to_owned(),
            media_type: media_type.to_owned(),
            bytes: 5,
            kind,
            name: Some(name.to_owned()),
        },
    }
}

fn files() -> Files {
    let image = |media_type: &str| Content::Image {
        media_type: media_type.to_owned(),
        base64: "iVBORw0KGgo=".into(),
    };
    Files::of([
        ("blob:t/cat.png".to_owned(), image("image/png")),
        ("blob:t/dog.gif".to_owned(), image("image/gif")),
        ("blob:t/notes.txt".to_owned(), Content::Text("line one\nline two".into())),
    ])
}

fn tool_call(call: u128, provider_id: Option<&str>, tool: &str, arguments: &str) -> Part {
    Part::ToolCall {
        call: Uuid::from_u128(call),
        provider_id: provider_id.map(str::to_owned),
        tool: tool.to_owned(),
        arguments: arguments.to_owned(),
    }
}

fn tool_result(call: u128, provider_id: Option<&str>, tool: &str, failed: bool) -> Part {
    Part::ToolResult {
        call: Uuid::from_u128(call),
        provider_id: provider_id.map(str::to_owned),
        tool: tool.to_owned(),
        text: if failed { "no such zone".to_owned() } else { "12:00".to_owned() },
        is_error: failed,
    }
}

/// The items in which a protocol's model thought and called `clock`.
fn items(protocol: &str) -> Vec<Value> {
    let path = fixtures(protocol).join("reasoning.json");
    let told: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let items = told.pointer("/result/completed/turn/items").and_then(Value::as_array);
    items.cloned().unwrap_or_default()
}

/// Files, a round of tools with a native turn, and one of another model.
fn conversation(protocol: &str, provider_id: Option<&str>) -> Vec<Message> {
    conversation_with(protocol, model_of(protocol), provider_id)
}

fn conversation_with(protocol: &str, model: &str, provider_id: Option<&str>) -> Vec<Message> {
    let said = Part::Text { text: "What do you see?".to_owned() };
    let arguments = "{\"time_zone\":\"ü\"}";
    let called = [RequestedCall {
        provider_id: None,
        tool: "clock".to_owned(),
        arguments: arguments.to_owned(),
    }];
    let turn = |model: &str| Part::Native {
        turn: NativeTurn {
            model: model.to_owned(),
            wire: protocol.to_owned(),
            items: items(protocol),
            fingerprint: NativeTurn::fingerprint_of_answer("", &called),
        },
    };
    let own = format!("p/{model}");
    vec![
        Message::text(Role::System, "Be brief."),
        Message {
            role: Role::User,
            parts: vec![
                said,
                attachment("cat.png", "image/png", AttachmentKind::Photo),
                attachment("dog.gif", "image/gif", AttachmentKind::Photo),
                attachment("notes.txt", "text/plain", AttachmentKind::Document),
                attachment("talk.ogg", "audio/ogg", AttachmentKind::Voice),
            ],
        },
        Message {
            role: Role::Assistant,
            parts: vec![tool_call(1, provider_id, "clock", arguments), turn(&own)],
        },
        Message { role: Role::Tool, parts: vec![tool_result(1, provider_id, "clock", false)] },
        Message {
            role: Role::Assistant,
            parts: vec![
                Part::Text { text: "Twice more.".to_owned() },
                tool_call(2, Some("other_2"), "clock", r#"{"b": 1, "a": 2}"#),
                tool_call(3, None, "echo", "oops"),
                turn("other/model"),
            ],
        },
        Message { role: Role::Tool, parts: vec![tool_result(2, Some("other_2"), "clock", true)] },
        Message { role: Role::Tool, parts: vec![tool_result(3, None, "echo", false)] },
        Message::text(Role::Assistant, "It is noon."),
        Message::text(Role::User, "Thanks. 世界?"),
    ]
}

fn provider_id(protocol: &str) -> Option<&'static str> {
    match protocol {
        "openai-responses" => Some("call_c"),
        "anthropic-messages" => Some("toolu_c"),
        "openai-chat" => Some("call_c"),
        _ => None,
    }
}

#[test]
fn conversation_with_files_tools_and_native_turns_is_sent_whole() {
    for protocol in PROTOCOLS {
        let request = InferenceRequest {
            tools: vec![spec("clock"), spec("echo")],
            sampling: Sampling {
                max_output_tokens: NonZeroU32::new(900),
                temperature: Some(0.5),
                seed: Some(7),
                stop: vec!["END".to_owned()],
                tool_choice: Some(ToolChoice::Auto),
                ..Sampling::default()
            },
            ..request(conversation(protocol, provider_id(protocol)))
        };
        let opened = open(protocol, model_of(protocol), &request, &files()).unwrap();
        assert_file(protocol, "request", &sent(&opened.question));
    }
}

#[test]
fn forced_tool_and_schema_are_sent() {
    for protocol in PROTOCOLS {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 1 } }, "required": ["n"] });
        let request = InferenceRequest {
            tools: vec![spec("clock")],
            sampling: Sampling {
                top_p: Some(0.9),
                tool_choice: Some(ToolChoice::Tool { name: "clock".to_owned() }),
                response_format: Some(ResponseFormat::JsonSchema {
                    name: "answer".to_owned(),
                    schema,
                    strict: false,
                }),
                reasoning: Some(Effort::High),
                ..Sampling::default()
            },
            ..request(vec![Message::text(Role::User, "hi")])
        };
        let opened = open(protocol, model_of(protocol), &request, &files()).unwrap();
        assert_file(protocol, "request_forced", &sent(&opened.question));
    }
}

#[test]
fn perplexity_is_given_its_search_and_no_field_that_it_does_not_know() {
    let asked = InferenceRequest {
        tools: vec![spec("clock")],
        sampling: Sampling {
            response_format: Some(ResponseFormat::JsonSchema {
                name: "answer".to_owned(),
                schema: json!({ "type": "object" }),
                strict: true,
            }),
            ..Sampling::default()
        },
        ..request(vec![Message::text(Role::User, "news?")])
    };
    let (files, credential) = (Files::default(), Credential::default());
    let call = Call {
        full_name: "perplexity/perplexity/sonar",
        model: "perplexity/sonar",
        request: &asked,
        files: &files,
        credential: &credential,
        patience: Patience::OF_THE_DEMO,
    };
    let opened = OpenAiResponses::of("api.perplexity.ai", true).open(call).unwrap();
    let body: Value = serde_json::from_slice(&opened.question.body).unwrap();
    assert_eq!(body["tools"][0], json!({ "type": "web_search" }));
    assert_eq!(body["tools"][1]["name"], "clock");
    let format = json!({ "name": "answer", "schema": { "type": "object" } });
    assert_eq!(body["response_format"], json!({ "type": "json_schema", "json_schema": format }));
    let unknown = ["store", "include", "text", "prompt_cache_key"];
    assert!(unknown.iter().all(|field| body.get(field).is_none()), "{body}");
}

#[test]
fn thought_and_any_json_are_asked_for() {
    for protocol in PROTOCOLS {
        let request = InferenceRequest {
            sampling: Sampling {
                temperature: Some(0.5),
                response_format: Some(ResponseFormat::JsonObject),
                reasoning: Some(Effort::Medium),
                ..Sampling::default()
            },
            ..request(vec![
                Message::text(Role::System, "Be brief."),
                Message::text(Role::User, "hi"),
            ])
        };
        let opened = open(protocol, model_of(protocol), &request, &files()).unwrap();
        assert_file(protocol, "request_thought", &sent(&opened.question));
    }
}

/// Models that bind their thoughts to tools and instructions, and those that nobody knows yet.
#[test]
fn thoughts_go_back_to_any_model_that_had_them() {
    for (protocol, model, signature) in [
        ("anthropic-messages", "claude-opus-5-5", "EqQBCgIYAhIM"),
        ("anthropic-messages", "claude-next", "EqQBCgIYAhIM"),
        ("openai-responses", "sonar-next", "gAAAAABo"),
        ("gemini", "gemini-2.5-pro", "CiQBcsjafA=="),
        ("gemini", "gemini-9-next", "CiQBcsjafA=="),
    ] {
        let request = InferenceRequest {
            tools: vec![spec("clock"), spec("echo")],
            ..request(conversation_with(protocol, model, provider_id(protocol)))
        };
        let opened = open(protocol, model, &request, &files()).unwrap();
        let body = String::from_utf8(opened.question.body).unwrap();
        assert!(body.contains(signature), "{protocol} {model}: {body}");
        assert!(body.contains("iVBORw0KGgo="), "{protocol} {model}");
    }
}

#[test]
fn changed_turn_is_rebuilt_from_what_it_says_now() {
    for protocol in PROTOCOLS {
        let mut messages = conversation(protocol, provider_id(protocol));
        messages[2].parts.push(Part::Text { text: "Edited.".to_owned() });
        let opened =
            open(protocol, model_of(protocol), &request(messages), &Files::default()).unwrap();
        let body = String::from_utf8(opened.question.body).unwrap();
        for signature in ["EqQBCgIYAhIM", "gAAAAABo", "CiQBcsjafA=="] {
            assert!(!body.contains(signature), "{protocol}");
        }
        assert!(body.contains("Edited."), "{protocol}");
    }
}

#[test]
fn keys_are_sent_in_marked_headers_only() {
    for protocol in PROTOCOLS {
        let request = request(vec![Message::text(Role::User, "hi")]);
        let opened = open(protocol, model_of(protocol), &request, &Files::default()).unwrap();
        assert!(!opened.question.path.contains("key"), "{protocol}: {}", opened.question.path);
        let headers = codec_of(protocol).headers(Some("sk-secret"));
        let with_key: Vec<_> = headers
            .iter()
            .filter(|(_, value)| value.as_bytes().windows(9).any(|part| part == b"sk-secret"))
            .collect();
        assert_eq!(with_key.len(), 1, "{protocol}");
        assert!(with_key[0].1.is_sensitive(), "{protocol}");
        assert!(!format!("{headers:?}").contains("sk-secret"), "{protocol}");
    }
}

#[test]
fn lists_of_models_are_read() {
    let openai = json!({ "object": "list", "data": [{ "id": "a" }, { "id": "b" }] });
    let gemini = json!({ "models": [
        { "name": "models/a", "supportedGenerationMethods": ["generateContent"] },
        { "name": "models/aqa", "supportedGenerationMethods": ["generateAnswer"] },
        { "name": "b" },
    ] });
    for protocol in PROTOCOLS {
        let list = if protocol == "gemini" { &gemini } else { &openai };
        let names = codec_of(protocol).models(list.to_string().as_bytes());
        assert_eq!(names, Ok(vec!["a".to_owned(), "b".to_owned()]), "{protocol}");
        assert!(codec_of(protocol).models(b"<html>").is_err(), "{protocol}");
    }
}

#[test]
fn embeddings_are_asked_for_where_there_are_some() {
    let (inputs, credential) = (["a".to_owned(), "b".to_owned()], Credential::default());
    let call = EmbedCall {
        model: "embed-1",
        inputs: &inputs,
        dimensions: Some(2),
        credential: &credential,
        patience: Patience::OF_THE_DEMO,
    };
    let question = Gemini.embed(call).unwrap();
    assert_eq!(question.path, "/models/embed-1:batchEmbedContents");
    let text = |text: &str| {
        json!({ "model": "models/embed-1", "content": { "parts": [{ "text": text }] },
            "outputDimensionality": 2 })
    };
    let body: Value = serde_json::from_slice(&question.body).unwrap();
    assert_eq!(body, json!({ "requests": [text("a"), text("b")] }));
    let answer = json!({ "embeddings": [{ "values": [1.0, 2.0] }, { "values": [3.0, 4.0] }] });
    let vectors = Gemini.embedded(call, answer.to_string().as_bytes()).unwrap().vectors;
    assert_eq!(vectors, [[1.0, 2.0], [3.0, 4.0]]);
    assert_eq!(AnthropicMessages.embed(call).unwrap_err().class, Class::Invalid);
}

/// The name of a model is the caller's word, and a part of the path.
#[test]
fn name_of_a_model_stays_in_its_place() {
    for model in ["../../v1/files", "a?key=b", "a#b", "", "a%2e%2e", "a b"] {
        let request = request(vec![Message::text(Role::User, "hi")]);
        let refused = open("gemini", model, &request, &Files::default()).err().unwrap();
        assert_eq!(refused.class, Class::Invalid, "{model:?}");
    }
}
