use std::collections::BTreeMap;

use bytes::Bytes;
use nexus_bus::{Chain, Message};
use nexus_contracts::{EventType, Partition, RawEvent, StoredSubject, Timestamp};
use nexus_conversation::{
    Body, Command, ConversationKey, Input, InputEvent, State, Step, Verdict, step,
};
use uuid::Uuid;

/// What one stored message is to a partition's owner.
pub(crate) enum Seen {
    /// The engine's input, and what it decided on it.
    Input {
        key: ConversationKey,
        id: Uuid,
        step: Step,
    },
    /// Somebody took the partition at this sequence.
    Epoch,
    /// Nothing to decide on: a command, or a type that this version does not know.
    Other,
    Malformed {
        reason: String,
    },
}

/// Takes one stored message into the state.
pub(crate) fn take(state: &mut State, message: &Message) -> Seen {
    let subject = match StoredSubject::parse(&message.subject) {
        Ok(subject) => subject,
        Err(_) if message.subject.starts_with(EventType::OrchestratorEpoch.as_str()) => {
            return Seen::Epoch;
        }
        Err(error) => return Seen::Malformed { reason: Chain(&error).to_string() },
    };
    let Ok(kind) = subject.kind.parse::<EventType>() else {
        metrics::counter!("nexus_orchestrator_unknown_events_total").increment(1);
        return Seen::Other;
    };
    let event = match InputEvent::decode(kind, &message.bytes) {
        None => return Seen::Other,
        Some(Ok(event)) => event,
        Some(Err(error)) => return Seen::Malformed { reason: Chain(&error).to_string() },
    };
    if !subject.matches(event.metadata()) {
        let reason = format!("metadata names another place than the subject {}", message.subject);
        return Seen::Malformed { reason };
    }
    if matches!(event, InputEvent::Incoming(_)) && event.id() != event.correlation_id() {
        let reason = "a request's correlation_id has to be its own id".to_owned();
        return Seen::Malformed { reason };
    }
    let (key, id) = (ConversationKey::of(event.metadata()), event.id());
    let input = Input {
        sequence: message.sequence,
        stored_at: message.stored_at,
        bytes: &message.bytes,
        event,
    };
    let step = step(state, &input);
    let verdict = match &step.verdict {
        Verdict::Applied => "applied",
        Verdict::Repeated => "repeated",
        Verdict::Late => "late",
        Verdict::Panicked(_) => "panicked",
    };
    metrics::counter!("nexus_orchestrator_inputs_total", "type" => kind.as_str(), "verdict" => verdict)
        .increment(1);
    Seen::Input { key, id, step }
}

/// What the tail of the log says about commands: which should be there, which are.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    expected: Vec<(ConversationKey, Command)>,
    stored: BTreeMap<Uuid, Bytes>,
    pub(crate) malformed: Vec<(Message, String)>,
    /// The last event folded: what a checkpoint is recognised by.
    pub(crate) last: Option<(u64, Uuid, Timestamp)>,
}

impl Tail {
    /// Folds one message of the tail.
    pub(crate) fn fold(&mut self, state: &mut State, message: Message) {
        let id = id_of(&message.bytes);
        if let Some(id) = id {
            self.last = Some((message.sequence, id, message.stored_at));
        }
        match take(state, &message) {
            Seen::Input { key, step, .. } => {
                if let Verdict::Panicked(reason) = step.verdict {
                    self.malformed.push((message.clone(), reason));
                }
                self.expected
                    .extend(step.commands.into_iter().map(|command| (key.clone(), command)));
                // Decisions that are inputs too: runs.started and requests.processed.
                self.stored.extend(id.map(|id| (id, message.bytes)));
            }
            Seen::Other => self.stored.extend(id.map(|id| (id, message.bytes))),
            Seen::Epoch => {}
            Seen::Malformed { reason } => self.malformed.push((message, reason)),
        }
    }

    /// Runs for which the log has other commands than this engine decides.
    pub(crate) fn diverged(&self) -> Vec<(ConversationKey, Uuid)> {
        let differing = self.expected.iter().filter(|(_, command)| match &command.body {
            Body::Ready(bytes) => {
                self.stored.get(&command.id).is_some_and(|stored| stored != bytes)
            }
            Body::Start(_) => false,
        });
        differing.map(|(key, command)| (key.clone(), command.run)).collect()
    }

    /// Commands that follow from the log and are not in it, oldest first.
    ///
    /// Without the calls that a later input has closed: nobody waits for them any more.
    pub(crate) fn missing(self, state: &State) -> Vec<Command> {
        let absent = self.expected.into_iter().filter(|(key, command)| {
            let open = match &command.body {
                Body::Start(_) => state.is_starting(key, command.run),
                Body::Ready(_) => !command.is_call() || state.is_open(key, command.id),
            };
            open && !self.stored.contains_key(&command.id)
        });
        absent.map(|(_, command)| command).collect()
    }
}

/// Id of an event of any type.
pub(crate) fn id_of(bytes: &[u8]) -> Option<Uuid> {
    #[derive(serde::Deserialize)]
    struct Head {
        id: Uuid,
    }
    serde_json::from_slice::<Head>(bytes).ok().map(|head| head.id)
}

/// Whether a checkpoint's event still stands where the checkpoint says.
pub(crate) fn recognises(partition: Partition, bytes: &[u8], event_id: Uuid) -> bool {
    let found = RawEvent::decode(bytes).map(|event| event.id);
    let same = matches!(found, Ok(id) if id == event_id);
    if !same {
        tracing::warn!(%partition, "the checkpoint belongs to another log; folding from the beginning");
    }
    same
}
