use super::*;

/// What is wrong in one file, as it is shown.
fn wrong(file: &str, text: &str) -> Vec<String> {
    problems([(file, text)].into_iter()).iter().map(ToString::to_string).collect()
}

fn begins(problems: &[String], expected: &[&str]) {
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}\n  does not begin with\n{expected}");
    }
}

#[test]
fn each_wrong_provider_is_named_with_its_line_and_what_is_wrong() {
    let text = r#"
[typo]
kind = "opnai-chat"
base_url = "http://h/v1"

[extra]
kind = "openai-chat"
base_url = "http://h/v1"
modles = ["a"]

[key]
kind = "anthropic-messages"
base_url = "https://h/v1"
api_key = "sk-secret"

[where]
kind = "gemini"
base_url = "ftp://h"

[nowhere]
kind = "gemini"

[whose]
kind = "openai-responses"
base_url = "https://user:sk-secret@h/v1"

[pasted]
kind = "openai-chat"
base_url = "https://h/v1"
api_key_env = "sk-secret"

[type]
kind = "openai-chat"
base_url = "https://h/v1"

[type.limits]
concurrency = "sk-secret"

[fine]
kind = "openai-chat"
base_url = "http://127.0.0.1:1/v1"
"#;
    let found = wrong("providers.toml", text);
    begins(
        &found,
        &[
            "providers.toml:3: provider.typo: unknown variant `opnai-chat`, expected one of `openai-chat`",
            "providers.toml:9: provider.extra: unknown field `modles`, expected one of `base_url`",
            "providers.toml:14: provider.key: unknown field `api_key`",
            "providers.toml:18: provider.where: base_url has to start with http:// or https://",
            "providers.toml:20: provider.nowhere: missing field `base_url`",
            "providers.toml:25: provider.whose: base_url holds credentials",
            "providers.toml:30: provider.pasted: api_key_env is the name of a variable in capitals",
            "providers.toml:37: provider.type: invalid type: a string, expected a nonzero u32",
        ],
    );
    assert!(found[2].contains("name that with api_key_env"), "{}", found[2]);
    assert!(found.iter().all(|problem| !problem.contains("sk-secret")), "{found:#?}");
}

#[test]
fn files_of_their_own_are_named_with_their_lines_too() {
    let agent = "name = \"helper\"\ninstructions = \"Help.\"\n\n[budget]\ntoken = 7\n";
    begins(
        &wrong("agents/helper.toml", agent),
        &[
            "agents/helper.toml:5: agent.helper: unknown field `token`, expected one of `model_calls`",
        ],
    );
    let twin = "instructions = \"Help.\"\nname = \"other\"\n";
    begins(
        &wrong("agents/helper.toml", twin),
        &[
            "agents/helper.toml:2: agent.helper: its name is \"other\", but it is asked for as \"helper\"",
        ],
    );
    begins(
        &wrong("tenants/a.toml", "name = \"A\"\nid = \"seven\"\n"),
        &["tenants/a.toml:2: tenant.a: "],
    );
    begins(
        &wrong("providers/x.toml", "kind = \"gemini\"\nbase_url = 5\n"),
        &["providers/x.toml:2: provider.x: invalid type: integer `5`, expected a string"],
    );
    begins(
        &wrong("osc/live.toml", "profile = \"ableton\"\nadress = \"127.0.0.1:1\"\n"),
        &["osc/live.toml:2: osc.live: unknown field `adress`"],
    );
    begins(
        &wrong("osc-profiles/p.toml", "title = \"P\"\nprefx = \"p\"\n"),
        &["osc-profiles/p.toml:2: osc-profile.p: unknown field `prefx`"],
    );
}

#[test]
fn what_nobody_would_read_is_refused() {
    let list = "there are agents, models, osc, osc-profiles, providers, routes, tenants, and the folder streams";
    for (file, text, reason) in [
        ("agnets/a.toml", "", format!("1: there is no folder \"agnets\" in bus-config; {list}")),
        ("provider.toml", "", format!("1: there is no file \"provider\" in bus-config; {list}")),
        (
            "agents/a.tmol",
            "",
            "1: it would not be read: call it NAME.toml, or take it away".to_owned(),
        ),
        (
            "providers.toml",
            "\nx = 3\n",
            "2: provider.x: it has to be a table: write [x]".to_owned(),
        ),
        (
            "providers.toml",
            "[\"a.b\"]\n",
            "1: provider.a.b: its name has to be of letters, digits, '-' and '_'".to_owned(),
        ),
    ] {
        assert_eq!(wrong(file, text), [format!("{file}:{reason}")]);
    }
}

