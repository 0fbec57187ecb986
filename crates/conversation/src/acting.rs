//! The tool calls of a run: asked for, allowed by a person where that is needed, and observed.

use nexus_contracts::{
    AgentSnapshot, Attachment, Decision, Effect, Message, NativeTurn, Notice, NotifyDeliver, Part,
    RequestedCall, Role, ToolApproval, ToolExecute, ToolOutcome, ToolSpec, sha256_hex,
};
use uuid::Uuid;

use crate::MAX_COMMAND_BYTES;
use crate::command::Issuer;
use crate::run::{Flow, fail, longest_wait, think};
use crate::state::{Phase, Run, ToolCall};

/// How a tool call ended, and the files that it made.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) outcome: ToolOutcome,
    pub(crate) attachments: Vec<Attachment>,
}

impl From<ToolOutcome> for Ended {
    fn from(outcome: ToolOutcome) -> Self {
        Self { outcome, attachments: Vec::new() }
    }
}

/// Issues the tool calls that the model asks for, all at once.
pub(crate) fn act(
    run: &mut Run,
    text: &str,
    asked: &[RequestedCall],
    turn: Option<&NativeTurn>,
    issuer: &mut Issuer<'_>,
) -> Flow {
    let Some(agent) = run.agent.clone() else {
        return fail(run, "no_agent", "The run has no agent.".to_owned(), issuer);
    };
    let wanted =
        run.usage.tool_calls.saturating_add(u32::try_from(asked.len()).unwrap_or(u32::MAX));
    if wanted > agent.definition.budget.tool_calls {
        let limit = agent.definition.budget.tool_calls;
        let text = format!("The request needs more than {limit} tool calls.");
        return fail(run, "budget_tool_calls", text, issuer);
    }
    run.usage.tool_calls = wanted;
    let mut parts = Vec::with_capacity(asked.len() + 2);
    parts.extend(turn.map(|turn| Part::Native { turn: turn.clone() }));
    if !text.is_empty() {
        parts.push(Part::Text { text: text.to_owned() });
    }
    let mut calls = Vec::with_capacity(asked.len());
    for (index, call) in (0_u32..).zip(asked) {
        let opened = open(run, &agent, index, call, issuer);
        parts.push(Part::ToolCall {
            call: opened.shown,
            provider_id: call.provider_id.clone(),
            tool: call.tool.clone(),
            arguments: call.arguments.clone(),
        });
        calls.push(opened);
    }
    run.messages.push(Message { role: Role::Assistant, parts });
    let all_refused = calls.iter().all(|call| call.outcome.is_some());
    run.phase = Phase::Acting(calls);
    if all_refused {
        observe(run);
        return think(run, issuer);
    }
    Flow::Goes
}

/// Issues one call, or the question whether it may be made, or refuses it.
fn open(
    run: &mut Run,
    agent: &AgentSnapshot,
    index: u32,
    call: &RequestedCall,
    issuer: &mut Issuer<'_>,
) -> ToolCall {
    let id = issuer.next_id(run);
    let mut opened = ToolCall {
        id,
        shown: id,
        provider_id: call.provider_id.clone(),
        tool: call.tool.clone(),
        has_effect: false,
        allowed_ms: 0,
        outcome: None,
        question: None,
        attachments: Vec::new(),
    };
    let Some(spec) = agent.tools.iter().find(|spec| spec.name == call.tool) else {
        opened.outcome = Some(refused(&call.tool, &agent.tools));
        run.issued += 1;
        return opened;
    };
    let execute = execute(spec, agent, index, call);
    opened.has_effect = spec.effect != Effect::Read;
    let issued = if agent.definition.approvals.tools.contains(&call.tool) {
        let wait_ms = agent.definition.approvals.expire_after_ms;
        opened.allowed_ms = wait_ms;
        let question = question(&execute, wait_ms);
        opened.question = Some(Box::new(execute));
        issuer.issue_within(run, &question, MAX_COMMAND_BYTES)
    } else {
        opened.allowed_ms = allowed_ms(&execute);
        issuer.issue_within(run, &execute, MAX_COMMAND_BYTES)
    };
    if issued.is_none() {
        opened.outcome = Some(too_long());
        opened.question = None;
        run.issued += 1;
    }
    opened
}

fn execute(
    spec: &ToolSpec,
    agent: &AgentSnapshot,
    index: u32,
    call: &RequestedCall,
) -> ToolExecute {
    let limits = agent.definition.limits;
    // The speaker's own program knows best how long it may take; the run's budget bounds it.
    let most_ms = if spec.client.is_some() { u64::MAX } else { limits.tool_ms };
    ToolExecute {
        tool: call.tool.clone(),
        arguments: call.arguments.clone(),
        effect: spec.effect,
        index,
        start_within_ms: limits.start_within_ms,
        timeout_ms: spec.timeout_ms.min(most_ms),
        client: spec.client.clone(),
    }
}

