//! How often the policy is right, on questions that people have labelled.
//!
//! The set (`eval/routing.jsonl`) was written by hand, and the weights were set on the half of it
//! that is not held out. The figures say how the policy does on these questions and on no others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::asked;
use super::features::features;
use super::policy::Tier;
use super::settings::{RouteSettings, Routes};

/// A question with what people say of it: a line of the set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub text: String,
    /// ISO 639-1; empty where nobody said.
    #[serde(default)]
    pub lang: String,
    pub needs_web: bool,
    pub tier: Tier,
    /// Not looked at when the weights were set.
    #[serde(default)]
    pub held_out: bool,
}

/// A line that is no case.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no labelled question: {reason}")]
pub struct CaseError {
    /// From 1.
    pub line: usize,
    pub reason: String,
}

/// Reads a set: one JSON object on each line.
///
/// # Errors
/// [`CaseError`] naming the first line that cannot be read.
pub fn read_cases(text: &str) -> Result<Vec<Case>, CaseError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(index, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| CaseError { line: index + 1, reason: error.to_string() })
    };
    lines.map(read).collect()
}

/// How often the policy is right.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    pub policy: String,
    pub cases: u32,
    pub web: Axis,
    pub tiers: Tiers,
    /// In the order of the set.
    pub mistakes: Vec<Mistake>,
}

/// A question of which the policy says something else than people do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    #[serde(flatten)]
    pub case: Case,
    pub said_web: bool,
    pub said_tier: Tier,
    pub difficulty: f64,
}

/// Right and wrong about the web.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Axis {
    pub true_positives: u32,
    pub false_positives: u32,
    pub false_negatives: u32,
    pub true_negatives: u32,
    pub accuracy: f64,
    pub precision: f64,
    pub recall: f64,
}

/// Right and wrong about difficulty.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tiers {
    pub accuracy: f64,
    /// Easier than the label: the answer may be poor.
    pub too_easy: u32,
    /// Harder than the label: the answer costs more than it had to.
    pub too_hard: u32,
    /// By label, then by what the policy said.
    pub confusion: BTreeMap<&'static str, BTreeMap<&'static str, u32>>,
}

/// Judges cases with the policy that the settings name, by their thresholds.
#[must_use]
pub fn evaluate<'c>(
    cases: impl IntoIterator<Item = &'c Case>,
    routes: &BTreeMap<String, RouteSettings>,
) -> Figures {
    let auto = Routes(routes).auto();
    let mut figures = Figures { policy: auto.policy.as_str().to_owned(), ..Figures::default() };
    for label in Tier::ALL {
        let row = Tier::ALL.map(|tier| (tier.as_str(), 0)).into();
        figures.tiers.confusion.insert(label.as_str(), row);
    }
    let mut right = 0_u32;
    for case in cases {
        let judged = auto.judge(&features(&asked("auto", &case.text)));
        let tier = auto.tier(judged.difficulty);
        figures.cases += 1;
        if tier != case.tier || judged.needs_web != case.needs_web {
            figures.mistakes.push(Mistake {
                case: case.clone(),
                said_web: judged.needs_web,
                said_tier: tier,
                difficulty: judged.difficulty,
            });
        }
        *match (case.needs_web, judged.needs_web) {
            (true, true) => &mut figures.web.true_positives,
            (false, true) => &mut figures.web.false_positives,
            (true, false) => &mut figures.web.false_negatives,
            (false, false) => &mut figures.web.true_negatives,
        } += 1;
        match tier.cmp(&case.tier) {
            std::cmp::Ordering::Less => figures.tiers.too_easy += 1,
            std::cmp::Ordering::Equal => right += 1,
            std::cmp::Ordering::Greater => figures.tiers.too_hard += 1,
        }
        let row = figures.tiers.confusion.entry(case.tier.as_str()).or_default();
        *row.entry(tier.as_str()).or_default() += 1;
    }
    let web = &mut figures.web;
    web.accuracy = share(web.true_positives + web.true_negatives, figures.cases);
    web.precision = share(web.true_positives, web.true_positives + web.false_positives);
    web.recall = share(web.true_positives, web.true_positives + web.false_negatives);
    figures.tiers.accuracy = share(right, figures.cases);
    figures
}

/// Of nothing, all is right.
fn share(part: u32, all: u32) -> f64 {
    if all == 0 { 1.0 } else { f64::from(part) / f64::from(all) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routing::PolicyName;

    fn figures(held_out: bool) -> Figures {
        let cases = read_cases(include_str!("../../eval/routing.jsonl")).unwrap();
        evaluate(cases.iter().filter(|case| case.held_out == held_out), &BTreeMap::new())
    }

    /// The figures of today; the weights may only be changed for better ones.
    #[test]
    fn policy_is_as_good_as_its_figures_say() {
        for (held_out, cases, precision, recall, accuracy) in
            [(false, 130, 1.0, 1.0, 0.95), (true, 125, 0.97, 1.0, 0.89)]
        {
            let figures = figures(held_out);
            assert_eq!(figures.cases, cases);
            let (web, tiers) = (figures.web, &figures.tiers);
            let held = web.precision >= precision && web.recall >= recall;
            assert!(held && tiers.accuracy >= accuracy, "{figures:#?}");
        }
    }

    #[test]
    fn another_policy_is_judged_by_the_same_questions() {
        let fixed = RouteSettings { policy: Some(PolicyName::Fixed), ..RouteSettings::default() };
        let cases = read_cases(include_str!("../../eval/routing.jsonl")).unwrap();
        let figures = evaluate(&cases, &[("auto".to_owned(), fixed)].into());
        let medium = cases.iter().filter(|case| case.tier == Tier::Medium).count();
        assert_eq!(figures.policy, "fixed");
        assert_eq!(
            (figures.web.recall, figures.tiers.accuracy),
            (0.0, medium as f64 / cases.len() as f64)
        );
    }

    #[test]
    fn set_is_large_and_varied_and_says_everything_once() {
        let cases = read_cases(include_str!("../../eval/routing.jsonl")).unwrap();
        let texts: BTreeSet<&str> = cases.iter().map(|case| case.text.as_str()).collect();
        let languages: BTreeSet<&str> = cases.iter().map(|case| case.lang.as_str()).collect();
        assert_eq!((texts.len(), languages.len()), (cases.len(), 12));
        for tier in Tier::ALL {
            for needs_web in [false, true] {
                let same = |case: &&Case| case.tier == tier && case.needs_web == needs_web;
                assert!(cases.iter().filter(same).count() >= 8, "{tier:?} {needs_web}");
            }
        }
    }

    #[test]
    fn line_that_is_no_case_is_named() {
        let text =
            "{\"text\":\"a\",\"lang\":\"en\",\"needs_web\":true,\"tier\":\"easy\"}\n\n{\"text\":1}";
        let error = read_cases(text).unwrap_err().to_string();
        assert!(error.starts_with("line 3 is no labelled question: "), "{error}");
    }
}
