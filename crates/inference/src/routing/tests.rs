use nexus_contracts::{Attachment, AttachmentKind};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn offer(provider: &str, models: &[&str], available: bool) -> Offer {
    Offer {
        provider: provider.to_owned(),
        vendor: provider.to_owned(),
        models: models.iter().map(|model| (*model).to_owned()).collect(),
        available,
        reachable: true,
        only_these: true,
        demo: false,
        local: matches!(provider, "local" | "ollama" | "demo"),
        searches_web: provider == "perplexity",
    }
}

fn offers() -> Vec<Offer> {
    vec![
        offer("openai", &["gpt-5.6", "gpt-5.6-luna"], true),
        offer("anthropic", &["claude-opus-5-5"], true),
        offer("perplexity", &["sonar"], true),
        offer("groq", &["llama-3.3-70b-versatile"], false),
        offer("ollama", &["qwen3"], true),
    ]
}

fn routes() -> BTreeMap<String, RouteSettings> {
    let routes = json!({
        "web": { "chain": ["perplexity", "openai/gpt-5.6"] },
        "easy": { "chain": ["local", "ollama", "openai/gpt-5.6-luna"] },
        "medium": { "chain": ["groq/llama-3.3-70b-versatile", "openai/gpt-5.6-luna"] },
        "hard": { "chain": ["anthropic/claude-opus-5-5", "openai/gpt-5.6"] },
        "vision": { "chain": ["groq", "openai/gpt-5.6"] },
        "smart": { "chain": ["anthropic", "openai/gpt-5.6", "anthropic/claude-opus-5-5"] },
        "keyless": { "chain": ["groq"] },
        "gpt-falls": { "after": "openai/gpt-5.6", "chain": ["groq", "anthropic"] },
    });
    serde_json::from_value(routes).unwrap()
}

/// What a test may change.
struct Setting {
    offers: Vec<Offer>,
    routes: BTreeMap<String, RouteSettings>,
    default_model: Option<&'static str>,
    asker: Asker<'static>,
}

impl Default for Setting {
    fn default() -> Self {
        Self { offers: offers(), routes: routes(), default_model: None, asker: Asker::default() }
    }
}

impl Setting {
    fn with(mut self, name: &str, route: serde_json::Value) -> Self {
        self.routes.insert(name.to_owned(), serde_json::from_value(route).unwrap());
        self
    }

    fn plan(&self, request: &InferenceRequest) -> Result<Plan, Refusal> {
        let preference = Preference { default_model: self.default_model, order: &[] };
        let world = World {
            offers: &self.offers,
            preference,
            routes: &self.routes,
            models: &Models::default(),
        };
        plan(request, world, self.asker)
    }

    fn targets(&self, model: &str) -> Vec<String> {
        self.asked(model, "hi")
    }

    fn asked(&self, model: &str, text: &str) -> Vec<String> {
        names(self.plan(&asked(model, text)))
    }
}

fn names(plan: Result<Plan, Refusal>) -> Vec<String> {
    match plan {
        Ok(plan) => plan.targets.iter().map(Choice::full_name).collect(),
        Err(refusal) => vec![refusal.code().to_owned()],
    }
}

const EASY: &str = "Hello!";
const MEDIUM: &str = "Explain the difference between TCP and UDP.";
const HARD: &str = "Prove that there are infinitely many primes, derive a bound, and discuss it.";
const NEWS: &str = "What is the weather today?";

#[test]
fn model_is_asked_alone_unless_settings_say_what_comes_after_it() {
    let setting = Setting::default();
    for (model, wanted) in [
        ("anthropic/claude-opus-5-5", vec!["anthropic/claude-opus-5-5"]),
        ("openai/gpt-5.6", vec!["openai/gpt-5.6", "anthropic/claude-opus-5-5"]),
        ("gpt-5.6", vec!["openai/gpt-5.6", "anthropic/claude-opus-5-5"]),
        ("qwen3", vec!["ollama/qwen3"]),
        // Without a key it is asked all the same: the failure says what is missing.
        ("groq/llama-3.3-70b-versatile", vec!["groq/llama-3.3-70b-versatile"]),
        ("openai/gpt-9", vec!["unknown_model"]),
        ("nobody/gpt", vec!["unknown_model"]),
        ("gpt-falls", vec!["unknown_model"]),
        ("", vec!["unknown_model"]),
    ] {
        assert_eq!(setting.targets(model), wanted, "{model}");
    }
}

