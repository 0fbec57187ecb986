//! Which models are asked for a request, and in which order. Pure.
//!
//! A request's `model` is `provider/model`, an alias (setting `route.NAME`), `default`, or `auto`,
//! where a policy reads the last question and chooses a chain by two axes: whether it needs what is
//! newer than the models, and how difficult it is.

mod auto;
mod check;
mod eval;
mod features;
mod lexicon;
mod policy;
mod settings;
mod sticky;

use std::collections::BTreeMap;

use nexus_contracts::{AttemptLimits, InferenceRequest, Message, Part, Role, Route, Sampling};

use crate::choice::{self, Choice, Offer, Preference};
use crate::models::{Facts, Models};

pub use check::{Problem, check_settings};
pub use eval::{Case, CaseError, Figures, evaluate, read_cases};
pub use policy::{PolicyName, Tier};
pub use settings::{OnMissing, RouteSettings};
pub(crate) use sticky::Sticky;

use settings::Routes;

/// What will be asked, best first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Never empty.
    pub(crate) targets: Vec<Choice>,
    /// How it was found, when the request left it open.
    pub(crate) route: Option<Route>,
    /// The tier below which this conversation does not fall again; for [`Sticky::store`].
    pub(crate) remember: Option<Tier>,
}

/// Why there is nothing to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("There is no model {model:?}.")]
    Unknown { model: String },
    #[error(
        "{model:?} is not on this machine, and this tenant's settings (local_models_only) allow no other. Choose a model of ollama or local."
    )]
    NotLocal { model: String },
    #[error(
        "{model} cannot see images, and no other model is asked instead. Choose a model that can, or see [vision] in bus-config/routes.toml."
    )]
    Blind { model: String },
}

impl Refusal {
    /// Bounded, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "unknown_model",
            Self::NotLocal { .. } => "not_local",
            Self::Blind { .. } => "no_vision",
        }
    }
}

/// What can be asked, and what the operator says about it.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    /// Sorted by preference.
    pub(crate) offers: &'a [Offer],
    pub(crate) preference: Preference<'a>,
    pub(crate) routes: &'a BTreeMap<String, RouteSettings>,
    pub(crate) models: &'a Models,
}

/// What is known of who asks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asker<'a> {
    /// Nothing outside this machine is planned.
    pub(crate) local_models_only: bool,
    /// Providers that want a key and that the operator's does not open for them.
    pub(crate) closed: &'a [String],
    /// Those of them for which they or their tenant have a key of their own.
    pub(crate) own_keys: &'a [String],
    /// What their conversation remembers.
    pub(crate) sticky: Option<Tier>,
}

/// The plan for a request.
pub(crate) fn plan(
    request: &InferenceRequest,
    world: World<'_>,
    asker: Asker<'_>,
) -> Result<Plan, Refusal> {
    let allowed = |offer: &&Offer| offer.local || !asker.local_models_only;
    let open = |offer: &Offer| {
        (offer.available && !asker.closed.contains(&offer.provider))
            || (offer.reachable && asker.own_keys.contains(&offer.provider))
    };
    // Who could only be sent to the demo is better told that a key is missing.
    let served = world.offers.iter().filter(allowed).any(|offer| !offer.demo && open(offer));
    let usable = |offer: &Offer| Offer {
        available: open(offer) || (offer.available && !served),
        ..offer.clone()
    };
    let offers: Vec<Offer> = world.offers.iter().filter(allowed).map(usable).collect();
    let finder = Finder { world, offers: &offers, routes: Routes(world.routes), asker };
    let found = finder.find(request, &request.model, &mut Vec::new());
    let mut plan = match found {
        Some(plan) if !plan.targets.is_empty() => plan,
        _ => return Err(finder.refusal(&request.model)),
    };
    if shows_images(request) {
        plan.targets = finder.seeing(plan.targets)?;
    }
    Ok(plan)
}

/// What a request for `default` that says nothing would be answered by.
pub(crate) fn default_choice(world: World<'_>) -> Option<Choice> {
    let plan = plan(&asked("default", ""), world, Asker::default()).ok()?;
    plan.targets.into_iter().next()
}

/// The names that are no model's and can be asked for: `auto`, and the aliases.
pub(crate) fn names(world: World<'_>) -> Vec<String> {
    let routes = Routes(world.routes);
    let aliases = world.routes.keys().map(String::as_str).filter(|name| {
        // These two mean what they mean, whatever their tables hold.
        !["auto", "default"].contains(name) && routes.alias(name).is_some()
    });
    let is_served = |name: &&str| plan(&asked(name, ""), world, Asker::default()).is_ok();
    std::iter::once("auto").chain(aliases).filter(is_served).map(str::to_owned).collect()
}

/// Whether the policy is asked for this model, so that [`Asker::sticky`] matters.
pub(crate) fn is_auto(model: &str, preference: Preference<'_>) -> bool {
    model == "auto" || (model == "default" && preference.default_model == Some("auto"))
}

/// A request that is nothing but one question.
pub(crate) fn asked(model: &str, text: &str) -> InferenceRequest {
    InferenceRequest {
        model: model.to_owned(),
        messages: vec![Message::text(Role::User, text)],
        tools: Vec::new(),
        sampling: Sampling::default(),
        limits: AttemptLimits::default(),
        number: 1,
        start_within_ms: 0,
        timeout_ms: 0,
    }
}

