//! Runs as frames: what each encoding is shown.

use std::collections::BTreeSet;

use nexus_bus::Message;
use nexus_contracts::{
    AgentSnapshot, Approvals, ChunkDelta, Decision, Effect, Finish, IncomingRequest,
    InferenceError, InferenceOutcome, InferenceResponse, Notice, NotifyDeliver, Outcome,
    RunConfiguration, RunStarted, ToolApproval, ToolOutcome, ToolResult, ToolSpec, Usage,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::cursor::Cursor;
use crate::encode::{Encoder, SseEvent};
use crate::feed::tests::{Log, answered, feed, id, piece, says};
use crate::frames::ServerFrame;

pub(super) const RUN: Uuid = Uuid::from_u128(1);
pub(super) const OTHER: Uuid = Uuid::from_u128(11);
/// The first and the second model call.
pub(super) const FIRST: Uuid = Uuid::from_u128(2);
pub(super) const SECOND: Uuid = Uuid::from_u128(3);
/// Tool calls, and a question.
pub(super) const CALL: Uuid = Uuid::from_u128(4);
pub(super) const CALL_2: Uuid = Uuid::from_u128(5);
pub(super) const QUESTION: Uuid = Uuid::from_u128(6);

/// A conversation in the making.
#[derive(Default)]
pub(super) struct Scene {
    pub(super) log: Log,
    pub(super) frames: Vec<ServerFrame>,
    feed: Option<crate::feed::Feed>,
}

impl Scene {
    pub(super) fn event(mut self, make: impl FnOnce(&mut Log) -> Message) -> Self {
        let message = make(&mut self.log);
        let feed = self.feed.get_or_insert_with(|| feed(Cursor::default()));
        self.frames.extend(feed.event(&message));
        self
    }

    pub(super) fn live(mut self, call: Uuid, attempt: u32, delta: ChunkDelta) -> Self {
        let feed = self.feed.get_or_insert_with(|| feed(Cursor::default()));
        self.frames.extend(feed.chunk(&piece(RUN, call, attempt, delta)));
        self
    }

    pub(super) fn piece(mut self, call: Uuid, attempt: u32, offset: u64, text: &str) -> Self {
        let feed = self.feed.get_or_insert_with(|| feed(Cursor::default()));
        self.frames.extend(feed.chunk(&says(RUN, call, attempt, offset, text)));
        self
    }

    /// A request that offers `lookup`, to an agent with `clock` and a guarded `mail`.
    pub(super) fn begun() -> Self {
        let tool = |name: &str, client: Option<&str>| ToolSpec {
            name: name.to_owned(),
            description: String::new(),
            parameters: json!({}),
            effect: Effect::Read,
            timeout_ms: 1,
            client: client.map(str::to_owned),
        };
        let request = IncomingRequest {
            client_tools: vec![tool("lookup", Some("api"))],
            ..IncomingRequest::text("hello")
        };
        let definition =
            json!({ "name": "assistant", "instructions": "", "tools": ["clock", "mail"] });
        let mut definition: nexus_contracts::AgentDefinition =
            serde_json::from_value(definition).unwrap();
        definition.approvals = Approvals { tools: vec!["mail".to_owned()], ..Approvals::default() };
        let agent = AgentSnapshot {
            digest: String::new(),
            definition,
            tools: vec![tool("clock", None), tool("mail", None)],
        };
        let configuration = RunConfiguration::Accepted { agent: Box::new(agent) };
        let started = RunStarted { request: RUN, engine: 1, configuration };
        Self::default()
            .event(|log| log.stored(RUN, RUN, request))
            .event(|log| log.stored(RUN, id(20), started))
            .event(|log| log.asks_model(RUN, FIRST))
    }

    pub(super) fn result(self, call: Uuid, tool: &str, output: &str) -> Self {
        let outcome = ToolOutcome::Completed { output: output.to_owned(), truncated: false };
        let (tool, attachments) = (tool.to_owned(), Vec::new());
        let result = ToolResult { call, tool, outcome, duration_ms: 1, attachments };
        self.event(|log| log.stored(RUN, nexus_contracts::derived_id(call, "result"), result))
    }

    pub(super) fn asks(self) -> Self {
        let notice = Notice::Approval {
            tool: "mail".to_owned(),
            arguments: "{}".to_owned(),
            arguments_sha256: "x".to_owned(),
            users: Vec::new(),
            expires_after_ms: 9,
        };
        self.event(|log| log.stored(RUN, QUESTION, NotifyDeliver { notice }))
    }

    pub(super) fn allowed(self) -> Self {
        let approval = ToolApproval {
            question: QUESTION,
            decision: Decision::Approved,
            arguments_sha256: "x".to_owned(),
        };
        self.event(|log| log.stored(RUN, id(30), approval))
            .event(|log| log.executes_after(RUN, CALL, "mail", None, Some(id(30))))
    }

    /// The second model call says this, which ends the run.
    pub(super) fn says_at_last(self, text: &str) -> Self {
        self.event(|log| log.asks_model(RUN, SECOND))
            .piece(SECOND, 0, 0, text)
            .event(|log| log.model_says(RUN, SECOND, text, &[]))
            .event(|log| log.ends(RUN, answered(text)))
    }
}

/// A run with a word before the agent's own tool, and an answer after it; another run in between.
pub(super) fn with_own_tool() -> Vec<ServerFrame> {
    Scene::begun()
        .piece(FIRST, 0, 0, "Let me ")
        .event(|log| log.model_says(RUN, FIRST, "Let me see.", &["clock"]))
        .event(|log| log.executes(RUN, CALL, "clock", None))
        .event(|log| log.asked(OTHER, "another question"))
        .result(CALL, "clock", "12:30")
        .says_at_last("It is 12:30.")
        .event(|log| log.model_says(OTHER, id(40), "not for you", &[]))
        .event(|log| log.ends(OTHER, answered("not for you")))
        .frames
}

/// A run that asks for two calls of the client's tool and one of its own, all at once.
pub(super) fn with_clients_tool() -> Scene {
    Scene::begun()
        .event(|log| log.model_says(RUN, FIRST, "", &["lookup", "clock", "lookup", "unheard_of"]))
        .event(|log| log.executes(RUN, CALL, "lookup", Some("api")))
        .event(|log| log.executes(RUN, id(41), "clock", None))
        .event(|log| log.executes(RUN, CALL_2, "lookup", Some("api")))
        .result(id(41), "clock", "12:30")
}

/// The same, when the client has answered.
pub(super) fn answered_by_client() -> Vec<ServerFrame> {
    with_clients_tool()
        .result(CALL, "lookup", "one")
        .result(CALL_2, "lookup", "two")
        .says_at_last("One and two.")
        .frames
}

/// A run that asks a person, and what follows a yes.
pub(super) fn with_question() -> (Vec<ServerFrame>, Vec<ServerFrame>) {
    let asked = || Scene::begun().event(|log| log.model_says(RUN, FIRST, "", &["mail"])).asks();
    let allowed = asked().allowed().result(CALL, "mail", "sent").says_at_last("It is sent.");
    (asked().frames, allowed.frames)
}

/// A run whose model breaks off in the middle and says something else then.
pub(super) fn with_reset() -> Vec<ServerFrame> {
    Scene::begun()
        .piece(FIRST, 0, 0, "It was")
        .piece(FIRST, 1, 0, "It is ")
        .event(|log| log.model_says(RUN, FIRST, "It is so.", &[]))
        .event(|log| log.ends(RUN, answered("It is so.")))
        .frames
}

/// A run whose model thinks before it speaks, and thinks again when it has to begin anew.
pub(super) fn with_reasoning() -> Vec<ServerFrame> {
    let thinks = |offset, text: &str| ChunkDelta::Reasoning { offset, text: text.to_owned() };
    let begins = |model: &str| ChunkDelta::Begin { model: model.to_owned() };
    Scene::begun()
        .live(FIRST, 1, begins("a/x"))
        .live(FIRST, 1, thinks(0, "So"))
        .live(FIRST, 2, begins("b/y"))
        .live(FIRST, 2, ChunkDelta::Reset)
        .live(FIRST, 2, thinks(0, "Hmm"))
        .live(FIRST, 2, thinks(3, ", so"))
        .piece(FIRST, 2, 0, "It is ")
        .event(|log| log.model_says(RUN, FIRST, "It is so.", &[]))
        .event(|log| log.ends(RUN, answered("It is so.")))
        .frames
}

/// A run whose model call fails.
pub(super) fn model_fails(code: &str, retry_after_ms: Option<u64>) -> Vec<ServerFrame> {
    let error = InferenceError { retry_after_ms, ..InferenceError::new(code, "No.") };
    let response =
        InferenceResponse::of(FIRST, "a/x".to_owned(), InferenceOutcome::Failed(error), 1);
    let outcome = Outcome::Failed { code: code.to_owned(), message: "No.".to_owned() };
    Scene::begun()
        .event(|log| log.stored(RUN, id(50), response))
        .event(|log| log.ends(RUN, outcome))
        .frames
}

/// A run whose model does not come to the end of what it says, after a call that it ended itself.
pub(super) fn ends_early(finish: Finish) -> Vec<ServerFrame> {
    let outcome = InferenceOutcome::Completed {
        text: "It is 12".to_owned(),
        tool_calls: Vec::new(),
        finish,
        usage: Usage::of(3, 2),
        turn: None,
    };
    let response = InferenceResponse::of(SECOND, "m".to_owned(), outcome, 1);
    Scene::begun()
        .event(|log| log.model_says(RUN, FIRST, "Let me see.", &["clock"]))
        .event(|log| log.executes(RUN, CALL, "clock", None))
        .result(CALL, "clock", "12:30")
        .event(|log| log.asks_model(RUN, SECOND))
        .event(|log| log.stored(RUN, id(60), response))
        .event(|log| log.ends(RUN, answered("It is 12")))
        .frames
}

/// A run whose request is taken into one that was being answered.
pub(super) fn steered() -> Vec<ServerFrame> {
    Scene::default()
        .event(|log| log.asked(RUN, "and more"))
        .event(|log| log.ends(RUN, Outcome::Steered { into: OTHER }))
        .event(|log| log.model_says(OTHER, FIRST, "Both answered.", &[]))
        .event(|log| log.ends(OTHER, answered("Both answered.")))
        .frames
}

pub(super) fn ending(outcome: Outcome) -> Vec<ServerFrame> {
    Scene::begun().event(|log| log.ends(RUN, outcome)).frames
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed { code: "inference_timeout".to_owned(), message: "Too slow.".to_owned() }
}

pub(super) fn cancelled() -> Outcome {
    Outcome::Cancelled { reason: "Never mind.".to_owned() }
}

/// All that an encoder says, to its end.
pub(super) fn encode(encoder: &mut impl Encoder, frames: &[ServerFrame]) -> Vec<SseEvent> {
    let mut events = encoder.begin();
    for frame in frames {
        if encoder.is_over() {
            break;
        }
        events.extend(encoder.frame(frame));
    }
    events
}

/// The same as JSON, without `[DONE]`.
pub(super) fn encode_json(encoder: &mut impl Encoder, frames: &[ServerFrame]) -> Vec<Value> {
    let events = encode(encoder, frames);
    let events = events.iter().filter(|event| event.data != "[DONE]");
    events.map(|event| serde_json::from_str(&event.data).unwrap()).collect()
}

pub(super) fn before(calls: &[Uuid]) -> BTreeSet<Uuid> {
    calls.iter().copied().collect()
}

/// What a client knows a call as.
pub(super) fn shown(call: Uuid) -> String {
    crate::callref::CallRef { run: RUN, call, sequence: 1 }.encode()
}
