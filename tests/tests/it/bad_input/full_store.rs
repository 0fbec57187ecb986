use std::fs;

use nexus_testkit::process::{Options, repository};
use serde_json::json;

use super::complete;
use crate::support::{exited, fresh, lines, succeeded, text, until, up};
use crate::web_client::{WebClient, of_type};

/// EVENTS as it is described.
fn events() -> String {
    fs::read_to_string(repository().join("bus-config/streams/events.toml")).unwrap()
}

#[tokio::test]
async fn a_full_store_refuses_and_says_so_and_loses_nothing() {
    let small = events().replace("max_bytes = 21474836480", "max_bytes = 400000");
    assert_ne!(small, events());
    let nexus = up(Options::default().file("streams/events.toml", small)).await;
    let (mut client, conversation) = (WebClient::hello(&nexus).await, fresh("full"));
    let first = client.answer(&conversation, "echo the first answer").await;

    let long = "x".repeat(30_000);
    let refused = loop {
        client.ask(&fresh("m"), &fresh("fill"), &long).await;
        let frame = loop {
            let frame = client.next().await;
            if frame["type"] == "accepted" || frame["type"] == "error" {
                break frame;
            }
        };
        if frame["type"] == "error" {
            break frame;
        }
    };
    assert_eq!(refused["code"], "storage_full", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("max_bytes"), "{refused}");
    let (status, error) = complete(&nexus, &conversation, "nexus/assistant", &long).await;
    assert_eq!((status, &error["error"]["code"]), (507, &json!("storage_full")), "{error}");
    let asked = text(&exited(1, nexus.run(&["ask", &long]).await.unwrap()).stderr);
    assert!(asked.contains("full"), "{asked}");

    // What was answered can still be read.
    let mut reader = WebClient::hello(&nexus).await;
    reader.follow(&conversation, "").await;
    let frames = reader.frames_to("caught_up").await;
    assert_eq!(of_type(&frames, "done")[0]["text"], first.last().unwrap()["text"]);

    // With room again, everything that was accepted is answered.
    fs::write(nexus.place().folder().join("bus-config/streams/events.toml"), events()).unwrap();
    succeeded(nexus.run(&["bus", "apply"]).await.unwrap());
    let ledger = until("nothing pending", async || {
        let ledger = lines(&nexus.run(&["ledger", "--json"]).await.unwrap()).remove(0);
        (ledger["total"]["pending"] == 0).then_some(ledger)
    })
    .await;
    assert_eq!(
        (&ledger["total"]["failed"], &ledger["total"]["unaccounted"]),
        (&json!(0), &json!(0)),
        "{ledger}"
    );
    let frames = client.answer(&conversation, "hello").await;
    assert_eq!(frames.last().unwrap()["outcome"], "answered");
}
