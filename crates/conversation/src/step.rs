use std::panic::{AssertUnwindSafe, catch_unwind};

use nexus_contracts::Outcome;
use uuid::Uuid;

use crate::acting::Ended;
use crate::command::{Command, Issuer};
use crate::input::{Input, InputEvent};
use crate::run::Flow;
use crate::state::{Conversation, ConversationKey, Phase, Request, Run, State};
use crate::verdict::{Step, Verdict};
use crate::{acting, admission, run};

/// Takes the next input in stream order and says which events follow from it.
pub fn step(state: &mut State, input: &Input<'_>) -> Step {
    let key = ConversationKey::of(input.event.metadata());
    let conversation = state.conversation(key);
    let before = Before::of(conversation, input);
    let mut commands = Vec::new();
    let applied = catch_unwind(AssertUnwindSafe(|| apply(conversation, input, &mut commands)));
    let verdict = applied.unwrap_or_else(|panic| {
        commands.clear();
        fail_all(conversation, input, before, &mut commands);
        Verdict::Panicked(panic_text(panic.as_ref()))
    });
    Step { commands, verdict }
}

fn apply(
    conversation: &mut Conversation,
    input: &Input<'_>,
    commands: &mut Vec<Command>,
) -> Verdict {
    #[cfg(test)]
    crate::tests::panic_if_told("before", input);
    let issuer = &mut Issuer::new(input, commands);
    let verdict = match &input.event {
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
            let result = event.payload.known.clone();
            let ended = Ended { outcome: result.outcome, attachments: result.attachments };
            acting::tool_ended(run, result.call, ended, input.bytes, issuer)
        }),
        InputEvent::Approval(event) => {
            in_run(conversation, event.correlation_id, input, |run, _| {
                let user = event.metadata.user.as_deref();
                acting::approved(run, &event.payload, user, input.bytes, issuer)
            })
        }
        InputEvent::Timeout(event) => in_run(conversation, event.payload.run, input, |run, _| {
            run::timed_out(run, event.payload.scope, input.bytes, issuer)
        }),
    };
    #[cfg(test)]
    crate::tests::panic_if_told("after", input);
    verdict
}

/// Runs `react` if the conversation's active run is `id` and has not ended.
fn in_run(
    conversation: &mut Conversation,
    id: Uuid,
    input: &Input<'_>,
    react: impl FnOnce(&mut Run, u64) -> Flow,
) -> Verdict {
    let last_reply = conversation.last_reply(input.stored_at);
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

/// What a panic must not take away, kept while the input is applied.
#[derive(Debug)]
struct Before {
    /// Requests that wait for their last word, the input itself if it is a new one.
    open: Vec<Request>,
    running: Option<Uuid>,
    /// The active run whose last word has been issued and not been read back before this input.
    ending: Option<Uuid>,
}

impl Before {
    fn of(conversation: &Conversation, input: &Input<'_>) -> Self {
        let active = conversation.active.as_ref();
        let (ending, running) = match active {
            Some(run) if matches!(run.phase, Phase::Ending) => (Some(run.id()), None),
            Some(run) => (None, Some(run.id())),
            None => (None, None),
        };
        let open = conversation.open().filter(|request| ending != Some(request.id));
        let new = match &input.event {
            InputEvent::Incoming(event) if !conversation.knows(event.id, input.stored_at) => {
                Some(admission::request(event, input))
            }
            _ => None,
        };
        let is_read_back = matches!(&input.event, InputEvent::Processed(event) if ending == Some(event.payload.request));
        Self {
            open: open.cloned().chain(new).collect(),
            running,
            ending: ending.filter(|_| !is_read_back),
        }
    }
}

/// After a panic: ends every open request of the conversation, visibly.
///
/// What the panic left in the conversation is not trusted, except for the numbers of steps.
fn fail_all(
    conversation: &mut Conversation,
    input: &Input<'_>,
    before: Before,
    commands: &mut Vec<Command>,
) {
    let issuer = &mut Issuer::new(input, commands);
    let outcome = || Outcome::Failed {
        code: "engine_panic".to_owned(),
        message: "The engine failed on an event of this conversation. Please ask again.".to_owned(),
    };
    conversation.queue.clear();
    let stays = before.running.or(before.ending);
    conversation.active = conversation.active.take().filter(|run| stays == Some(run.id()));
    for request in before.open {
        conversation.known.insert(request.id, request.stored_at);
        match conversation.active.as_mut() {
            Some(run) if before.running == Some(request.id) => {
                run.steering.clear();
                run.begin_step(input.bytes);
                run::end(run, outcome(), issuer);
            }
            _ => admission::end_waiting(&request, outcome(), input, issuer),
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}
