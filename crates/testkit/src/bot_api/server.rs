//! HTTP around the methods: addresses, tokens, arguments, faults.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Form, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::methods::{Arguments, Refusal};
use super::{Fault, Shared, control};

/// Largest body of a call.
const MAX_BODY: usize = 1 << 20;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let app = Router::new()
        .nest("/control", control::routes())
        .fallback(answer)
        .with_state(Arc::clone(&shared));
    let over = shared.over.clone();
    tokio::select! {
        _ = axum::serve(listener, app) => {}
        () = over.cancelled() => {}
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Connections outlive the listener.
    if shared.over.is_cancelled() {
        return html(StatusCode::BAD_GATEWAY);
    }
    let path = request.uri().path().to_owned();
    let method = match method(&path, &shared.options.token) {
        Ok(method) => method,
        Err(refusal) => return refuse(&refusal),
    };
    let arguments = match arguments(request).await {
        Ok(arguments) => arguments,
        Err(refusal) => return refuse(&refusal),
    };
    let fault = {
        let mut state = shared.state();
        *state.calls.entry(method.clone()).or_default() += 1;
        state.faults.get_mut(&method).and_then(std::collections::VecDeque::pop_front)
    };
    match fault {
        Some(Fault::Status(status)) => return fail(status),
        Some(Fault::Flood(seconds)) => return refuse(&Refusal::flood(seconds)),
        Some(Fault::Repeat) => shared.state().queue.repeat_last_answer(),
        Some(Fault::Timeout | Fault::Cut) | None => {}
    }
    let answer = shared.call(&method, &arguments).await;
    match (fault, answer) {
        (Some(Fault::Timeout), _) => {
            shared.over.cancelled().await;
            html(StatusCode::GATEWAY_TIMEOUT)
        }
        (Some(Fault::Cut), _) => cut(),
        (_, Ok(result)) => ok(&json!({ "ok": true, "result": result })),
        (_, Err(refusal)) => refuse(&refusal),
    }
}

/// The method's name in lower case, from `/bot<token>/<method>`.
fn method(path: &str, token: &str) -> Result<String, Refusal> {
    let not_found = || Refusal::new(404, "Not Found");
    let (given, method) =
        path.strip_prefix("/bot").and_then(|path| path.split_once('/')).ok_or_else(not_found)?;
    let (id, secret) = given.split_once(':').ok_or_else(not_found)?;
    let is_secret = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.parse::<u64>().is_err() || secret.len() < 30 || !secret.chars().all(is_secret) {
        return Err(not_found());
    }
    if given != token {
        return Err(Refusal::new(401, "Unauthorized"));
    }
    Ok(method.trim_end_matches('/').to_lowercase())
}

/// Arguments from the address and from a JSON or form body.
async fn arguments(request: Request) -> Result<Arguments, Refusal> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let mut arguments: Arguments =
        query.map(|Query(pairs)| pairs.into_iter().collect()).unwrap_or_default();
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    if kind.starts_with("application/json") {
        let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
        let body = body.map_err(|_| Refusal::new(413, "Request Entity Too Large"))?;
        let unreadable = |_| Refusal::new(400, "Bad Request: can't parse JSON object");
        let object: Map<String, Value> = serde_json::from_slice(&body).map_err(unreadable)?;
        arguments.extend(object.into_iter().filter(|(_, value)| !value.is_null()).map(
            |(name, value)| match value {
                Value::String(text) => (name, text),
                other => (name, other.to_string()),
            },
        ));
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let Form(pairs) = form.map_err(|_| Refusal::new(400, "Bad Request: can't parse form"))?;
        arguments.extend(pairs);
    } else if !kind.is_empty() {
        return Err(Refusal::new(400, "Bad Request: the stand-in takes no bodies of this type"));
    }
    Ok(arguments)
}

fn ok(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn refuse(refusal: &Refusal) -> Response {
    let mut body =
        json!({ "ok": false, "error_code": refusal.code, "description": refusal.description });
    if let (Some(seconds), Some(body)) = (refusal.retry_after, body.as_object_mut()) {
        body.insert("parameters".to_owned(), json!({ "retry_after": seconds }));
    }
    let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::BAD_REQUEST);
    (status, ok(&body)).into_response()
}

fn fail(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        return html(status);
    }
    let reason = status.canonical_reason().unwrap_or("Refused");
    refuse(&Refusal::new(status.as_u16(), &format!("{reason}: on order")))
}

fn html(status: StatusCode) -> Response {
    let page = format!("<html><head><title>{status}</title></head></html>");
    (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

/// The connection breaks.
fn cut() -> Response {
    let beginning = Ok(Bytes::from_static(br#"{"ok":true,"res"#));
    let broken = Err(std::io::Error::other("cut on order"));
    Body::from_stream(futures_util::stream::iter([beginning, broken])).into_response()
}
