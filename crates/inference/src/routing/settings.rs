//! What an operator says about routes: entries `route.NAME`, tables of `bus-config/routes.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{PolicyName, Tier};

/// A route. What its table is called decides what it is:
///
/// | name | meaning |
/// |---|---|
/// | `auto` | how `auto` judges a question |
/// | `web`, `easy`, `medium`, `hard` | the chains that `auto` chooses from; aliases too |
/// | `default` | what is asked after the default model has failed |
/// | `vision` | what is asked where a model cannot see the images of a request |
/// | any other, with `after` | what is asked after that model has failed |
/// | any other | an alias: a request's `model` may be this name |
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RouteSettings {
    /// Best first: `provider/model`, or `provider` for its usual model. Those that cannot be
    /// asked now are skipped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// `provider/model` whose fallbacks the chain is. The table's own name is free, a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Of `auto`: who judges; `heuristic-1` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// Of `auto` with the policy `fixed`: the tier that is always taken; `medium` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Of `auto`: questions less difficult than this are easy; 0.3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub easy_below: Option<f64>,
    /// Of `auto`: questions as difficult as this are hard; 0.7 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_from: Option<f64>,
    /// Of `vision`: what happens where the model cannot see; `fallback` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_missing: Option<OnMissing>,
}

/// What happens to images that the chosen model cannot see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// A model of the vision chain is asked instead.
    #[default]
    Fallback,
    /// The request is refused, with the reason.
    Error,
}

/// The settings by what they mean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routes<'a>(pub(super) &'a BTreeMap<String, RouteSettings>);

/// How `auto` judges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Auto {
    pub(super) policy: PolicyName,
    pub(super) fixed: Tier,
    pub(super) easy_below: f64,
    pub(super) hard_from: f64,
}

impl Default for Auto {
    fn default() -> Self {
        // The thresholds are the seed's: capabilities.md, INF-02.
        Self {
            policy: PolicyName::Heuristic1,
            fixed: Tier::Medium,
            easy_below: 0.3,
            hard_from: 0.7,
        }
    }
}

impl<'a> Routes<'a> {
    /// The chain of a table; nothing where there is none.
    pub(super) fn chain(self, name: &str) -> &'a [String] {
        self.0.get(name).map_or(&[], |route| route.chain.as_slice())
    }

    /// The chain of an alias.
    pub(super) fn alias(self, name: &str) -> Option<&'a [String]> {
        let route = self.0.get(name)?;
        (route.after.is_none() && !route.chain.is_empty()).then_some(route.chain.as_slice())
    }

    /// What is asked after a model has failed; of several tables the first by name.
    pub(super) fn after(self, full_name: &str) -> &'a [String] {
        let mut routes = self.0.values();
        let found = routes.find(|route| route.after.as_deref() == Some(full_name));
        found.map_or(&[], |route| route.chain.as_slice())
    }

    pub(super) fn vision(self) -> (OnMissing, &'a [String]) {
        let on_missing = self.0.get("vision").and_then(|route| route.on_missing);
        (on_missing.unwrap_or_default(), self.chain("vision"))
    }

    pub(super) fn auto(self) -> Auto {
        let known = Auto::default();
        let Some(auto) = self.0.get("auto") else { return known };
        Auto {
            policy: auto.policy.unwrap_or(known.policy),
            fixed: auto.tier.unwrap_or(known.fixed),
            easy_below: auto.easy_below.unwrap_or(known.easy_below),
            hard_from: auto.hard_from.unwrap_or(known.hard_from),
        }
    }
}
