use std::error::Error as _;
use std::time::Duration;

use nexus_testkit::bot_api::{Bot, Fault};
use serde_json::{Value, json};

use crate::{ANN, FORUM, call, http, start};

async fn send(
    bot: &Bot,
    chat: i64,
    text: &str,
    patience: Duration,
) -> reqwest::Result<reqwest::Response> {
    let address = format!("{}/bot{}/sendMessage", bot.url(), bot.token());
    let body = json!({ "chat_id": chat, "text": text });
    http().post(address).json(&body).timeout(patience).send().await
}

/// Whether the peer has reset the connection, as opposed to closing it.
fn is_reset(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) {
            return true;
        }
        cause = error.source();
    }
    false
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_timeout_and_a_broken_answer_come_after_the_effect() {
    let api = start().await;
    api.fail_next("sendMessage", Fault::Timeout);
    let lost = send(&api, ANN, "timeout", Duration::from_millis(300)).await.unwrap_err();
    assert!(lost.is_timeout(), "{lost:?}");
    api.fail_next("sendMessage", Fault::Cut);
    let cut = send(&api, ANN, "cut", PATIENCE).await;
    assert!(match cut {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    });
    api.fail_next("sendMessage", Fault::Reset);
    assert!(is_reset(&send(&api, ANN, "reset", PATIENCE).await.unwrap_err()));
    api.fail_next("sendMessage", Fault::ResetBefore);
    assert!(is_reset(&send(&api, ANN, "never", PATIENCE).await.unwrap_err()));
    assert_eq!(api.transcript(ANN).shown(), ["timeout", "cut", "reset"]);
    assert_eq!((api.calls("sendMessage"), api.refused().len(), api.orders_left()), (4, 0, 0));
}

#[tokio::test]
async fn an_answer_can_be_late_or_slow_and_is_whole_all_the_same() {
    let api = start().await;
    for fault in [Fault::Late(20), Fault::Slow(20)] {
        api.fail_next("sendMessage", fault);
        let body: Value = send(&api, ANN, "x", PATIENCE).await.unwrap().json().await.unwrap();
        assert_eq!(body["result"]["text"], "x");
    }
    // Longer than the client waits.
    let short = Duration::from_millis(300);
    api.fail_next("sendMessage", Fault::Late(60_000));
    assert!(send(&api, ANN, "late", short).await.unwrap_err().is_timeout());
    api.fail_next("sendMessage", Fault::Slow(60_000));
    let slow = async { send(&api, ANN, "slow", short).await?.bytes().await };
    assert!(slow.await.unwrap_err().is_timeout());
    assert_eq!(api.transcript(ANN).shown(), ["x", "x", "late", "slow"]);
}

#[tokio::test]
async fn refusals_come_in_the_words_that_were_ordered_for_that_chat() {
    let api = start().await;
    api.refuse_next("sendMessage", 2, 403, "Forbidden: user is deactivated", None);
    for _ in 0..2 {
        let refusal = call(&api, "sendMessage", json!({ "chat_id": ANN, "text": "x" })).await;
        assert_eq!(refusal["description"], "Forbidden: user is deactivated");
    }
    api.fail_in_chat(FORUM, "*", 1, Fault::Status(502));
    assert_eq!(send(&api, ANN, "x", PATIENCE).await.unwrap().status(), 200);
    let bad_gateway = send(&api, FORUM, "x", PATIENCE).await.unwrap();
    assert_eq!(bad_gateway.status(), 502);
    assert!(bad_gateway.text().await.unwrap().starts_with("<html>"));
    assert_eq!(send(&api, FORUM, "x", PATIENCE).await.unwrap().status(), 200);
    api.fail_times("sendMessage", 3, Fault::Flood(9));
    let flood = call(&api, "sendMessage", json!({ "chat_id": ANN, "text": "x" })).await;
    assert_eq!(flood["parameters"]["retry_after"], 9);
    api.clear_orders();
    assert_eq!(send(&api, ANN, "x", PATIENCE).await.unwrap().status(), 200);
    assert_eq!((api.refused().len(), api.violations().len()), (4, 0));
}

/// Everything that tests in Rust can do, by the addresses that others use.
#[tokio::test]
async fn another_process_can_control_it() {
    let api = start().await;
    let control = async |path: &str, body: Value| -> Value {
        let address = format!("{}/control/{path}", api.url());
        let request =
            if body.is_null() { http().get(address) } else { http().post(address).json(&body) };
        request.send().await.unwrap().json().await.unwrap()
    };
    let said = control("say", json!({ "chat": 7, "user": 7, "text": "hi" })).await;
    let file = json!({ "kind": "document", "name": "a", "mime": "text/plain", "content": "aGk=" });
    control("say", json!({ "chat": 7, "user": 7, "file": file })).await;
    control("edit", json!({ "chat": 7, "message_id": said["message_id"], "text": "hi!" })).await;
    control("push", json!({ "new": {} })).await;
    control("repeat", json!({ "percent": 5 })).await;
    control("chat", json!({ "chat": 8, "topic": 3, "is_blocked": true })).await;
    control("fail", json!({ "method": "sendMessage", "fault": { "flood": 3 }, "times": 2 })).await;
    control("fail", json!({ "method": "getMe", "code": 400, "description": "Bad Request: no" }))
        .await;
    assert!(control("fail", json!({ "method": "getMe" })).await["error"].is_string());
    assert!(control("press", json!({ "chat": 7, "user": 7, "message_id": 1, "data": "x" })).await["error"].is_string());
    control("bot", json!({ "token": "77:AAanother-bot-of-the-same-stand-in-00" })).await;
    control("say?bot=77", json!({ "chat": 9, "user": 9, "text": "to the other" })).await;

    assert_eq!(call(&api, "getMe", json!({})).await["description"], "Bad Request: no");
    call(&api, "sendNothing", json!({})).await;
    let transcript = control("transcript?chat=7", Value::Null).await;
    assert_eq!(transcript["messages"][0]["versions"][1]["text"], "hi!");
    assert_eq!(control("violations", Value::Null).await[0]["method"], "sendNothing");
    let status = control("status", Value::Null).await;
    assert_eq!((&status["unconfirmed"], &status["orders_left"]), (&json!(4), &json!(2)));
    assert_eq!(control("status?bot=77", Value::Null).await["unconfirmed"], 1);
}
