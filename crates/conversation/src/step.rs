use std::panic::{AssertUnwindSafe, catch_unwind};

use nexus_contracts::Outcome;

use crate::command::{Command, Issuer};
use crate::input::{Input, InputEvent};
use crate::run::Flow;
use crate::state::{Conversation, ConversationKey, Phase, State};
use crate::{admission, run};

/// What came of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub commands: Vec<Command>,
    pub verdict: Verdict,
}

/// How an input was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    /// A request that was seen before.
    Repeated,
    /// An answer to a call that is closed, or to a run that is over.
    Late,
    /// The engine failed on it; the conversation's requests have been failed.
    Panicked(String),
}

/// Takes the next input in stream order and says which events follow from it.
pub fn step(state: &mut State, input: &Input<'_>) -> Step {
    let key = ConversationKey::of(input.event.metadata());
    let conversation = state.conversation(key);
    let mut commands = Vec::new();
    let applied = catch_unwind(AssertUnwindSafe(|| apply(conversation, input, &mut commands)));
    let verdict = applied.unwrap_or_else(|panic| {
        commands.clear();
        fail_all(conversation, input, &mut commands);
        Verdict::Panicked(panic_text(panic.as_ref()))
    });
    Step { commands, verdict }
}

fn apply(conversation: &mut Conversation, input: &Input<'_>, commands: &mut Vec<Command>) -> Verdict {
    let issuer = &mut Issuer::new(input, commands);
    match &input.event {
        InputEvent::Incoming(event) => admission::admit(conversation, event, input, issuer),
        InputEvent::Cancel(event) => admission::cancel(conversation, &event.payload, input, issuer),
        InputEvent::Processed(event) => {
            admission::processed(conversation, &event.payload, input, issuer)
        }
        InputEvent::Started(event) => {
            in_run(conversation, event.payload.request, input, |run, last_reply| {
                run::started(run, &event.payload, last_reply, input.bytes, issuer)
            })
        }
        InputEvent::Recalled(event) => {
            in_run(conversation, event.correlation_id, input, |run, _| {
                run::recalled(run, &event.payload, input.bytes, issuer)
            })
        }
        InputEvent::Response(event) => {
            in_run(conversation, event.correlation_id, input, |run, _| {
                run::responded(run, &event.payload, input.bytes, issuer)
            })
        }
        InputEvent::Result(event) => in_run(conversation, event.correlation_id, input, |run, _| {
            run::tool_ended(run, event.payload.call, event.payload.outcome.clone(), input.bytes, issuer)
        }),
        InputEvent::Timeout(event) => in_run(conversation, event.payload.run, input, |run, _| {
            run::timed_out(run, event.payload.scope, input.bytes, issuer)
        }),
    }
}

/// Runs `react` if the conversation's active run is `id` and has not ended.
fn in_run(
    conversation: &mut Conversation,
    id: uuid::Uuid,
    _input: &Input<'_>,
    react: impl FnOnce(&mut crate::state::Run, u64) -> Flow,
) -> Verdict {
    let last_reply = conversation.last_reply;
    let Some(run) = conversation.active.as_mut() else { return Verdict::Late };
    if run.id() != id || matches!(run.phase, Phase::Ending) {
        return Verdict::Late;
    }
    let flow = react(run, last_reply);
    if flow == Flow::Ended {
        // What was to steer a run that has just ended gets runs of its own, before the others.
        for request in run.steering.drain(..).rev() {
            conversation.queue.push_front(request);
        }
    }
    if flow == Flow::Late { Verdict::Late } else { Verdict::Applied }
}

/// After a panic: ends every open request of the conversation, visibly.
fn fail_all(conversation: &mut Conversation, input: &Input<'_>, commands: &mut Vec<Command>) {
    let issuer = &mut Issuer::new(input, commands);
    let outcome = || Outcome::Failed {
        code: "engine_panic".to_owned(),
        message: "The engine failed on an event of this conversation. Please ask again.".to_owned(),
    };
    let waiting: Vec<_> = conversation.queue.drain(..).collect();
    match conversation.active.as_mut() {
        Some(run) if !matches!(run.phase, Phase::Ending) => {
            let steering: Vec<_> = run.steering.drain(..).collect();
            run.begin_step(input.bytes);
            run::end(run, outcome(), issuer);
            for request in steering {
                admission::end_waiting(&request, outcome(), issuer);
            }
        }
        Some(_) | None => {}
    }
    for request in waiting {
        admission::end_waiting(&request, outcome(), issuer);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}
