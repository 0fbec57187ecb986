//! A log in memory: stores events, feeds them to the engine and stores what it decides.

use std::collections::VecDeque;

use nexus_contracts::{
    AgentDefinition, CancelScope, Decision, Event, EventType, IncomingRequest, InferenceOutcome,
    InferenceRequest, InferenceResponse, MemoryRecall, MemoryRecalled, Metadata, Notice,
    NotifyDeliver, OnMessage, Outcome, Payload, ProcessedRequest, RawEvent, RecalledTurn,
    RunCancel, RunConfiguration, RunTimeout, TimeoutScope, Timestamp, ToolApproval, ToolExecute,
    ToolOutcome, ToolResult, derived_id,
};
use uuid::Uuid;

use super::fixtures::{agent, completed, place, said, wanted};
use crate::{Body, Command, Input, InputEvent, Recorded, State, Step, Verdict, step};

/// 2026-11-20T12:00:00Z.
const BEGINNING: i64 = 1_795_176_000_000_000;

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) state: State,
    /// What the next `runs.started` gets.
    pub(super) configuration: RunConfiguration,
    pub(super) now: Timestamp,
    /// Everything stored.
    pub(super) record: Vec<Recorded>,
    /// What the engine decided on each input, with the input's index in the record.
    pub(super) steps: Vec<(usize, Step)>,
    /// Commands that are decided and not stored yet.
    pub(super) undelivered: VecDeque<Command>,
    asked: u128,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut AgentDefinition)) -> Self {
        let mut agent = agent();
        change(&mut agent.definition);
        Self {
            state: State::default(),
            configuration: RunConfiguration::Accepted { agent: Box::new(agent) },
            now: Timestamp::from_micros(BEGINNING),
            record: Vec::new(),
            steps: Vec::new(),
            undelivered: VecDeque::new(),
            asked: 0,
        }
    }

    pub(super) fn on_message(policy: OnMessage) -> Self {
        Self::with(|agent| agent.on_message = policy)
    }

    // Storing

    /// Stores an event and steps the engine if it is an input; its commands stay undelivered.
    pub(super) fn store(&mut self, kind: EventType, bytes: Vec<u8>) -> Verdict {
        self.now = self.now.plus_millis(1);
        let head = RawEvent::decode(&bytes).unwrap();
        // The partition's stream holds other conversations too.
        let sequence = 3 * (self.record.len() as u64 + 1);
        let stored = Recorded {
            sequence,
            stored_at: self.now,
            kind,
            id: head.id,
            run: head.correlation_id,
            bytes,
        };
        self.record.push(stored);
        let stored = self.record.last().unwrap();
        let Some(event) = InputEvent::decode(kind, &stored.bytes) else { return Verdict::Applied };
        let input =
            Input { sequence, stored_at: self.now, bytes: &stored.bytes, event: event.unwrap() };
        let step = step(&mut self.state, &input);
        self.undelivered.extend(step.commands.iter().cloned());
        let verdict = step.verdict.clone();
        self.steps.push((self.record.len() - 1, step));
        verdict
    }

    /// Stores the oldest undelivered command; `false` when there is none.
    pub(super) fn deliver_one(&mut self) -> bool {
        let Some(command) = self.undelivered.pop_front() else { return false };
        let bytes = match command.body {
            Body::Ready(bytes) => bytes,
            Body::Start(pending) => pending.now(self.configuration.clone()),
        };
        self.store(command.subject.kind, bytes);
        true
    }

    pub(super) fn deliver(&mut self) {
        while self.deliver_one() {}
    }

    /// Stores an event, and what follows from it.
    pub(super) fn put<P: Payload>(&mut self, event: &Event<P>) -> Verdict {
        let verdict = self.store(P::TYPE, event.encode());
        self.deliver();
        verdict
    }

    // People

    pub(super) fn request(&mut self, conversation: &str, text: &str) -> Event<IncomingRequest> {
        self.asked += 1;
        let id = Uuid::from_u128((0x0192_f0c1 << 96) | self.asked);
        let metadata = Metadata { user: Some("ada".to_owned()), ..place(conversation) };
        let payload = IncomingRequest::text(text);
        Event::new(id, id, metadata, self.now, payload)
    }

    pub(super) fn ask(&mut self, text: &str) -> Uuid {
        let request = self.request("kitchen", text);
        self.put(&request);
        request.id
    }

    /// Asks and recalls nothing: the run's first model call is open.
    pub(super) fn ask_the_model(&mut self, text: &str) -> (Uuid, Uuid) {
        let run = self.ask(text);
        self.recall(&[]);
        (run, self.last(EventType::InferenceRequest))
    }

    pub(super) fn cancel(&mut self, run: Uuid) -> Verdict {
        self.put(&self.cancellation(run, None))
    }

    pub(super) fn cancellation(&self, run: Uuid, failure: Option<&str>) -> Event<RunCancel> {
        let failure = failure.map(str::to_owned);
        let payload = RunCancel { failure, ..RunCancel::of(run, Some("Never mind.".to_owned())) };
        Event::new(derived_id(run, "cancel"), run, self.place_of(run), self.now, payload)
    }

    /// Somebody ends everything in the kitchen.
    pub(super) fn stop_everything(&mut self) -> Event<RunCancel> {
        self.asked += 1;
        let id = Uuid::from_u128(self.asked);
        let payload = RunCancel {
            scope: CancelScope::Conversation,
            ..RunCancel::of(id, Some("Never mind.".to_owned()))
        };
        Event::new(id, id, place("kitchen"), self.now, payload)
    }

    /// Somebody answers the question whether a tool may be called.
    pub(super) fn approval(
        &self,
        question: Uuid,
        by: &str,
        decision: Decision,
    ) -> Event<ToolApproval> {
        let asked = self.event::<NotifyDeliver>(question);
        let Notice::Approval { arguments_sha256, .. } = &asked.payload.notice else {
            panic!("no question")
        };
        let metadata =
            Metadata { user: Some(by.to_owned()), ..self.place_of(asked.correlation_id) };
        let arguments_sha256 = arguments_sha256.clone();
        let payload = ToolApproval { question, decision, arguments_sha256 };
        let id = derived_id(question, &format!("{by} {decision:?}"));
        Event::new(id, asked.correlation_id, metadata, self.now, payload)
    }

    // Workers

    /// The answer of a worker to a stored call.
    pub(super) fn answer<C: Payload, R: Payload>(&self, call: Uuid, payload: R) -> Event<R> {
        self.event::<C>(call).reply(payload, self.now)
    }

    /// Memory answers the last recall.
    pub(super) fn recall(&mut self, turns: &[(&str, &str)]) -> Verdict {
        let call = self.last(EventType::MemoryRecall);
        self.put(&self.recalled(call, turns))
    }

    pub(super) fn recalled(&self, call: Uuid, turns: &[(&str, &str)]) -> Event<MemoryRecalled> {
        let turns = turns.iter().map(|(input, output)| RecalledTurn {
            request: Uuid::from_u128(7),
            input: (*input).to_owned(),
            output: (*output).to_owned(),
            at: Timestamp::from_micros(BEGINNING),
        });
        let payload = MemoryRecalled { call, turns: turns.collect(), degraded: None };
        self.answer::<MemoryRecall, _>(call, payload)
    }

    /// The model answers the last call with a text.
    pub(super) fn say(&mut self, text: &str) -> Verdict {
        let call = self.last(EventType::InferenceRequest);
        self.put(&self.response(call, said(text)))
    }

    /// The model answers the last call by asking for tools.
    pub(super) fn want(&mut self, tools: &[(&str, &str)]) -> Verdict {
        let call = self.last(EventType::InferenceRequest);
        self.put(&self.response(call, wanted(tools)))
    }

    pub(super) fn response(
        &self,
        call: Uuid,
        outcome: InferenceOutcome,
    ) -> Event<InferenceResponse> {
        let payload = InferenceResponse::of(call, "demo/demo".to_owned(), outcome, 12);
        self.answer::<InferenceRequest, _>(call, payload)
    }

    pub(super) fn give(&mut self, call: Uuid, output: &str) -> Verdict {
        self.put(&self.result(call, completed(output)))
    }

    pub(super) fn result(&self, call: Uuid, outcome: ToolOutcome) -> Event<ToolResult> {
        let tool = self.payload::<ToolExecute>(call).tool;
        self.answer::<ToolExecute, _>(
            call,
            ToolResult { call, tool, outcome, duration_ms: 1, attachments: Vec::new() },
        )
    }

    pub(super) fn time_out(&mut self, run: Uuid, scope: TimeoutScope) -> Verdict {
        self.put(&self.timeout(run, scope))
    }

    pub(super) fn timeout(&self, run: Uuid, scope: TimeoutScope) -> Event<RunTimeout> {
        let cause = match scope {
            TimeoutScope::Run => run,
            TimeoutScope::Call { call } => call,
        };
        let id = derived_id(cause, "timeout");
        Event::new(id, run, self.place_of(run), self.now, RunTimeout { run, scope })
    }

    // Looking

    pub(super) fn event<P: Payload>(&self, id: Uuid) -> Event<P> {
        let mut stored = self.record.iter().filter(|event| event.id == id && event.kind == P::TYPE);
        Event::decode(&stored.next().unwrap().bytes).unwrap()
    }

    pub(super) fn payload<P: Payload>(&self, id: Uuid) -> P {
        self.event::<P>(id).payload.known
    }

    pub(super) fn ids(&self, kind: EventType) -> Vec<Uuid> {
        self.record.iter().filter(|event| event.kind == kind).map(|event| event.id).collect()
    }

    pub(super) fn last(&self, kind: EventType) -> Uuid {
        *self.ids(kind).last().unwrap()
    }

    pub(super) fn last_request(&self) -> InferenceRequest {
        self.payload(self.last(EventType::InferenceRequest))
    }

    /// Types of everything stored for a run, in order.
    pub(super) fn kinds(&self, run: Uuid) -> Vec<&'static str> {
        self.record
            .iter()
            .filter(|event| event.run == run)
            .map(|event| event.kind.as_str())
            .collect()
    }

    /// All final words on a request.
    pub(super) fn ends(&self, request: Uuid) -> Vec<ProcessedRequest> {
        let ends = self.ids(EventType::RequestsProcessed).into_iter().map(|id| self.payload(id));
        ends.filter(|end: &ProcessedRequest| end.request == request).collect()
    }

    pub(super) fn outcomes(&self, request: Uuid) -> Vec<Outcome> {
        self.ends(request).into_iter().map(|end| end.outcome).collect()
    }

    /// The code of each failure of a request; other outcomes by their status.
    pub(super) fn codes(&self, request: Uuid) -> Vec<String> {
        let code = |outcome| match outcome {
            Outcome::Failed { code, .. } => code,
            other @ (Outcome::Answered { .. }
            | Outcome::Cancelled { .. }
            | Outcome::Steered { .. }) => other.status().to_owned(),
        };
        self.outcomes(request).into_iter().map(code).collect()
    }

    fn place_of(&self, run: Uuid) -> Metadata {
        let request = self.record.iter().find(|event| event.id == run).unwrap();
        let metadata = RawEvent::decode(&request.bytes).unwrap().metadata;
        Metadata::at(metadata.tenant, metadata.channel, metadata.conversation)
    }
}