#[test]
fn alias_is_a_chain_of_what_can_be_asked_each_once() {
    let setting = Setting::default();
    assert_eq!(setting.targets("smart"), ["anthropic/claude-opus-5-5", "openai/gpt-5.6"]);
    assert_eq!(setting.targets("hard"), ["anthropic/claude-opus-5-5", "openai/gpt-5.6"]);
    assert_eq!(setting.targets("keyless"), ["groq/llama-3.3-70b-versatile"]);
    let own_keys = vec!["groq".to_owned()].leak();
    let setting = Setting { asker: Asker { own_keys, ..Asker::default() }, ..setting };
    assert_eq!(setting.targets("medium"), ["groq/llama-3.3-70b-versatile", "openai/gpt-5.6-luna"]);
}

#[test]
fn who_may_not_use_the_operators_keys_is_sent_where_no_such_key_is_needed() {
    let closed = ["openai", "anthropic", "perplexity", "groq"].map(str::to_owned).to_vec();
    let asker = Asker { closed: closed.leak(), ..Asker::default() };
    let guest = Setting { asker, ..Setting::default() };
    assert_eq!(guest.targets("default"), ["ollama/qwen3"]);
    assert_eq!(guest.targets("easy"), ["ollama/qwen3"]);
    // Named, it is planned all the same: who asks for it reads that a key is missing.
    assert_eq!(guest.targets("openai/gpt-5.6")[0], "openai/gpt-5.6");
    let own_keys = vec!["anthropic".to_owned()].leak();
    let guest = Setting { asker: Asker { own_keys, ..asker }, ..guest };
    assert_eq!(guest.targets("smart"), ["anthropic/claude-opus-5-5"]);

    // The demo is no answer to a missing key.
    let demo = Offer { demo: true, ..offer("demo", &["demo"], true) };
    let offers = vec![offer("openai", &["gpt-5.6"], true), demo];
    let poor = Setting { offers, asker, ..Setting::default() };
    assert_eq!(poor.targets("default")[0], "openai/gpt-5.6");
}

#[test]
fn default_has_no_fallback_but_the_chain_that_is_written() {
    let first = Setting::default().targets("default");
    assert_eq!(first, ["openai/gpt-5.6", "anthropic/claude-opus-5-5"], "its own fallbacks");
    let setting = Setting { default_model: Some("ollama/qwen3"), ..Setting::default() };
    assert_eq!(setting.targets("default"), ["ollama/qwen3"]);
    let setting = setting.with("default", json!({ "chain": ["groq", "anthropic", "ollama"] }));
    assert_eq!(setting.targets("default"), ["ollama/qwen3", "anthropic/claude-opus-5-5"]);

    let alias = Setting { default_model: Some("smart"), ..Setting::default() };
    assert_eq!(alias.targets("default"), alias.targets("smart"));
    let auto = Setting { default_model: Some("auto"), ..Setting::default() };
    assert_eq!(auto.plan(&asked("default", HARD)), auto.plan(&asked("auto", HARD)));
    // A default that means itself ends.
    let empty = Setting { default_model: Some("auto"), routes: BTreeMap::new(), ..auto };
    assert_eq!(empty.targets("default"), ["unknown_model"]);
}

