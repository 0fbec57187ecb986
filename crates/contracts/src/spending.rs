//! What a model call used, cost and went through.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens of one model call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Cached tokens included, at every provider.
    pub input_tokens: u64,
    /// Reasoning included.
    pub output_tokens: u64,
    /// Of the input: read from the provider's cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_tokens: u64,
    /// Of the input: written to the provider's cache, to be kept for minutes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Of the output: thought, not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
    /// The provider did not say: counted from the texts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
}

impl Usage {
    /// Input and output, and nothing that is special about them.
    #[must_use]
    pub const fn of(input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens,
            output_tokens,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            reasoning_tokens: 0,
            estimated: false,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            estimated: self.estimated || other.estimated,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(flag: &bool) -> bool {
    *flag
}

fn yes() -> bool {
    true
}

/// What something costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Millionths of a US dollar, rounded up to a whole one.
    pub microusd: u64,
    /// The row of the price table, for example `openai/gpt-5.6@2026-07-01`; `provider` when the
    /// provider named the cost itself.
    pub price: String,
}

/// Whose key a provider was asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyOwner {
    User,
    Tenant,
    /// Whoever runs this installation.
    Operator,
}

impl KeyOwner {
    /// The name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Tenant => "tenant",
            Self::Operator => "operator",
        }
    }
}

/// One request to one provider, or why one was not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Counts over all deliveries of the call, from 1; as in the chunks.
    pub number: u32,
    /// `provider/model`.
    pub model: String,
    /// Which of several samples it is for, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// Whether the provider was asked: `failure` says why not. Absent means that it was.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub asked: bool,
    /// Whose key it was asked with; `None` where no key is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyOwner>,
    /// Class of its failure, for example `overloaded`; `None` when it answered. `cancelled` when
    /// it was cut off, `lost` with a killed worker. Not asked: `breaker_open`, `resting`, `unfit`,
    /// `no_key`, `over_budget`, `exhausted` (the call's attempts), `gone` (the provider), or the
    /// class of what was wrong with the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The id under which the provider's support finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    pub duration_ms: u64,
    /// What the provider reported; an estimate where it was cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// `None` when nothing was used or nobody knows the price; what is free costs 0, by the price
    /// `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// How a request that left the model open came to its model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Name and version of the policy, for example `heuristic-1`.
    pub policy: String,
    /// Needs what is newer than the model.
    pub needs_web: bool,
    /// From 0, easy, to 1.
    pub difficulty: f64,
    /// The route that was taken, for example `medium`.
    pub target: String,
    /// Taken because an earlier request of the conversation needed it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sticky: bool,
    /// What the score was made of.
    pub features: BTreeMap<String, f64>,
}

/// How far several answers to the same question agree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Consensus {
    /// Samples that were wanted.
    pub asked: u32,
    /// Samples that answered before the majority was settled.
    pub answered: u32,
    /// How answers were compared, for example `number`.
    pub method: String,
    /// Sizes of the groups of equal answers, largest first.
    pub clusters: Vec<u32>,
    /// Share of the largest group among the answers.
    pub majority_share: f64,
    /// `1 - majority_share`.
    pub disagreement: f64,
    /// Of the groups, in bits.
    pub entropy: f64,
}
