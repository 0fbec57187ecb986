use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use nexus_contracts::InferenceError;

use crate::accept::Refusal;
use crate::app::{MAX_BODY, MAX_BODY_WITH_FILES, Unauthorized};
use crate::frames::DoneFrame;
use crate::openai::{ErrorEnvelope, ErrorObject};

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";
const RATE: &str = "rate_limit_error";

/// Why a request is not served, in the envelope that OpenAI's clients expect.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    status: StatusCode,
    body: ErrorObject,
    /// When it may work again, in milliseconds.
    retry_after_ms: Option<u64>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &str, message: String) -> Self {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => RATE,
            status if status.is_server_error() => SERVER,
            _ => INVALID,
        };
        let body = ErrorObject { message, kind, param: None, code: Some(code.to_owned()) };
        Self { status, body, retry_after_ms: None }
    }

    pub(crate) fn body(&self) -> &ErrorObject {
        &self.body
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message.into())
    }

    /// A field of the request is wrong.
    pub(crate) fn field(field: &str, message: &str) -> Self {
        let mut refused = Self::invalid(message);
        refused.body.param = Some(field.to_owned());
        refused
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

    /// What was sent of an answer is void: it was begun again, and this wire cannot say so.
    pub(crate) fn restarted() -> Self {
        let message = "The model's answer broke off and was begun again; ask again with the same Idempotency-Key to get it whole.";
        Self::new(StatusCode::BAD_GATEWAY, "restarted", message.to_owned())
    }

    /// A call that failed, with no run around it.
    pub(crate) fn of_call(error: InferenceError) -> Self {
        let (status, code) = meaning(&error.code);
        let retry_after_ms = error.retry_after_ms;
        Self { retry_after_ms, ..Self::new(status, code, error.message.clone()) }
    }

    /// Nobody made the vectors in time.
    pub(crate) fn vectors_timeout() -> Self {
        let message = "The vectors were not made in time; try again, with fewer texts at once.";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "inference_timeout", message.to_owned())
    }

    /// The worker sent what are no vectors.
    pub(crate) fn vectors_unreadable() -> Self {
        let message = "The vectors that were made cannot be read; try again.";
        Self::new(StatusCode::BAD_GATEWAY, "inference_failed", message.to_owned())
    }

    /// A run that ended without an answer; `retry_after_ms` as its last model call said.
    pub(crate) fn of_run(done: &DoneFrame, retry_after_ms: Option<u64>) -> Self {
        let (code, message) = match &done.error {
            Some(error) => (error.code.as_str(), error.message.clone()),
            None => (done.outcome, done.text.clone()),
        };
        let (status, code) = meaning(code);
        Self { retry_after_ms, ..Self::new(status, code, message) }
    }
}

/// What a failed run or call is to an HTTP client, and the code that it is told.
fn meaning(code: &str) -> (StatusCode, &str) {
    // What the provider says, and what we say of it, is the same to the client.
    let class = code.strip_prefix("provider_").unwrap_or(code);
    match class {
        "unknown_model" | "unknown_agent" => (StatusCode::NOT_FOUND, code),
        "cancelled" => (StatusCode::CONFLICT, code),
        "no_llm_key" | "no_key" => (StatusCode::FORBIDDEN, "no_llm_key"),
        "rate_limited" => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
        // OpenAI's own name, which clients look for.
        "context_length" => (StatusCode::BAD_REQUEST, "context_length_exceeded"),
        "content_filter" => (StatusCode::BAD_REQUEST, "content_filter"),
        // Clients try again what is a server's fault; this would be refused again.
        "invalid"
        | "invalid_input"
        | "dimensions_not_taken"
        | "vectors_too_large"
        | "model_unfit"
        | "image_too_large"
        | "not_an_image"
        | "attachment_gone" => (StatusCode::BAD_REQUEST, code),
        "timeout" | "inference_timeout" | "run_timeout" | "expired" => {
            (StatusCode::GATEWAY_TIMEOUT, code)
        }
        _ => (StatusCode::BAD_GATEWAY, code),
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorEnvelope { error: self.body })).into_response();
        if let Some(wait) = self.retry_after_ms {
            // In whole seconds; a client that is a little late is not refused again.
            let wait = HeaderValue::from(wait.div_ceil(1000).max(1));
            response.headers_mut().insert(header::RETRY_AFTER, wait);
        }
        response
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
    up_to(MAX_BODY, body).await
}

async fn up_to(most: usize, body: Body) -> Result<Bytes, Refused> {
    let too_long = || {
        let message = format!(
            "The request is longer than {most} bytes; send less, and files by POST /v1/files."
        );
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "text_too_long", message)
    };
    let bytes = axum::body::to_bytes(body, most + 7 * MAX_BODY).await.map_err(|_| too_long())?;
    if bytes.len() > most { Err(too_long()) } else { Ok(bytes) }
}

/// A JSON body.
pub(crate) async fn json<T: serde::de::DeserializeOwned>(
    body: Body,
    what: &str,
) -> Result<T, Refused> {
    read(&whole(body).await?, what)
}

/// A JSON body that may have files in it.
pub(crate) async fn json_with_files<T: serde::de::DeserializeOwned>(
    body: Body,
    what: &str,
) -> Result<T, Refused> {
    read(&up_to(MAX_BODY_WITH_FILES, body).await?, what)
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::invalid(format!("The body is no {what}: {error}")))
}
