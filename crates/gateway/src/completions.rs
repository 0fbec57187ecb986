//! `POST /v1/chat/completions` and `GET /v1/models`: agents for every OpenAI client.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use nexus_contracts::IncomingRequest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::accept::{self, Ask, Refusal};
use crate::app::{App, MAX_BODY, Unauthorized};
use crate::cursor::Cursor;
use crate::feed::Feed;
use crate::follow::Follow;
use crate::frames::{DoneFrame, ServerFrame};
use crate::openai::{ChatRequest, ErrorEnvelope, ErrorObject, Usage};
use crate::room::Room;

/// An error as OpenAI clients expect it.
pub(crate) struct Refused {
    status: StatusCode,
    body: ErrorObject,
}

impl Refused {
    fn new(status: StatusCode, kind: &'static str, code: &str, message: String) -> Self {
        Self {
            status,
            body: ErrorObject { message, kind, param: None, code: Some(code.to_owned()) },
        }
    }

    fn invalid(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", "invalid_request", message)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorEnvelope { error: self.body })).into_response()
    }
}

impl From<Unauthorized> for Refused {
    fn from(refused: Unauthorized) -> Self {
        match refused {
            Unauthorized::Key => {
                let message = "Wrong or missing API key. Send it as `Authorization: Bearer nx_...`; `nexus keys create` makes one.";
                Self::new(
                    StatusCode::UNAUTHORIZED,
                    "invalid_request_error",
                    "invalid_api_key",
                    message.to_owned(),
                )
            }
            Unauthorized::Unavailable => {
                let message = "Keys cannot be checked now; try again.".to_owned();
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "unavailable", message)
            }
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let (status, kind) = match refusal.code() {
            "text_too_long" => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error"),
            "id_reused" => (StatusCode::CONFLICT, "invalid_request_error"),
            "bad_frame" | "unknown_conversation" => {
                (StatusCode::BAD_REQUEST, "invalid_request_error")
            }
            "storage_full" => (StatusCode::INSUFFICIENT_STORAGE, "server_error"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
        };
        Self::new(status, kind, refusal.code(), refusal.to_string())
    }
}

/// Lists the agents, and the models behind them.
pub(crate) async fn models(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refused> {
    app.authorize(&headers).await?;
    let names = app.models();
    let entry =
        |id: &String| json!({ "id": id, "object": "model", "created": 0, "owned_by": "nexus" });
    let data: Vec<Value> = names.iter().map(entry).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// Asks an agent.
pub(crate) async fn chat(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let body = whole(body).await?;
    let request: ChatRequest = serde_json::from_slice(&body).map_err(|error| {
        Refused::invalid(format!("The body is no chat completions request: {error}"))
    })?;
    let (text, before) = request.question().map_err(|error| Refused::invalid(error.to_string()))?;
    let (agent, model) = app.resolve(&request.model).ok_or_else(|| {
        let names = app.models().join(", ");
        let message = format!("There is no model {:?}; there are: {names}.", request.model);
        Refused::new(StatusCode::NOT_FOUND, "invalid_request_error", "model_not_found", message)
    })?;
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // A client that names its conversation leaves remembering to us; one that does not sends all of it.
    let named = header("x-conversation-id");
    let history = if named.is_some() { None } else { Some(before) };
    let key = header("idempotency-key");
    // The same key has to lead to the same conversation, or it would be another request.
    let fresh = || {
        key.as_ref().map_or_else(|| Uuid::now_v7().to_string(), |key| format!("idempotent {key}"))
    };
    let conversation = named.unwrap_or_else(fresh);
    let room = Room::of(&who, &conversation).map_err(Refusal::from)?;
    let asked = IncomingRequest { history, model, ..IncomingRequest::text(text) };
    let ask = Ask { id: key, room: room.clone(), agent, request: asked };
    let subscription = app.hub.subscribe(room.tenant, &room.token);
    let accepted =
        accept::accept(&app.bus, &app.channel, &who, ask, app.config.max_text_bytes, (app.now)())
            .await?;
    // A request that was asked before may be answered already: read it from the log.
    let from = Cursor::at(accepted.sequence.saturating_sub(1));
    let subscription = if accepted.repeated {
        drop(subscription);
        app.follow(&room, from, false).await.map_err(Refusal::Bus)?
    } else {
        Follow { feed: Feed::after(room.name, from, false), subscription, ready: Vec::new() }
    };
    let answer = Answer { follow: subscription, run: accepted.run, model: request.model.clone() };
    if request.stream {
        let usage = request.stream_options.unwrap_or_default().include_usage;
        let frames = answer.stream(app.config.answer_timeout, usage);
        let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
        return Ok(Sse::new(frames).keep_alive(keep_alive).into_response());
    }
    answer.whole(app.config.answer_timeout).await
}

/// The request's body; what is a little too long is read to its end, so that the client reads why.
async fn whole(body: Body) -> Result<Bytes, Refused> {
    let too_long = || {
        let message = format!("The request is longer than {MAX_BODY} bytes; send less.");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        Refused::new(status, "invalid_request_error", "text_too_long", message)
    };
    let bytes = axum::body::to_bytes(body, 8 * MAX_BODY).await.map_err(|_| too_long())?;
    if bytes.len() > MAX_BODY { Err(too_long()) } else { Ok(bytes) }
}

/// The answer to one request.
struct Answer {
    follow: Follow,
    run: Uuid,
    model: String,
}

/// What matters of a frame to an OpenAI client.
enum Piece {
    Text(String),
    Reset,
    Done(DoneFrame),
}

impl Answer {
    async fn pieces(&mut self) -> Option<Vec<Piece>> {
        let run = self.run;
        let frames = self.follow.next().await?;
        let piece = |frame| match frame {
            ServerFrame::Delta { run: of, text, .. } if of == run => Some(Piece::Text(text)),
            ServerFrame::Reset { run: of, .. } if of == run => Some(Piece::Reset),
            ServerFrame::Done(done) if done.run == run => Some(Piece::Done(done)),
            _ => None,
        };
        Some(frames.into_iter().filter_map(piece).collect())
    }

    async fn whole(mut self, patience: Duration) -> Result<Response, Refused> {
        let wait = async {
            while let Some(pieces) = self.pieces().await {
                for piece in pieces {
                    if let Piece::Done(done) = piece {
                        return Some(done);
                    }
                }
            }
            None
        };
        let done = tokio::time::timeout(patience, wait).await.ok().flatten().ok_or_else(|| {
            let message = "The answer takes longer than this connection waits; it will be in the conversation.";
            Refused::new(StatusCode::GATEWAY_TIMEOUT, "server_error", "answer_timeout", message.to_owned())
        })?;
        if done.outcome != "answered" {
            return Err(failure(&done));
        }
        let choice = json!({ "index": 0, "message": { "role": "assistant", "content": done.text },
                             "logprobs": null, "finish_reason": "stop" });
        Ok(Json(json!({
            "id": format!("chatcmpl-{}", self.run), "object": "chat.completion",
            "created": created(self.run), "model": self.model, "choices": [choice],
            "usage": Usage::from(done.usage),
        }))
        .into_response())
    }

    fn stream(
        self,
        patience: Duration,
        usage: bool,
    ) -> impl Stream<Item = Result<SseEvent, Infallible>> {
        let run = self.run;
        let head = Head { run, model: self.model.clone() };
        let first = vec![head.chunk(json!({ "role": "assistant", "content": "" }), None)];
        let state = (Some(self), head, first);
        let frames = stream::unfold(state, move |(answer, head, ready)| async move {
            if !ready.is_empty() {
                return Some((ready, (answer, head, Vec::new())));
            }
            let mut answer = answer?;
            let Ok(Some(pieces)) = tokio::time::timeout(patience, answer.pieces()).await else {
                let cut =
                    ErrorBody::cut("The stream was cut; ask again with the same Idempotency-Key.");
                return Some((vec![cut], (None, head, Vec::new())));
            };
            let mut out = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => out.push(head.chunk(json!({ "content": text }), None)),
                    // What was sent cannot be taken back on this wire.
                    Piece::Reset => {
                        out.push(ErrorBody::cut("The model's answer broke off and was begun again; ask again with the same Idempotency-Key to get it whole."));
                        return Some((out, (None, head, Vec::new())));
                    }
                    Piece::Done(done) => {
                        out.extend(head.end(&done, usage));
                        return Some((out, (None, head, Vec::new())));
                    }
                }
            }
            Some((out, (Some(answer), head, Vec::new())))
        });
        use futures_util::StreamExt as _;
        frames.flat_map(|frames| stream::iter(frames.into_iter().map(Ok)))
    }
}

/// What all chunks of one stream have in common.
struct Head {
    run: Uuid,
    model: String,
}

impl Head {
    fn chunk(&self, delta: Value, finish: Option<&str>) -> SseEvent {
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        self.data(json!([choice]), None)
    }