#[test]
fn auto_takes_the_chain_of_the_question() {
    let setting = Setting::default();
    for (text, target, wanted) in [
        (EASY, "easy", vec!["ollama/qwen3", "openai/gpt-5.6-luna"]),
        (MEDIUM, "medium", vec!["openai/gpt-5.6-luna"]),
        (HARD, "hard", vec!["anthropic/claude-opus-5-5", "openai/gpt-5.6"]),
        // gpt-5.6 is in the chain too, but does not search.
        (NEWS, "web", vec!["perplexity/sonar"]),
    ] {
        let plan = setting.plan(&asked("auto", text)).unwrap();
        let route = plan.route.clone().unwrap();
        assert_eq!((route.target.as_str(), route.policy.as_str()), (target, "heuristic-1"));
        assert_eq!(route.needs_web, target == "web");
        assert!(!route.sticky && route.features.values().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(names(Ok(plan)), wanted, "{text}");
    }
}

#[test]
fn empty_chain_gives_way_to_the_harder_then_the_easier_then_the_default() {
    let without = |providers: &[&str]| {
        let mut setting = Setting::default();
        setting.offers.retain(|offer| !providers.contains(&offer.provider.as_str()));
        setting
    };
    let target = |setting: &Setting, text: &str| {
        setting.plan(&asked("auto", text)).unwrap().route.unwrap().target
    };
    assert_eq!(target(&without(&["perplexity"]), NEWS), "easy");
    assert_eq!(target(&without(&["openai"]), MEDIUM), "hard");
    assert_eq!(target(&without(&["openai", "anthropic"]), MEDIUM), "easy");
    let bare = Setting { routes: BTreeMap::new(), ..Setting::default() };
    assert_eq!(target(&bare, HARD), "default");
    assert_eq!(bare.asked("auto", HARD), ["openai/gpt-5.6"]);
}

#[test]
fn conversation_does_not_fall_back_to_an_easier_tier() {
    for sticky in [None, Some(Tier::Easy), Some(Tier::Medium), Some(Tier::Hard)] {
        for (text, judged) in [(EASY, Tier::Easy), (MEDIUM, Tier::Medium), (HARD, Tier::Hard)] {
            let setting =
                Setting { asker: Asker { sticky, ..Asker::default() }, ..Setting::default() };
            let plan = setting.plan(&asked("auto", text)).unwrap();
            let tier = sticky.unwrap_or(Tier::Easy).max(judged);
            let route = plan.route.unwrap();
            assert_eq!(plan.remember, Some(tier));
            assert_eq!(
                (route.target.as_str(), route.sticky),
                (tier.as_str(), tier > judged),
                "{sticky:?} {text}"
            );
        }
    }
}

#[test]
fn policy_and_thresholds_are_settings() {
    let target = |auto: serde_json::Value, text| {
        let setting = Setting::default().with("auto", auto);
        let route = setting.plan(&asked("auto", text)).unwrap().route.unwrap();
        (route.policy, route.target)
    };
    let of = |policy: &str, target: &str| (policy.to_owned(), target.to_owned());
    for text in [EASY, HARD, NEWS] {
        assert_eq!(target(json!({ "policy": "fixed" }), text), of("fixed", "medium"));
        let hard =
            json!({ "policy": "fixed", "tier": "hard", "easy_below": 1.0, "hard_from": 1.0 });
        assert_eq!(target(hard, text), of("fixed", "hard"));
    }
    assert_eq!(target(json!({ "hard_from": 0.3 }), MEDIUM), of("heuristic-1", "hard"));
    let all_easy = json!({ "easy_below": 1.0, "hard_from": 1.0 });
    assert_eq!(target(all_easy, MEDIUM), of("heuristic-1", "easy"));
}

#[test]
fn thresholds_are_where_the_tiers_meet() {
    let auto = settings::Auto::default();
    for (difficulty, tier) in [
        (0.0, Tier::Easy),
        (0.299, Tier::Easy),
        (0.3, Tier::Medium),
        (0.699, Tier::Medium),
        (0.7, Tier::Hard),
        (1.0, Tier::Hard),
    ] {
        assert_eq!(auto.tier(difficulty), tier, "{difficulty}");
    }
}

#[test]
fn tenant_of_this_machine_is_never_sent_elsewhere() {
    let asker = Asker { local_models_only: true, ..Asker::default() };
    let setting = Setting { asker, ..Setting::default() };
    for (model, wanted) in [
        ("ollama/qwen3", "ollama/qwen3"),
        ("default", "ollama/qwen3"),
        ("auto", "ollama/qwen3"),
        ("easy", "ollama/qwen3"),
        ("openai/gpt-5.6", "not_local"),
        ("gpt-5.6", "not_local"),
        ("smart", "not_local"),
        ("nobody/gpt", "unknown_model"),
    ] {
        assert_eq!(setting.asked(model, HARD), [wanted], "{model}");
    }
    let mut nothing = setting;
    nothing.offers.retain(|offer| !offer.local);
    assert_eq!(nothing.targets("default"), ["not_local"]);
}

fn with_image(model: &str) -> InferenceRequest {
    let attachment = Attachment {
        uri: "blob:t/1".to_owned(),
        sha256: "1".to_owned(),
        media_type: "image/webp".to_owned(),
        bytes: 10,
        kind: AttachmentKind::Photo,
        name: None,
    };
    let mut request = asked(model, "what is it?");
    request.messages[0].parts.push(Part::Attachment { attachment });
    request
}

#[test]
fn image_goes_to_a_model_that_sees_or_is_refused_by_the_setting() {
    let mut setting = Setting::default();
    setting.offers[3].available = true;
    let blind = "groq/llama-3.3-70b-versatile";
    let plan = |setting: &Setting, model: &str| names(setting.plan(&with_image(model)));
    assert_eq!(plan(&setting, blind), ["openai/gpt-5.6"]);
    assert_eq!(plan(&setting, "medium"), ["openai/gpt-5.6-luna", "openai/gpt-5.6"]);
    assert_eq!(plan(&setting, "ollama/qwen3"), ["openai/gpt-5.6"]);
    assert_eq!(plan(&setting, "anthropic/claude-opus-5-5"), ["anthropic/claude-opus-5-5"]);
    // A file that is no image needs no eyes.
    let mut text = with_image(blind);
    if let Some(Part::Attachment { attachment }) = text.messages[0].parts.last_mut() {
        attachment.media_type = "text/plain".to_owned();
    }
    assert_eq!(names(setting.plan(&text)), [blind]);

    let setting = setting.with("vision", json!({ "on_missing": "error", "chain": ["openai"] }));
    assert_eq!(setting.plan(&with_image(blind)), Err(Refusal::Blind { model: blind.to_owned() }));
    let asker = Asker { local_models_only: true, ..Asker::default() };
    let local = Setting { asker, ..Setting::default() };
    assert_eq!(plan(&local, "ollama/qwen3"), ["no_vision"]);
}

#[test]
fn wrong_settings_are_named_with_their_entry() {
    let providers = json!({
        "openai": { "kind": "openai-chat", "base_url": "https://api.openai.com/v1" },
        "few": { "kind": "gemini", "base_url": "https://host", "models": ["a", "b/c"] },
        "broken": { "kind": "gemini", "base_url": "ftp://host" },
    });
    let routes = json!({
        "auto": { "policy": "fixed", "easy_below": 0.8 },
        "easy": { "chain": ["gorq/llama", "openai/", "few/b/c", "few/d"] },
        "empty": {},
        "fast": { "chain": ["openai"], "tier": "easy", "on_missing": "error" },
        "falls": { "after": "openai/gpt-5.6", "chain": ["openai"] },
        "falls2": { "after": "openai/gpt-5.6", "chain": ["openai"] },
        "hard": { "after": "openai", "chain": ["openai"] },
        "vision": { "on_missing": "error" },
    });
    let models = json!({
        "a": { "name": "openai/x" }, "b": { "name": "openai/x" }, "c": { "name": "x" },
    });
    let problems = check_settings(
        &serde_json::from_value(providers).unwrap(),
        &serde_json::from_value(routes).unwrap(),
        &serde_json::from_value(models).unwrap(),
    );
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        lines,
        [
            "provider.broken: base_url has to start with http:// or https:// and a host",
            "route.auto: easy_below = 0.8 and hard_from = 0.7 have to be between 0 and 1, the first not above the second",
            "route.easy: \"gorq/llama\" names no provider; there are broken, few, openai. Write provider/model, or provider alone",
            "route.easy: \"openai/\" names no model after the slash",
            "route.easy: \"few/d\" is not offered; models of provider.few are a, b/c",
            "route.empty: chain is missing or empty: there is nothing to ask",
            "route.fast: tier belongs to the table [auto]",
            "route.fast: on_missing belongs to the table [vision]",
            "route.hard: after has to name a model, as provider/model",
            "route.hard: [hard] cannot have after: give these fallbacks another name",
            "model.b: openai/x is described by model.a too; keep one of them",
            "model.c: name = \"x\" is no model; write it as name = \"vendor/model\"",
            "route.falls2: route.falls already says what is asked after openai/gpt-5.6; keep one of them",
        ]
    );
    let unknown = json!({ "chains": ["openai"] });
    assert!(serde_json::from_value::<RouteSettings>(unknown).is_err());
}

