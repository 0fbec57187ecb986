use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::call::{CallError, Class};

/// Longest wait that a provider can ask for.
const MAX_RETRY_AFTER_S: f64 = 24.0 * 3600.0;

/// What an answer with an error status means.
pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let error = parsed.as_ref().map(|body| body.get("error").unwrap_or(body));
    let raw = String::from_utf8_lossy(body);
    let said = error.and_then(message).unwrap_or_else(|| without_markup(&raw));
    let said =
        if said.is_empty() { status.canonical_reason().unwrap_or("no reason given") } else { said };
    let message = format!("HTTP {}: {said}", status.as_u16());
    // The status is surer than words (`invalid_request_error` comes with 401 too), but for these.
    let class = match error.and_then(by_words) {
        Some(class @ (Class::QuotaExhausted | Class::ContentFilter))
            if status.is_client_error() =>
        {
            class
        }
        _ => by_status(status.as_u16()),
    };
    CallError { retry_after: retry_after(headers), ..CallError::new(class, &message) }
}

/// What an `error` object in the middle of an answer means.
pub(super) fn in_stream(error: &Value) -> CallError {
    let code = error.get("code").or_else(|| error.get("status")).and_then(Value::as_u64);
    let status =
        code.and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let class = by_words(error).or_else(|| status.map(by_status)).unwrap_or(Class::Overloaded);
    CallError::new(class, message(error).unwrap_or("an error without a message"))
}

/// The class that the machine-readable words of an error name; code before type, it says more.
fn by_words(error: &Value) -> Option<Class> {
    let words = ["code", "type", "status"].iter().filter_map(|field| error.get(field)?.as_str());
    words.into_iter().find_map(|word| match word {
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "enforced_spend_limit_reached" => Some(Class::QuotaExhausted),
        "rate_limit_exceeded" | "rate_limit_error" | "requests" | "tokens" => {
            Some(Class::RateLimited)
        }
        "content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation" => {
            Some(Class::ContentFilter)
        }
        "invalid_api_key" | "authentication_error" | "permission_error" => Some(Class::Auth),
        "context_length_exceeded"
        | "model_not_found"
        | "invalid_request_error"
        | "not_found_error" => Some(Class::Invalid),
        "server_error"
        | "server_overloaded"
        | "overloaded_error"
        | "api_error"
        | "internal_server_error"
        | "unavailable_error" => Some(Class::Overloaded),
        _ => None,
    })
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

fn message(error: &Value) -> Option<&str> {
    let nested = || error.get("message").or_else(|| error.get("detail")).and_then(Value::as_str);
    error.as_str().or_else(nested).filter(|text| !text.is_empty())
}

/// A page that a proxy made says nothing that helps.
fn without_markup(body: &str) -> &str {
    let body = body.trim();
    if body.starts_with('<') { "" } else { body }
}

/// How long the provider wants to be left alone.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let until_date = || {
        // Both times are the server's, so its clock may be wrong.
        let (until, sent) = (text(RETRY_AFTER.as_str())?, text(DATE.as_str())?);
        let (until, sent) = (rfc2822::parse(until).ok()?, rfc2822::parse(sent).ok()?);
        Some(until.timestamp().duration_since(sent.timestamp()).as_secs_f64())
    };
    let seconds = number("retry-after-ms")
        .map(|millis| millis / 1000.0)
        .or_else(|| number(RETRY_AFTER.as_str()))
        .or_else(until_date)?;
    Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_RETRY_AFTER_S)).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;
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
    fn retry_after_is_read_in_all_its_forms() {
        let wait = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter();
            let headers =
                pairs.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            retry_after(&headers.collect()).map(|wait| wait.as_millis())
        };
        assert_eq!(wait(&[("retry-after", "2")]), Some(2000));
        assert_eq!(wait(&[("retry-after", "2"), ("retry-after-ms", "150")]), Some(150));
        assert_eq!(wait(&[("retry-after", "-1")]), Some(0));
        let (until, sent) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:30 GMT");
        assert_eq!(wait(&[("retry-after", until), ("date", sent)]), Some(7000));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
    }

    #[test]
    fn errors_within_a_stream_are_classified_by_word_then_number() {
        let limited = in_stream(&json!({ "type": "rate_limit_error", "message": "slow" }));
        assert_eq!(limited.class, Class::RateLimited);
        assert_eq!(in_stream(&json!({ "code": 400, "message": "bad" })).class, Class::Invalid);
        assert_eq!(in_stream(&json!("it broke")).message, "it broke");
        assert_eq!(in_stream(&json!({})).class, Class::Overloaded);
    }
}
