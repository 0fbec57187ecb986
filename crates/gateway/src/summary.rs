//! The few facts of an event that a timeline shows.

use nexus_contracts::{
    AgentSnapshot, DecodeError, Event, EventType, IncomingRequest, InferenceOutcome,
    InferenceRequest, InferenceResponse, MemoryRecalled, NotifyDeliver, Outcome, Payload,
    ProcessedRequest, RunCancel, RunConfiguration, RunStarted, ToolApproval, ToolExecute,
    ToolResult,
};
use serde_json::{Value, json};

/// Most characters of a tool's output in a summary.
const OUTPUT: usize = 500;

pub(crate) fn of(kind: EventType, bytes: &[u8]) -> Result<Value, DecodeError> {
    Ok(match kind {
        EventType::RequestsIncoming => {
            let event = read::<IncomingRequest>(bytes)?;
            json!({ "text": event.payload.text, "user": event.metadata.user })
        }
        EventType::RunsStarted => match read::<RunStarted>(bytes)?.payload.known.configuration {
            RunConfiguration::Accepted { agent } => agent_of(&agent),
            RunConfiguration::Refused { code, message } => {
                json!({ "error": code, "message": message })
            }
        },
        EventType::MemoryRecalled => {
            let event = read::<MemoryRecalled>(bytes)?;
            json!({ "turns": event.payload.turns.len(), "degraded": event.payload.degraded })
        }
        EventType::InferenceRequest => {
            let event = read::<InferenceRequest>(bytes)?;
            json!({ "call": event.id, "model": event.payload.model, "step": event.payload.number })
        }
        EventType::InferenceResponse => response(&read(bytes)?),
        EventType::ToolsExecute => {
            let event = read::<ToolExecute>(bytes)?;
            let arguments = serde_json::from_str::<Value>(&event.payload.arguments)
                .unwrap_or_else(|_| Value::String(event.payload.arguments.clone()));
            json!({ "call": event.id, "tool": event.payload.tool, "arguments": arguments })
        }
        EventType::ToolsResults => {
            let event = read::<ToolResult>(bytes)?;
            let (payload, text) = (&event.payload, event.payload.outcome.text());
            let output: String = text.chars().take(OUTPUT).collect();
            json!({ "call": payload.call, "tool": payload.tool, "status": payload.outcome.status(),
                    "output": output, "ms": payload.duration_ms })
        }
        EventType::RunsCancel => json!({ "reason": read::<RunCancel>(bytes)?.payload.reason }),
        EventType::RequestsProcessed => {
            processed(&read::<ProcessedRequest>(bytes)?.payload.outcome)
        }
        EventType::ToolsApproval => {
            let event = read::<ToolApproval>(bytes)?;
            json!({ "question": event.payload.question, "decision": event.payload.decision,
                    "user": event.metadata.user })
        }
        EventType::NotifyDeliver => {
            let event = read::<NotifyDeliver>(bytes)?;
            json!({ "id": event.id, "notice": event.payload.notice })
        }
        EventType::RunsTimeout
        | EventType::AdaptersUnread
        | EventType::OscReceived
        | EventType::OscSent
        | EventType::MemoryRecall
        | EventType::InferenceChunk
        | EventType::InferenceEmbed
        | EventType::InferenceEmbedded
        | EventType::OrchestratorEpoch
        | EventType::DeadLetter => json!({}),
    })
}

fn read<P: Payload>(bytes: &[u8]) -> Result<Event<P>, DecodeError> {
    Event::decode(bytes)
}

fn agent_of(agent: &AgentSnapshot) -> Value {
    json!({ "agent": agent.definition.name, "model": agent.definition.model })
}

fn response(event: &Event<InferenceResponse>) -> Value {
    let payload = &event.payload;
    match &payload.outcome {
        InferenceOutcome::Completed { finish, usage, .. } => json!({
            "call": payload.call, "model": payload.model, "finish": finish.as_str(),
            "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
            "ms": payload.duration_ms,
        }),
        InferenceOutcome::Failed(error) => {
            json!({ "call": payload.call, "error": error.code, "message": error.message })
        }
        InferenceOutcome::Cancelled => json!({ "call": payload.call, "error": "cancelled" }),
    }
}

fn processed(outcome: &Outcome) -> Value {
    let error = match outcome {
        Outcome::Failed { code, message } => json!({ "code": code, "message": message }),
        Outcome::Answered { .. } | Outcome::Cancelled { .. } | Outcome::Steered { .. } => {
            Value::Null
        }
    };
    json!({ "outcome": outcome.status(), "text": outcome.display_text(), "error": error })
}
