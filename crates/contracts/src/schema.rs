//! JSON Schemas of all events and the AsyncAPI document of the bus, made from the types.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::envelope::{Event, Payload, RawEvent};
use crate::event_type::EventType;
use crate::examples;
use crate::{
    AdapterUnread, DeadLetter, EmbedRequest, EmbedResponse, IncomingRequest, InferenceChunk,
    InferenceRequest, InferenceResponse, MemoryRecall, MemoryRecalled, NotifyDeliver,
    OrchestratorEpoch, OscReceived, OscSent, ProcessedRequest, RunCancel, RunStarted, RunTimeout,
    ToolApproval, ToolExecute, ToolResult,
};

/// All generated files: path inside `schemas/`, and text.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("envelope.json".to_owned(), pretty(&schema_of::<RawEvent>("Envelope", &Value::Null))),
        ("asyncapi.json".to_owned(), pretty(&asyncapi())),
    ];
    for (kind, schema) in events() {
        files.push((format!("events/{kind}.json"), pretty(&schema)));
    }
    files
}

/// The schema of every event, whole with its envelope, with a valid example.
#[must_use]
pub fn events() -> Vec<(EventType, Value)> {
    vec![
        event::<IncomingRequest>(),
        event::<ProcessedRequest>(),
        event::<RunStarted>(),
        event::<RunCancel>(),
        event::<RunTimeout>(),
        event::<MemoryRecall>(),
        event::<MemoryRecalled>(),
        event::<InferenceRequest>(),
        event::<InferenceResponse>(),
        event::<InferenceChunk>(),
        event::<EmbedRequest>(),
        event::<EmbedResponse>(),
        event::<ToolExecute>(),
        event::<ToolResult>(),
        event::<ToolApproval>(),
        event::<NotifyDeliver>(),
        event::<AdapterUnread>(),
        event::<OscReceived>(),
        event::<OscSent>(),
        event::<OrchestratorEpoch>(),
        event::<DeadLetter>(),
    ]
}

fn event<P: Payload>() -> (EventType, Value) {
    let example = examples::of(P::TYPE);
    let mut schema = schema_of::<Event<P>>(P::TYPE.as_str(), &example);
    schema["properties"]["type"] = json!({ "const": P::TYPE.as_str() });
    schema["x-nexus-schema"] = json!(P::SCHEMA);
    schema["x-nexus-emitter"] = json!(P::TYPE.emitter());
    (P::TYPE, schema)
}

fn schema_of<T: schemars::JsonSchema>(title: &str, example: &Value) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    schema["title"] = json!(title);
    if !example.is_null() {
        schema["examples"] = json!([example]);
    }
    schema
}

/// The whole bus as AsyncAPI 3.
fn asyncapi() -> Value {
    let (mut channels, mut operations, mut messages) = (json!({}), json!({}), json!({}));
    for kind in EventType::ALL {
        let name = kind.as_str().replace('.', "_");
        let (address, parameters) = if kind == EventType::OrchestratorEpoch {
            (format!("{kind}.{{partition}}"), json!({ "partition": { "description": "0 to 63" } }))
        } else {
            let parameters = json!({
                "tenant": { "description": "UUID of the tenant" },
                "channel": { "description": "the adapter, for example telegram" },
                "conversation": { "description": "native id, encoded as a token" },
            });
            (format!("{kind}.{{tenant}}.{{channel}}.{{conversation}}"), parameters)
        };
        let stream = match kind {
            EventType::InferenceChunk => "CHUNKS",
            EventType::DeadLetter => "DEAD",
            _ => "EVENTS",
        };
        channels[&name] = json!({
            "address": address, "parameters": parameters, "x-nexus-stream": stream,
            "messages": { &name: { "$ref": format!("#/components/messages/{name}") } },
        });
        operations[format!("publish_{name}")] = json!({
            "action": "send", "channel": { "$ref": format!("#/channels/{name}") },
            "summary": format!("published by: {}", kind.emitter()),
        });
        messages[&name] = json!({
            "name": kind.as_str(), "contentType": "application/json",
            "headers": { "type": "object", "properties": {
                "Nats-Msg-Id": { "type": "string", "format": "uuid", "description": "the event's id" } } },
            "payload": { "$ref": format!("./events/{kind}.json") },
        });
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Nexus", "version": env!("CARGO_PKG_VERSION"),
            "description": "Every event on the bus. Subjects are published as given here; EVENTS stores them with the partition after the action: domain.action.partition.tenant.channel.conversation. Native ids become tokens: an id of letters, digits, '-' and '_' that does not begin with '_' stays, any other is '_' and its unpadded base64url.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": { "nats": { "host": "127.0.0.1:4222", "protocol": "nats" } },
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
