//! `POST /v1/files` and `GET /v1/files/{id}`: files for messages, each for its own user alone.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexus_blobs::is_false_image;
use nexus_contracts::{Attachment, Event, EventType, ProcessedRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::accept::Refusal;
use crate::app::App;
use crate::keys::Principal;
use crate::refused::Refused;
use crate::room::Room;

use super::offers::kind;

/// What stands around a file in a form.
const FORM_BYTES: usize = 64 * 1024;

/// Where a file was made that nobody has uploaded.
#[derive(Debug, Deserialize)]
pub(crate) struct Made {
    #[serde(default)]
    conversation: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    #[serde(default)]
    name: Option<String>,
}

/// A file as it came.
struct Upload {
    name: Option<String>,
    media_type: Option<String>,
    bytes: Bytes,
}

/// Takes a file: a form with the field `file`, or the bytes alone with `?name=`.
pub(crate) async fn upload(
    State(app): State<Arc<App>>,
    Query(named): Query<Named>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Refused> {
    let who = app.authorize(&headers).await?;
    let limit = usize::try_from(app.blobs.max_bytes()).unwrap_or(usize::MAX);
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let upload = if media_type.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        from_form(request, limit).await?
    } else {
        let bytes = bytes(request.into_body(), limit).await?;
        Upload { name: named.name, media_type: media_type.map(str::to_owned), bytes }
    };
    if upload.bytes.is_empty() {
        return Err(Refused::invalid("The file is empty."));
    }
    let kind = kind(upload.media_type.as_deref().unwrap_or_default());
    if let Some(claimed) =
        upload.media_type.as_deref().filter(|it| is_false_image(&upload.bytes, it))
    {
        let message =
            format!("The file says that it is {claimed}, but it is an image that is not one.");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "not_an_image", message));
    }
    let claimed = upload.media_type.as_deref();
    let kept = app.blobs.put(who.tenant, kind, upload.name, claimed, upload.bytes).await?;
    // What it is seen as follows from its bytes, not from what the sender says.
    let kept = Attachment { kind: super::offers::kind(&kept.media_type), ..kept };
    app.threads.keep(&who, &kept).await?;
    Ok((StatusCode::CREATED, Json(described(&kept))))
}

/// Gives a file to the user who sent it, or in whose conversation a tool has made it.
pub(crate) async fn download(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(made): Query<Made>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let who = app.authorize(&headers).await?;
    let file = match &made.conversation {
        Some(conversation) => made_in(&app, &who, conversation, &id).await?,
        None => app.uploaded(&who, &id).await?,
    };
    let bytes = app.blobs.get(who.tenant, &file.uri).await?;
    let mut response = Body::from(bytes).into_response();
    let headers = response.headers_mut();
    if let Ok(media_type) = HeaderValue::from_str(&file.media_type) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    // Somebody's HTML is no page of ours.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, immutable"));
    Ok(response)
}

/// A file that came with an answer in one of the user's own conversations.
async fn made_in(
    app: &App,
    who: &Principal,
    conversation: &str,
    id: &str,
) -> Result<Attachment, Refused> {
    let room = Room::of(who, conversation).map_err(Refusal::from)?;
    let answers = app.stored(&room, &[EventType::RequestsProcessed], 1).await?;
    let made =
        answers.iter().filter_map(|message| Event::<ProcessedRequest>::decode(&message.bytes).ok());
    let mut files = made.flat_map(|event| event.payload.known.attachments);
    files.find(|file| file.sha256 == id).ok_or_else(|| Refused::not_found("file"))
}

/// As OpenAI's clients read it, with the claim check for `attachments`.
fn described(kept: &Attachment) -> Value {
    json!({
        "id": format!("file-{}", kept.sha256), "object": "file", "bytes": kept.bytes,
        "filename": kept.name, "purpose": "user_data", "media_type": kept.media_type,
        "sha256": kept.sha256, "kind": kept.kind,
    })
}

async fn from_form(request: Request, limit: usize) -> Result<Upload, Refused> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Refused::invalid(format!("The form cannot be read: {error}"))
    };
    let (parts, body) = request.into_parts();
    let body = Body::from(bytes(body, limit.saturating_add(FORM_BYTES)).await?);
    let request = Request::from_parts(parts, body);
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|error| unreadable(&error))?;
    while let Some(field) = form.next_field().await.map_err(|error| unreadable(&error))? {
        if field.name() != Some("file") {
            continue;
        }
        let name = field.file_name().map(str::to_owned);
        let media_type = field.content_type().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|error| unreadable(&error))?;
        return Ok(Upload { name, media_type, bytes });
    }
    Err(Refused::invalid("The form has no field `file`."))
}

async fn bytes(body: Body, limit: usize) -> Result<Bytes, Refused> {
    axum::body::to_bytes(body, limit).await.map_err(|_| {
        let message = format!("The file is longer than {limit} bytes; send a smaller one.");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", message)
    })
}
