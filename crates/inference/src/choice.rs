//! Which model a request means. Pure.

/// A provider, as far as choosing needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) provider: String,
    /// The usual one first.
    pub(crate) models: Vec<String>,
    /// Its name in the table of models.
    pub(crate) vendor: String,
    /// Whether it can be asked now: reachable, with the operator's key where it needs one.
    pub(crate) available: bool,
    /// Whether it can be asked by those who have a key.
    pub(crate) reachable: bool,
    /// Whether it serves nothing but these models.
    pub(crate) only_these: bool,
    pub(crate) demo: bool,
    /// On this machine: what it is asked goes nowhere else.
    pub(crate) local: bool,
    /// Its models look things up on the web by themselves.
    pub(crate) searches_web: bool,
}

/// A provider and its own name of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) provider: String,
    pub(crate) model: String,
}

impl Choice {
    fn new(provider: &str, model: &str) -> Self {
        Self { provider: provider.to_owned(), model: model.to_owned() }
    }

    /// `provider/model`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }
}

/// What `default` means, and in which order providers come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preference<'a> {
    pub(crate) default_model: Option<&'a str>,
    pub(crate) order: &'a [String],
}

impl Preference<'_> {
    /// Preferred first; those without a place come before the first demo, else by name.
    pub(crate) fn sort(&self, offers: &mut [Offer]) {
        let place = |offer: &Offer| self.order.iter().position(|name| *name == offer.provider);
        let demos = offers.iter().filter(|offer| offer.demo).filter_map(place).min();
        let unnamed = demos.unwrap_or(self.order.len());
        offers.sort_by_key(|offer| match place(offer) {
            Some(place) if demos.is_none_or(|demo| place < demo) => {
                (place, 0, offer.provider.clone())
            }
            Some(place) => (place, 2, offer.provider.clone()),
            None => (unnamed, if offer.demo { 3 } else { 1 }, offer.provider.clone()),
        });
    }
}

/// `provider/model` of everything that can be asked now.
pub(crate) fn available(offers: &[Offer]) -> Vec<String> {
    offers.iter().filter(|offer| offer.available).flat_map(full_names).collect()
}

/// What else may be named: `provider/model` of what cannot be asked now, but perhaps by those with
/// a key of their own; and `provider/*` of providers that take any name.
pub(crate) fn others(offers: &[Offer]) -> Vec<String> {
    let closed = offers.iter().filter(|offer| !offer.available).flat_map(full_names);
    let open = offers.iter().filter(|offer| !offer.only_these);
    closed.chain(open.map(|offer| format!("{}/*", offer.provider))).collect()
}

fn full_names(offer: &Offer) -> impl Iterator<Item = String> {
    offer.models.iter().map(|model| format!("{}/{model}", offer.provider))
}

pub(crate) fn first_available(offers: &[Offer]) -> Option<Choice> {
    offers.iter().filter(|offer| offer.available).find_map(usual)
}

/// The model of a provider that is asked when none is named.
fn usual(offer: &Offer) -> Option<Choice> {
    // Local servers list models that only embed; asked to talk they fail.
    let model = offer.models.iter().find(|model| !model.to_lowercase().contains("embed"))?;
    Some(Choice::new(&offer.provider, model))
}

/// What an entry of a chain means: `provider/model`, or a provider's usual model.
pub(crate) fn listed(entry: &str, offers: &[Offer]) -> Option<Choice> {
    match entry.split_once('/') {
        Some((provider, _)) => named(entry, offers).filter(|choice| choice.provider == provider),
        None => usual(offers.iter().find(|offer| offer.provider == entry)?),
    }
}

