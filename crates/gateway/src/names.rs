//! Which names of models there are, by what the inference worker publishes. Pure.

use std::collections::BTreeMap;

/// Entries `model.NAME` of the bucket of tools, each a list of names.
pub(crate) type Lists = BTreeMap<String, Vec<String>>;

/// `provider/model` of everything that can be asked now.
const MODELS: &str = "list";
/// `auto`, and the aliases.
const ROUTES: &str = "routes";
/// `provider/model` that those with a key of their own may ask, and `provider/*` of providers that
/// take any name.
const OTHERS: &str = "others";

/// The names that are shown: models first.
pub(crate) fn shown(lists: &Lists) -> impl Iterator<Item = &String> {
    of(lists, MODELS).chain(of(lists, ROUTES))
}

/// Whether a name means something to the inference worker. Who may ask it is said there.
pub(crate) fn is_known(lists: &Lists, name: &str) -> bool {
    let is_model = |model: &String| match model.strip_suffix("/*") {
        Some(provider) => {
            name.split_once('/').is_some_and(|(of, bare)| of == provider && !bare.is_empty())
        }
        None => model == name || model.split_once('/').is_some_and(|(_, bare)| bare == name),
    };
    of(lists, ROUTES).any(|route| route == name)
        || of(lists, MODELS).chain(of(lists, OTHERS)).any(is_model)
}

fn of<'l>(lists: &'l Lists, list: &str) -> impl Iterator<Item = &'l String> {
    lists.get(list).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Lists {
        let list = |name: &str, names: &[&str]| {
            (name.to_owned(), names.iter().map(|name| (*name).to_owned()).collect())
        };
        [
            list(MODELS, &["ollama/llama", "vllm/meta/llama", "demo/demo"]),
            list(ROUTES, &["auto", "easy"]),
            list(OTHERS, &["openai/gpt-5.6", "ollama/*"]),
        ]
        .into()
    }

    #[test]
    fn models_routes_and_what_a_key_of_ones_own_opens_are_known() {
        let lists = lists();
        for known in [
            "ollama/llama",
            "llama",
            "meta/llama",
            "auto",
            "easy",
            "openai/gpt-5.6",
            "gpt-5.6",
            "ollama/a-new-one",
            "ollama/hf.co/a-new-one",
        ] {
            assert!(is_known(&lists, known), "{known:?}");
        }
        for unknown in [
            "",
            "*",
            "ollama/",
            "ollama",
            "openai/gpt-9",
            "openai/*",
            "nobody/auto",
            "nexus/nobody",
        ] {
            assert!(!is_known(&lists, unknown), "{unknown:?}");
        }
        assert!(!is_known(&Lists::new(), "auto"));
    }

    #[test]
    fn models_that_want_a_key_of_ones_own_are_not_shown() {
        let lists = lists();
        let shown: Vec<&String> = shown(&lists).collect();
        assert_eq!(shown, ["ollama/llama", "vllm/meta/llama", "demo/demo", "auto", "easy"]);
    }
}
