//! One valid example of every event, for its schema and for tests.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::event_type::EventType;
use crate::ids::{LOCAL_TENANT, derived_id, traceparent};

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// An example of this type, as it stands on the bus.
#[must_use]
pub(crate) fn of(kind: EventType) -> Value {
    let run = Uuid::from_u128(0x0192_f0c1_2b3c_7d4e_8f50_1234_5678_9abc);
    let id = if kind == EventType::RequestsIncoming { run } else { derived_id(run, kind.as_str()) };
    json!({
        "id": id,
        "type": kind,
        "payload": payload(kind, run),
        "metadata": {
            "tenant": LOCAL_TENANT,
            "channel": "web",
            "conversation": "kitchen",
            "user": "local",
            "agent": "assistant",
            "schema": 1,
            "traceparent": traceparent(run, id),
        },
        "timestamp": "2026-11-20T12:00:00.123456Z",
        "correlation_id": run,
    })
}

fn payload(kind: EventType, run: Uuid) -> Value {
    let call = derived_id(run, "call");
    match kind {
        EventType::RequestsIncoming => json!({ "text": "What time is it in Tokyo?" }),
        EventType::RequestsProcessed => json!({
            "request": run, "model": "demo/demo",
            "outcome": { "status": "answered", "text": "It is 21:00 in Tokyo." },
            "usage": { "model_calls": 2, "tool_calls": 1, "input_tokens": 80, "output_tokens": 24 },
        }),
        EventType::RunsStarted => json!({
            "request": run, "engine": 1,
            "configuration": { "status": "accepted", "agent": agent() },
        }),
        EventType::RunsCancel => json!({ "run": run, "reason": "Cancelled by the user." }),
        EventType::RunsTimeout => json!({ "run": run, "scope": { "kind": "call", "call": call } }),
        EventType::MemoryRecall => json!({
            "request": run, "query": "What time is it in Tokyo?", "turns": 20, "no_older_than": 0, "wait_ms": 10_000,
        }),
        EventType::MemoryRecalled => json!({
            "call": call,
            "turns": [{ "request": run, "input": "Hello", "output": "Hello.", "at": "2026-11-20T11:59:00.000000Z" }],
        }),
        EventType::InferenceRequest => json!({
            "model": "default", "number": 1, "start_within_ms": 60_000, "timeout_ms": 120_000,
            "messages": [{ "role": "user", "parts": [{ "kind": "text", "text": "What time is it in Tokyo?" }] }],
            "tools": [tool()], "sampling": { "temperature": 0.2 },
        }),
        EventType::InferenceResponse => json!({
            "call": call, "model": "demo/demo", "duration_ms": 12,
            "outcome": { "status": "completed", "text": "", "finish": "tool_calls",
                "tool_calls": [{ "provider_id": "call_1", "tool": "clock", "arguments": "{\"time_zone\":\"Asia/Tokyo\"}" }],
                "usage": { "input_tokens": 40, "output_tokens": 12 } },
        }),
        EventType::InferenceChunk => json!({
            "call": call, "attempt": 1, "delta": { "kind": "text", "offset": 0, "text": "It is" },
        }),
        EventType::InferenceEmbed => json!({
            "model": "ollama/nomic-embed-text", "inputs": ["What time is it in Tokyo?"],
            "start_within_ms": 60_000, "timeout_ms": 60_000,
        }),
        EventType::InferenceEmbedded => json!({
            "call": call, "model": "ollama/nomic-embed-text", "duration_ms": 12,
            "outcome": { "status": "completed", "dimensions": 2,
                "vectors": { "kind": "inline", "base64": ["AACAPwAAAAA="] },
                "usage": { "input_tokens": 7, "output_tokens": 0 } },
        }),
        EventType::ToolsExecute => json!({
            "tool": "clock", "arguments": "{\"time_zone\":\"Asia/Tokyo\"}", "effect": "read", "index": 0,
            "start_within_ms": 60_000, "timeout_ms": 5_000,
        }),
        EventType::ToolsResults => json!({
            "call": call, "tool": "clock", "duration_ms": 1,
            "outcome": { "status": "completed", "output": "2026-11-20T21:00:00+09:00[Asia/Tokyo]", "truncated": false },
        }),
        EventType::ToolsApproval => json!({
            "question": call, "decision": "approved", "arguments_sha256": SHA256,
        }),
        EventType::NotifyDeliver => json!({ "notice": {
            "kind": "approval", "tool": "send_mail", "arguments": "{\"to\":\"ann@example.org\"}",
            "arguments_sha256": SHA256, "expires_after_ms": 600_000,
        } }),
        EventType::AdaptersUnread => json!({
            "native_id": "812", "reason": "unknown_kind", "raw": "{\"update_id\":812,\"poll\":{}}",
        }),
        EventType::OscReceived => json!({
            "peer": "live", "messages": [{ "address": "/live/song/get/tempo", "arguments": [{ "type": "float", "value": 120.0 }] }],
        }),
        EventType::OscSent => json!({
            "peer": "live", "messages": [{ "address": "/live/song/set/tempo", "arguments": [{ "type": "float", "value": 120.0 }], "due_us": 5_000 }],
        }),
        EventType::OrchestratorEpoch => json!({ "partition": 7, "owner": call, "engine": 1 }),
        EventType::DeadLetter => json!({
            "worker": "tools", "code": "malformed", "reason": "reading the envelope: expected value at line 1 column 1",
            "deliveries": 1, "stream": "EVENTS", "sequence": 812, "subject": "tools.execute.7.x.web.kitchen",
            "message": "bm90IGpzb24=",
        }),
    }
}

fn agent() -> Value {
    json!({
        "digest": SHA256,
        "definition": { "name": "assistant", "instructions": "You are a helpful assistant.", "tools": ["clock"] },
        "tools": [tool()],
    })
}

fn tool() -> Value {
    json!({
        "name": "clock", "description": "Tells the time.", "effect": "read", "timeout_ms": 5_000,
        "parameters": { "type": "object", "properties": { "time_zone": { "type": "string" } } },
    })
}
