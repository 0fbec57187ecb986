//! Replay: are today's decisions on the recorded inputs the recorded ones?

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use nexus_contracts::{
    Event, EventType, MemoryRecall, Notice, NotifyDeliver, RawEvent, RunStarted, Timestamp,
};
use uuid::Uuid;

use crate::command::{Body, Command};
use crate::input::{Input, InputEvent};
use crate::state::{ConversationKey, Reply, State};
use crate::step::step;

/// One event of a conversation, as the stream has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    pub sequence: u64,
    pub stored_at: Timestamp,
    pub kind: EventType,
    pub id: Uuid,
    pub run: Uuid,
    pub bytes: Vec<u8>,
}

impl Recorded {
    fn input(&self, event: InputEvent) -> Input<'_> {
        Input { sequence: self.sequence, stored_at: self.stored_at, bytes: &self.bytes, event }
    }
}

/// Where a recomputed decision and the record part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The record has other bytes under this id.
    Differs { sequence: u64, kind: EventType, id: Uuid, recomputed: Vec<u8>, cause: Uuid },
    /// The engine decides it, the record does not have it.
    Missing { kind: EventType, id: Uuid, cause: Uuid },
    /// The record has it, the engine does not decide it.
    Unexplained { sequence: u64, kind: EventType, id: Uuid },
    /// The record has it more than once.
    Repeated { sequence: u64, kind: EventType, id: Uuid },
    /// An input that cannot be read.
    Unreadable { sequence: u64, kind: EventType, reason: String },
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Inputs that decisions were made on.
    pub inputs: usize,
    /// Decisions that are byte-identical.
    pub identical: usize,
    /// Decisions of runs whose beginning has aged out of the record, and of those behind them.
    pub unverifiable: usize,
    pub mismatches: Vec<Mismatch>,
}

/// Decides again on a conversation's recorded inputs and compares bytes.
///
/// `record` is the conversation's whole slice in stream order. Commands that may not have been
/// stored yet, because they follow from the last inputs, count as missing unless `open_end`.
///
/// A record whose beginning has aged out is verified from where the conversation was idle.
#[must_use]
pub fn verify(record: &[Recorded], only: Option<Uuid>, open_end: bool) -> Verification {
    let mut result = Verification::default();
    let (before, record) = record.split_at(beginning(record));
    let wanted = |run: Uuid| only.is_none_or(|only| only == run);
    let lost = before.iter().filter(|event| is_decision(event) && wanted(event.run));
    result.unverifiable = lost.count();
    let mut state = State::default();
    remember(&mut state, before, record);
    let commands = index(record, &mut result.mismatches);
    let mut explained = BTreeSet::new();
    for event in record {
        let input = match InputEvent::decode(event.kind, &event.bytes) {
            None => continue,
            Some(Ok(input)) => input,
            Some(Err(error)) => {
                // The owner buries it; as an input of a run that was decided on it is a change.
                if commands.values().any(|decision| decision.run == event.run) {
                    let reason = error.to_string();
                    let (sequence, kind) = (event.sequence, event.kind);
                    result.mismatches.push(Mismatch::Unreadable { sequence, kind, reason });
                }
                continue;
            }
        };
        let (id, run) = (input.id(), input.correlation_id());
        if matches!(input, InputEvent::Incoming(_)) && id != run {
            // No owner takes such a request; as one of a run that was decided on it is a change.
            if commands.values().any(|decision| [id, run].contains(&decision.run)) {
                let reason = "a request's correlation_id has to be its own id".to_owned();
                let (sequence, kind) = (event.sequence, event.kind);
                result.mismatches.push(Mismatch::Unreadable { sequence, kind, reason });
            }
            continue;
        }
        result.inputs += 1;
        for command in step(&mut state, &event.input(input)).commands {
            explained.insert(command.id);
            let recorded = commands.get(&command.id).copied();
            if wanted(command.run) || recorded.is_some_and(|event| wanted(event.run)) {
                compare(&command, id, recorded, open_end, &mut result);
            }
        }
    }
    let orphans =
        commands.values().filter(|event| !explained.contains(&event.id) && wanted(event.run));
    result.mismatches.extend(orphans.map(|event| Mismatch::Unexplained {
        sequence: event.sequence,
        kind: event.kind,
        id: event.id,
    }));
    result
}

