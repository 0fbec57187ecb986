//! Providers as an operator sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_bench::mockllm::{MockLlm, Options};
use nexus_inference::{Answer, KeyStatus, ProviderSettings, ProviderStatus, Secrets, inspect};
use secrecy::SecretString;
use serde_json::json;

use crate::world::KEY;

#[tokio::test]
async fn provider_is_asked_for_its_models_where_there_is_a_key() {
    let mock = MockLlm::start(Options::default()).unwrap();
    let (url, chat) = (mock.url(), "openai-chat");
    let providers: BTreeMap<String, ProviderSettings> = serde_json::from_value(json!({
        "a-open": { "kind": chat, "base_url": url, "models": ["mock", "gone"] },
        "b-keyless": { "kind": "gemini", "base_url": "https://far/v1", "api_key_env": "NO_KEY" },
        "c-down": { "kind": chat, "base_url": "http://127.0.0.1:9/v1", "api_key_env": "MOCK_KEY" },
        "d-wrong": { "kind": chat, "base_url": "https://h/v1?key=x" },
        "e-demo": { "kind": "demo", "models": ["demo"] },
    }))
    .unwrap();
    let secrets: Secrets =
        Arc::new(|name: &str| (name == "MOCK_KEY").then(|| SecretString::from(KEY)));

    let found = inspect(&providers, &secrets).await.unwrap();
    let [open, keyless, down, wrong, demo] = found.as_slice() else { panic!("{found:?}") };
    let place = url.trim_start_matches("http://").split('/').next().unwrap();
    assert_eq!(
        *open,
        ProviderStatus {
            name: "a-open".to_owned(),
            kind: "openai-chat",
            place: place.to_owned(),
            local: true,
            key: KeyStatus::NotNeeded,
            answer: Answer::Listed {
                models: ["mock", "mock-plain", "mock-tool"].map(str::to_owned).to_vec(),
                not_listed: vec!["gone".to_owned()],
            },
            offered: ["mock", "gone"].map(str::to_owned).to_vec(),
        }
    );
    let missing = KeyStatus::Missing("NO_KEY".to_owned());
    assert_eq!(
        (&keyless.answer, &keyless.key, keyless.local),
        (&Answer::NotAsked, &missing, false)
    );
    assert!(matches!(down.answer, Answer::Failed { class: "transport", .. }), "{down:?}");
    assert!(matches!(wrong.answer, Answer::Misconfigured { .. }), "{wrong:?}");
    let alone = Answer::Listed { models: vec!["demo".to_owned()], not_listed: Vec::new() };
    assert_eq!(demo.answer, alone);
    assert!(!serde_json::to_string(&found).unwrap().contains(KEY));
}
