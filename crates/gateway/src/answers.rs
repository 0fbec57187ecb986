//! What clients bring back to a run that waits for them: results of their own tools, and a
//! person's decisions.

use std::collections::{BTreeMap, BTreeSet};

use nexus_bus::{EVENTS, Filter, Message, Reader, Start};
use nexus_contracts::{
    Decision, Event, EventType, Notice, NotifyDeliver, Pattern, Payload, ProcessedRequest,
    ToolApproval, ToolExecute, ToolOutcome, ToolResult, derived_id,
};
use uuid::Uuid;

use crate::accept::{self, ClientCall};
use crate::app::App;
use crate::callref::CallRef;
use crate::keys::Principal;
use crate::refused::Refused;
use crate::room::Room;

/// One thing that a client brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) at: CallRef,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Result(ToolOutcome),
    Decision(Decision),
}

/// What becomes of a run that answers were brought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It goes on; what it has put to its client is all answered.
    GoesOn { run: Uuid, sequence: u64, before: BTreeSet<Uuid> },
    /// It ended before the answers came.
    Over,
    /// The conversation has no such run, or the run no such call.
    Unknown,
    /// The client was told of more calls than it has answered.
    Missing(usize),
}

/// What is stored of a run's calls.
#[derive(Debug, Default)]
struct Log {
    calls: BTreeMap<Uuid, Call>,
    /// By the call, the event that closed it.
    results: BTreeMap<Uuid, Uuid>,
    /// By the question, the digest of the arguments that it is about.
    questions: BTreeMap<Uuid, String>,
    /// By the event of a decision, its question.
    decisions: BTreeMap<Uuid, Uuid>,
    ended: bool,
}

#[derive(Debug)]
struct Call {
    tool: String,
    is_clients: bool,
    /// The question that it was allowed by.
    question: Option<Uuid>,
}

impl Log {
    fn read(run: Uuid, messages: &[Message]) -> Self {
        let mut log = Self::default();
        for message in messages {
            if let Some(event) = of_run::<ToolApproval>(run, message) {
                log.decisions.insert(event.id, event.payload.question);
            } else if let Some(event) = of_run::<NotifyDeliver>(run, message) {
                if let Notice::Approval { arguments_sha256, .. } = event.payload.known.notice {
                    log.questions.insert(event.id, arguments_sha256);
                }
            } else if let Some(event) = of_run::<ToolExecute>(run, message) {
                let cause = event.metadata.causation_id;
                let question = cause.and_then(|cause| log.decisions.get(&cause)).copied();
                let ToolExecute { tool, client, .. } = event.payload.known;
                let call = Call { tool, is_clients: client.is_some(), question };
                log.calls.insert(event.id, call);
            } else if let Some(event) = of_run::<ToolResult>(run, message) {
                log.results.entry(event.payload.call).or_insert(event.id);
            } else if let Some(event) = of_run::<ProcessedRequest>(run, message) {
                log.ended |= event.payload.request == run;
            }
        }
        log
    }

    /// The client's own call that goes by this id: its own, or that of the question before it.
    fn clients_call(&self, shown: Uuid) -> Option<(Uuid, &Call)> {
        let is_meant = |(id, call): &(&Uuid, &Call)| **id == shown || call.question == Some(shown);
        let found = self.calls.iter().find(is_meant).filter(|(_, call)| call.is_clients)?;
        Some((*found.0, found.1))
    }

    /// Whether the run has taken this answer.
    fn has(&self, answer: &Answer) -> bool {
        match answer.what {
            What::Result(_) => self.clients_call(answer.at.call).is_some_and(|(call, _)| {
                self.results.get(&call) == Some(&derived_id(call, "result"))
            }),
            What::Decision(_) => self.decisions.values().any(|asked| *asked == answer.at.call),
        }
    }

    fn knows(&self, answer: &Answer) -> bool {
        match answer.what {
            What::Result(_) => self.clients_call(answer.at.call).is_some(),
            What::Decision(_) => self.questions.contains_key(&answer.at.call),
        }
    }

    /// Calls of the client without result that are not among these answers.
    fn missing(&self, answers: &[Answer]) -> usize {
        let is_answered = |id: Uuid, call: &Call| {
            answers
                .iter()
                .any(|answer| answer.at.call == id || Some(answer.at.call) == call.question)
        };
        let open = self.calls.iter().filter(|(id, call)| {
            call.is_clients && !self.results.contains_key(id) && !is_answered(**id, call)
        });
        open.count()
    }
}

