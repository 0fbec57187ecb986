//! The chat page, compiled in.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Nothing from elsewhere, nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../assets/", $name)))),*]
    };
}

const ASSETS: &[(&str, &str)] = assets![
    "app.css",
    "app.js",
    "approval.js",
    "blocks.js",
    "chat.css",
    "chat.js",
    "composer.js",
    "dom.js",
    "drawers.js",
    "inline.js",
    "markdown.css",
    "markdown.js",
    "messages.js",
    "panels.css",
    "sidebar.js",
    "socket.js",
    "status.js",
    "store.js",
    "theme.js",
    "timeline.js",
    "toolchip.js",
    "transcript.js",
    "turnview.js",
];

/// `GET /`.
pub(crate) async fn page() -> Response {
    serve("text/html; charset=utf-8", include_str!("../assets/index.html"))
}

/// `GET /assets/NAME`.
pub(crate) async fn asset(Path(name): Path<String>) -> Response {
    let Some((_, text)) = ASSETS.iter().find(|(known, _)| *known == name) else {
        return (StatusCode::NOT_FOUND, "no such asset").into_response();
    };
    let is_style = name.rsplit_once('.').is_some_and(|(_, kind)| kind == "css");
    serve(if is_style { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" }, text)
}

fn serve(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
