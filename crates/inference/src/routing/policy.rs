//! How difficult a question is, and whether it needs what is newer than the models.
//!
//! A policy is a name with a version and a function from features to a judgement. Another one is a
//! variant of [`PolicyName`] and an arm in [`Auto::judge`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::features::Features;
use super::settings::Auto;

/// How capable the models are that a question is given to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Easy,
    Medium,
    Hard,
}

impl Tier {
    pub(crate) const ALL: [Self; 3] = [Self::Easy, Self::Medium, Self::Hard];

    /// The name, as in JSON and in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Easy => "easy",
            Self::Medium => "medium",
            Self::Hard => "hard",
        }
    }
}

/// Who judges questions for `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyName {
    /// Words and shapes of the question, with weights set by hand.
    #[serde(rename = "heuristic-1")]
    Heuristic1,
    /// Always the same tier, whatever is asked.
    #[serde(rename = "fixed")]
    Fixed,
}

impl PolicyName {
    /// Name with version, as in JSON and in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heuristic1 => "heuristic-1",
            Self::Fixed => "fixed",
        }
    }
}

/// What a policy says of a question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judgement {
    pub(super) policy: &'static str,
    pub(super) needs_web: bool,
    /// From 0 to 1.
    pub(super) difficulty: f64,
}

/// Weights of `heuristic-1` for difficulty. Another set of numbers is another policy.
///
/// Set by hand on the half of `eval/routing.jsonl` that is not held out; `nexus providers
/// route-eval` says how far they carry.
const DIFFICULTY: [(&str, f64); 13] = [
    ("length", 0.40),
    ("code", 0.15),
    ("maths", 0.20),
    ("reasoning", 0.45),
    ("making", 0.25),
    ("depth", 0.45),
    ("proof", 0.35),
    ("constraints", 0.25),
    ("questions", 0.10),
    ("tools", 0.05),
    ("turns", 0.05),
    ("files", 0.10),
    ("small_talk", -0.30),
];
/// What is left when no feature speaks.
const BASE: f64 = 0.05;

/// Weights of `heuristic-1` for the web: what adds up to 1 needs it.
const WEB: [(&str, f64); 6] = [
    ("web_explicit", 1.0),
    ("web_url", 1.0),
    ("web_cites", 1.0),
    ("web_recent", 0.6),
    ("web_changes", 0.5),
    ("web_inside", -0.6),
];

impl Auto {
    pub(super) fn judge(self, features: &Features) -> Judgement {
        let policy = self.policy.as_str();
        match self.policy {
            PolicyName::Heuristic1 => Judgement {
                policy,
                needs_web: weighted(&WEB, features) >= 1.0,
                difficulty: (BASE + weighted(&DIFFICULTY, features)).clamp(0.0, 1.0),
            },
            PolicyName::Fixed => {
                Judgement { policy, needs_web: false, difficulty: self.middle_of(self.fixed) }
            }
        }
    }

    pub(super) fn tier(self, difficulty: f64) -> Tier {
        if difficulty < self.easy_below {
            Tier::Easy
        } else if difficulty < self.hard_from {
            Tier::Medium
        } else {
            Tier::Hard
        }
    }

    fn middle_of(self, tier: Tier) -> f64 {
        match tier {
            Tier::Easy => 0.0,
            Tier::Medium => f64::midpoint(self.easy_below, self.hard_from),
            Tier::Hard => 1.0,
        }
    }
}

fn weighted(weights: &[(&str, f64)], features: &Features) -> f64 {
    weights.iter().map(|(name, weight)| weight * features.get(name).unwrap_or(&0.0)).sum()
}
