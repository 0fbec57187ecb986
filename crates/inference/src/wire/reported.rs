//! Names and charges, as providers report them.

use serde::Deserialize;
use serde_json::Value;

use crate::call::{CallError, Class, Identity};

/// Longest name that is taken for one, in bytes.
const MAX_NAME: usize = 256;

/// What an answer calls itself. Nothing depends on it, so that what is no name is left out.
pub(super) fn identity(id: Option<String>, model: Option<Value>) -> Identity {
    let name = |text: &String| !text.is_empty() && text.len() <= MAX_NAME;
    let model = match model {
        Some(Value::String(model)) => Some(model),
        _ => None,
    };
    Identity { id: id.filter(name), model: model.filter(name) }
}

/// Ids of `{"data":[{"id":..}]}`, as OpenAI, Anthropic and most others list their models.
pub(super) fn ids(body: &[u8]) -> Result<Vec<String>, CallError> {
    #[derive(Deserialize)]
    struct List {
        data: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: String,
    }
    let list: List = serde_json::from_slice(body).map_err(|_| unreadable())?;
    Ok(list.data.into_iter().map(|model| model.id).collect())
}

pub(super) fn unreadable() -> CallError {
    CallError::new(Class::Invalid, "its list of models cannot be read")
}

/// `usage.cost`, in millionths of a US dollar, rounded up: a number of dollars at OpenRouter,
/// `{"total_cost": dollars, ..}` at Perplexity.
pub(super) fn cost_microusd(cost: &Value) -> Option<u64> {
    let dollars = cost.as_f64().or_else(|| cost.get("total_cost")?.as_f64())?;
    let micro = (dollars * 1e6 - 1e-6).ceil();
    // Beyond a million dollars it is no cost of a call.
    let sane = (-1.0..=1e12).contains(&micro);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1e12, whole"
    )]
    sane.then_some(micro.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn costs_are_whole_millionths_rounded_up() {
        for (cost, wanted) in [
            (json!(0.000_001_2), Some(2)),
            (json!(0.5), Some(500_000)),
            (json!(0), Some(0)),
            (json!({ "currency": "USD", "total_cost": 0.000_003 }), Some(3)),
            (json!("free"), None),
            (json!(-3), None),
            (json!(1e300), None),
        ] {
            assert_eq!(cost_microusd(&cost), wanted, "{cost}");
        }
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        let of = |id: &str, model: Value| identity(Some(id.to_owned()), Some(model));
        let said = Identity { id: Some("r".to_owned()), model: Some("m-1".to_owned()) };
        assert_eq!(of("r", json!("m-1")), said);
        for (id, model) in [("", json!(7)), ("", json!("")), ("", json!("x".repeat(257)))] {
            assert_eq!(of(id, model), Identity::default());
        }
    }
}
