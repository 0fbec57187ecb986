//! Which browser pages may use the gateway (CORS).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::refused::Refused;

/// Seconds for which a browser remembers what it may do.
const REMEMBER: &str = "600";

/// Whether a configured origin is this one: `http://localhost:*` is any port of that host,
/// `app://*` any host of that scheme.
pub(crate) fn matches(allowed: &str, origin: &str) -> bool {
    let is_port = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(host) = allowed.strip_suffix(":*") {
        let rest = origin.strip_prefix(host);
        return rest
            .is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    if let Some(scheme) = allowed.strip_suffix('*').filter(|scheme| scheme.ends_with("://")) {
        return origin.starts_with(scheme);
    }
    allowed == origin
}

/// Refuses pages of other origins, answers preflights, and lets allowed pages read the answers.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    if !app.is_allowed_origin(request.headers()) {
        let message = "This origin may not use the gateway; add it to gateway.allowed_origins.";
        return Refused::new(StatusCode::FORBIDDEN, "origin_not_allowed", message.to_owned())
            .into_response();
    }
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some();
    let mut response = if request.method() == Method::OPTIONS && asked {
        preflight(request.headers())
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn preflight(headers: &HeaderMap) -> Response {
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, DELETE")),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBER)),
    ];
    let mut response = (StatusCode::NO_CONTENT, allowed).into_response();
    if let Some(wanted) = wanted {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_allow_what_they_say_and_nothing_else() {
        for (allowed, origin, expected) in [
            ("https://chat.example.org", "https://chat.example.org", true),
            ("https://chat.example.org", "https://chat.example.org.evil.com", false),
            ("https://chat.example.org", "http://chat.example.org", false),
            ("http://localhost:*", "http://localhost:5173", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://localhost.evil.com", false),
            ("http://localhost:*", "http://localhost:80.evil.com", false),
            ("http://localhost:*", "http://localhost:", false),
            ("app://*", "app://obsidian.md", true),
            ("app://*", "https://app://x", false),
            ("*", "https://evil.com", false),
            ("null", "null", true),
        ] {
            assert_eq!(matches(allowed, origin), expected, "{allowed} {origin}");
        }
    }
}
