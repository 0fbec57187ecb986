use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use anyhow::Result;
use nexus_bus::Start;
use nexus_contracts::{Event, EventType, Outcome, Pattern, ProcessedRequest};
use nexus_conversation::{Input, InputEvent, State, step};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::{moment, now};
use crate::config::Settings;
use crate::installation;
use crate::records::{self, Record};

/// Where accepted requests are: `accepted = answered + failed + pending + unaccounted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Counts {
    accepted: u64,
    /// With an answer, their own or that of the run that took them in.
    answered: u64,
    /// Ended visibly without an answer: failed or cancelled.
    failed: u64,
    /// Active or waiting.
    pending: u64,
    /// Neither ended nor in any state: lost. Has to be 0.
    unaccounted: u64,
}

#[derive(Debug, Default, Serialize)]
struct Ledger {
    total: Counts,
    channels: BTreeMap<String, Counts>,
    outcomes: BTreeMap<&'static str, u64>,
    /// Requests with more than one final reply. Has to be 0.
    second_replies: u64,
}

/// Inputs of the engine: all that the account depends on.
const INPUTS: [EventType; 8] = [
    EventType::RequestsIncoming,
    EventType::RunsStarted,
    EventType::MemoryRecalled,
    EventType::InferenceResponse,
    EventType::ToolsResults,
    EventType::RunsCancel,
    EventType::RunsTimeout,
    EventType::RequestsProcessed,
];

pub(crate) async fn run(settings: &Settings, since: &str, json: bool) -> Result<ExitCode> {
    let since = moment(since, now())?;
    let bus = installation::bus(settings).await?;
    let patterns = INPUTS.into_iter().map(Pattern::kind).collect();
    let records = records::read(&bus, patterns, Start::Time(since)).await?;
    let ledger = account(&records);
    if json {
        say!("{}", serde_json::to_string(&ledger)?);
    } else {
        print(&ledger);
    }
    let balanced = ledger.total.unaccounted == 0 && ledger.second_replies == 0;
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Accounts for every request in the records, which are in stream order.
fn account(records: &[Record]) -> Ledger {
    let mut ledger = Ledger::default();
    let mut accepted: BTreeMap<Uuid, String> = BTreeMap::new();
    let mut ended: BTreeMap<Uuid, Outcome> = BTreeMap::new();
    let mut replies: BTreeMap<Uuid, BTreeSet<u64>> = BTreeMap::new();
    let mut state = State::default();
    for record in records {
        let Some(kind) = record.kind else { continue };
        let Some(Ok(event)) = InputEvent::decode(kind, &record.bytes) else { continue };
        match &event {
            InputEvent::Incoming(event) if event.id == event.correlation_id => {
                accepted.insert(event.id, event.metadata.channel.to_string());
            }
            InputEvent::Processed(event) => {
                note_reply(event, record.sequence, &mut ended, &mut replies)
            }
            _ => {}
        }
        let input = Input {
            sequence: record.sequence,
            stored_at: record.stored_at,
            bytes: &record.bytes,
            event,
        };
        step(&mut state, &input);
    }
    let pending: BTreeSet<Uuid> = state.pending().map(|(id, _)| id).collect();
    for (id, channel) in accepted {
        let counts = ledger.channels.entry(channel).or_default();
        counts.accepted += 1;
        match ended.get(&id) {
            Some(outcome) => {
                *ledger.outcomes.entry(outcome.status()).or_default() += 1;
                match outcome {
                    Outcome::Answered { .. } | Outcome::Steered { .. } => counts.answered += 1,
                    Outcome::Failed { .. } | Outcome::Cancelled { .. } => counts.failed += 1,
                }
            }
            None if pending.contains(&id) => counts.pending += 1,
            None => counts.unaccounted += 1,
        }
    }
    for counts in ledger.channels.values() {
        ledger.total.accepted += counts.accepted;
        ledger.total.answered += counts.answered;
        ledger.total.failed += counts.failed;
        ledger.total.pending += counts.pending;
        ledger.total.unaccounted += counts.unaccounted;
    }
    let second = replies.values().filter(|sequences| sequences.len() > 1).count();
    ledger.second_replies = u64::try_from(second).unwrap_or(u64::MAX);
    ledger
}

fn note_reply(
    event: &Event<ProcessedRequest>,
    sequence: u64,
    ended: &mut BTreeMap<Uuid, Outcome>,
    replies: &mut BTreeMap<Uuid, BTreeSet<u64>>,
) {
    let request = event.payload.request;
    replies.entry(request).or_default().insert(sequence);
    ended.entry(request).or_insert_with(|| event.payload.outcome.clone());
}

fn print(ledger: &Ledger) {
    say!(
        "{:<12} {:>9} {:>9} {:>9} {:>9} {:>12}",
        "CHANNEL",
        "ACCEPTED",
        "ANSWERED",
        "FAILED",
        "PENDING",
        "UNACCOUNTED"
    );
    let row = |name: &str, counts: &Counts| {
        say!(
            "{name:<12} {:>9} {:>9} {:>9} {:>9} {:>12}",
            counts.accepted,
            counts.answered,
            counts.failed,
            counts.pending,
            counts.unaccounted
        );
    };
    for (channel, counts) in &ledger.channels {
        row(channel, counts);
    }
    row("total", &ledger.total);
    if ledger.second_replies > 0 {
        say!("{} requests have more than one final reply", ledger.second_replies);
    }
}
