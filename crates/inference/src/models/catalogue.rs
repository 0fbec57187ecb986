//! The catalogue that rig-core carries, in our own words. Its types stay in this file.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use nexus_contracts::Effort;
use rig_core::catalog::{Catalog, ModelSpec, Pricing, Sampling};
use rig_core::completion::Effort as Level;

use super::{Facts, Price, Takes};

/// A model of the catalogue by its whole name.
pub(super) fn exact(name: &str) -> Option<Arc<Facts>> {
    static ROWS: OnceLock<HashMap<String, Arc<Facts>>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let row = |spec: &ModelSpec| {
            let name = format!("{}/{}", spec.provider.vendor(), spec.id);
            (name.clone(), Arc::new(facts(name, spec)))
        };
        Catalog::builtin().iter().map(row).collect()
    });
    rows.get(name).map(Arc::clone)
}

fn facts(name: String, spec: &ModelSpec) -> Facts {
    let temperature = match spec.sampling {
        Some(Sampling::Any) => Takes::Always,
        Some(Sampling::ReasoningOff) => Takes::WithoutReasoning,
        Some(Sampling::Never) => Takes::Never,
        // Not known, or a kind that a later version of the crate adds.
        Some(_) | None => Takes::Unknown,
    };
    // Claude's newest take no temperature, but `stop_sequences` as ever (Messages API reference).
    let stops = temperature != Takes::Never || name.contains("claude");
    Facts {
        context_tokens: spec.context_window.map(u64::from),
        max_output_tokens: spec.max_output_tokens.map(u64::from),
        takes_tools: Some(spec.tools),
        takes_images: Some(spec.input.image),
        temperature,
        takes_stop: Some(stops),
        // The catalogue only knows who refuses.
        takes_forced_tools: spec.compat.rejects_forced_tool_choice.then_some(false),
        efforts: Some(efforts(spec)),
        searches_web: None,
        free: false,
        prices: spec.pricing.as_ref().and_then(price).into_iter().collect(),
        name: Some(name),
    }
}

fn efforts(spec: &ModelSpec) -> Vec<Effort> {
    let levels = &spec.reasoning.levels;
    let known = [
        (Effort::None, !levels.is_empty() && spec.reasoning.can_disable),
        (Effort::Minimal, levels.contains(&Level::Minimal)),
        (Effort::Low, levels.contains(&Level::Low)),
        (Effort::Medium, levels.contains(&Level::Medium)),
        (Effort::High, levels.contains(&Level::High)),
    ];
    known.into_iter().filter_map(|(effort, taken)| taken.then_some(effort)).collect()
}

fn price(pricing: &Pricing) -> Option<Price> {
    Some(Price {
        since: None,
        input: micro(pricing.input)?,
        output: micro(pricing.output)?,
        cache_read: pricing.cache_read.and_then(micro),
        cache_write: pricing.cache_write.and_then(micro),
    })
}

/// Dollars in millionths of one; `None` where that is no amount.
pub(super) fn micro(dollars: f64) -> Option<u64> {
    /// No price has been a thousandth of this; more is a slip of the pen.
    const MOST: f64 = 1_000_000.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 10^12 after the check"
    )]
    (0.0..=MOST).contains(&dollars).then(|| (dollars * 1e6).round() as u64)
}
