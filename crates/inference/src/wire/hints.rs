//! When a provider wants to be asked again.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

/// Longest wait that a provider can ask for.
const MAX_RETRY_AFTER_S: f64 = 24.0 * 3600.0;

/// What the headers say.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| text(headers, name)?.parse::<f64>().ok();
    let until_date = || {
        let until = rfc2822::parse(text(headers, RETRY_AFTER.as_str())?).ok()?;
        Some(until.timestamp().duration_since(sent(headers)?).as_secs_f64())
    };
    let seconds = number("retry-after-ms")
        .map(|millis| millis / 1000.0)
        .or_else(|| number(RETRY_AFTER.as_str()))
        .or_else(until_date)?;
    bounded(seconds)
}

/// What the headers say of limits that are used up: the last of their resets. Where nothing is
/// said of what remains, the first reset of all.
pub(super) fn of_limits(headers: &HeaderMap) -> Option<Duration> {
    let resets = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str();
        let limit = limit_of(name)?;
        let seconds = until(value.to_str().ok()?.trim(), headers)?;
        let remaining = text(headers, &limit);
        Some((remaining.map(|left| left.parse::<f64>() == Ok(0.0)), seconds))
    });
    let resets: Vec<_> = resets.collect();
    let used_up = resets.iter().filter(|(used_up, _)| *used_up == Some(true));
    let last = used_up.map(|(_, seconds)| *seconds).reduce(f64::max);
    let unknown = resets.iter().filter(|(used_up, _)| used_up.is_none());
    let first = || unknown.map(|(_, seconds)| *seconds).reduce(f64::min);
    bounded(last.or_else(first)?)
}

/// Gemini's `RetryInfo` among the details of an error: it sends no header.
pub(super) fn of_details(error: &Value) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    bounded(span(delay)?)
}

/// The header that says what remains of the limit whose reset this header tells.
fn limit_of(name: &str) -> Option<String> {
    // x-ratelimit-reset-tokens, and anthropic-ratelimit-tokens-reset.
    if let Some(limit) = name.strip_prefix("x-ratelimit-reset") {
        return Some(format!("x-ratelimit-remaining{limit}"));
    }
    let limit = name.strip_prefix("anthropic-ratelimit-")?.strip_suffix("-reset")?;
    Some(format!("anthropic-ratelimit-{limit}-remaining"))
}

/// Seconds until a reset: a moment, a span like `6m0s`, or a number of seconds.
fn until(text: &str, headers: &HeaderMap) -> Option<f64> {
    let moment = || {
        let until: Timestamp = text.parse().ok()?;
        Some(until.duration_since(sent(headers)?).as_secs_f64())
    };
    let number = || text.parse::<f64>().ok().filter(|seconds| *seconds <= MAX_RETRY_AFTER_S);
    number().or_else(|| span(text)).or_else(moment)
}

/// When the answer was sent. Both times are the server's, so its clock may be wrong.
fn sent(headers: &HeaderMap) -> Option<Timestamp> {
    Some(rfc2822::parse(text(headers, DATE.as_str())?).ok()?.timestamp())
}

/// Seconds of `1h2m3.5s` or `120ms`.
fn span(text: &str) -> Option<f64> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(letters);
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    Some(seconds)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn bounded(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.clamp(0.0, MAX_RETRY_AFTER_S)).ok()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let wait = |pairs: &[(&'static str, &str)]| {
            of_headers(&headers(pairs)).map(|wait| wait.as_millis())
        };
        assert_eq!(wait(&[("retry-after", "2")]), Some(2000));
        assert_eq!(wait(&[("retry-after", "2"), ("retry-after-ms", "150")]), Some(150));
        assert_eq!(wait(&[("retry-after", "-1")]), Some(0));
        let (until, sent) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:30 GMT");
        assert_eq!(wait(&[("retry-after", until), ("date", sent)]), Some(7000));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("retry-after", "NaN")]), None);
    }

    #[test]
    fn resets_of_used_up_limits_are_waited_for() {
        let wait = |pairs: &[(&'static str, &str)]| {
            of_limits(&headers(pairs)).map(|wait| wait.as_millis())
        };
        let openai = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m0.5s"),
            ("x-ratelimit-remaining-tokens", "900"),
            ("x-ratelimit-reset-tokens", "6h"),
        ];
        assert_eq!(wait(&openai), Some(60_500));
        assert_eq!(wait(&openai[2..]), None);
        assert_eq!(wait(&[("x-ratelimit-reset-requests", "120ms")]), Some(120));
        assert_eq!(wait(&[("x-ratelimit-reset", "7")]), Some(7000));
        let anthropic = [
            ("date", "Sun, 06 Nov 1994 08:49:30 GMT"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", "1994-11-06T08:49:37Z"),
        ];
        assert_eq!(wait(&anthropic), Some(7000));
        assert_eq!(wait(&[("x-ratelimit-reset-requests", "later")]), None);
    }

    #[test]
    fn retry_info_is_found_in_the_body() {
        let details = json!({ "details": [
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure" },
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s" },
        ] });
        assert_eq!(of_details(&details), Some(Duration::from_millis(17_500)));
        assert_eq!(of_details(&json!({ "details": "none" })), None);
    }
}
