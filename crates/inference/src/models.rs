//! What is known of models: what they take, how much, and what they cost. Data, not code.

use std::sync::Arc;

use nexus_contracts::{Cost, Timestamp, Usage};

/// What is known of one model; what is not known is taken to be possible.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    /// Name in the table, for example `openai/gpt-5.6`; `None` for a model that is not in it.
    pub(crate) name: Option<String>,
    /// Input and output together.
    pub(crate) context_tokens: Option<u64>,
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) takes_tools: Option<bool>,
    pub(crate) takes_images: Option<bool>,
    pub(crate) takes_temperature: Option<bool>,
    /// Whether it can be made to call a tool.
    pub(crate) takes_forced_tools: Option<bool>,
    pub(crate) takes_reasoning_effort: Option<bool>,
    /// Newest last.
    pub(crate) prices: Vec<Price>,
}

/// A row of the price table, in millionths of a US dollar for a million tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    /// First day on which it holds, for example `2026-07-01`.
    pub(crate) from: String,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_write: Option<u64>,
}

impl Facts {
    /// What this usage costs at a moment; `None` when nobody knows the price.
    pub(crate) fn cost(&self, _usage: Usage, _at: Timestamp) -> Option<Cost> {
        None
    }
}

/// The table of models.
#[derive(Debug, Clone, Default)]
pub(crate) struct Models {}

impl Models {
    /// What is known of a provider's model. `vendor` is the provider's name in the table.
    pub(crate) fn facts(&self, _vendor: &str, _model: &str) -> Arc<Facts> {
        Arc::default()
    }
}
