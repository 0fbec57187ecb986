//! The native API over HTTP: runs, their events, and what one does about them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexus_contracts::{Decision, IncomingRequest, ToolOutcome};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::offers::{MOST_FILES, Offer};
use crate::accept::{self, Ask, Refusal};
use crate::answers::{self, Answer, What};
use crate::app::App;
use crate::callref::CallRef;
use crate::cursor::Cursor;
use crate::encode::NativeSse;
use crate::follow::Follow;
use crate::frames::ServerFrame;
use crate::keys::Principal;
use crate::refused::{self, Refused};
use crate::room::Room;
use crate::stream::Streaming;
use crate::threads::Place;

/// What a new run is asked with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRun {
    #[serde(default)]
    conversation: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    agent: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    instructions: Option<String>,
    /// Files of `POST /v1/files`.
    #[serde(default)]
    attachments: Vec<FileRef>,
    #[serde(default)]
    tools: Vec<Tool>,
    /// The client's own number of the request; `Idempotency-Key` does the same.
    #[serde(default)]
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct FileRef {
    id: String,
}

/// A tool that the client's own program runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

/// From where on events are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct From {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    conversation: Option<String>,
}

/// `POST /v1/runs`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let new: NewRun = refused::json(body, "run").await?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let id = header("idempotency-key").map(str::to_owned).or(new.id);
    let own =
        || id.as_ref().map_or_else(|| Uuid::now_v7().to_string(), |id| format!("idempotent {id}"));
    let conversation = new.conversation.unwrap_or_else(own);
    let room = Room::of(&who, &conversation).map_err(Refusal::from)?;
    if new.attachments.len() > MOST_FILES {
        return Err(Refused::invalid(format!("attachments: at most {MOST_FILES} can be sent")));
    }
    let mut attachments = Vec::with_capacity(new.attachments.len());
    for file in &new.attachments {
        attachments.push(app.uploaded(&who, &file.id).await?);
    }
    let offers: Vec<Offer<'_>> = new.tools.iter().map(Tool::offer).collect();
    let client_tools = app.offers("api", new.agent.as_deref(), &offers)?;
    let (model, instructions) = (new.model, new.instructions);
    let request = IncomingRequest {
        model,
        attachments,
        client_tools,
        instructions,
        ..IncomingRequest::text(new.text)
    };
    let ask = Ask { id, room: room.clone(), agent: new.agent, request };
    let (limit, now) = (app.config.max_text_bytes, (app.now)());
    let accepted = accept::accept(&app.bus, &app.channel, &who, ask, limit, now).await?;
    let (run, sequence) = (accepted.run, accepted.sequence);
    let place = Place {
        tenant: who.tenant,
        user: who.user.clone(),
        conversation: conversation.clone(),
        sequence,
        complete: true,
    };
    app.threads.place(run, &place).await?;
    if header(header::ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream")) {
        return events_of(app, &room, run, Cursor::at(sequence.saturating_sub(1))).await;
    }
    let events = format!("/v1/runs/{run}/events");
    let body = json!({ "run": run, "conversation": conversation, "events": events,
        "cursor": Cursor::at(sequence), "repeated": accepted.repeated });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, events)], Json(body)).into_response())
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read(data: &[u8]) {
    let _ = serde_json::from_slice::<NewRun>(data);
    let _ = serde_json::from_slice::<CallEnded>(data);
    let _ = serde_json::from_slice::<Decided>(data);
}

impl Tool {
    fn offer(&self) -> Offer<'_> {
        Offer {
            name: &self.name,
            description: self.description.as_deref(),
            parameters: self.parameters.as_ref(),
            timeout_ms: self.timeout_ms,
        }
    }
}

