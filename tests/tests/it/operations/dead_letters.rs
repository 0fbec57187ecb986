use nexus_contracts::EventType;
use nexus_testkit::process::Nexus;
use serde_json::Value;
use uuid::Uuid;

use crate::support::{bus, fresh, lines, shared, subject, succeeded, text, until};

const MALFORMED: &[u8] = br#"{"id":"not an envelope"}"#;

async fn letters(nexus: &Nexus, subject: &str) -> Vec<Value> {
    let list = lines(&succeeded(nexus.run(&["dead", "list", "--json"]).await.unwrap()));
    let conversation = subject.rsplit_once('.').unwrap().1.to_owned();
    let ours =
        |letter: &Value| letter["letter"]["subject"].as_str().unwrap().ends_with(&conversation);
    list.into_iter().filter(ours).collect()
}

/// The letters of a message that the orchestrator and the memory both read.
async fn both(nexus: &Nexus, subject: &str) -> Vec<Value> {
    until("both letters", async || {
        let letters = letters(nexus, subject).await;
        (letters.len() == 2).then_some(letters)
    })
    .await
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_retried_and_dropped() {
    let nexus = shared().await;
    let subject = subject(EventType::RequestsIncoming, "web", &fresh("dead"));
    bus(nexus)
        .await
        .publish_bytes(subject.clone(), Uuid::now_v7(), MALFORMED.into())
        .await
        .unwrap();

    let letters = both(nexus, &subject).await;
    let mut workers: Vec<&str> =
        letters.iter().map(|letter| letter["letter"]["worker"].as_str().unwrap()).collect();
    workers.sort_unstable();
    assert_eq!(workers, ["memory-record", "orchestrator"]);
    assert!(letters.iter().all(|letter| letter["letter"]["code"] == "malformed"), "{letters:?}");

    let id = letters[0]["id"].as_str().unwrap();
    let shown = text(&succeeded(nexus.run(&["dead", "show", id]).await.unwrap()).stdout);
    assert!(shown.contains("reason") && shown.contains("not an envelope"), "{shown}");

    let retried = succeeded(nexus.run(&["dead", "retry", id]).await.unwrap());
    assert!(text(&retried.stdout).contains(id));
    // It is as malformed as before: the letter goes, and the message's new place gets two.
    until("the message to die again", async || {
        let letters = self::letters(nexus, &subject).await;
        (letters.len() == 3 && letters.iter().all(|letter| letter["id"] != id)).then_some(())
    })
    .await;

    for letter in self::letters(nexus, &subject).await {
        succeeded(nexus.run(&["dead", "drop", letter["id"].as_str().unwrap()]).await.unwrap());
    }
    assert_eq!(self::letters(nexus, &subject).await, Vec::<Value>::new());
}
