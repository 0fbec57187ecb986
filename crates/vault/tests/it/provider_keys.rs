//! Keys of model providers, with a stand-in for the inference worker.

use std::sync::{Arc, Mutex};

use nexus_bus::Questions;
use nexus_contracts::LOCAL_TENANT;
use nexus_vault::check::{Answer, Question, SUBJECT};
use nexus_vault::{KeyRefused, NewKey, Owner, ProviderKeys, Vault, llm_service};

use crate::OPENAI;
use crate::rig::{Rig, exposed, now};

const GOOD: &str = "sk-good-0123456789abcdefghi";
const DEAD: &str = "sk-dead-0123456789abcdefghi";

fn key(secret: &str) -> NewKey<'_> {
    NewKey { secret: secret.to_owned().into(), base_url: None, untested: false }
}

async fn keys(rig: &Rig, vault: &Vault) -> ProviderKeys {
    ProviderKeys::open(&rig.bus, vault.clone(), now, rig.stop.clone()).await.unwrap()
}

/// Accepts [`GOOD`] and nothing else; notes what it was asked.
async fn provider(rig: &Rig, vault: Vault) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut questions = Questions::serve(&rig.bus, SUBJECT).await.unwrap();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some(question) = questions.next::<Question>().await {
            log.lock().unwrap().push(serde_json::to_string(&question.asked).unwrap());
            let Question { owner, service, .. } = &question.asked;
            let credential = vault.get(owner, service).await.unwrap().map(Arc::new);
            let answer = if exposed(credential).as_deref() == Some(GOOD) {
                Answer::Accepted { models: 3 }
            } else {
                Answer::Failed { class: "auth".to_owned(), message: "401".to_owned() }
            };
            question.answer(&answer).await;
        }
    });
    asked
}

#[tokio::test]
async fn a_key_is_tested_by_reference_before_it_takes_the_place_of_another() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let (keys, asked) = (keys(&rig, &vault).await, provider(&rig, vault.clone()).await);
    let ada = Owner::user(LOCAL_TENANT, "ada");

    let added = keys.add(&ada, "openai", key(GOOD)).await.unwrap();
    assert_eq!((added.provider.as_str(), added.key.hint.as_str()), ("openai", "sk-good-...fghi"));
    assert_eq!(added.key.test_result.as_deref(), Some("ok"));
    assert!(added.key.tested_at.is_some());

    let refused = keys.add(&ada, "openai", key(DEAD)).await.unwrap_err();
    assert_eq!(refused.to_string(), "openai does not take this key (401); nothing was changed");
    let found = vault.find(LOCAL_TENANT, Some("ada"), OPENAI).await.unwrap();
    assert_eq!(exposed(found).as_deref(), Some(GOOD), "the one before stays");
    assert_eq!(keys.list(&ada).await.unwrap(), std::slice::from_ref(&added), "nothing stays aside");
    let kept = vault.list(LOCAL_TENANT, None).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.service.as_str()).collect::<Vec<_>>(), [OPENAI]);

    let untested = NewKey { untested: true, ..key(DEAD) };
    let added = keys.add(&ada, "openai", untested).await.unwrap();
    assert_eq!((added.key.tested_at, added.key.test_result), (None, None));
    let refused = keys.test(&ada, "openai").await.unwrap_err();
    assert!(matches!(refused, KeyRefused::NotAccepted { .. }), "{refused}");
    let status = keys.status(&ada, "openai").await.unwrap().unwrap();
    assert_eq!(status.key.test_result.as_deref(), Some("auth"));

    for question in asked.lock().unwrap().iter() {
        assert!(!question.contains("0123456789"), "{question}");
    }
    keys.remove(&ada, "openai").await.unwrap();
    assert!(matches!(keys.remove(&ada, "openai").await, Err(KeyRefused::None { .. })));
    rig.stop().await;
}

/// Answers when two keys wait to be tested, and the one that was asked for last first.
async fn slow_provider(rig: &Rig, vault: Vault) {
    let mut questions = Questions::serve(&rig.bus, SUBJECT).await.unwrap();
    tokio::spawn(async move {
        let first = questions.next::<Question>().await.unwrap();
        let second = questions.next::<Question>().await.unwrap();
        for question in [second, first] {
            let Question { owner, service, .. } = &question.asked;
            let credential = vault.get(owner, service).await.unwrap().map(Arc::new);
            let good = exposed(credential).as_deref() == Some(GOOD);
            let (class, message) = ("auth".to_owned(), "401".to_owned());
            question
                .answer(&if good {
                    Answer::Accepted { models: 3 }
                } else {
                    Answer::Failed { class, message }
                })
                .await;
        }
    });
}

#[tokio::test]
async fn two_who_add_a_key_at_once_have_their_own_tested_each() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let keys = keys(&rig, &vault).await;
    slow_provider(&rig, vault.clone()).await;
    let tenant = Owner::tenant(LOCAL_TENANT);

    let (good, dead) = tokio::join!(
        keys.add(&tenant, "openai", key(GOOD)),
        keys.add(&tenant, "openai", key(DEAD))
    );

    assert_eq!(good.unwrap().key.test_result.as_deref(), Some("ok"));
    let refused = dead.unwrap_err();
    assert!(matches!(refused, KeyRefused::NotAccepted { .. }), "{refused}");
    let kept = vault.list(LOCAL_TENANT, None).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|row| (row.service.as_str(), row.hint.as_str())).collect();
    assert_eq!(kept, [(OPENAI, "sk-good-...fghi")]);
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_key_or_an_address_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    let vault = rig.vault().await;
    let (keys, ada) = (keys(&rig, &vault).await, Owner::user(LOCAL_TENANT, "ada"));
    let refused = async |provider: &str, key: NewKey<'_>| {
        keys.add(&ada, provider, key).await.unwrap_err().to_string()
    };
    assert!(
        refused("nobody", key(GOOD))
            .await
            .starts_with("there is no provider \"nobody\"; there are: ")
    );
    assert_eq!(refused("demo", key(GOOD)).await, "demo takes no keys; it can be asked without one");
    assert_eq!(refused("openai", key("")).await, "a key of the wrong shape: it is empty");
    let own = |base_url| NewKey { base_url: Some(base_url), ..key(GOOD) };
    for (address, expected) in [
        (
            "https://10.0.0.1/v1",
            "10.0.0.1 is not on the public internet; give an address that everybody can reach",
        ),
        (
            "https://localhost/v1",
            "localhost is not on the public internet; give an address that everybody can reach",
        ),
        ("http://8.8.8.8/v1", "8.8.8.8 is no https address; give one that begins with https://"),
        ("8.8.8.8", "it is no whole address: relative URL without a base"),
    ] {
        let expected = format!("the address cannot be used: {expected}");
        assert_eq!(refused("openai", own(address)).await, expected);
    }
    // Nobody tests keys here.
    assert_eq!(
        refused("openai", key(GOOD)).await,
        "the key could not be tested (no inference worker answers); nothing was changed; try again, or add it without the test"
    );
    assert_eq!(vault.list(LOCAL_TENANT, None).await.unwrap(), []);
    assert_eq!(llm_service("openai"), OPENAI);
    rig.stop().await;
}