/// `GET /v1/runs/{run}/events`: the run's events, from its beginning or from a cursor.
pub(crate) async fn events(
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (who, run, place) = theirs(&app, &headers, &run).await?;
    if from.conversation.is_some_and(|named| named != place.conversation) {
        return Err(Refused::not_found("run"));
    }
    let room = Room::of(&who, &place.conversation).map_err(Refusal::from)?;
    let first = Cursor::at(place.sequence.saturating_sub(1));
    let Some(cursor) = cursor(&headers, from.after.as_deref())? else {
        return events_of(app, &room, run, first).await;
    };
    let cursor = if cursor.sequence < first.sequence { first } else { cursor };
    let ended = app.ended_at(&room, run, place.sequence).await?;
    if ended.is_some_and(|last| cursor.sequence > last || (cursor.sequence == last && !cursor.owes))
    {
        // All of it has been read: this also tells an EventSource not to come back.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    events_of(app, &room, run, cursor).await
}

/// `GET /v1/conversations/{conversation}/events`: everything, then what happens.
pub(crate) async fn conversation(
    State(app): State<Arc<App>>,
    Path(conversation): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let room = Room::of(&who, &conversation).map_err(Refusal::from)?;
    let cursor = cursor(&headers, from.after.as_deref())?.unwrap_or_default();
    let mut follow = app.follow(&room, cursor, true).await?;
    let cursor = follow.feed.cursor();
    follow.ready.push(ServerFrame::CaughtUp { conversation: conversation.clone(), cursor });
    Ok(stream(app, follow, NativeSse::of_conversation(conversation)))
}

async fn events_of(
    app: Arc<App>,
    room: &Room,
    run: Uuid,
    cursor: Cursor,
) -> Result<Response, Refused> {
    let follow = app.follow(room, cursor, true).await?;
    let encoder = NativeSse::of_run(room.name.clone(), run);
    Ok(stream(app, follow, encoder))
}

fn stream(app: Arc<App>, follow: Follow, encoder: NativeSse) -> Response {
    Streaming { app, follow, encoder, thread: None, patience: None }.respond(&[])
}

/// `POST /v1/runs/{run}/cancel`.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let (who, run, place) = theirs(&app, &headers, &run).await?;
    let room = Room::of(&who, &place.conversation).map_err(Refusal::from)?;
    accept::cancel(&app.bus, &app.channel, &who, &room, run, (app.now)()).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "run": run }))).into_response())
}

/// What a person says to a question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decided {
    decision: Decision,
}

/// `POST /v1/runs/{run}/approvals/{question}`.
pub(crate) async fn decide(
    State(app): State<Arc<App>>,
    Path((run, question)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (who, run, place) = theirs(&app, &headers, &run).await?;
    let decided: Decided = refused::json(body, "decision").await?;
    bring(&app, &who, run, &place, &question, What::Decision(decided.decision), "question").await
}

/// What came of a call of the client's own tool.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum CallEnded {
    Output { output: Value },
    Error { error: CallError },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallError {
    message: String,
}

/// `POST /v1/runs/{run}/calls/{call}`.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Path((run, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (who, run, place) = theirs(&app, &headers, &run).await?;
    let outcome = match refused::json::<CallEnded>(body, "result").await? {
        CallEnded::Output { output: Value::String(output) } => completed(output),
        CallEnded::Output { output } => completed(output.to_string()),
        CallEnded::Error { error } => failed(error.message),
    };
    bring(&app, &who, run, &place, &call, What::Result(outcome), "call").await
}

pub(crate) fn completed(output: String) -> ToolOutcome {
    ToolOutcome::Completed { output, truncated: false }
}

pub(crate) fn failed(message: String) -> ToolOutcome {
    ToolOutcome::Failed { code: "client_error".to_owned(), message }
}

async fn bring(
    app: &App,
    who: &Principal,
    run: Uuid,
    place: &Place,
    id: &str,
    what: What,
    kind: &str,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found(kind);
    let call = id.parse().map_err(|_| unknown())?;
    let room = Room::of(who, &place.conversation).map_err(Refusal::from)?;
    let answer = Answer { at: CallRef { run, call, sequence: place.sequence }, what };
    if !answers::bring_one(app, who, &room, &answer).await? {
        return Err(unknown());
    }
    Ok((StatusCode::ACCEPTED, Json(json!({ "run": run, kind: call }))).into_response())
}

/// A run of whoever asks; one that is missing and one of somebody else look the same.
async fn theirs(
    app: &App,
    headers: &HeaderMap,
    run: &str,
) -> Result<(Principal, Uuid, Place), Refused> {
    let who = app.authorize(headers).await?;
    let run = run.parse().map_err(|_| Refused::not_found("run"))?;
    let place = app.threads.find(&who, run).await?;
    let place = place.ok_or_else(|| Refused::not_found("run"))?;
    Ok((who, run, place))
}

fn cursor(headers: &HeaderMap, after: Option<&str>) -> Result<Option<Cursor>, Refused> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    // A browser that reconnects sends the header with the address of the beginning.
    let given = last.or(after).filter(|cursor| !cursor.is_empty());
    given.map(|cursor| cursor.parse().map_err(Refused::invalid)).transpose()
}
