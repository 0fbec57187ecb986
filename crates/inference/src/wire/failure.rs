//! What errors mean, whoever says them: the table of classes for all protocols.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::hints;
use crate::call::{CallError, Class};

/// What an answer with an error status means.
pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    // Gemini puts the error of a stream into an array.
    let parsed = parsed.as_ref().map(|body| body.get(0).unwrap_or(body));
    let error = parsed.map(|body| body.get("error").unwrap_or(body));
    let raw = String::from_utf8_lossy(body);
    let said = error.and_then(message).unwrap_or_else(|| without_markup(&raw));
    let said =
        if said.is_empty() { status.canonical_reason().unwrap_or("no reason given") } else { said };
    let class = refined(by_status(status.as_u16()), error, said);
    let hint = hints::of_headers(headers).or_else(|| hints::of_details(error?));
    let limited = || (class == Class::RateLimited).then(|| hints::of_limits(headers)).flatten();
    CallError {
        retry_after: hint.or_else(limited),
        status: Some(status.as_u16()),
        provider_request_id: parsed.and_then(request_id),
        ..CallError::new(class, &format!("HTTP {}: {said}", status.as_u16()))
    }
}

/// What an `error` object in the middle of an answer means.
pub(super) fn in_stream(error: &Value) -> CallError {
    let code = error.get("code").or_else(|| error.get("status")).and_then(Value::as_u64);
    let status =
        code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let said = message(error).unwrap_or("an error without a message");
    let class = by_words(error).or_else(|| status.map(by_status)).unwrap_or(Class::Overloaded);
    CallError {
        retry_after: hints::of_details(error),
        ..CallError::new(refined(class, Some(error), said), said)
    }
}

/// The status is surer than words (`invalid_request_error` comes with 401 too), but for these.
fn refined(class: Class, error: Option<&Value>, said: &str) -> Class {
    let ours = !matches!(class, Class::Overloaded | Class::Timeout);
    match error.and_then(by_words) {
        Some(word @ (Class::QuotaExhausted | Class::ContentFilter)) if ours => word,
        Some(word @ (Class::ContextLength | Class::Auth)) if class == Class::Invalid => word,
        // Anthropic's spend limit comes as a 429 like any other.
        _ if ours && said.contains("enforced_spend_limit_reached") => Class::QuotaExhausted,
        _ if class == Class::Invalid => by_phrase(said).unwrap_or(class),
        _ => class,
    }
}

/// The class that the machine-readable words of an error name; code before type, it says more.
fn by_words(error: &Value) -> Option<Class> {
    let fields = ["code", "error_code", "reason", "type", "status"];
    let own = fields.iter().filter_map(|field| error.get(field)?.as_str());
    let details = error.get("details").into_iter().flat_map(|details| match details {
        Value::Array(details) => details.iter().collect(),
        details => vec![details],
    });
    let within =
        details.flat_map(|detail| fields.iter().filter_map(|field| detail.get(field)?.as_str()));
    within.chain(own).find_map(by_word)
}

fn by_word(word: &str) -> Option<Class> {
    match word {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "billing_error"
        | "enforced_spend_limit_reached" => Some(Class::QuotaExhausted),
        "rate_limit_exceeded"
        | "rate_limit_error"
        | "requests"
        | "tokens"
        | "RESOURCE_EXHAUSTED" => Some(Class::RateLimited),
        "content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation" => {
            Some(Class::ContentFilter)
        }
        "invalid_api_key"
        | "authentication_error"
        | "permission_error"
        | "API_KEY_INVALID"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED" => Some(Class::Auth),
        "context_length_exceeded" | "model_context_window_exceeded" => Some(Class::ContextLength),
        "model_not_found"
        | "invalid_prompt"
        | "invalid_request_error"
        | "not_found_error"
        | "request_too_large"
        | "INVALID_ARGUMENT"
        | "FAILED_PRECONDITION"
        | "NOT_FOUND" => Some(Class::Invalid),
        "server_error"
        | "server_overloaded"
        | "overloaded_error"
        | "api_error"
        | "timeout_error"
        | "internal_server_error"
        | "unavailable_error"
        | "UNAVAILABLE"
        | "INTERNAL"
        | "DEADLINE_EXCEEDED" => Some(Class::Overloaded),
        _ => None,
    }
}

