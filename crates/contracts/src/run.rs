use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::agent::AgentSnapshot;
use crate::envelope::Payload;
use crate::event_type::EventType;

/// A run begins: everything that its decisions will depend on is fixed here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// Id of the `requests.incoming`; also the run's id.
    pub request: Uuid,
    /// Version of the engine that decides.
    pub engine: u32,
    pub configuration: RunConfiguration,
}

impl Payload for RunStarted {
    const TYPE: EventType = EventType::RunsStarted;
    const SCHEMA: u16 = 1;
}

/// What the configuration says about a run that is about to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RunConfiguration {
    Accepted {
        agent: Box<AgentSnapshot>,
    },
    /// There is no such tenant or agent: the request ends here, visibly.
    Refused {
        code: String,
        message: String,
    },
}

/// A person ends a run, or takes a waiting request back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunCancel {
    /// Id of the request; of this event itself when the scope is the conversation.
    pub run: Uuid,
    #[serde(default, skip_serializing_if = "CancelScope::is_run")]
    pub scope: CancelScope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Set by the orchestrator when it has to give the run up: the code that it fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl RunCancel {
    /// Ends one run.
    #[must_use]
    pub fn of(run: Uuid, reason: Option<String>) -> Self {
        Self { run, scope: CancelScope::Run, reason, failure: None }
    }
}

/// How much ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelScope {
    #[default]
    Run,
    /// Every request of the conversation that is active or waits now.
    Conversation,
}

impl CancelScope {
    #[must_use]
    pub fn is_run(&self) -> bool {
        *self == Self::Run
    }
}

impl Payload for RunCancel {
    const TYPE: EventType = EventType::RunsCancel;
    const SCHEMA: u16 = 1;
}

/// A deadline that the engine set has passed without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTimeout {
    pub run: Uuid,
    pub scope: TimeoutScope,
}

impl Payload for RunTimeout {
    const TYPE: EventType = EventType::RunsTimeout;
    const SCHEMA: u16 = 1;
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TimeoutScope {
    Run,
    /// One call: the id of its `memory.recall`, `inference.request` or `tools.execute`.
    Call {
        call: Uuid,
    },
}
