use nexus_contracts::{
    Event, EventType, Metadata, Payload, RunConfiguration, RunStarted, Subject, Timestamp,
    command_id, traceparent,
};
use uuid::Uuid;

use crate::state::Run;
use crate::{ENGINE, Input, MAX_COMMAND_BYTES};

/// An event that follows from an input.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub id: Uuid,
    pub run: Uuid,
    pub subject: Subject,
    pub body: Body,
}

impl Command {
    /// Whether it asks a worker for something and is settled by an answer.
    #[must_use]
    pub fn is_call(&self) -> bool {
        matches!(
            self.subject.kind,
            EventType::MemoryRecall
                | EventType::InferenceRequest
                | EventType::ToolsExecute
                | EventType::NotifyDeliver
        )
    }
}

/// The event's bytes, or what is needed to make them.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Ready(Vec<u8>),
    /// A `runs.started`: the configuration of the moment goes in, and is an input from then on.
    Start(Box<PendingStart>),
}

/// A run that wants to begin and needs its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingStart {
    id: Uuid,
    run: Uuid,
    metadata: Metadata,
    timestamp: Timestamp,
}

impl PendingStart {
    /// Agent that the request asks for, if it names one.
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        self.metadata.agent.as_deref()
    }

    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The bytes of the `runs.started` with this configuration, decided by engine version `engine`.
    #[must_use]
    pub fn with(&self, engine: u32, configuration: RunConfiguration) -> Vec<u8> {
        let payload = RunStarted { request: self.run, engine, configuration };
        Event::new(self.id, self.run, self.metadata.clone(), self.timestamp, payload).encode()
    }

    /// As [`Self::with`], for the engine that is running.
    ///
    /// A configuration that no event can hold is refused, so that the request ends visibly.
    #[must_use]
    pub fn now(&self, configuration: RunConfiguration) -> Vec<u8> {
        let bytes = self.with(ENGINE, configuration);
        if bytes.len() <= MAX_COMMAND_BYTES {
            return bytes;
        }
        let message = "The agent's definition and tools are too large for one event.".to_owned();
        self.with(ENGINE, RunConfiguration::Refused { code: "agent_too_large".to_owned(), message })
    }
}

/// Issues the commands of one step: numbers them and stamps them with their cause.
#[derive(Debug)]
pub(crate) struct Issuer<'a> {
    cause: Uuid,
    stored_at: Timestamp,
    commands: &'a mut Vec<Command>,
}

impl<'a> Issuer<'a> {
    pub(crate) fn new(input: &Input<'_>, commands: &'a mut Vec<Command>) -> Self {
        Self { cause: input.event.id(), stored_at: input.stored_at, commands }
    }

    /// Id that the run's next command in this step will have.
    pub(crate) fn next_id(&self, run: &Run) -> Uuid {
        command_id(run.id(), run.step, run.issued)
    }

    pub(crate) fn issue<P: Payload>(&mut self, run: &mut Run, payload: P) -> Uuid {
        let (id, metadata) = self.stamp(run);
        let event = Event::new(id, run.id(), metadata, self.stored_at, payload);
        self.push(run.id(), id, P::TYPE, &event.metadata, Body::Ready(event.encode()));
        id
    }

    /// Issues `payload` if its event has at most `limit` bytes.
    pub(crate) fn issue_within<P: Payload + Clone>(
        &mut self,
        run: &mut Run,
        payload: &P,
        limit: usize,
    ) -> Option<Uuid> {
        let issued = run.issued;
        let (id, metadata) = self.stamp(run);
        let event = Event::new(id, run.id(), metadata, self.stored_at, payload.clone());
        let bytes = event.encode();
        if bytes.len() > limit {
            run.issued = issued;
            return None;
        }
        self.push(run.id(), id, P::TYPE, &event.metadata, Body::Ready(bytes));
        Some(id)
    }

    /// Issues an event about another request than the run's own.
    pub(crate) fn issue_about<P: Payload>(
        &mut self,
        run: &mut Run,
        request: Uuid,
        place: &Metadata,
        payload: P,
    ) {
        let (id, mut metadata) = self.stamp(run);
        metadata.user.clone_from(&place.user);
        metadata.traceparent = Some(traceparent(request, id));
        let event = Event::new(id, request, metadata, self.stored_at, payload);
        self.push(run.id(), id, P::TYPE, &event.metadata, Body::Ready(event.encode()));
    }

    pub(crate) fn start(&mut self, run: &mut Run) {
        let (id, metadata) = self.stamp(run);
        let metadata = Metadata { schema: RunStarted::SCHEMA, ..metadata };
        let pending = PendingStart {
            id,
            run: run.id(),
            metadata: metadata.clone(),
            timestamp: self.stored_at,
        };
        self.push(run.id(), id, RunStarted::TYPE, &metadata, Body::Start(Box::new(pending)));
    }

    fn stamp(&self, run: &mut Run) -> (Uuid, Metadata) {
        let id = self.next_id(run);
        run.issued += 1;
        let metadata = Metadata {
            causation_id: Some(self.cause),
            inputs_digest: Some(run.digest.clone()),
            traceparent: Some(traceparent(run.id(), id)),
            ..run.request.place.clone()
        };
        (id, metadata)
    }

    fn push(&mut self, run: Uuid, id: Uuid, kind: EventType, metadata: &Metadata, body: Body) {
        self.commands.push(Command { id, run, subject: Subject::of(kind, metadata), body });
    }
}
