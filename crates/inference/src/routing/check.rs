//! Looks for what is wrong in the settings of providers, routes and models, before they are used.

use std::collections::BTreeMap;
use std::fmt;

use super::settings::RouteSettings;
use crate::models::ModelSettings;
use crate::settings::ProviderSettings;

/// Something wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key of the entry, for example `route.easy`.
    pub key: String,
    /// What is wrong and what to do, one line.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Everything that is wrong with settings of this crate, each by the name of its entry
/// (`openai` for `provider.openai`).
#[must_use]
pub fn check_settings(
    providers: &BTreeMap<String, ProviderSettings>,
    routes: &BTreeMap<String, RouteSettings>,
    models: &BTreeMap<String, ModelSettings>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |kind: &str, name: &str, reasons: Vec<String>| {
        let key = format!("{kind}.{name}");
        problems.extend(reasons.into_iter().map(|reason| Problem { key: key.clone(), reason }));
    };
    for (name, provider) in providers {
        report("provider", name, provider.fault().into_iter().map(|(_, reason)| reason).collect());
    }
    for (name, route) in routes {
        report("route", name, of_route(name, route, providers));
    }
    for (name, model) in models {
        let mut reasons = model.problems();
        let twin = models.iter().find(|(other, same)| *other < name && same.name == model.name);
        reasons.extend(twin.map(|(other, _)| {
            format!("{} is described by model.{other} too; keep one of them", model.name)
        }));
        report("model", name, reasons);
    }
    let after = routes.iter().filter_map(|(name, route)| Some((name, route.after.as_ref()?)));
    for (name, after) in after {
        let twin =
            routes.iter().find(|(other, same)| *other < name && same.after.as_ref() == Some(after));
        let reason = twin.map(|(other, _)| {
            format!("route.{other} already says what is asked after {after}; keep one of them")
        });
        report("route", name, reason.into_iter().collect());
    }
    problems
}

/// What a provider that serves nothing but its list offers, where the model is not in it.
fn offered(provider: Option<&ProviderSettings>, entry: &str, model: &str) -> Option<String> {
    let models = match provider? {
        ProviderSettings::Demo(demo) => &demo.models,
        settings => {
            let endpoint = settings.endpoint()?;
            let open = endpoint.discover || endpoint.models.is_empty();
            (!open).then_some(&endpoint.models)?
        }
    };
    let listed = !entry.contains('/') || models.iter().any(|known| known == model);
    (!listed).then(|| models.join(", "))
}

fn of_route(
    name: &str,
    route: &RouteSettings,
    providers: &BTreeMap<String, ProviderSettings>,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let known = || providers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    for entry in route.chain.iter().chain(&route.after) {
        let (provider, model) = entry.split_once('/').unwrap_or((entry, "usual"));
        if !providers.contains_key(provider) {
            reasons.push(format!(
                "{entry:?} names no provider; there are {}. Write provider/model, or provider alone",
                known()
            ));
        } else if model.is_empty() {
            reasons.push(format!("{entry:?} names no model after the slash"));
        } else if let Some(offered) = offered(providers.get(provider), entry, model) {
            reasons.push(format!(
                "{entry:?} is not offered; models of provider.{provider} are {offered}"
            ));
        }
    }
    if route.after.as_ref().is_some_and(|after| !after.contains('/')) {
        reasons.push("after has to name a model, as provider/model".to_owned());
    }
    let of_auto = [
        ("policy", route.policy.is_some()),
        ("tier", route.tier.is_some()),
        ("easy_below", route.easy_below.is_some()),
        ("hard_from", route.hard_from.is_some()),
    ];
    for (key, _) in of_auto.into_iter().filter(|(_, set)| *set && name != "auto") {
        reasons.push(format!("{key} belongs to the table [auto]"));
    }
    if route.on_missing.is_some() && name != "vision" {
        reasons.push("on_missing belongs to the table [vision]".to_owned());
    }
    let chains = ["web", "easy", "medium", "hard", "default", "vision", "auto"];
    if route.after.is_some() && chains.contains(&name) {
        reasons.push(format!("[{name}] cannot have after: give these fallbacks another name"));
    }
    if name == "auto" && !route.chain.is_empty() {
        reasons.push(
            "[auto] has no chain of its own: it chooses between web, easy, medium and hard"
                .to_owned(),
        );
    }
    if !matches!(name, "auto" | "vision") && route.chain.is_empty() {
        reasons.push("chain is missing or empty: there is nothing to ask".to_owned());
    }
    let (easy, hard) = (route.easy_below.unwrap_or(0.3), route.hard_from.unwrap_or(0.7));
    if !(0.0..=1.0).contains(&easy) || !(0.0..=1.0).contains(&hard) || easy > hard {
        reasons.push(format!(
            "easy_below = {easy} and hard_from = {hard} have to be between 0 and 1, the first not above the second"
        ));
    }
    reasons
}