/// What only the words for people say.
fn by_phrase(said: &str) -> Option<Class> {
    let said = said.to_ascii_lowercase();
    let has = |phrase: &str| said.contains(phrase);
    if has("prompt is too long")
        || has("maximum context length")
        || has("exceeds the context window")
        || has("exceed context limit")
        || (has("token count") && has("exceeds the maximum"))
    {
        Some(Class::ContextLength)
    } else if has("credit balance is too low") {
        Some(Class::QuotaExhausted)
    } else if has("content filtering policy") || has("content management policy") {
        Some(Class::ContentFilter)
    } else {
        None
    }
}

fn by_status(status: u16) -> Class {
    match status {
        401 | 403 => Class::Auth,
        402 => Class::QuotaExhausted,
        408 => Class::Timeout,
        425 | 500..=599 => Class::Overloaded,
        429 => Class::RateLimited,
        _ => Class::Invalid,
    }
}

/// Anthropic says it in the body too.
pub(super) fn request_id(body: &Value) -> Option<String> {
    Some(body.get("request_id")?.as_str()?.to_owned())
}

/// A model that declined, in its provider's words.
pub(super) fn declined(words: &str) -> CallError {
    let words = if words.trim().is_empty() { "the model declined" } else { words };
    CallError::new(Class::ContentFilter, words)
}

/// A piece that is no piece: never shown, the answer starts again.
pub(super) fn unreadable() -> CallError {
    CallError::new(Class::Truncated, "a piece of the answer cannot be read")
}

/// An answer whose end did not come.
pub(super) fn cut() -> CallError {
    CallError::new(Class::Truncated, "the answer ended in the middle")
}

fn message(error: &Value) -> Option<&str> {
    let nested = || error.get("message").or_else(|| error.get("detail")).and_then(Value::as_str);
    error.as_str().or_else(nested).filter(|text| !text.is_empty())
}