fn of_run<P: Payload>(run: Uuid, message: &Message) -> Option<Event<P>> {
    Event::decode(&message.bytes).ok().filter(|event: &Event<P>| event.correlation_id == run)
}

/// Brings answers to the run that waits for them, all at once; again, they change nothing.
pub(crate) async fn bring(
    app: &App,
    who: &Principal,
    room: &Room,
    answers: &[Answer],
) -> Result<Waiting, Refused> {
    let Some(CallRef { run, sequence, .. }) = answers.first().map(|answer| answer.at) else {
        return Ok(Waiting::Unknown);
    };
    let log = app.log_of(room, run, sequence).await?;
    if !answers.iter().all(|answer| answer.at.run == run && log.knows(answer)) {
        return Ok(Waiting::Unknown);
    }
    if log.ended && !answers.iter().all(|answer| log.has(answer)) {
        return Ok(Waiting::Over);
    }
    let missing = log.missing(answers);
    if missing > 0 && !log.ended {
        return Ok(Waiting::Missing(missing));
    }
    for answer in answers.iter().filter(|answer| !log.has(answer)) {
        publish(app, who, room, &log, answer).await?;
    }
    let before = answers.iter().map(|answer| answer.at.call).collect();
    Ok(Waiting::GoesOn { run, sequence, before })
}

/// Brings one answer; `false` when the run has no such call or question.
pub(crate) async fn bring_one(
    app: &App,
    who: &Principal,
    room: &Room,
    answer: &Answer,
) -> Result<bool, Refused> {
    let log = app.log_of(room, answer.at.run, answer.at.sequence).await?;
    if !log.knows(answer) {
        return Ok(false);
    }
    publish(app, who, room, &log, answer).await?;
    Ok(true)
}

async fn publish(
    app: &App,
    who: &Principal,
    room: &Room,
    log: &Log,
    answer: &Answer,
) -> Result<(), Refused> {
    let (bus, channel, now, run) = (&app.bus, &app.channel, (app.now)(), answer.at.run);
    match &answer.what {
        What::Result(outcome) => {
            let Some((call, Call { tool, .. })) = log.clients_call(answer.at.call) else {
                return Ok(());
            };
            let call = ClientCall { run, call, tool: tool.clone() };
            accept::answer_call(bus, channel, who, room, call, outcome.clone(), now).await?;
        }
        What::Decision(decision) => {
            let Some(sha256) = log.questions.get(&answer.at.call) else { return Ok(()) };
            let approval = ToolApproval {
                question: answer.at.call,
                decision: *decision,
                arguments_sha256: sha256.clone(),
            };
            accept::decide(bus, channel, who, room, run, approval, now).await?;
        }
    }
    Ok(())
}

impl App {
    async fn log_of(&self, room: &Room, run: Uuid, from: u64) -> Result<Log, Refused> {
        let kinds = [
            EventType::ToolsApproval,
            EventType::NotifyDeliver,
            EventType::ToolsExecute,
            EventType::ToolsResults,
            EventType::RequestsProcessed,
        ];
        Ok(Log::read(run, &self.stored(room, &kinds, from).await?))
    }

    /// What is stored of a conversation from a sequence on, of these types.
    pub(crate) async fn stored(
        &self,
        room: &Room,
        kinds: &[EventType],
        from: u64,
    ) -> Result<Vec<Message>, nexus_bus::Error> {
        let all = Pattern::conversation(room.tenant, &self.channel, &room.token);
        let patterns =
            kinds.iter().map(|kind| Pattern { kind: Some(*kind), ..all.clone() }).collect();
        let start = Start::At(from.max(1));
        let mut reader = Reader::open(&self.bus, EVENTS, Filter::Patterns(patterns), start).await?;
        reader.read_to_end().await
    }

    /// Sequence of the final word on a run that began at `from`, if there is one.
    pub(crate) async fn ended_at(
        &self,
        room: &Room,
        run: Uuid,
        from: u64,
    ) -> Result<Option<u64>, nexus_bus::Error> {
        let replies = self.stored(room, &[EventType::RequestsProcessed], from).await?;
        let is_last_word = |message: &&Message| {
            of_run::<ProcessedRequest>(run, message)
                .is_some_and(|event| event.payload.request == run)
        };
        Ok(replies.iter().find(is_last_word).map(|message| message.sequence))
    }
}
