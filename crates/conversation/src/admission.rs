//! Which request runs, which waits, which is taken back.

use std::collections::VecDeque;

use nexus_contracts::{
    CancelScope, Event, IncomingRequest, Metadata, OnMessage, Outcome, ProcessedRequest, RunCancel,
    sha256_hex,
};

use crate::command::Issuer;
use crate::input::Input;
use crate::prompt::cut;
use crate::run::{self, Flow};
use crate::state::{Conversation, Phase, Reply, Request, Run};
use crate::verdict::Verdict;

/// Names and reasons come from outside and must fit into every command of the run.
const MAX_NAME_BYTES: usize = 1024;

pub(crate) fn admit(
    conversation: &mut Conversation,
    event: &Event<IncomingRequest>,
    input: &Input<'_>,
    issuer: &mut Issuer<'_>,
) -> Verdict {
    if conversation.knows(event.id, input.stored_at) {
        return Verdict::Repeated;
    }
    conversation.known.insert(event.id, input.stored_at);
    let request = request(event, input);
    let Some(run) = conversation.active.as_mut() else {
        activate(conversation, request, issuer);
        return Verdict::Applied;
    };
    let policy = run.agent.as_ref().map(|agent| agent.definition.on_message);
    match (policy, &run.phase) {
        (_, Phase::Ending) | (None | Some(OnMessage::Queue), _) => {
            conversation.queue.push_back(request);
        }
        (Some(OnMessage::Steer), _) => {
            run.absorb(input.bytes);
            run.steering.push(request);
        }
        (Some(OnMessage::Interrupt), _) => {
            conversation.queue.push_back(request);
            run.begin_step(input.bytes);
            let reason = "Interrupted by a newer message.".to_owned();
            run::end(run, Outcome::Cancelled { reason }, issuer);
        }
    }
    Verdict::Applied
}

pub(crate) fn request(event: &Event<IncomingRequest>, input: &Input<'_>) -> Request {
    Request {
        id: event.id,
        stored_at: input.stored_at,
        place: place(&event.metadata),
        payload: event.payload.known.clone(),
        digest: sha256_hex(input.bytes),
    }
}

pub(crate) fn cancel(
    conversation: &mut Conversation,
    cancel: &RunCancel,
    input: &Input<'_>,
    issuer: &mut Issuer<'_>,
) -> Verdict {
    let reason = cut(cancel.reason.as_deref().unwrap_or("Cancelled."), MAX_NAME_BYTES);
    let outcome = match &cancel.failure {
        Some(code) => Outcome::Failed { code: cut(code, MAX_NAME_BYTES), message: reason },
        None => Outcome::Cancelled { reason },
    };
    if cancel.scope == CancelScope::Conversation {
        return cancel_all(conversation, &outcome, input, issuer);
    }
    if let Some(run) = conversation.active.as_mut() {
        if run.id() == cancel.run && !matches!(run.phase, Phase::Ending) {
            end_active(run, &mut conversation.queue, outcome, input, issuer);
            return Verdict::Applied;
        }
        if let Some(at) = run.steering.iter().position(|request| request.id == cancel.run) {
            let request = run.steering.remove(at);
            end_waiting(&request, outcome, input, issuer);
            return Verdict::Applied;
        }
    }
    let Some(at) = conversation.queue.iter().position(|request| request.id == cancel.run) else {
        return Verdict::Late;
    };
    if let Some(request) = conversation.queue.remove(at) {
        end_waiting(&request, outcome, input, issuer);
    }
    Verdict::Applied
}

/// Ends everything of the conversation that is active or waits.
fn cancel_all(
    conversation: &mut Conversation,
    outcome: &Outcome,
    input: &Input<'_>,
    issuer: &mut Issuer<'_>,
) -> Verdict {
    let mut verdict = Verdict::Late;
    if let Some(run) = conversation.active.as_mut()
        && !matches!(run.phase, Phase::Ending)
    {
        end_active(run, &mut conversation.queue, outcome.clone(), input, issuer);
        verdict = Verdict::Applied;
    }
    for request in conversation.queue.drain(..) {
        end_waiting(&request, outcome.clone(), input, issuer);
        verdict = Verdict::Applied;
    }
    verdict
}

/// Ends the active run; what was to steer it waits for runs of its own.
fn end_active(
    run: &mut Run,
    queue: &mut VecDeque<Request>,
    outcome: Outcome,
    input: &Input<'_>,
    issuer: &mut Issuer<'_>,
) {
    run.begin_step(input.bytes);
    let flow = run::end(run, outcome, issuer);
    debug_assert_eq!(flow, Flow::Ended);
    for request in run.steering.drain(..).rev() {
        queue.push_front(request);
    }
}

/// The active run's own last word has been read back: the next request may start.
pub(crate) fn processed(
    conversation: &mut Conversation,
    processed: &ProcessedRequest,
    input: &Input<'_>,
    issuer: &mut Issuer<'_>,
) -> Verdict {
    conversation.replied = Some(Reply { sequence: input.sequence, stored_at: input.stored_at });
    let Some(run) = conversation.active.as_ref() else { return Verdict::Applied };
    if run.id() != processed.request {
        return Verdict::Applied;
    }
    if !matches!(run.phase, Phase::Ending) {
        return Verdict::Late;
    }
    conversation.active = None;
    if let Some(request) = conversation.queue.pop_front() {
        activate(conversation, request, issuer);
    }
    Verdict::Applied
}

fn activate(conversation: &mut Conversation, request: Request, issuer: &mut Issuer<'_>) {
    let mut run = Run::new(request);
    issuer.start(&mut run);
    conversation.active = Some(run);
}

/// Ends a request that never got a run.
///
/// Its command stands behind the place of the `runs.started` that it would have had.
pub(crate) fn end_waiting(
    request: &Request,
    outcome: Outcome,
    input: &Input<'_>,
    issuer: &mut Issuer<'_>,
) {
    let mut run = Run::new(request.clone());
    run.issued = 1;
    run.absorb(input.bytes);
    let _ = run::end(&mut run, outcome, issuer);
}

/// What the run's events inherit from its request.
fn place(metadata: &Metadata) -> Metadata {
    Metadata {
        user: metadata.user.as_deref().map(|user| cut(user, MAX_NAME_BYTES)),
        agent: metadata.agent.as_deref().map(|agent| cut(agent, MAX_NAME_BYTES)),
        ..Metadata::at(metadata.tenant, metadata.channel.clone(), metadata.conversation.clone())
    }
}
