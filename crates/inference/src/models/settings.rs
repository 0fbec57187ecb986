//! What an operator says about a model: entry `model.NAME`, a table of `bus-config/models.toml`.

use jiff::civil::Date;
use nexus_contracts::Effort;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue::micro;
use super::{Facts, Price, Takes};

/// What is known better about a model than the catalogue does. What is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// The model, for example `openai/gpt-5.6`. The table's own name is free, a token.
    pub name: String,
    /// Input and output together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Calls tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Sees images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<bool>,
    /// Takes temperature, top_p and seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<bool>,
    /// Can be made to call a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_tools: Option<bool>,
    /// Can be told how much to think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<bool>,
    /// Looks things up on the web by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<bool>,
    /// Prices from a day on. Before the first of them the catalogue's price holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<PriceSettings>,
}

/// Prices in US dollars for a million tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceSettings {
    /// First day in UTC, for example `2026-07-01`.
    #[schemars(with = "String")]
    pub from: Date,
    pub input: f64,
    pub output: f64,
    /// Of input that is read from the provider's cache; absent: as input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Of input that is written to the provider's cache; absent: as input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
}

impl ModelSettings {
    /// What is wrong with it, in words for whoever wrote it.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self
            .name
            .split_once('/')
            .is_none_or(|(vendor, model)| vendor.is_empty() || model.is_empty())
        {
            problems.push(format!(
                "name = {:?} is no model; write it as name = \"vendor/model\"",
                self.name
            ));
        }
        for (key, tokens) in
            [("context_tokens", self.context_tokens), ("max_output_tokens", self.max_output_tokens)]
        {
            if tokens == Some(0) {
                problems.push(format!("{key} = 0 lets nothing through; leave it out if unknown"));
            }
        }
        let mut days: Vec<Date> = Vec::new();
        for price in &self.prices {
            if days.contains(&price.from) {
                problems.push(format!("two prices hold from {} on; keep one", price.from));
            }
            days.push(price.from);
            if price.row().is_none() {
                problems.push(format!(
                    "the prices from {} on are no amounts between 0 and 1000000 dollars",
                    price.from
                ));
            }
        }
        problems
    }

    /// These settings over what is known.
    pub(super) fn over(&self, base: Facts) -> Facts {
        let efforts = |takes: bool| {
            let all = [Effort::None, Effort::Minimal, Effort::Low, Effort::Medium, Effort::High];
            if takes { all.to_vec() } else { Vec::new() }
        };
        let temperature = |takes: bool| if takes { Takes::Always } else { Takes::Never };
        let mut prices = base.prices;
        prices.extend(self.prices.iter().filter_map(PriceSettings::row));
        prices.sort_by_key(|price| price.since);
        Facts {
            name: Some(self.name.clone()),
            context_tokens: self.context_tokens.or(base.context_tokens),
            max_output_tokens: self.max_output_tokens.or(base.max_output_tokens),
            takes_tools: self.tools.or(base.takes_tools),
            takes_images: self.images.or(base.takes_images),
            temperature: self.temperature.map_or(base.temperature, temperature),
            takes_stop: base.takes_stop,
            takes_forced_tools: self.forced_tools.or(base.takes_forced_tools),
            efforts: self.reasoning_effort.map(efforts).or(base.efforts),
            searches_web: self.web.or(base.searches_web),
            free: base.free,
            prices,
        }
    }
}

impl PriceSettings {
    /// The row; `None` where a price is no amount.
    fn row(&self) -> Option<Price> {
        let optional = |dollars: Option<f64>| match dollars {
            Some(dollars) => micro(dollars).map(Some),
            None => Some(None),
        };
        Some(Price {
            since: Some(self.from),
            input: micro(self.input)?,
            output: micro(self.output)?,
            cache_read: optional(self.cache_read)?,
            cache_write: optional(self.cache_write)?,
        })
    }
}
