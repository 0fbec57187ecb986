//! One run, from its start to its one final reply.

use nexus_contracts::{
    AgentDefinition, AgentSnapshot, Finish, IncomingRequest, InferenceOutcome, InferenceRequest,
    InferenceResponse, MemoryRecall, MemoryRecalled, Outcome, ProcessedRequest, RunConfiguration,
    RunStarted, TimeoutScope, ToolChoice, ToolOutcome, ToolSpec, Usage,
};

use crate::MAX_COMMAND_BYTES;
use crate::acting::{self, act};
use crate::command::Issuer;
use crate::prompt;
use crate::state::{Call, Phase, Run};

/// Allowance for the way of an answer through the bus.
const TRANSIT_MS: u64 = 5_000;

/// Memory is asked with so much of the request's text.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Goes,
    Ended,
    /// The input answers nothing that is open.
    Late,
}

pub(crate) fn longest_wait(start_within_ms: u64, work_ms: u64) -> u64 {
    start_within_ms.saturating_add(work_ms).saturating_add(TRANSIT_MS)
}

pub(crate) fn started(
    run: &mut Run,
    started: &RunStarted,
    last_reply: u64,
    bytes: &[u8],
    issuer: &mut Issuer<'_>,
) -> Flow {
    if !matches!(run.phase, Phase::Starting) {
        return Flow::Late;
    }
    run.begin_step(bytes);
    let agent = match &started.configuration {
        RunConfiguration::Accepted { agent } => agent.as_ref().clone(),
        RunConfiguration::Refused { code, message } => {
            return fail(run, code, message.clone(), issuer);
        }
    };
    run.request.place.agent = Some(agent.definition.name.clone());
    let (turns, limits) = (agent.definition.recall_turns, agent.definition.limits);
    run.agent = Some(with_offers(agent, &run.request.payload));
    let is_turn = run.request.payload.kind.is_turn();
    if run.request.payload.history.is_some() || turns == 0 || !is_turn {
        prompt::begin(run, &[]);
        return think(run, issuer);
    }
    let recall = MemoryRecall {
        request: run.id(),
        query: prompt::cut(&run.request.payload.text, MAX_QUERY_BYTES),
        turns,
        no_older_than: last_reply,
        wait_ms: limits.recall_ms,
    };
    let id = issuer.issue(run, recall);
    let allowed_ms = longest_wait(limits.start_within_ms, limits.recall_ms);
    run.phase = Phase::Recalling(Call { id, allowed_ms });
    Flow::Goes
}

/// The agent with the tools that the speaker's own program offers; none at all for an aside.
fn with_offers(mut agent: AgentSnapshot, request: &IncomingRequest) -> AgentSnapshot {
    if !request.kind.is_turn() {
        agent.tools.clear();
        return agent;
    }
    for offered in &request.client_tools {
        let is_taken = agent.tools.iter().any(|tool| tool.name == offered.name);
        if offered.client.is_some() && !is_taken {
            agent.tools.push(offered.clone());
        }
    }
    agent
}

pub(crate) fn recalled(
    run: &mut Run,
    recalled: &MemoryRecalled,
    bytes: &[u8],
    issuer: &mut Issuer<'_>,
) -> Flow {
    match &run.phase {
        Phase::Recalling(call) if call.id == recalled.call => {}
        _ => return Flow::Late,
    }
    run.begin_step(bytes);
    prompt::begin(run, &recalled.turns);
    think(run, issuer)
}

pub(crate) fn responded(
    run: &mut Run,
    response: &InferenceResponse,
    bytes: &[u8],
    issuer: &mut Issuer<'_>,
) -> Flow {
    match &run.phase {
        Phase::Thinking(call) if call.id == response.call => {}
        _ => return Flow::Late,
    }
    run.begin_step(bytes);
    run.model = Some(response.model.clone());
    let cost = response.cost.as_ref().map_or(0, |cost| cost.microusd);
    run.usage.cost_microusd = run.usage.cost_microusd.saturating_add(cost);
    match &response.outcome {
        InferenceOutcome::Completed { text, tool_calls, finish, usage, turn } => {
            count(run, *usage);
            if tool_calls.is_empty() {
                answer(run, text, *finish, issuer)
            } else {
                act(run, text, tool_calls, turn.as_ref(), issuer)
            }
        }
        InferenceOutcome::Failed(error) => fail(run, &error.code, error.message.clone(), issuer),
        InferenceOutcome::Cancelled => {
            fail(run, "inference_cancelled", "The model call was cancelled.".to_owned(), issuer)
        }
    }
}

pub(crate) fn timed_out(
    run: &mut Run,
    scope: TimeoutScope,
    bytes: &[u8],
    issuer: &mut Issuer<'_>,
) -> Flow {
    let TimeoutScope::Call { call } = scope else {
        run.begin_step(bytes);
        let text = "The request took longer than its time budget allows.".to_owned();
        return fail(run, "run_timeout", text, issuer);
    };
    match &run.phase {
        Phase::Recalling(open) if open.id == call => {
            run.begin_step(bytes);
            prompt::begin(run, &[]);
            think(run, issuer)
        }
        Phase::Thinking(open) if open.id == call => {
            run.begin_step(bytes);
            let text = "The model did not answer in time. Please try again.".to_owned();
            fail(run, "inference_timeout", text, issuer)
        }
        Phase::Acting(calls) => {
            let open = calls.iter().find(|open| open.id == call);
            let Some(open) = open else { return Flow::Late };
            let outcome = if open.question.is_some() {
                acting::nobody_answered()
            } else if open.has_effect {
                ToolOutcome::Unknown { message: "the tool did not answer in time".to_owned() }
            } else {
                let message = "the tool did not answer in time".to_owned();
                ToolOutcome::Failed { code: "timeout".to_owned(), message }
            };
            acting::tool_ended(run, call, outcome.into(), bytes, issuer)
        }
        Phase::Starting | Phase::Recalling(_) | Phase::Thinking(_) | Phase::Ending => Flow::Late,
    }
}