/// Whether there is an image to see, as far as the request says; the bytes are looked at later.
fn shows_images(request: &InferenceRequest) -> bool {
    let image = |part: &Part| match part {
        Part::Attachment { attachment } => ["image/png", "image/jpeg", "image/gif", "image/webp"]
            .contains(&attachment.media_type.as_str()),
        Part::Text { .. }
        | Part::Native { .. }
        | Part::ToolCall { .. }
        | Part::ToolResult { .. } => false,
    };
    request.messages.iter().any(|message| message.parts.iter().any(image))
}

/// Finds what a name means.
struct Finder<'a> {
    world: World<'a>,
    /// Of these the asker may use any.
    offers: &'a [Offer],
    routes: Routes<'a>,
    asker: Asker<'a>,
}

impl Finder<'_> {
    /// `seen` are the names on the way here: one that means itself means nothing.
    fn find(&self, request: &InferenceRequest, name: &str, seen: &mut Vec<String>) -> Option<Plan> {
        if seen.iter().any(|known| known == name) {
            return None;
        }
        seen.push(name.to_owned());
        match name {
            "default" => self.default(request, seen),
            "auto" => self.auto(request, seen),
            name => {
                let explicit = name
                    .split_once('/')
                    .is_some_and(|(provider, _)| self.offer(provider).is_some());
                match self.routes.alias(name) {
                    Some(chain) if !explicit => Some(open(self.chain_or_all(chain))),
                    _ => choice::named(name, self.offers).map(|choice| open(self.one(choice))),
                }
            }
        }
    }

    fn default(&self, request: &InferenceRequest, seen: &mut Vec<String>) -> Option<Plan> {
        let fixed = self.world.preference.default_model.filter(|fixed| *fixed != "default");
        let first = match fixed {
            Some(fixed) => self.find(request, fixed, seen),
            None => choice::first_available(self.offers).map(|choice| open(self.one(choice))),
        };
        let mut plan = first.unwrap_or_else(|| open(Vec::new()));
        append(&mut plan.targets, self.chain(self.routes.chain("default")));
        Some(plan)
    }

    /// A model, and what is asked after it.
    fn one(&self, choice: Choice) -> Vec<Choice> {
        let after = self.chain(self.routes.after(&choice.full_name()));
        let mut targets = vec![choice];
        append(&mut targets, after);
        targets
    }

    /// The targets of a chain that can be asked now.
    fn chain(&self, chain: &[String]) -> Vec<Choice> {
        let mut targets = Vec::new();
        let usable = |target: &Choice| self.offer(&target.provider).is_some_and(|o| o.available);
        append(&mut targets, self.all(chain).into_iter().filter(usable));
        targets
    }

    /// [`Self::chain`]; all of it where none can be asked, so that the failure says why.
    fn chain_or_all(&self, chain: &[String]) -> Vec<Choice> {
        let usable = self.chain(chain);
        if usable.is_empty() { self.all(chain) } else { usable }
    }

    fn all(&self, chain: &[String]) -> Vec<Choice> {
        chain.iter().filter_map(|entry| choice::listed(entry, self.offers)).collect()
    }

    /// Those of the targets that see, and the models of the vision chain after them.
    fn seeing(&self, targets: Vec<Choice>) -> Result<Vec<Choice>, Refusal> {
        let first = targets.first().map(Choice::full_name).unwrap_or_default();
        let sees = |target: &Choice| self.facts(target).takes_images != Some(false);
        if targets.first().is_some_and(sees) {
            return Ok(targets);
        }
        let (on_missing, chain) = self.routes.vision();
        let mut seeing: Vec<Choice> = Vec::new();
        if on_missing == OnMissing::Fallback {
            append(&mut seeing, targets.into_iter().filter(sees));
            append(&mut seeing, self.chain(chain).into_iter().filter(sees));
        }
        if seeing.is_empty() { Err(Refusal::Blind { model: first }) } else { Ok(seeing) }
    }

    fn offer(&self, provider: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.provider == provider)
    }

    fn facts(&self, target: &Choice) -> std::sync::Arc<Facts> {
        let vendor = self.offer(&target.provider).map(|offer| offer.vendor.as_str());
        self.world.models.facts(vendor.unwrap_or(&target.provider), &target.model)
    }

    fn searches_web(&self, target: &Choice) -> bool {
        let by_provider = || self.offer(&target.provider).is_some_and(|offer| offer.searches_web);
        self.facts(target).searches_web.unwrap_or_else(by_provider)
    }

    fn refusal(&self, model: &str) -> Refusal {
        let model = model.to_owned();
        let elsewhere = Finder { offers: self.world.offers, ..*self };
        let means_something = match model.as_str() {
            "default" | "auto" => !self.world.offers.is_empty(),
            name => {
                self.routes.alias(name).is_some_and(|chain| !elsewhere.all(chain).is_empty())
                    || choice::named(name, self.world.offers).is_some()
            }
        };
        if self.asker.local_models_only && means_something {
            Refusal::NotLocal { model }
        } else {
            Refusal::Unknown { model }
        }
    }
}

/// A plan that nobody had to think about.
fn open(targets: Vec<Choice>) -> Plan {
    Plan { targets, route: None, remember: None }
}

/// Adds targets that are not there yet.
fn append(targets: &mut Vec<Choice>, more: impl IntoIterator<Item = Choice>) {
    for target in more {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
}

#[cfg(test)]
mod tests;
