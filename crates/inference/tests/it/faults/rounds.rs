//! A round of tools with a model that thinks: what it wrote has to come back as it was.

use nexus_contracts::{InferenceOutcome, Message, NativeTurn, Part, Role};
use nexus_wall::{CANON, Protocol};
use uuid::Uuid;

use super::{Arena, Scenario};
use crate::world::echo_tool;

pub(super) const SCENARIO: [Scenario; 1] =
    [Scenario::new("x11", "fb-ok-tool-parallel2-think-cached", |_| Ok(()))];

/// The assistant's turn and the results, as the orchestrator writes them into the history.
fn history(question: Message, outcome: &InferenceOutcome) -> Result<Vec<Message>, String> {
    let InferenceOutcome::Completed { tool_calls, turn, .. } = outcome else {
        return Err(format!("no answer: {outcome:?}"));
    };
    if tool_calls.len() != 2 {
        return Err(format!("{} calls instead of two", tool_calls.len()));
    }
    let turn = turn.clone().map(|turn: NativeTurn| Part::Native { turn });
    let (mut asked, mut answered) = (Vec::from_iter(turn), Vec::new());
    for requested in tool_calls {
        let (call, provider_id) = (Uuid::now_v7(), requested.provider_id.clone());
        asked.push(Part::ToolCall {
            call,
            provider_id: provider_id.clone(),
            tool: requested.tool.clone(),
            arguments: requested.arguments.clone(),
        });
        answered.push(Part::ToolResult {
            call,
            provider_id,
            tool: requested.tool.clone(),
            text: "hi".to_owned(),
            is_error: false,
        });
    }
    let assistant = Message { role: Role::Assistant, parts: asked };
    Ok(vec![question, assistant, Message { role: Role::Tool, parts: answered }])
}

pub(super) async fn play(arena: &Arena) -> Result<(), String> {
    let question = Message::text(Role::User, "Tell me.");
    let first = arena.ask("x11", vec![question.clone()], vec![echo_tool()]).await;
    let first = arena.answer(&first).await?;
    let second = arena.ask("x11", history(question, &first.outcome)?, vec![echo_tool()]).await;
    let second = arena.answer(&second).await?;
    match &second.outcome {
        InferenceOutcome::Completed { text, usage, .. } if text == CANON => {
            // Anthropic counts thoughts as output, and not apart.
            let thought = if arena.protocol == Protocol::AnthropicMessages { 0 } else { 6 };
            let counts = (usage.cache_read_tokens, usage.reasoning_tokens, usage.output_tokens);
            if second.attempts.len() == 1 && counts == (32, thought, 66) {
                return Ok(());
            }
            Err(format!("{second:?}"))
        }
        _ => Err(format!("{second:?}")),
    }
}
