use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nexus_contracts::{
    Event, Metadata, RunTimeout, Subject, TimeoutScope, Timestamp, derived_id, traceparent,
};
use nexus_conversation::{ConversationKey, PendingCall, State};
use uuid::Uuid;

/// Time until a timeout that was published is published again, if it is still needed.
const REPEAT: Duration = Duration::from_secs(10);

/// Watches the waits of one partition.
///
/// Time counts from when this owner first saw a wait: while nobody owned the partition nothing
/// could be answered either, so a request that outlived an outage is answered late, not failed.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    waits: BTreeMap<ConversationKey, Vec<Wait>>,
}

#[derive(Debug)]
struct Wait {
    run: Uuid,
    call: Option<Uuid>,
    due: Instant,
}

/// A `runs.timeout` to publish.
#[derive(Debug)]
pub(crate) struct Timeout {
    pub(crate) subject: Subject,
    pub(crate) id: Uuid,
    pub(crate) bytes: Vec<u8>,
}

impl Deadlines {
    /// Begins with all waits of a state.
    pub(crate) fn of(state: &State, now: Instant) -> Self {
        let mut deadlines = Self::default();
        for wait in state.waits() {
            let key = wait.key.clone();
            deadlines.waits.entry(key).or_default().push(Wait::begin(wait, now));
        }
        deadlines
    }

    /// Follows the change of one conversation.
    pub(crate) fn update(&mut self, key: &ConversationKey, waits: Vec<PendingCall>, now: Instant) {
        let before = self.waits.remove(key).unwrap_or_default();
        let known = |wait: &PendingCall| {
            before
                .iter()
                .find(|old| old.run == wait.run && old.call == wait.call)
                .map(|old| old.due)
        };
        let waits: Vec<Wait> = waits
            .into_iter()
            .map(|wait| {
                let due = known(&wait);
                let fresh = Wait::begin(wait, now);
                Wait { due: due.unwrap_or(fresh.due), ..fresh }
            })
            .collect();
        if !waits.is_empty() {
            self.waits.insert(key.clone(), waits);
        }
    }

    /// Conversations with an active run.
    pub(crate) fn active(&self) -> usize {
        self.waits.len()
    }

    /// The waits that are over, as events that say so.
    pub(crate) fn due(&mut self, now: Instant, at: Timestamp) -> Vec<Timeout> {
        let mut due = Vec::new();
        for (key, waits) in &mut self.waits {
            for wait in waits.iter_mut().filter(|wait| wait.due <= now) {
                wait.due = now + REPEAT;
                due.push(timeout(key, wait, at));
            }
        }
        due
    }
}

impl Wait {
    fn begin(wait: PendingCall, now: Instant) -> Self {
        Self { run: wait.run, call: wait.call, due: now + Duration::from_millis(wait.allowed_ms) }
    }
}

fn timeout(key: &ConversationKey, wait: &Wait, at: Timestamp) -> Timeout {
    let cause = wait.call.unwrap_or(wait.run);
    let id = derived_id(cause, "timeout");
    let scope = wait.call.map_or(TimeoutScope::Run, |call| TimeoutScope::Call { call });
    let metadata = Metadata {
        causation_id: Some(cause),
        traceparent: Some(traceparent(wait.run, id)),
        ..Metadata::at(key.tenant, key.channel.clone(), key.conversation.clone())
    };
    let event = Event::new(id, wait.run, metadata, at, RunTimeout { run: wait.run, scope });
    let kind = nexus_contracts::EventType::RunsTimeout;
    Timeout { subject: Subject::of(kind, &event.metadata), id, bytes: event.encode() }
}