/// What `provider/model`, or a model's name alone, means.
pub(crate) fn named(name: &str, offers: &[Offer]) -> Option<Choice> {
    if let Some((provider, model)) = name.split_once('/')
        && let Some(offer) = offers.iter().find(|offer| offer.provider == provider)
    {
        let serves = !model.is_empty()
            && (!offer.only_these || offer.models.iter().any(|known| known == model));
        return serves.then(|| Choice::new(provider, model));
    }
    // Names of models may hold slashes themselves.
    let knows = |offer: &&Offer| offer.models.iter().any(|model| model == name);
    let mut known = offers.iter().filter(knows);
    let first = known.clone().next()?;
    let best = known.find(|offer| offer.available).unwrap_or(first);
    Some(Choice::new(&best.provider, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Asker, World, asked, plan};

    fn offer(provider: &str, models: &[&str], available: bool) -> Offer {
        Offer {
            provider: provider.to_owned(),
            models: models.iter().map(|model| (*model).to_owned()).collect(),
            vendor: provider.to_owned(),
            available,
            reachable: available,
            only_these: provider == "openai",
            demo: provider == "demo",
            local: provider != "openai",
            searches_web: false,
        }
    }

    fn resolve(model: &str, default_model: Option<&str>, mut offers: Vec<Offer>) -> Option<String> {
        let order = crate::Config::default().prefer;
        let preference = Preference { default_model, order: &order };
        preference.sort(&mut offers);
        let (routes, models) = Default::default();
        let world = World { offers: &offers, preference, routes: &routes, models: &models };
        let plan = plan(&asked(model, ""), world, Asker::default()).ok()?;
        plan.targets.first().map(Choice::full_name)
    }

    fn some(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn default_is_the_first_available_in_order_of_preference() {
        let all = || {
            vec![
                offer("demo", &["demo"], true),
                offer("ollama", &["nomic-embed-text", "llama"], true),
                offer("openai", &["gpt"], true),
            ]
        };
        assert_eq!(resolve("default", None, all()), some("openai/gpt"));
        assert_eq!(resolve("default", Some("ollama/llama"), all()), some("ollama/llama"));
        assert_eq!(resolve("default", Some("gone/x"), all()), None);
        let without_key = vec![
            offer("openai", &["gpt"], false),
            offer("ollama", &["nomic-embed-text", "llama"], true),
        ];
        assert_eq!(resolve("default", None, without_key), some("ollama/llama"));
        let alone = vec![offer("openai", &["gpt"], false), offer("demo", &["demo"], true)];
        assert_eq!(resolve("default", None, alone), some("demo/demo"));
    }

    #[test]
    fn provider_that_nobody_ranked_comes_before_the_demo() {
        let offers = vec![offer("demo", &["demo"], true), offer("vllm", &["g"], true)];
        assert_eq!(resolve("default", None, offers), some("vllm/g"));
        let offers = vec![offer("local", &["l"], true), offer("vllm", &["g"], true)];
        assert_eq!(resolve("default", None, offers), some("local/l"));
    }

    #[test]
    fn names_are_found_with_and_without_their_provider() {
        let all = || {
            vec![
                offer("openai", &["gpt"], true),
                offer("vllm", &["meta/llama"], true),
                offer("demo", &["demo"], true),
            ]
        };
        assert_eq!(resolve("openai/gpt", None, all()), some("openai/gpt"));
        assert_eq!(resolve("gpt", None, all()), some("openai/gpt"));
        assert_eq!(resolve("meta/llama", None, all()), some("vllm/meta/llama"));
        assert_eq!(resolve("vllm/new-one", None, all()), some("vllm/new-one"));
        for unknown in ["openai/gpt-9", "nobody/gpt", "gpt-9", "openai/", ""] {
            assert_eq!(resolve(unknown, None, all()), None, "{unknown:?}");
        }
    }

    #[test]
    fn only_what_can_be_asked_is_available() {
        let offers = [offer("openai", &["gpt"], false), offer("ollama", &["a", "b"], true)];
        assert_eq!(available(&offers), ["ollama/a", "ollama/b"]);
        assert_eq!(others(&offers), ["openai/gpt", "ollama/*"]);
    }
}
