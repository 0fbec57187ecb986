//! `auto`: the chain that fits the question.

use std::collections::BTreeMap;

use nexus_contracts::{InferenceRequest, Route};

use super::features::features;
use super::policy::{Judgement, Tier};
use super::{Finder, Plan};
use crate::choice::Choice;

impl Finder<'_> {
    pub(super) fn auto(&self, request: &InferenceRequest, seen: &mut Vec<String>) -> Option<Plan> {
        let auto = self.routes.auto();
        let features = features(request);
        let Judgement { policy, needs_web, difficulty } = auto.judge(&features);
        let judged = auto.tier(difficulty);
        let tier = self.asker.sticky.map_or(judged, |sticky| sticky.max(judged));
        let (target, targets) = self
            .web(needs_web)
            .or_else(|| self.tiers(tier))
            .or_else(|| Some(("default", self.find(request, "default", seen)?.targets)))?;
        let features: BTreeMap<String, f64> =
            features.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let route = Route {
            policy: policy.to_owned(),
            needs_web,
            difficulty,
            target: target.to_owned(),
            sticky: tier > judged,
            features,
        };
        Some(Plan { targets, route: Some(route), remember: Some(tier) })
    }

    fn web(&self, needed: bool) -> Option<(&'static str, Vec<Choice>)> {
        if !needed {
            return None;
        }
        let mut targets = self.chain(self.routes.chain("web"));
        targets.retain(|target| self.searches_web(target));
        (!targets.is_empty()).then_some(("web", targets))
    }

    /// The tier's chain; the next harder one where it is empty, then the others, hardest first.
    fn tiers(&self, tier: Tier) -> Option<(&'static str, Vec<Choice>)> {
        let harder = Tier::ALL.into_iter().filter(|other| *other >= tier);
        let easier = Tier::ALL.into_iter().rev().filter(|other| *other < tier);
        harder.chain(easier).find_map(|tier| {
            let targets = self.chain(self.routes.chain(tier.as_str()));
            (!targets.is_empty()).then_some((tier.as_str(), targets))
        })
    }
}
