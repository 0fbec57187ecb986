//! Replay: are today's decisions on the recorded inputs the recorded ones?

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use nexus_contracts::{Event, EventType, RunStarted, Timestamp};
use uuid::Uuid;

use crate::command::{Body, Command};
use crate::input::{Input, InputEvent};
use crate::state::State;
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
    pub mismatches: Vec<Mismatch>,
}

/// Decides again on a conversation's recorded inputs and compares bytes.
///
/// `record` is the conversation's whole slice in stream order. Commands that may not have been
/// stored yet, because they follow from the last inputs, count as missing unless `open_end`.
#[must_use]
pub fn verify(record: &[Recorded], only: Option<Uuid>, open_end: bool) -> Verification {
    let mut result = Verification::default();
    let commands = index(record, &mut result.mismatches);
    let mut state = State::default();
    let mut explained = BTreeMap::new();
    let mut begun = false;
    for event in record {
        let input = match InputEvent::decode(event.kind, &event.bytes) {
            None => continue,
            Some(Ok(input)) => input,
            Some(Err(error)) => {
                let reason = error.to_string();
                let (sequence, kind) = (event.sequence, event.kind);
                result.mismatches.push(Mismatch::Unreadable { sequence, kind, reason });
                continue;
            }
        };
        // A record whose beginning has aged out starts with answers to nobody.
        begun |= matches!(input, InputEvent::Incoming(_));
        if !begun {
            explained.insert(event.id, ());
            continue;
        }
        result.inputs += 1;
        let cause = input.id();
        let input = Input {
            sequence: event.sequence,
            stored_at: event.stored_at,
            bytes: &event.bytes,
            event: input,
        };
        for command in step(&mut state, &input).commands {
            explained.insert(command.id, ());
            if only.is_none_or(|run| run == command.run) {
                compare(&command, cause, commands.get(&command.id).copied(), open_end, &mut result);
            }
        }
    }
    let orphans = commands.values().filter(|event| {
        !explained.contains_key(&event.id) && begun && only.is_none_or(|run| run == event.run)
    });
    result.mismatches.extend(orphans.map(|event| Mismatch::Unexplained {
        sequence: event.sequence,
        kind: event.kind,
        id: event.id,
    }));
    result
}

fn index<'a>(record: &'a [Recorded], mismatches: &mut Vec<Mismatch>) -> BTreeMap<Uuid, &'a Recorded> {
    let mut commands = BTreeMap::new();
    for event in record.iter().filter(|event| is_decision(event.kind)) {
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

/// Whether events of this type are decisions of the engine.
fn is_decision(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::RunsStarted
            | EventType::MemoryRecall
            | EventType::InferenceRequest
            | EventType::ToolsExecute
            | EventType::RequestsProcessed
    )
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
