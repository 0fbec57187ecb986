//! OpenAI's chat completions.

mod check;
mod speak;

pub(crate) use check::{check, check_image_url};
use serde_json::{Value, json};
pub(crate) use speak::{CREATED, beats, whole};

use crate::refusal::{ErrorAnswer, Kind, Refusal};

/// Image types that OpenAI takes.
pub(crate) const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// OpenAI's words, for both of its protocols.
pub(crate) fn words(refusal: &Refusal) -> &str {
    refusal.words(match refusal.kind {
        Kind::Invalid => "Invalid request.",
        Kind::NotFound => "The model does not exist or you do not have access to it.",
        Kind::Auth => "Incorrect API key provided.",
        Kind::RateLimited => "Rate limit reached for requests. Please try again later.",
        Kind::Quota => "You exceeded your current quota, please check your plan and billing details.",
        Kind::Server => "The server had an error while processing your request. Sorry about that!",
        Kind::Unavailable | Kind::Overloaded => "The engine is currently overloaded, please try again later.",
        Kind::ContextLength => {
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce the length of the messages."
        }
        Kind::ContentPolicy => {
            "Your request was rejected as a result of our safety system: content policy violation."
        }
    })
}

/// OpenAI's status, type and code.
pub(crate) fn names(kind: Kind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        Kind::Invalid => (400, "invalid_request_error", None),
        Kind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        Kind::Auth => (401, "invalid_request_error", Some("invalid_api_key")),
        Kind::RateLimited => (429, "requests", Some("rate_limit_exceeded")),
        Kind::Quota => (429, "insufficient_quota", Some("insufficient_quota")),
        Kind::Server => (500, "server_error", None),
        Kind::Unavailable | Kind::Overloaded => (503, "server_error", Some("service_unavailable")),
        Kind::ContextLength => (400, "invalid_request_error", Some("context_length_exceeded")),
        Kind::ContentPolicy => (400, "invalid_request_error", Some("content_policy_violation")),
    }
}

fn error(refusal: &Refusal) -> Value {
    let (_, kind, code) = names(refusal.kind);
    json!({ "error": { "message": words(refusal), "type": kind, "param": refusal.param, "code": code } })
}

/// A failure as status and body.
pub(crate) fn refuse(refusal: &Refusal) -> ErrorAnswer {
    let (status, ..) = names(refusal.kind);
    ErrorAnswer { status, headers: refusal.retry_headers(), body: error(refusal) }
}

/// A failure within a stream.
pub(crate) fn in_band(refusal: &Refusal) -> String {
    format!("data: {}\n\n", error(refusal))
}
