//! Gemini's generateContent.

mod check;
mod parts;
mod speak;

pub(crate) use check::check;
use serde_json::{Value, json};
pub(crate) use speak::{beats, blocked, thoughts, whole};

use crate::refusal::{ErrorAnswer, Kind, Refusal, RetryAfter};

/// Names of the rule that a per-day quota breaks.
const DAILY: &str = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";

fn words(refusal: &Refusal) -> &str {
    refusal.words(match refusal.kind {
        Kind::Invalid => "Request contains an invalid argument.",
        Kind::NotFound => "models/MODEL is not found for API version v1beta, or is not supported for generateContent.",
        Kind::Auth => "API key not valid. Please pass a valid API key.",
        Kind::RateLimited => "Resource has been exhausted (e.g. check quota).",
        Kind::Quota => "You exceeded your current quota, please check your plan and billing details.",
        Kind::Server => "An internal error has occurred. Please retry.",
        Kind::Unavailable | Kind::Overloaded => "The model is overloaded. Please try again later.",
        Kind::ContextLength => "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        Kind::ContentPolicy => "The prompt was blocked.",
    })
}

fn names(kind: Kind) -> (u16, &'static str) {
    match kind {
        // Gemini answers 400 to a wrong key.
        Kind::Invalid | Kind::ContextLength | Kind::ContentPolicy | Kind::Auth => {
            (400, "INVALID_ARGUMENT")
        }
        Kind::NotFound => (404, "NOT_FOUND"),
        Kind::RateLimited | Kind::Quota => (429, "RESOURCE_EXHAUSTED"),
        Kind::Server => (500, "INTERNAL"),
        Kind::Unavailable | Kind::Overloaded => (503, "UNAVAILABLE"),
    }
}

fn error(refusal: &Refusal) -> Value {
    let (code, status) = names(refusal.kind);
    let mut details = Vec::new();
    if refusal.kind == Kind::Auth {
        details.push(json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com" }));
    }
    if refusal.kind == Kind::Quota {
        let violation = json!({ "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests", "quotaId": DAILY });
        details.push(json!({ "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation] }));
    }
    if let Some(RetryAfter::Own(ms)) = refusal.retry_after {
        let delay = format!("{}.{:03}s", ms / 1000, ms % 1000);
        details.push(
            json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }),
        );
    }
    let mut error = json!({ "code": code, "message": words(refusal), "status": status });
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    json!({ "error": error })
}

/// A failure as status and body.
pub(crate) fn refuse(refusal: &Refusal) -> ErrorAnswer {
    let (status, _) = names(refusal.kind);
    let headers = match refusal.retry_after {
        Some(RetryAfter::Header(seconds)) => vec![("retry-after", seconds.to_string())],
        // In the body.
        Some(RetryAfter::Own(_)) | None => Vec::new(),
    };
    ErrorAnswer { status, headers, body: error(refusal) }
}

/// A failure within a stream.
pub(crate) fn in_band(refusal: &Refusal) -> String {
    format!("data: {}\r\n\r\n", error(refusal))
}
