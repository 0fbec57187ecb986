use std::time::Duration;

use nexus_testkit::bot_api::{Fault, Said};
use serde_json::{Value, json};

use crate::{ANN, SOON, call, done, start};

fn numbers(updates: &Value) -> Vec<i64> {
    updates.as_array().unwrap().iter().map(|update| update["update_id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn of_two_polls_the_older_gives_way() {
    let api = start().await;
    let poll = json!({ "timeout": 20 });
    let older = call(&api, "getUpdates", poll.clone());
    let newer = async {
        api.wait_until(SOON, || (api.calls("getUpdates") == 1).then_some(())).await.unwrap();
        call(&api, "getUpdates", poll).await
    };
    let speaker = async {
        api.wait_until(SOON, || (!api.refused().is_empty()).then_some(())).await.unwrap();
        api.user_says(ANN, ANN, "hello");
    };
    let (older, newer, ()) = tokio::join!(older, newer, speaker);
    assert_eq!(older["error_code"], 409);
    assert!(
        older["description"].as_str().unwrap().contains("terminated by other getUpdates request")
    );
    assert_eq!(newer["result"][0]["message"]["text"], "hello");
    assert_eq!(api.violations(), []);
}

#[tokio::test]
async fn kinds_that_are_not_asked_for_do_not_come() {
    let api = start().await;
    done(&api, "getUpdates", json!({ "allowed_updates": ["edited_message"] })).await;
    let said = api.user_sends(ANN, ANN, Said::text("one")).unwrap();
    let edit = api.user_edits(ANN, said.message_id, "two").unwrap();
    let updates = done(&api, "getUpdates", json!({})).await;
    assert_eq!(numbers(&updates), [edit]);
    assert_eq!(updates[0]["edited_message"]["text"], "two");
}

#[tokio::test]
async fn anything_can_be_pushed_and_comes_as_it_is() {
    let api = start().await;
    let number = api.push_update(json!({ "invented_in_2030": { "deep": [1, null] } }));
    api.push_update(json!({ "update_id": number + 7, "message": "no object" }));
    let next = api.user_says(ANN, ANN, "x");
    let updates = done(&api, "getUpdates", json!({})).await;
    assert_eq!(numbers(&updates), [number, number + 7, next]);
    assert_eq!((next, &updates[0]["invented_in_2030"]["deep"]), (number + 8, &json!([1, null])));
}

#[tokio::test]
async fn confirmed_updates_come_again_when_ordered() {
    let api = start().await;
    api.repeat_share(50);
    let said: Vec<i64> = (0..4).map(|index| api.user_says(ANN, ANN, &format!("{index}"))).collect();
    assert_eq!(numbers(&done(&api, "getUpdates", json!({})).await), said);
    let next = json!({ "offset": said[3] + 1 });
    assert_eq!(numbers(&done(&api, "getUpdates", next.clone()).await), [said[1], said[3]]);
    api.repeat_update(said[0]);
    api.fail_next("getUpdates", Fault::Repeat);
    let again = numbers(&done(&api, "getUpdates", next).await);
    assert_eq!(again, [said[0], said[1], said[3]]);
}

#[tokio::test]
async fn a_poll_waits_for_an_update_and_no_longer_than_told() {
    let api = start().await;
    let (answer, ()) = tokio::join!(done(&api, "getUpdates", json!({ "timeout": 20 })), async {
        api.wait_until(SOON, || (api.calls("getUpdates") == 1).then_some(())).await.unwrap();
        api.user_says(ANN, ANN, "x");
    });
    assert_eq!(answer[0]["message"]["text"], "x");
    let next = json!({ "offset": answer[0]["update_id"].as_i64().unwrap() + 1, "timeout": 1 });
    let waited =
        tokio::time::timeout(Duration::from_secs(15), done(&api, "getUpdates", next)).await;
    assert_eq!(waited.unwrap(), json!([]));
}