/// What the events before tell about the conversation: the requests seen and the last reply.
fn remember(state: &mut State, before: &[Recorded], record: &[Recorded]) {
    let Some(first) = before.first().or_else(|| record.first()) else { return };
    let Ok(place) = RawEvent::decode(&first.bytes) else { return };
    let conversation = state.conversation(ConversationKey::of(&place.metadata));
    conversation.known.extend(before.iter().map(|event| (event.run, event.stored_at)));
    let mut replies = before.iter().filter(|event| event.kind == EventType::RequestsProcessed);
    let known = replies.next_back().map(|event| (event.sequence, event.stored_at));
    // The first recall asks for what the last reply told, and that reply may have aged out.
    let told = || {
        let replies_or_recalls = [EventType::RequestsProcessed, EventType::MemoryRecall];
        let event = record.iter().find(|event| replies_or_recalls.contains(&event.kind))?;
        let recall = Event::<MemoryRecall>::decode(&event.bytes).ok()?;
        let sequence = recall.payload.no_older_than;
        (sequence != 0 && sequence < first.sequence).then_some((sequence, first.stored_at))
    };
    let reply = known.or_else(told);
    conversation.replied = reply.map(|(sequence, stored_at)| Reply { sequence, stored_at });
}

/// Index of the first event that can be decided on again.
///
/// That is the beginning, unless the record has decisions before the requests that they are for:
/// then it is the first request whose run was started by itself, so that nothing was before it.
fn beginning(record: &[Recorded]) -> usize {
    let mut requests = BTreeSet::new();
    let is_whole = record.iter().all(|event| {
        if event.kind == EventType::RequestsIncoming {
            // One changed byte spoils one of the two ids, not both.
            requests.extend([event.id, event.run]);
        }
        !is_decision(event) || requests.contains(&event.run)
    });
    if is_whole {
        return 0;
    }
    let started = record.iter().filter(|event| event.kind == EventType::RunsStarted);
    let by_itself: BTreeSet<(Uuid, Timestamp)> = started
        .filter_map(|event| Event::<RunStarted>::decode(&event.bytes).ok())
        .filter(|event| event.metadata.causation_id == Some(event.payload.request))
        .map(|event| (event.payload.request, event.timestamp))
        .collect();
    let first = record.iter().position(|event| {
        let is_request = event.kind == EventType::RequestsIncoming;
        is_request && by_itself.contains(&(event.id, event.stored_at))
    });
    first.unwrap_or(record.len())
}

fn index<'a>(
    record: &'a [Recorded],
    mismatches: &mut Vec<Mismatch>,
) -> BTreeMap<Uuid, &'a Recorded> {
    let mut commands = BTreeMap::new();
    for event in record.iter().filter(|event| is_decision(event)) {
        match commands.entry(event.id) {
            Entry::Vacant(free) => {
                free.insert(event);
            }
            Entry::Occupied(_) => {
                let (sequence, kind, id) = (event.sequence, event.kind, event.id);
                mismatches.push(Mismatch::Repeated { sequence, kind, id });
            }
        }
    }
    commands
}

/// Whether an event is a decision of the engine.
fn is_decision(event: &Recorded) -> bool {
    match event.kind {
        EventType::RunsStarted
        | EventType::MemoryRecall
        | EventType::InferenceRequest
        | EventType::ToolsExecute
        | EventType::RequestsProcessed => true,
        // Others publish notices too; a question whether a tool may be called is the engine's.
        EventType::NotifyDeliver => Event::<NotifyDeliver>::decode(&event.bytes)
            .is_ok_and(|event| matches!(event.payload.notice, Notice::Approval { .. })),
        EventType::RequestsIncoming
        | EventType::RunsCancel
        | EventType::RunsTimeout
        | EventType::MemoryRecalled
        | EventType::InferenceResponse
        | EventType::InferenceChunk
        | EventType::InferenceEmbed
        | EventType::InferenceEmbedded
        | EventType::ToolsResults
        | EventType::ToolsApproval
        | EventType::AdaptersUnread
        | EventType::OscReceived
        | EventType::OscSent
        | EventType::OrchestratorEpoch
        | EventType::DeadLetter => false,
    }
}

fn compare(
    command: &Command,
    cause: Uuid,
    recorded: Option<&Recorded>,
    open_end: bool,
    result: &mut Verification,
) {
    let (kind, id) = (command.subject.kind, command.id);
    let Some(recorded) = recorded else {
        if !open_end {
            result.mismatches.push(Mismatch::Missing { kind, id, cause });
        }
        return;
    };
    let recomputed = match &command.body {
        Body::Ready(bytes) => bytes.clone(),
        // The configuration is an input: taken from the record, everything around it recomputed.
        Body::Start(pending) => match Event::<RunStarted>::decode(&recorded.bytes) {
            Ok(event) => pending.with(event.payload.engine, event.payload.known.configuration),
            Err(_) => Vec::new(),
        },
    };
    if recomputed == recorded.bytes {
        result.identical += 1;
    } else {
        let sequence = recorded.sequence;
        result.mismatches.push(Mismatch::Differs { sequence, kind, id, recomputed, cause });
    }
}