fn allowed_ms(execute: &ToolExecute) -> u64 {
    match execute.client {
        // It is there or it is not: nobody queues for it.
        Some(_) => execute.timeout_ms,
        None => longest_wait(execute.start_within_ms, execute.timeout_ms),
    }
}

fn question(execute: &ToolExecute, wait_ms: u64) -> NotifyDeliver {
    let notice = Notice::Approval {
        tool: execute.tool.clone(),
        arguments: execute.arguments.clone(),
        arguments_sha256: sha256_hex(execute.arguments.as_bytes()),
        users: Vec::new(),
        expires_after_ms: wait_ms,
    };
    NotifyDeliver { notice }
}

/// A person has answered the question whether a tool may be called.
///
/// An answer by somebody else, or about other arguments, is no answer.
pub(crate) fn approved(
    run: &mut Run,
    approval: &ToolApproval,
    user: Option<&str>,
    bytes: &[u8],
    issuer: &mut Issuer<'_>,
) -> Flow {
    let is_theirs = user.is_some() && run.request.place.user.as_deref() == user;
    let Phase::Acting(calls) = &run.phase else { return Flow::Late };
    let at = calls.iter().position(|call| {
        call.id == approval.question
            && call.outcome.is_none()
            && call.question.as_ref().is_some_and(|execute| {
                sha256_hex(execute.arguments.as_bytes()) == approval.arguments_sha256
            })
    });
    let Some(at) = at.filter(|_| is_theirs) else { return Flow::Late };
    if approval.decision == Decision::Denied {
        let message = "the person who was asked did not allow this call".to_owned();
        let outcome = ToolOutcome::Failed { code: "denied".to_owned(), message };
        return tool_ended(run, approval.question, outcome.into(), bytes, issuer);
    }
    run.begin_step(bytes);
    let Phase::Acting(calls) = &mut run.phase else { return Flow::Late };
    let Some(execute) = calls.get_mut(at).and_then(|call| call.question.take()) else {
        return Flow::Late;
    };
    let id = issuer.issue(run, execute.as_ref().clone());
    if let Phase::Acting(calls) = &mut run.phase
        && let Some(call) = calls.get_mut(at)
    {
        call.id = id;
        call.allowed_ms = allowed_ms(&execute);
    }
    Flow::Goes
}

pub(crate) fn tool_ended(
    run: &mut Run,
    call: Uuid,
    ended: Ended,
    bytes: &[u8],
    issuer: &mut Issuer<'_>,
) -> Flow {
    let Phase::Acting(calls) = &mut run.phase else { return Flow::Late };
    let Some(open) = calls.iter_mut().find(|open| open.id == call && open.outcome.is_none()) else {
        return Flow::Late;
    };
    open.outcome = Some(ended.outcome);
    open.attachments = ended.attachments;
    let all_ended = calls.iter().all(|call| call.outcome.is_some());
    if !all_ended {
        run.absorb(bytes);
        return Flow::Goes;
    }
    run.begin_step(bytes);
    observe(run);
    think(run, issuer)
}

/// What the model is told when no person has answered.
pub(crate) fn nobody_answered() -> ToolOutcome {
    let message = "nobody allowed this call in time".to_owned();
    ToolOutcome::Failed { code: "approval_expired".to_owned(), message }
}

fn refused(tool: &str, allowed: &[ToolSpec]) -> ToolOutcome {
    let names: Vec<&str> = allowed.iter().map(|spec| spec.name.as_str()).collect();
    let message = format!("there is no tool {tool:?} for this agent; it has: {}", names.join(", "));
    ToolOutcome::Failed { code: "tool_not_allowed".to_owned(), message }
}

fn too_long() -> ToolOutcome {
    let message = "the arguments are too long for one call".to_owned();
    ToolOutcome::Failed { code: "arguments_too_long".to_owned(), message }
}

/// Shows the model what its tool calls gave, in the order in which it asked.
fn observe(run: &mut Run) {
    let Phase::Acting(calls) = &mut run.phase else { return };
    for call in std::mem::take(calls) {
        run.made.extend(call.attachments);
        let outcome = call.outcome.unwrap_or(ToolOutcome::Cancelled);
        let part = Part::ToolResult {
            call: call.shown,
            provider_id: call.provider_id,
            tool: call.tool,
            text: outcome.text(),
            is_error: outcome.is_error(),
        };
        run.messages.push(Message { role: Role::Tool, parts: vec![part] });
    }
}
