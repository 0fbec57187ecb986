//! Control from another process: `/control/say`, `/control/push`, `/control/fail`, `/control/sent`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Sent, Shared};

#[derive(Deserialize)]
struct Say {
    chat: i64,
    user: i64,
    text: String,
    #[serde(default)]
    topic: Option<i64>,
}

#[derive(Deserialize)]
struct Fail {
    method: String,
    fault: Fault,
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/say", post(say))
        .route("/push", post(push))
        .route("/fail", post(fail))
        .route("/sent", get(sent))
        .route("/status", get(status))
}

async fn say(State(shared): State<Arc<Shared>>, Json(say): Json<Say>) -> Json<Value> {
    let number = shared.say(say.chat, say.topic, say.user, &say.text);
    Json(json!({ "update_id": number }))
}

async fn push(State(shared): State<Arc<Shared>>, Json(update): Json<Value>) -> Json<Value> {
    let number = shared.state().queue.push_as_is(update);
    shared.changed.notify_waiters();
    Json(json!({ "update_id": number }))
}

async fn fail(State(shared): State<Arc<Shared>>, Json(fail): Json<Fail>) -> Json<Value> {
    shared.fail_next(&fail.method, fail.fault);
    Json(json!({}))
}

async fn sent(State(shared): State<Arc<Shared>>) -> Json<Vec<Sent>> {
    Json(shared.state().sent.clone())
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let state = shared.state();
    Json(
        json!({ "unconfirmed": state.queue.len(), "sent": state.sent.len(), "calls": state.calls }),
    )
}
