//! What model calls used: recorded once, summed right, and compared with the stream.

use nexus_contracts::LOCAL_TENANT;
use nexus_testkit::process::{Nexus, Options};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::doors::Caller;
use crate::support::{LIMIT, OTHER_TENANT, exited, key_of, lines, succeeded, text, until, up};

/// Sums of the command, over users.
async fn sums(nexus: &Nexus) -> Value {
    let shown = nexus.run(&["usage", "--by", "user", "--json"]).await.unwrap();
    lines(&succeeded(shown)).remove(0)
}

async fn reconcile(nexus: &Nexus, more: &[&str]) -> std::process::Output {
    let arguments = [&["usage", "reconcile"], more].concat();
    tokio::time::timeout(LIMIT, nexus.run(&arguments)).await.expect("the end").unwrap()
}

async fn usage(caller: &Caller, query: &str) -> (u16, Value) {
    let answer = caller.get(&format!("/v1/usage{query}")).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn calls(nexus: &Nexus, wanted: u64) -> Value {
    let what = format!("{wanted} recorded calls");
    until(&what, async || {
        let sums = sums(nexus).await;
        (sums["total"]["calls"] == wanted).then_some(sums)
    })
    .await
}

#[tokio::test]
async fn usage_is_recorded_once_also_by_workers_that_are_killed() {
    let nexus = up(Options::default()).await;
    let ask = json!({ "model": "demo/demo", "messages": [{ "role": "user", "content": "hello" }] });
    let mut tokens = 0;
    for life in 1..=4 {
        let caller = Caller::local(&nexus);
        for _ in 0..3 {
            let answer = caller.complete(&ask).await;
            tokens += answer["usage"]["total_tokens"].as_u64().unwrap();
        }
        if life < 4 {
            // Some of the last calls are recorded, some are not.
            nexus.kill().unwrap();
            nexus.restart().await.unwrap();
        }
    }
    let (_, other) = key_of(&nexus, OTHER_TENANT, "local").await;
    let (_, ben) = key_of(&nexus, LOCAL_TENANT, "ben").await;
    let [other, ben] = [other, ben].map(|key| Caller::with(&nexus, key));
    ben.complete(&ask).await;

    let total = calls(&nexus, 13).await["total"].clone();
    let both = |line: &Value| {
        line["input_tokens"].as_u64().unwrap() + line["output_tokens"].as_u64().unwrap()
    };
    let (status, own) = usage(&Caller::local(&nexus), "?by=model").await;
    assert_eq!((status, &own["total"]["calls"], both(&own["total"])), (200, &json!(12), tokens));
    assert_eq!(
        (own["data"][0]["model"].as_str(), own["by"].as_str()),
        (Some("demo/demo"), Some("model"))
    );
    let (_, bens) = usage(&ben, "?since=1h&by=day").await;
    assert_eq!(both(&bens["total"]) + tokens, both(&total));
    // Of the same name, in another tenant.
    let (_, none) = usage(&other, "").await;
    assert_eq!((&none["total"]["calls"], &none["data"]), (&json!(0), &json!([])));
    let (status, wrong) = usage(&ben, "?by=colour").await;
    assert_eq!((status, wrong["error"]["code"].as_str()), (400, Some("invalid_request")));

    let same = succeeded(reconcile(&nexus, &[]).await);
    assert!(text(&same.stdout).contains("13 events of "), "{}", text(&same.stdout));
    let shown = text(&succeeded(nexus.run(&["usage"]).await.unwrap()).stdout);
    assert!(shown.contains("demo/demo") && shown.contains("USD"), "{shown}");
}

#[tokio::test]
async fn reconcile_finds_what_was_tampered_with_and_mends_what_is_missing() {
    let nexus = up(Options::default()).await;
    let caller = Caller::local(&nexus);
    for _ in 0..3 {
        let ask =
            json!({ "model": "demo/demo", "messages": [{ "role": "user", "content": "hello" }] });
        caller.complete(&ask).await;
    }
    calls(&nexus, 3).await;

    let url = nexus.database_url().unwrap();
    let store = nexus_store::Store::connect(&url, &nexus_store::Config::default()).unwrap();
    let mut tx = store.tenant(LOCAL_TENANT.0).await.unwrap();
    let ids: Vec<(Uuid,)> =
        sqlx::query_as("SELECT id FROM billing.usage_records ORDER BY sequence")
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    for (change, (id,)) in [
        "DELETE FROM billing.usage_records WHERE id = $1",
        "UPDATE billing.usage_records SET output_tokens = output_tokens + 1 WHERE id = $1",
    ]
    .into_iter()
    .zip(&ids)
    {
        sqlx::query(change).bind(id).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();

    let said = text(&exited(1, reconcile(&nexus, &[]).await).stdout);
    assert!(said.contains(&format!("missing  {}", ids[0].0)), "{said}");
    assert!(said.contains(&format!("changed  {}", ids[1].0)), "{said}");
    assert!(said.contains("in output_tokens") && said.contains("2 differences"), "{said}");

    let mended = lines(&exited(1, reconcile(&nexus, &["--mend", "--json"]).await)).remove(0);
    assert_eq!((&mended["mended"], &mended["account"]["events"]), (&json!(1), &json!(3)));
    let left = lines(&exited(1, reconcile(&nexus, &["--json"]).await)).remove(0);
    let left = left["account"]["differences"].as_array().unwrap();
    assert_eq!((left.len(), left[0]["kind"].as_str()), (1, Some("changed")));
    store.close().await;
}
