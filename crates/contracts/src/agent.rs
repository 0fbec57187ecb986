use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::TenantId;
use crate::sampling::{AttemptLimits, Sampling};
use crate::tool::ToolSpec;

/// A tenant, as its file in `bus-config/tenants/` describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// Its people may use the keys of whoever runs this installation, where they have none.
    #[serde(default)]
    pub allow_operator_llm: bool,
    /// Models outside this machine are never asked for it.
    #[serde(default)]
    pub local_models_only: bool,
}

/// An agent, as its file in `bus-config/agents/` describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentDefinition {
    /// Name by which requests ask for it.
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// System prompt.
    pub instructions: String,
    /// `default`, `auto`, an alias of the settings, or `provider/model`.
    #[serde(default = "default_model")]
    pub model: String,
    /// How the model picks its words, where a request does not say.
    #[serde(default, skip_serializing_if = "Sampling::is_default")]
    pub sampling: Sampling,
    /// The most that one model call may use.
    #[serde(default, skip_serializing_if = "AttemptLimits::is_unlimited")]
    pub attempts: AttemptLimits,
    /// Tools that it may use; every other is refused.
    #[serde(default)]
    pub tools: Vec<String>,
    /// What a person has to allow.
    #[serde(default, skip_serializing_if = "Approvals::is_default")]
    pub approvals: Approvals,
    /// What happens to a message that arrives during a run.
    #[serde(default)]
    pub on_message: OnMessage,
    /// Recent turns of the conversation that it is reminded of.
    #[serde(default = "default_recall_turns")]
    pub recall_turns: u32,
    #[serde(default)]
    pub budget: Budget,
    #[serde(default)]
    pub limits: CallLimits,
}

fn default_model() -> String {
    "default".to_owned()
}

fn default_recall_turns() -> u32 {
    20
}

/// Policy for a message that arrives while a run is active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMessage {
    /// It waits and gets a run of its own.
    #[default]
    Queue,
    /// The active run hears it before its next model call and answers both.
    Steer,
    /// The active run is cancelled, the message gets the next one.
    Interrupt,
}

/// Tools of an agent that a person has to allow, each call anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Approvals {
    pub tools: Vec<String>,
    /// How long the question stands, in milliseconds; nobody's answer means no.
    pub expire_after_ms: u64,
}

impl Default for Approvals {
    fn default() -> Self {
        Self { tools: Vec::new(), expire_after_ms: 600_000 }
    }
}

impl Approvals {
    /// Not written then, so that definitions from before have the bytes that they had.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The most that one run may use; a run that needs more fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    pub model_calls: u32,
    pub tool_calls: u32,
    /// Input and output tokens of all model calls together.
    pub tokens: u64,
    /// From the start of the run to its reply, in milliseconds.
    pub wall_time_ms: u64,
    /// Of all model calls together, in millionths of a US dollar; `None` is without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_microusd: Option<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            model_calls: 16,
            tool_calls: 32,
            tokens: 400_000,
            wall_time_ms: 300_000,
            cost_microusd: None,
        }
    }
}

/// The longest that a run waits for one call, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CallLimits {
    /// From the stored time of a call to the last moment at which a worker may start it.
    pub start_within_ms: u64,
    /// One recall, after its start.
    pub recall_ms: u64,
    /// One model call, after its start.
    pub inference_ms: u64,
    /// One tool call, after its start, unless the tool asks for less.
    pub tool_ms: u64,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { start_within_ms: 60_000, recall_ms: 10_000, inference_ms: 120_000, tool_ms: 60_000 }
    }
}

/// An agent with the tools that were advertised when its run began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentSnapshot {
    /// SHA-256 of the definition and the tools, in hexadecimal.
    pub digest: String,
    pub definition: AgentDefinition,
    /// The allowed tools that exist, by name.
    pub tools: Vec<ToolSpec>,
}
