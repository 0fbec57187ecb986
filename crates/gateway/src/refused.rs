use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::accept::Refusal;
use crate::app::{MAX_BODY, Unauthorized};
use crate::frames::DoneFrame;
use crate::openai::{ErrorEnvelope, ErrorObject};

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

/// Why a request is not served, in the envelope that OpenAI's clients expect.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    status: StatusCode,
    body: ErrorObject,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, message: String) -> Self {
        let kind = if status.is_server_error() { SERVER } else { INVALID };
        let body = ErrorObject { message, kind, param: None, code: Some(code.to_owned()) };
        Self { status, body }
    }

    pub(crate) fn body(&self) -> &ErrorObject {
        &self.body
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message.into())
    }

    /// There is none, or it is somebody else's: nobody can tell which.
    pub(crate) fn not_found(what: &str) -> Self {
        let message = format!("There is no such {what} of yours.");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The connection has waited long enough.
    pub(crate) fn answer_timeout() -> Self {
        let message =
            "The answer takes longer than this connection waits; it will be in the conversation.";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "answer_timeout", message.to_owned())
    }

    pub(crate) fn cut(message: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stream_cut", message.to_owned())
    }

    /// A run that ended without an answer.
    pub(crate) fn of_run(done: &DoneFrame) -> Self {
        let (code, message) = match &done.error {
            Some(error) => (error.code.as_str(), error.message.clone()),
            None => (done.outcome, done.text.clone()),
        };
        let status = match code {
            "unknown_model" | "unknown_agent" => StatusCode::NOT_FOUND,
            "cancelled" => StatusCode::CONFLICT,
            "inference_timeout" | "run_timeout" => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, code, message)
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
                Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message.to_owned())
            }
            Unauthorized::Unavailable => {
                let message = "Keys cannot be checked now; try again.".to_owned();
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code() {
            "text_too_long" => StatusCode::PAYLOAD_TOO_LARGE,
            "id_reused" => StatusCode::CONFLICT,
            "bad_frame" | "unknown_conversation" => StatusCode::BAD_REQUEST,
            "storage_full" => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.code(), refusal.to_string())
    }
}

impl From<nexus_bus::Error> for Refused {
    fn from(error: nexus_bus::Error) -> Self {
        Refusal::Bus(error).into()
    }
}

impl From<nexus_blobs::Error> for Refused {
    fn from(error: nexus_blobs::Error) -> Self {
        match &error {
            nexus_blobs::Error::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large", error.to_string())
            }
            nexus_blobs::Error::Unknown { .. } => Self::not_found("file"),
            nexus_blobs::Error::Open { .. }
            | nexus_blobs::Error::Damaged { .. }
            | nexus_blobs::Error::Store { .. } => {
                tracing::error!(error = %nexus_bus::Chain(&error), "blob store failed");
                let message = "Files cannot be kept or read now; try again.".to_owned();
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "files_unavailable", message)
            }
        }
    }
}

/// The request's body; what is a little too long is read to its end, so that the client reads why.
pub(crate) async fn whole(body: Body) -> Result<Bytes, Refused> {
    let too_long = || {
        let message = format!(
            "The request is longer than {MAX_BODY} bytes; send less, and files by POST /v1/files."
        );
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "text_too_long", message)
    };
    let bytes = axum::body::to_bytes(body, 8 * MAX_BODY).await.map_err(|_| too_long())?;
    if bytes.len() > MAX_BODY { Err(too_long()) } else { Ok(bytes) }
}

/// A JSON body.
pub(crate) async fn json<T: serde::de::DeserializeOwned>(
    body: Body,
    what: &str,
) -> Result<T, Refused> {
    let body = whole(body).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Refused::invalid(format!("The body is no {what}: {error}")))
}
