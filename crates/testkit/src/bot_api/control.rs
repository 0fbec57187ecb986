//! Control from another process: `/control/...`, JSON in and out.
//!
//! `?bot=<bot id>` after any address chooses the bot; without it the first is meant.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::Fault;
use super::files::FileKind;
use super::refusal::Refused;
use super::transcript::{Sent, Transcript};
use super::user::Said;
use super::{Bot, Shared};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/bot", post(add_bot))
        .route("/say", post(say))
        .route("/file", post(file))
        .route("/edit", post(edit))
        .route("/press", post(press))
        .route("/stop", post(stop))
        .route("/push", post(push))
        .route("/repeat", post(repeat))
        .route("/chat", post(chat))
        .route("/fail", post(fail))
        .route("/limits", post(limits))
        .route("/sent", get(sent))
        .route("/transcript", get(transcript))
        .route("/refused", get(refused))
        .route("/violations", get(violations))
        .route("/answers", get(answers))
        .route("/status", get(status))
}

/// The bot that a request is about.
struct Chosen(Bot);

#[derive(Deserialize)]
struct Which {
    bot: Option<i64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Chosen
where
    Arc<Shared>: FromRef<S>,
{
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let shared = Arc::<Shared>::from_ref(state);
        let Query(which) = Query::<Which>::from_request_parts(parts, state)
            .await
            .map_err(axum::response::IntoResponse::into_response)?;
        let token = match which.bot {
            None => Some(shared.options.token.clone()),
            Some(id) => shared.token_of(id),
        };
        let token = token.ok_or_else(|| no("no bot has this id; POST /control/bot adds one"))?;
        Ok(Self(Bot::of(&shared, &token)))
    }
}

fn no(why: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": why }))).into_response()
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

async fn add_bot(
    State(shared): State<Arc<Shared>>,
    Json(Token { token }): Json<Token>,
) -> Json<Value> {
    let bot = shared.add_bot(&token);
    Json(json!({ "bot": bot.bot_id() }))
}

#[derive(Deserialize)]
struct Say {
    chat: i64,
    user: i64,
    #[serde(default)]
    text: String,
    topic: Option<i64>,
    reply_to: Option<i64>,
    file: Option<File>,
}

/// A file of a user.
#[derive(Deserialize)]
struct File {
    kind: FileKind,
    name: String,
    mime: String,
    /// In base64.
    content: String,
}

async fn say(Chosen(bot): Chosen, Json(say): Json<Say>) -> Response {
    let said = match &say.file {
        None => Said::text(&say.text),
        Some(file) => match BASE64.decode(&file.content) {
            Ok(content) => {
                Said::file(file.kind, &file.name, &file.mime, &content).captioned(&say.text)
            }
            Err(error) => return unfit(&format!("the file's content is no base64: {error}")),
        },
    };
    let said = say.topic.into_iter().fold(said, Said::in_topic);
    let said = say.reply_to.into_iter().fold(said, Said::in_reply_to);
    match bot.user_sends(say.chat, say.user, said) {
        Ok(delivered) => Json(json!({
            "update_id": delivered.update_id, "message_id": delivered.message_id,
            "file_id": delivered.file_id,
        }))
        .into_response(),
        Err(error) => unfit(&error.to_string()),
    }
}

fn unfit(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response()
}

#[derive(Deserialize)]
struct Edit {
    chat: i64,
    message_id: i64,
    text: String,
}

async fn edit(Chosen(bot): Chosen, Json(edit): Json<Edit>) -> Response {
    match bot.user_edits(edit.chat, edit.message_id, &edit.text) {
        Some(number) => Json(json!({ "update_id": number })).into_response(),
        None => no("no user has sent this message"),
    }
}

#[derive(Deserialize)]
struct PressOf {
    chat: i64,
    user: i64,
    message_id: i64,
    data: String,
    /// Also when the button cannot be seen.
    #[serde(default)]
    as_is: bool,
}

async fn press(Chosen(bot): Chosen, Json(press): Json<PressOf>) -> Response {
    let PressOf { chat, user, message_id, data, as_is } = press;
    let query = if as_is {
        bot.user_presses_as_is(chat, user, message_id, &data)
    } else {
        bot.user_presses(chat, user, message_id, &data)
    };
    match query {
        Some(query) => Json(json!({ "query": query })).into_response(),
        None => no("no such button can be seen"),
    }
}

#[derive(Deserialize)]
struct OfChat {
    chat: i64,
}

async fn stop(Chosen(bot): Chosen, Json(of): Json<OfChat>) -> Response {
    match bot.user_stops_draft(of.chat) {
        Some(number) => Json(json!({ "update_id": number })).into_response(),
        None => no("no draft of this chat can be stopped"),
    }
}

async fn push(Chosen(bot): Chosen, Json(update): Json<Value>) -> Json<Value> {
    Json(json!({ "update_id": bot.push_update(update) }))
}

/// One update again, or this share of all.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Repeat {
    UpdateId(i64),
    Percent(u32),
}