/// The entries of one kind of the project's own bus-config.
fn shipped<T: serde::de::DeserializeOwned>(kind: &str) -> BTreeMap<String, T> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bus-config");
    let spec = nexus_bus::Spec::read_folder(&folder, nexus_bus::Durability::Interval).unwrap();
    let entry = |entry: &nexus_bus::Entry| {
        let name = entry.key.strip_prefix(kind)?.strip_prefix('.')?;
        Some((name.to_owned(), serde_json::from_value(entry.value.clone()).unwrap()))
    };
    spec.entries().iter().filter_map(entry).collect()
}

#[test]
fn shipped_settings_have_no_problem_and_name_known_models() {
    let (providers, routes) = (shipped("provider"), shipped::<RouteSettings>("route"));
    let models = shipped::<crate::ModelSettings>("model");
    assert_eq!(check_settings(&providers, &routes, &models), []);
    for model in models.values() {
        let (vendor, model) = model.name.split_once('/').unwrap();
        let known = Models::default().facts(vendor, model).name.clone();
        assert!(known.is_some(), "{vendor}/{model} overrides nothing");
    }
    for entry in routes.values().flat_map(|route| &route.chain) {
        let Some((provider, model)) = entry.split_once('/') else { continue };
        let vendor = providers[provider].endpoint().and_then(|one| one.vendor.as_deref());
        let facts = Models::default().facts(vendor.unwrap_or(provider), model);
        // The catalogue has no rows for Qwen's own service.
        assert!(facts.name.is_some() || provider == "qwen", "{entry}");
    }
    let seeing = &routes["vision"].chain;
    for entry in seeing {
        let (provider, model) = entry.split_once('/').unwrap();
        let vendor = providers[provider].endpoint().and_then(|one| one.vendor.as_deref());
        let facts = Models::default().facts(vendor.unwrap_or(provider), model);
        assert_eq!(facts.takes_images, Some(true), "{entry}");
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_nothing_external_is_planned_for_a_local_tenant(
        model in prop_oneof![
            Just("auto"), Just("default"), Just("smart"), Just("hard"), Just("openai/gpt-5.6"),
            Just("sonar"), Just("vision"), Just("ollama/qwen3"),
        ],
        text in ".{0,80}", image in any::<bool>(), default_model in 0..4_usize,
    ) {
        let default_model =
            [None, Some("auto"), Some("smart"), Some("openai/gpt-5.6")][default_model];
        let asker = Asker { local_models_only: true, ..Asker::default() };
        let setting = Setting { default_model, asker, ..Setting::default() };
        let mut request = if image { with_image(model) } else { asked(model, "") };
        request.messages.push(Message::text(Role::User, text));
        if let Ok(plan) = setting.plan(&request) {
            prop_assert!(plan.targets.iter().all(|target| target.provider == "ollama"));
            prop_assert!(!plan.targets.is_empty());
        }
    }

    #[test]
    fn difficulty_is_between_0_and_1_for_any_text(text in "\\PC{0,300}") {
        let plan = Setting::default().plan(&asked("auto", &text)).unwrap();
        prop_assert!((0.0..=1.0).contains(&plan.route.unwrap().difficulty));
    }
}
