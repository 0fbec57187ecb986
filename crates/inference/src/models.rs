//! What is known of models: what they take, how much, and what they cost. Data, not code.
//!
//! The table begins as the catalogue that the codec crate carries, and the settings `model.*` are
//! laid over it, field by field.

mod catalogue;
mod price;
mod settings;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use nexus_contracts::{Cost, Effort, Timestamp, Usage};

pub(crate) use price::Price;
pub use settings::{ModelSettings, PriceSettings};

/// [`Cost::price`] of what this machine computes itself.
const FREE: &str = "local";

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
    pub(crate) temperature: Takes,
    pub(crate) takes_stop: Option<bool>,
    /// Whether it can be made to call a tool.
    pub(crate) takes_forced_tools: Option<bool>,
    /// The efforts that can be asked for, least first; none where none can be.
    pub(crate) efforts: Option<Vec<Effort>>,
    /// Looks things up by itself, whatever its provider's settings say.
    pub(crate) searches_web: Option<bool>,
    /// Computed on this machine: nobody charges for it.
    pub(crate) free: bool,
    /// Oldest first.
    pub(crate) prices: Vec<Price>,
}

/// When a model lets itself be told how to pick its words (temperature, `top_p`, seed).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Takes {
    #[default]
    Unknown,
    Always,
    /// Only where it is told not to reason.
    WithoutReasoning,
    Never,
}

impl Facts {
    /// What this usage costs at a moment; `None` when nobody knows the price.
    pub(crate) fn cost(&self, usage: Usage, at: Timestamp) -> Option<Cost> {
        if self.free {
            return Some(Cost { microusd: 0, price: FREE.to_owned() });
        }
        let price = Price::at(&self.prices, at)?;
        let name = self.name.as_deref().unwrap_or("unknown");
        Some(Cost { microusd: price.of(usage), price: format!("{name}@{}", price.version()) })
    }

    /// The same model, served on this machine: free of charge.
    pub(crate) fn on_this_machine(&self) -> Self {
        Self { free: true, prices: Vec::new(), ..self.clone() }
    }

    /// Whether it takes temperature and its kin in a call with this effort.
    pub(crate) fn takes_temperature(&self, effort: Option<Effort>) -> bool {
        match self.temperature {
            Takes::Unknown | Takes::Always => true,
            Takes::WithoutReasoning => effort == Some(Effort::None),
            Takes::Never => false,
        }
    }
}

/// The table of models. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Models {
    /// By name: what the settings say about a model, over what the catalogue says.
    overrides: Arc<HashMap<String, Arc<Facts>>>,
}

impl Models {
    /// The catalogue with settings over it; of two about the same model the last one stands.
    pub(crate) fn with<'s>(settings: impl IntoIterator<Item = &'s ModelSettings>) -> Self {
        let overridden = |settings: &ModelSettings| {
            let base = catalogue::exact(&settings.name);
            let base = base.or_else(|| catalogue::exact(&undated_name(&settings.name)?));
            let facts = settings.over(base.as_deref().cloned().unwrap_or_default());
            (settings.name.clone(), Arc::new(facts))
        };
        Self { overrides: Arc::new(settings.into_iter().map(overridden).collect()) }
    }

    /// [`Self::with`] the settings as the bus holds them.
    pub(crate) fn of(settings: &BTreeMap<String, ModelSettings>) -> Self {
        Self::with(settings.values())
    }

    /// What is known of a provider's model. `vendor` is the provider's name in the table.
    ///
    /// A model that is not in it is looked for without the date at its end; one that is not there
    /// either takes everything.
    pub(crate) fn facts(&self, vendor: &str, model: &str) -> Arc<Facts> {
        let name = format!("{vendor}/{model}");
        let known = self.exact(&name).or_else(|| self.exact(&undated_name(&name)?));
        known.unwrap_or_default()
    }

    fn exact(&self, name: &str) -> Option<Arc<Facts>> {
        self.overrides.get(name).map(Arc::clone).or_else(|| catalogue::exact(name))
    }
}

/// A name without `-20251001` or `-2025-10-01` at its end; `None` when it has none.
fn undated_name(name: &str) -> Option<String> {
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (rest, last) = name.rsplit_once('-')?;
    if digits(last, 8) {
        return Some(rest.to_owned());
    }
    let (rest, month) = rest.rsplit_once('-')?;
    let (rest, year) = rest.rsplit_once('-')?;
    (digits(year, 4) && digits(month, 2) && digits(last, 2)).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests;