/// Ends the run with its one final reply.
pub(crate) fn end(run: &mut Run, outcome: Outcome, issuer: &mut Issuer<'_>) -> Flow {
    let mut payload = ProcessedRequest {
        request: run.id(),
        outcome,
        model: run.model.clone(),
        usage: run.usage,
        attachments: std::mem::take(&mut run.made),
        kind: run.request.payload.kind,
    };
    if issuer.issue_within(run, &payload, MAX_COMMAND_BYTES).is_none() {
        let message =
            "The answer is too long to be delivered. Please ask for a shorter one.".to_owned();
        payload.outcome = Outcome::Failed { code: "answer_too_long".to_owned(), message };
        issuer.issue(run, payload);
    }
    run.phase = Phase::Ending;
    run.messages.clear();
    Flow::Ended
}

pub(crate) fn fail(run: &mut Run, code: &str, message: String, issuer: &mut Issuer<'_>) -> Flow {
    end(run, Outcome::Failed { code: code.to_owned(), message }, issuer)
}

fn count(run: &mut Run, usage: Usage) {
    run.usage.input_tokens = run.usage.input_tokens.saturating_add(usage.input_tokens);
    run.usage.output_tokens = run.usage.output_tokens.saturating_add(usage.output_tokens);
}

fn answer(run: &mut Run, text: &str, finish: Finish, issuer: &mut Issuer<'_>) -> Flow {
    if text.trim().is_empty() {
        let (code, message) = match finish {
            Finish::ContentFilter => {
                ("content_filter", "The provider's content filter withheld the answer.")
            }
            Finish::Stop | Finish::Length | Finish::ToolCalls => {
                ("empty_answer", "The model gave an empty answer. Please try again.")
            }
        };
        return fail(run, code, message.to_owned(), issuer);
    }
    end(run, Outcome::Answered { text: text.to_owned() }, issuer)
}

/// Asks the model, with everything known so far.
pub(crate) fn think(run: &mut Run, issuer: &mut Issuer<'_>) -> Flow {
    let Some(agent) = run.agent.as_ref() else {
        return fail(run, "no_agent", "The run has no agent.".to_owned(), issuer);
    };
    let (budget, limits) = (agent.definition.budget, agent.definition.limits);
    if run.usage.model_calls >= budget.model_calls {
        let text = format!("The request needs more than {} model calls.", budget.model_calls);
        return fail(run, "budget_model_calls", text, issuer);
    }
    if run.usage.input_tokens.saturating_add(run.usage.output_tokens) >= budget.tokens {
        let text = format!("The request needs more than {} tokens.", budget.tokens);
        return fail(run, "budget_tokens", text, issuer);
    }
    if let Some(most) = budget.cost_microusd.filter(|most| run.usage.cost_microusd >= *most) {
        let text = format!("The request costs more than {most} millionths of a US dollar.");
        return fail(run, "budget_cost", text, issuer);
    }
    let mut request = question(run, &agent.definition, agent.tools.clone());
    hear_steering(run, issuer);
    loop {
        request.messages.clone_from(&run.messages);
        if let Some(id) = issuer.issue_within(run, &request, MAX_COMMAND_BYTES) {
            run.usage.model_calls += 1;
            let allowed_ms = longest_wait(limits.start_within_ms, limits.inference_ms);
            run.phase = Phase::Thinking(Call { id, allowed_ms });
            return Flow::Goes;
        }
        if !prompt::drop_oldest(run) {
            let text = "The conversation is too long for one model call.".to_owned();
            return fail(run, "context_too_long", text, issuer);
        }
    }
}

/// A model call, still without its messages.
fn question(run: &Run, agent: &AgentDefinition, tools: Vec<ToolSpec>) -> InferenceRequest {
    let asked = &run.request.payload;
    let mut sampling = asked.sampling.clone().over(agent.sampling.clone());
    if run.usage.model_calls > 0 && sampling.tool_choice != Some(ToolChoice::None) {
        // A model that has to call a tool each time would never answer.
        sampling.tool_choice = None;
    }
    InferenceRequest {
        model: asked.model.clone().unwrap_or_else(|| agent.model.clone()),
        messages: Vec::new(),
        tools,
        sampling,
        limits: agent.attempts,
        number: run.usage.model_calls + 1,
        start_within_ms: agent.limits.start_within_ms,
        timeout_ms: agent.limits.inference_ms,
    }
}

/// Puts the messages that arrived meanwhile behind what the model has seen.
fn hear_steering(run: &mut Run, issuer: &mut Issuer<'_>) {
    for request in std::mem::take(&mut run.steering) {
        run.messages.push(prompt::said(&request.payload));
        let payload = ProcessedRequest::of(request.id, Outcome::Steered { into: run.id() });
        issuer.issue_about(run, request.id, &request.place, payload);
    }
}
