use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use nexus_testkit::bot_api::{BotApi, Options};
use serde_json::{Value, json};

use crate::{ANN, SOON, done, refused};

/// What a bot's server has got, with the secret, and what it answers with.
#[derive(Default)]
struct Hook {
    got: Vec<(i64, String)>,
    failures: usize,
    answer: Value,
}

type Shared = Arc<Mutex<Hook>>;

async fn take(
    State(hook): State<Shared>,
    headers: HeaderMap,
    Json(update): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let secret = headers.get("x-telegram-bot-api-secret-token");
    let secret = secret.map_or("", |secret| secret.to_str().unwrap()).to_owned();
    let mut hook = hook.lock().unwrap();
    hook.got.push((update["update_id"].as_i64().unwrap(), secret));
    if hook.failures > 0 {
        hook.failures -= 1;
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(Value::Null));
    }
    (StatusCode::OK, Json(hook.answer.take()))
}

async fn serve(hook: &Shared) -> String {
    let app = Router::new().fallback(axum::routing::post(take)).with_state(Arc::clone(hook));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/hook")
}

async fn start() -> BotApi {
    let webhook_backoff = Duration::from_millis(10);
    BotApi::start(Options { webhook_backoff, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn updates_arrive_in_order_with_the_secret_and_again_until_they_are_taken() {
    let (api, hook) = (start().await, Shared::default());
    hook.lock().unwrap().failures = 2;
    let before = api.user_says(ANN, ANN, "before");
    let url = serve(&hook).await;
    done(&api, "setWebhook", json!({ "url": url, "secret_token": "s-1_X" })).await;
    let after = api.user_says(ANN, ANN, "after");
    api.wait_until(SOON, || (api.unconfirmed() == 0).then_some(())).await.unwrap();
    let got = [before, before, before, after].map(|number| (number, "s-1_X".to_owned()));
    assert_eq!(hook.lock().unwrap().got, got);
    let info = done(&api, "getWebhookInfo", json!({})).await;
    assert_eq!(
        info["last_error_message"],
        "Wrong response from the webhook: 500 Internal Server Error"
    );
    assert_eq!((&info["url"], &info["pending_update_count"]), (&json!(url), &json!(0)));

    let poll = refused(&api, "getUpdates", json!({})).await;
    assert!(
        poll.starts_with("Conflict: can't use getUpdates method while webhook is active"),
        "{poll}"
    );
    done(&api, "deleteWebhook", json!({})).await;
    let kept = api.user_says(ANN, ANN, "for the poll");
    assert_eq!(done(&api, "getUpdates", json!({})).await[0]["update_id"], kept);
    assert_eq!((hook.lock().unwrap().got.len(), api.violations().len()), (4, 0));
}

#[tokio::test]
async fn a_webhook_may_answer_with_a_call_and_gets_repeats_too() {
    let (api, hook) = (start().await, Shared::default());
    let call = json!({ "method": "sendMessage", "chat_id": ANN, "text": "answered" });
    hook.lock().unwrap().answer = call;
    done(&api, "setWebhook", json!({ "url": serve(&hook).await })).await;
    let number = api.user_says(ANN, ANN, "x");
    api.wait_for_sent(ANN, 1, SOON).await;
    assert_eq!(api.transcript(ANN).shown(), ["answered"]);
    api.repeat_update(number);
    api.wait_until(SOON, || (hook.lock().unwrap().got.len() == 2).then_some(())).await;
    assert_eq!(hook.lock().unwrap().got, [(number, String::new()), (number, String::new())]);
}

#[tokio::test]
async fn a_webhook_ends_a_waiting_poll_and_keeps_its_rules() {
    let api = start().await;
    let wrong = [
        (json!({ "url": "no url" }), "Bad Request: bad webhook: invalid webhook URL specified"),
        (
            json!({ "url": "ftp://a.de" }),
            "Bad Request: bad webhook: an HTTPS URL must be provided for webhook",
        ),
        (
            json!({ "url": "https://a.de", "secret_token": "no space" }),
            "Bad Request: secret token contains unallowed characters",
        ),
        (
            json!({ "url": "https://a.de", "secret_token": "s".repeat(257) }),
            "Bad Request: secret token is too long",
        ),
    ];
    for (arguments, why) in wrong {
        assert_eq!(refused(&api, "setWebhook", arguments).await, why);
    }
    let hook = Shared::default();
    let url = serve(&hook).await;
    let (poll, ()) = tokio::join!(refused(&api, "getUpdates", json!({ "timeout": 20 })), async {
        api.wait_until(SOON, || (api.calls("getUpdates") == 1).then_some(())).await.unwrap();
        let kinds = json!(["message", "callback_query"]);
        done(&api, "setWebhook", json!({ "url": url, "allowed_updates": kinds })).await;
    });
    assert_eq!(poll, "Conflict: terminated by setWebhook request");
    let info = done(&api, "getWebhookInfo", json!({})).await;
    assert_eq!(info["allowed_updates"], json!(["callback_query", "message"]));
    done(&api, "deleteWebhook", json!({ "drop_pending_updates": true })).await;
    assert_eq!(done(&api, "getWebhookInfo", json!({})).await["url"], "");
}