#[test]
fn what_is_no_toml_is_told_by_its_line_and_not_shown() {
    let found = wrong("providers.toml", "[a]\nkind = \"demo\nkey = \"sk-secret\"\n");
    begins(&found, &["providers.toml:2: this is no TOML: "]);
    assert!(!found[0].contains("secret"));
    begins(&wrong("providers.toml", "[a]\n[a]\n"), &["providers.toml:2: this is no TOML: "]);
}

#[test]
fn two_tenants_cannot_be_the_same() {
    let tenant =
        |name: &str| format!("name = \"{name}\"\nid = \"00000000-0000-0000-0000-000000000001\"\n");
    let (a, b) = (tenant("A"), tenant("B"));
    let files = [("tenants/a.toml", a.as_str()), ("tenants/b.toml", b.as_str())];
    let found: Vec<String> = problems(files.into_iter()).iter().map(ToString::to_string).collect();
    begins(&found, &["tenants/b.toml:2: tenant.b: tenant.a has this id too"]);
}

#[test]
fn routes_and_models_are_judged_with_the_providers_they_name() {
    let providers = "[a]\nkind = \"demo\"\nmodels = [\"x\"]\n";
    let routes = "[good]\nchain = [\"a/x\"]\n\n[bad]\nchain = [\n  \"a/x\",\n  \"nobody/x\",\n]\n";
    let models = "[m]\nname = \"a/x\"\ncontext_tokens = 0\n";
    let files = [("models.toml", models), ("providers.toml", providers), ("routes.toml", routes)];
    let found: Vec<String> = problems(files.into_iter()).iter().map(ToString::to_string).collect();
    begins(
        &found,
        &[
            "models.toml:1: model.m: ",
            "routes.toml:7: route.bad: \"nobody/x\" names no provider; there are a.",
        ],
    );
    begins(
        &wrong("routes.toml", "[r]\nchian = [\"a\"]\n"),
        &["routes.toml:2: route.r: unknown field `chian`"],
    );
    begins(
        &wrong("models.toml", "[m]\nname = \"a/x\"\n[[m.prices]]\nfrom = 2026\n"),
        &["models.toml:4: model.m: invalid type: integer `2026`, expected"],
    );
}

#[test]
fn chains_name_providers_that_there_are_and_models_that_they_offer() {
    let providers =
        "[openai]\nkind = \"openai-responses\"\nbase_url = \"https://h/v1\"\nmodels = [\"gpt\"]\n";
    let routes = "[easy]\nchain = [\n  \"openai/gpt\",\n  \"gorq/llama\",\n  \"openai/gtp\",\n]\n\n[fine]\nchain = [\"openai\"]\n\n[odd]\nchain = [\"openai\"]\ntier = \"easy\"\n";
    let models = "[a]\nname = \"openai/gpt\"\ncontext_tokens = 0\n";
    let files = [("models.toml", models), ("providers.toml", providers), ("routes.toml", routes)];
    let found: Vec<_> = problems(files.into_iter()).iter().map(ToString::to_string).collect();
    begins(
        &found,
        &[
            "models.toml:1: model.a: context_tokens = 0 lets nothing through",
            "routes.toml:4: route.easy: \"gorq/llama\" names no provider; there are openai.",
            "routes.toml:5: route.easy: \"openai/gtp\" is not offered; models of provider.openai are gpt",
            "routes.toml:13: route.odd: tier belongs to the table [auto]",
        ],
    );
    begins(
        &wrong("routes.toml", "[easy]\nchains = [\"openai\"]\n"),
        &["routes.toml:2: route.easy: unknown field `chains`, expected one of `chain`"],
    );
    begins(
        &wrong("models.toml", "[a]\nname = \"a/b\"\n[[a.prices]]\nfrom = \"July\"\n"),
        &["models.toml:4: model.a: "],
    );
}