/// A page that a proxy made says nothing that helps.
fn without_markup(body: &str) -> &str {
    let body = body.trim();
    if body.starts_with('<') { "" } else { body }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class(status: u16, body: &Value) -> Class {
        let status = StatusCode::from_u16(status).unwrap();
        of_status(status, &HeaderMap::new(), body.to_string().as_bytes()).class
    }

    #[test]
    fn classes_follow_status_and_code() {
        for (status, wanted) in [
            (400, Class::Invalid),
            (401, Class::Auth),
            (402, Class::QuotaExhausted),
            (403, Class::Auth),
            (404, Class::Invalid),
            (413, Class::Invalid),
            (422, Class::Invalid),
            (429, Class::RateLimited),
            (500, Class::Overloaded),
            (503, Class::Overloaded),
            (529, Class::Overloaded),
        ] {
            assert_eq!(class(status, &json!({})), wanted, "{status}");
        }
        let code =
            |code: &str| json!({ "error": { "code": code, "type": "invalid_request_error" } });
        assert_eq!(class(429, &code("insufficient_quota")), Class::QuotaExhausted);
        assert_eq!(class(400, &code("content_filter")), Class::ContentFilter);
        assert_eq!(class(401, &code("whatever")), Class::Auth);
        assert_eq!(class(400, &code("context_length_exceeded")), Class::ContextLength);
        assert_eq!(class(503, &code("insufficient_quota")), Class::Overloaded);
    }

    #[test]
    fn other_protocols_are_told_apart_too() {
        let anthropic = |status, kind: &str, said: &str| {
            let error = json!({ "type": kind, "message": said });
            let body = json!({ "type": "error", "error": error, "request_id": "req_1" });
            class(status, &body)
        };
        let long = "prompt is too long: 210000 tokens > 200000 maximum";
        assert_eq!(anthropic(400, "invalid_request_error", long), Class::ContextLength);
        let poor = "Your credit balance is too low to access the Anthropic API.";
        assert_eq!(anthropic(400, "invalid_request_error", poor), Class::QuotaExhausted);
        let blocked = "Output blocked by content filtering policy";
        assert_eq!(anthropic(400, "invalid_request_error", blocked), Class::ContentFilter);
        assert_eq!(anthropic(429, "rate_limit_error", "slow down"), Class::RateLimited);
        assert_eq!(
            anthropic(429, "enforced_spend_limit_reached", "used up"),
            Class::QuotaExhausted
        );
        assert_eq!(anthropic(529, "overloaded_error", "Overloaded"), Class::Overloaded);
        let details = json!({ "error_code": "enforced_spend_limit_reached" });
        let spent = json!({ "error": { "type": "rate_limit_error", "details": details } });
        assert_eq!(class(429, &spent), Class::QuotaExhausted);

        let gemini = |status, word: &str, said: &str, details: Value| {
            let error =
                json!({ "code": status, "message": said, "status": word, "details": details });
            class(status, &json!([{ "error": error }]))
        };
        let reason = json!([{ "reason": "API_KEY_INVALID", "domain": "googleapis.com" }]);
        assert_eq!(gemini(400, "INVALID_ARGUMENT", "bad key", reason), Class::Auth);
        let long = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
        assert_eq!(gemini(400, "INVALID_ARGUMENT", long, json!([])), Class::ContextLength);
        assert_eq!(gemini(429, "RESOURCE_EXHAUSTED", "", json!([])), Class::RateLimited);
    }

    #[test]
    fn status_request_id_and_delay_in_the_body_are_kept() {
        let retry = json!([{ "retryDelay": "3s" }]);
        let body = json!({ "error": { "code": 429, "message": "slow", "details": retry }, "request_id": "r" });
        let body = body.to_string();
        let error = of_status(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), body.as_bytes());
        let wanted = CallError {
            status: Some(429),
            retry_after: Some(std::time::Duration::from_secs(3)),
            provider_request_id: Some("r".to_owned()),
            ..CallError::new(Class::RateLimited, "HTTP 429: slow")
        };
        assert_eq!(error, wanted);
    }

    #[test]
    fn message_says_what_the_provider_said() {
        let said = |body: &str| {
            of_status(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes()).message
        };
        assert_eq!(said(r#"{"error":{"message":"too long"}}"#), "HTTP 400: too long");
        assert_eq!(said(r#"{"error":"no such model"}"#), "HTTP 400: no such model");
        assert_eq!(said(r#"{"detail":"Not Found"}"#), "HTTP 400: Not Found");
        assert_eq!(said("plain words"), "HTTP 400: plain words");
        assert_eq!(said("<html><body>Bad</body></html>"), "HTTP 400: Bad Request");
    }

    #[test]
    fn errors_within_a_stream_are_classified_by_word_then_number() {
        let limited = in_stream(&json!({ "type": "rate_limit_error", "message": "slow" }));
        assert_eq!(limited.class, Class::RateLimited);
        assert_eq!(in_stream(&json!({ "code": 400, "message": "bad" })).class, Class::Invalid);
        assert_eq!(in_stream(&json!("it broke")).message, "it broke");
        assert_eq!(in_stream(&json!({})).class, Class::Overloaded);
        let gemini = json!({ "code": 503, "status": "UNAVAILABLE", "message": "busy" });
        assert_eq!(in_stream(&gemini).class, Class::Overloaded);
        let long = json!({ "code": "context_length_exceeded", "message": "too long" });
        assert_eq!(in_stream(&long).class, Class::ContextLength);
    }
}
