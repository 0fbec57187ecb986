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
    /// The way to the wrong value within the entry, for example `chain`, `2`; as far as it is one.
    pub path: Vec<String>,
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
    let mut report = |kind: &str, name: &str, faults: Vec<Fault>| {
        problems.extend(faults.into_iter().map(|Fault { path, reason }| Problem {
            key: format!("{kind}.{name}"),
            path,
            reason,
        }));
    };
    for (name, provider) in providers {
        let fault = provider.fault().map(|(key, reason)| at(&[key], reason));
        report("provider", name, fault.into_iter().collect());
    }
    for (name, route) in routes {
        report("route", name, of_route(name, route, providers));
    }
    for (name, model) in models {
        let whole = |reason| Fault { path: Vec::new(), reason };
        let mut faults: Vec<Fault> = model.problems().into_iter().map(whole).collect();
        let twin = models.iter().find(|(other, same)| *other < name && same.name == model.name);
        faults.extend(twin.map(|(other, _)| {
            at(
                &["name"],
                format!("{} is described by model.{other} too; keep one of them", model.name),
            )
        }));
        report("model", name, faults);
    }
    let after = routes.iter().filter_map(|(name, route)| Some((name, route.after.as_ref()?)));
    for (name, after) in after {
        let twin =
            routes.iter().find(|(other, same)| *other < name && same.after.as_ref() == Some(after));
        let reason = twin.map(|(other, _)| {
            at(
                &["after"],
                format!("route.{other} already says what is asked after {after}; keep one of them"),
            )
        });
        report("route", name, reason.into_iter().collect());
    }
    problems
}

/// Something wrong within an entry.
struct Fault {
    path: Vec<String>,
    reason: String,
}

fn at(path: &[&str], reason: impl Into<String>) -> Fault {
    Fault { path: path.iter().map(|key| (*key).to_owned()).collect(), reason: reason.into() }
}

/// What a provider that serves nothing but its list offers, where the model is not in it.
fn offered(provider: &ProviderSettings, entry: &str, model: &str) -> Option<String> {
    let models = match provider {
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
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, entry) in route.chain.iter().enumerate() {
        let reason = of_target(entry, providers);
        faults.extend(reason.map(|reason| at(&["chain", &index.to_string()], reason)));
    }
    if let Some(after) = &route.after {
        let whole = "after has to name a model, as provider/model";
        let reason =
            if after.contains('/') { of_target(after, providers) } else { Some(whole.to_owned()) };
        faults.extend(reason.map(|reason| at(&["after"], reason)));
    }
    let of_auto = [
        ("policy", route.policy.is_some()),
        ("tier", route.tier.is_some()),
        ("easy_below", route.easy_below.is_some()),
        ("hard_from", route.hard_from.is_some()),
    ];
    for (key, _) in of_auto.into_iter().filter(|(_, set)| *set && name != "auto") {
        faults.push(at(&[key], format!("{key} belongs to the table [auto]")));
    }
    if route.on_missing.is_some() && name != "vision" {
        faults.push(at(&["on_missing"], "on_missing belongs to the table [vision]"));
    }
    let chains = ["web", "easy", "medium", "hard", "default", "vision", "auto"];
    if route.after.is_some() && chains.contains(&name) {
        let reason = format!("[{name}] cannot have after: give these fallbacks another name");
        faults.push(at(&["after"], reason));
    }
    if name == "auto" && !route.chain.is_empty() {
        let reason =
            "[auto] has no chain of its own: it chooses between web, easy, medium and hard";
        faults.push(at(&["chain"], reason));
    }
    if !matches!(name, "auto" | "vision") && route.chain.is_empty() {
        faults.push(at(&["chain"], "chain is missing or empty: there is nothing to ask"));
    }
    let (easy, hard) = (route.easy_below.unwrap_or(0.3), route.hard_from.unwrap_or(0.7));
    if !(0.0..=1.0).contains(&easy) || !(0.0..=1.0).contains(&hard) || easy > hard {
        let reason = format!(
            "easy_below = {easy} and hard_from = {hard} have to be between 0 and 1, the first not above the second"
        );
        faults.push(at(&["easy_below"], reason));
    }
    faults
}

/// What is wrong with `provider/model`, or with a provider's name alone.
fn of_target(entry: &str, providers: &BTreeMap<String, ProviderSettings>) -> Option<String> {
    let (provider, model) = entry.split_once('/').unwrap_or((entry, "usual"));
    let Some(settings) = providers.get(provider) else {
        let known = providers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Some(format!(
            "{entry:?} names no provider; there are {known}. Write provider/model, or provider alone"
        ));
    };
    if model.is_empty() {
        return Some(format!("{entry:?} names no model after the slash"));
    }
    let offered = offered(settings, entry, model)?;
    Some(format!("{entry:?} is not offered; models of provider.{provider} are {offered}"))
}