async fn repeat(Chosen(bot): Chosen, Json(repeat): Json<Repeat>) -> Json<Value> {
    match repeat {
        Repeat::UpdateId(number) => bot.repeat_update(number),
        Repeat::Percent(percent) => bot.repeat_share(percent),
    }
    Json(json!({}))
}

/// What becomes of a chat; each may be left out.
#[derive(Deserialize)]
struct ChatOrder {
    chat: i64,
    topic: Option<i64>,
    is_blocked: Option<bool>,
    /// Seconds of 429.
    flood: Option<f64>,
    /// The supergroup that it becomes.
    upgrade: Option<i64>,
}

async fn chat(Chosen(bot): Chosen, Json(order): Json<ChatOrder>) -> Response {
    bot.add_chat(order.chat);
    if let Some(topic) = order.topic {
        bot.add_topic(order.chat, topic);
    }
    match order.is_blocked {
        Some(true) => bot.block(order.chat),
        Some(false) => bot.unblock(order.chat),
        None => {}
    }
    if let Some(seconds) = order.flood {
        match Duration::try_from_secs_f64(seconds) {
            Ok(time) => bot.flood_chat(order.chat, time),
            Err(error) => return unfit(&format!("flood: {error}")),
        }
    }
    if let Some(supergroup) = order.upgrade {
        bot.upgrade(order.chat, supergroup);
    }
    Json(json!({})).into_response()
}

/// A fault, or a refusal in given words.
#[derive(Deserialize)]
struct Fail {
    method: String,
    times: Option<usize>,
    chat: Option<i64>,
    fault: Option<Fault>,
    code: Option<u16>,
    description: Option<String>,
    retry_after: Option<u64>,
}

async fn fail(Chosen(bot): Chosen, Json(fail): Json<Fail>) -> Response {
    let times = fail.times.unwrap_or(1);
    match (fail.fault, fail.chat, fail.code) {
        (Some(fault), None, None) => bot.fail_times(&fail.method, times, fault),
        (Some(fault), Some(chat), None) => bot.fail_in_chat(chat, &fail.method, times, fault),
        (None, None, Some(code)) => {
            let description = fail.description.unwrap_or_default();
            bot.refuse_next(&fail.method, times, code, &description, fail.retry_after);
        }
        _ => return unfit("give either a fault, or a code with its description"),
    }
    Json(json!({})).into_response()
}

async fn limits(Chosen(bot): Chosen, Json(is_on): Json<bool>) -> Json<Value> {
    bot.set_limits(is_on);
    Json(json!({}))
}

async fn sent(Chosen(bot): Chosen) -> Json<Vec<Sent>> {
    Json(bot.sent())
}

async fn transcript(Chosen(bot): Chosen, Query(of): Query<OfChat>) -> Json<Transcript> {
    Json(bot.transcript(of.chat))
}

async fn refused(Chosen(bot): Chosen) -> Json<Vec<Refused>> {
    Json(bot.refused())
}

async fn violations(Chosen(bot): Chosen) -> Json<Vec<Refused>> {
    Json(bot.violations())
}

async fn answers(Chosen(bot): Chosen) -> Json<Value> {
    Json(json!(bot.press_answers()))
}

/// The content of a file.
async fn file(Chosen(bot): Chosen, Json(file_id): Json<String>) -> Response {
    match bot.file(&file_id) {
        Some(content) => content.into_response(),
        None => no("no file has this id"),
    }
}

async fn status(Chosen(bot): Chosen) -> Json<Value> {
    let status = bot.with(|bot| {
        json!({
            "unconfirmed": bot.queue.len(), "sent": bot.sent.len(), "calls": bot.calls,
            "refused": bot.refused.len(), "orders_left": bot.faults.len(),
        })
    });
    Json(status)
}