    fn data(&self, choices: Value, usage: Option<Usage>) -> SseEvent {
        let mut body = json!({
            "id": format!("chatcmpl-{}", self.run), "object": "chat.completion.chunk",
            "created": created(self.run), "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            body["usage"] = json!(usage);
        }
        SseEvent::default().data(body.to_string())
    }

    fn end(&self, done: &DoneFrame, usage: bool) -> Vec<SseEvent> {
        if done.outcome != "answered" {
            return vec![
                SseEvent::default()
                    .data(json!(ErrorEnvelope { error: failure(done).body }).to_string()),
            ];
        }
        let mut out = vec![self.chunk(json!({}), Some("stop"))];
        if usage {
            out.push(self.data(json!([]), Some(done.usage.into())));
        }
        out.push(SseEvent::default().data("[DONE]"));
        out
    }
}

struct ErrorBody;

impl ErrorBody {
    fn cut(message: &str) -> SseEvent {
        let error = ErrorObject {
            message: message.to_owned(),
            kind: "server_error",
            param: None,
            code: Some("stream_cut".to_owned()),
        };
        SseEvent::default().data(json!(ErrorEnvelope { error }).to_string())
    }
}

fn failure(done: &DoneFrame) -> Refused {
    let (code, message) = match &done.error {
        Some(error) => (error.code.as_str(), error.message.clone()),
        None => (done.outcome, done.text.clone()),
    };
    let (status, kind) = match code {
        "unknown_model" | "unknown_agent" => (StatusCode::NOT_FOUND, "invalid_request_error"),
        "cancelled" | "steered" => (StatusCode::CONFLICT, "invalid_request_error"),
        "inference_timeout" | "run_timeout" => (StatusCode::GATEWAY_TIMEOUT, "server_error"),
        _ => (StatusCode::BAD_GATEWAY, "server_error"),
    };
    Refused::new(status, kind, code, message)
}

/// Seconds since 1970 of a request's id, when it holds a time.
fn created(run: Uuid) -> u64 {
    run.get_timestamp().map_or(0, |at| at.to_unix().0)
}
