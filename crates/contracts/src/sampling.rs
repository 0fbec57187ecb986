use std::num::{NonZeroU8, NonZeroU32};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How the model picks its words; what is absent is the provider's default.
///
/// What the chosen model does not take is left out before it is asked, except where leaving it
/// out would change what the caller relies on: that is refused, or another model is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<NonZeroU32>,
    /// From 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// From 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// The answer ends before any of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Effort>,
    /// Answers that are asked for, of which the one that most agree on is given; at least 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<NonZeroU8>,
}

impl Sampling {
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// These wishes, and those of `base` where there is none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            max_output_tokens: self.max_output_tokens.or(base.max_output_tokens),
            temperature: self.temperature.or(base.temperature),
            top_p: self.top_p.or(base.top_p),
            seed: self.seed.or(base.seed),
            stop: if self.stop.is_empty() { base.stop } else { self.stop },
            tool_choice: self.tool_choice.or(base.tool_choice),
            response_format: self.response_format.or(base.response_format),
            reasoning: self.reasoning.or(base.reasoning),
            samples: self.samples.or(base.samples),
        }
    }
}

/// Whether the model has to call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolChoice {
    Auto,
    None,
    /// Some tool.
    Required,
    /// This tool.
    Tool {
        name: String,
    },
}

/// What the answer's text has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ResponseFormat {
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that this JSON Schema describes.
    JsonSchema {
        name: String,
        schema: Value,
        #[serde(default)]
        strict: bool,
    },
}

/// How much the model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
}

/// The most that one model call may use, over all its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AttemptLimits {
    /// Longest wait of one attempt for the first piece of its answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// Longest silence within an answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Requests to providers, retries and fallbacks included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<NonZeroU32>,
    /// No attempt starts whose estimate goes beyond this, in millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_microusd: Option<u64>,
}

impl AttemptLimits {
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}
