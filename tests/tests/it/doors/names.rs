//! What a request's `model` may be.

use nexus_bench::mockllm::{self, MockLlm};
use nexus_testkit::process::Options;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Caller;
use crate::support::{succeeded, text, until, up};

/// The operator has no key to its provider.
const ADAS: &str = "sk-adas-9c2e7f1d4b8a6035";

async fn asked(caller: &Caller, model: &str) -> (StatusCode, Value) {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": "Hello!" }] });
    let answer = caller.post("/v1/chat/completions", &body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn auto_aliases_and_what_only_ones_own_key_opens_are_models_too() {
    let open = MockLlm::start(mockllm::Options::default()).unwrap();
    let locked = mockllm::Options { api_key: Some(ADAS.to_owned()), ..Default::default() };
    let locked = MockLlm::start(locked).unwrap();
    let provider = |url: &str, model: &str, more: &str| {
        format!(
            "kind = \"openai-chat\"\nbase_url = \"{url}\"\nmodels = [\"{model}\"]\nvendor = \"mock\"\n{more}"
        )
    };
    let key = "api_key_env = \"A_KEY_THAT_NOBODY_SET\"\n";
    let options = Options::default()
        .file("providers/mock.toml", provider(&open.url(), "mock-plain", ""))
        .file("providers/locked.toml", provider(&locked.url(), "mock-plain-tok3", key))
        .file("routes/quick.toml", "chain = [\"mock/mock-plain\"]\n")
        .env("NEXUS_INFERENCE__DEFAULT_MODEL", "mock/mock-plain");
    let nexus = up(options).await;
    let caller = Caller::local(&nexus);

    let listed: Vec<String> = until("the names", async || {
        let list: Value = caller.get("/v1/models").send().await.unwrap().json().await.unwrap();
        let names =
            list["data"].as_array().unwrap().iter().filter_map(|model| model["id"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        names.iter().any(|name| name == "quick").then_some(names)
    })
    .await;
    for (name, is_listed) in [
        ("nexus/assistant", true),
        ("mock/mock-plain", true),
        ("auto", true),
        ("easy", true),
        ("quick", true),
        ("locked/mock-plain-tok3", false),
        ("default", false),
    ] {
        assert_eq!(listed.iter().any(|other| other == name), is_listed, "{name} in {listed:?}");
    }
    let shown = text(&succeeded(nexus.run(&["models"]).await.unwrap()).stdout);
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown, &listed[listed.len() - shown.len()..]);
    assert!(shown.contains(&"demo/demo") && shown.contains(&"quick"), "{shown:?}");

    for name in ["auto", "quick", "mock/mock-plain", "mock-plain"] {
        let (status, answer) = asked(&caller, name).await;
        assert_eq!(
            (status, &answer["model"]),
            (StatusCode::OK, &json!("mock/mock-plain")),
            "{name}"
        );
    }
    let (status, refused) = asked(&caller, "locked/mock-plain-tok3").await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::FORBIDDEN, &json!("no_llm_key")));
    let (status, refused) = asked(&caller, "locked/nothing").await;
    let wanted = (StatusCode::NOT_FOUND, &json!("model_not_found"));
    assert_eq!((status, &refused["error"]["code"]), wanted);

    let kept = caller.put("/v1/keys/providers/locked?scope=user", &json!({ "key": ADAS }));
    assert_eq!(kept.send().await.unwrap().status(), StatusCode::CREATED);
    let answer = until("the key is known", async || {
        let (status, answer) = asked(&caller, "locked/mock-plain-tok3").await;
        (status == StatusCode::OK).then_some(answer)
    })
    .await;
    assert_eq!(answer["model"], "locked/mock-plain-tok3");
}
