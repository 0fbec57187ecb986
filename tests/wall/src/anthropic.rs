//! Anthropic's Messages.

mod check;
mod speak;

pub(crate) use check::check;
use serde_json::{Value, json};
pub(crate) use speak::{beats, thoughts, whole};

use crate::answer::fresh;
use crate::refusal::{ErrorAnswer, Kind, Refusal};

fn words(refusal: &Refusal) -> &str {
    refusal.words(match refusal.kind {
        Kind::Invalid => "Invalid request.",
        Kind::NotFound => "model: not found",
        Kind::Auth => "invalid x-api-key",
        Kind::RateLimited => {
            "This request would exceed your account's rate limit. Please try again later."
        }
        Kind::Quota => "Your organization has reached its enforced spend limit.",
        Kind::Server => "Internal server error",
        Kind::Unavailable => "Service unavailable",
        Kind::Overloaded => "Overloaded",
        Kind::ContextLength => "prompt is too long: 210000 tokens > 200000 maximum",
        Kind::ContentPolicy => "Output blocked by content filtering policy",
    })
}

fn names(kind: Kind) -> (u16, &'static str) {
    match kind {
        Kind::Invalid | Kind::ContextLength | Kind::ContentPolicy => (400, "invalid_request_error"),
        Kind::NotFound => (404, "not_found_error"),
        Kind::Auth => (401, "authentication_error"),
        Kind::RateLimited => (429, "rate_limit_error"),
        Kind::Quota => (429, "enforced_spend_limit_reached"),
        Kind::Server => (500, "api_error"),
        Kind::Unavailable => (503, "api_error"),
        Kind::Overloaded => (529, "overloaded_error"),
    }
}

fn error(refusal: &Refusal) -> Value {
    let (_, kind) = names(refusal.kind);
    json!({ "type": "error", "error": { "type": kind, "message": words(refusal) }, "request_id": fresh("req_") })
}

/// A failure as status and body.
pub(crate) fn refuse(refusal: &Refusal) -> ErrorAnswer {
    let (status, _) = names(refusal.kind);
    ErrorAnswer { status, headers: refusal.retry_headers(), body: error(refusal) }
}

/// A failure within a stream.
pub(crate) fn in_band(refusal: &Refusal) -> String {
    format!("event: error\ndata: {}\n\n", error(refusal))
}
