//! What the tests' events are made of.

use nexus_contracts::{
    AgentDefinition, AgentSnapshot, Budget, CallLimits, Effect, Finish, InferenceOutcome,
    LOCAL_TENANT, Metadata, OnMessage, RequestedCall, Token, ToolOutcome, ToolSpec, Usage,
};
use serde_json::json;

use crate::ConversationKey;

pub(super) fn place(conversation: &str) -> Metadata {
    Metadata::at(LOCAL_TENANT, Token::encode("web").unwrap(), Token::encode(conversation).unwrap())
}

pub(super) fn key(conversation: &str) -> ConversationKey {
    ConversationKey::of(&place(conversation))
}

pub(super) fn said(text: &str) -> InferenceOutcome {
    let usage = Usage::of(40, 12);
    InferenceOutcome::Completed {
        text: text.to_owned(),
        tool_calls: Vec::new(),
        finish: Finish::Stop,
        usage,
        turn: None,
    }
}

pub(super) fn wanted(tools: &[(&str, &str)]) -> InferenceOutcome {
    let usage = Usage::of(40, 12);
    let asked = tools.iter().enumerate().map(|(index, (tool, arguments))| RequestedCall {
        provider_id: Some(format!("call_{index}")),
        tool: (*tool).to_owned(),
        arguments: (*arguments).to_owned(),
    });
    let (text, tool_calls) = (String::new(), asked.collect());
    InferenceOutcome::Completed { text, tool_calls, finish: Finish::ToolCalls, usage, turn: None }
}

pub(super) fn completed(output: &str) -> ToolOutcome {
    ToolOutcome::Completed { output: output.to_owned(), truncated: false }
}

pub(super) fn agent() -> AgentSnapshot {
    let tool = |name: &str, effect| ToolSpec {
        name: name.to_owned(),
        description: format!("Does what {name} does."),
        // A number that a careless JSON reader changes by its last bit.
        parameters: json!({ "type": "object", "maximum": 0.300_000_000_000_000_04, "minimum": 8.383_658_838_626_809e-78 }),
        effect,
        timeout_ms: 5_000,
        client: None,
    };
    AgentSnapshot {
        digest: "9f86d081".to_owned(),
        definition: AgentDefinition {
            name: "assistant".to_owned(),
            description: String::new(),
            instructions: "You are a helpful assistant.".to_owned(),
            approvals: Default::default(),
            model: "default".to_owned(),
            sampling: Default::default(),
            attempts: Default::default(),
            tools: vec!["clock".to_owned(), "append_line".to_owned()],
            on_message: OnMessage::Queue,
            recall_turns: 20,
            budget: Budget::default(),
            limits: CallLimits::default(),
        },
        tools: vec![tool("clock", Effect::Read), tool("append_line", Effect::Write)],
    }
}

/// An event with another microsecond in its own timestamp, which the engine never reads.
pub(super) fn changed_time(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let end = text.rfind(r#"Z","correlation_id""#).unwrap();
    let mut bytes = text.into_bytes();
    bytes[end - 1] ^= 1;
    bytes
}
