use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post, put};

use crate::app::App;
use crate::door::{agui, completions, embeddings, files, keys, runs, usage, vercel};
use crate::{assets, health, origin, socket};

/// Every address that the gateway answers.
pub(crate) fn all(app: Arc<App>) -> Router {
    Router::new()
        .merge(api().layer(middleware::from_fn_with_state(Arc::clone(&app), origin::guard)))
        .route("/", get(assets::page))
        .route("/assets/{name}", get(assets::asset))
        .route("/v1/ws", get(socket::upgrade))
        .route("/api/v1/chat/stream", get(socket::upgrade))
        .route("/api/v1/ws/device", get(socket::upgrade))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .with_state(app)
}

/// What programs use, and pages of allowed origins.
fn api() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/runs", post(runs::create))
        .route("/v1/runs/{run}/events", get(runs::events))
        .route("/v1/runs/{run}/cancel", post(runs::cancel))
        .route("/v1/runs/{run}/approvals/{question}", post(runs::decide))
        .route("/v1/runs/{run}/calls/{call}", post(runs::answer))
        .route("/v1/conversations/{conversation}/events", get(runs::conversation))
        .route("/v1/files", post(files::upload))
        .route("/v1/files/{id}", get(files::download))
        .route("/v1/keys/providers", get(keys::list))
        .route("/v1/keys/providers/{provider}", put(keys::put).get(keys::get).delete(keys::remove))
        .route("/v1/keys/providers/{provider}/test", post(keys::test))
        .route("/v1/models", get(completions::models))
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/usage", get(usage::usage))
        .route("/v1/agui", post(agui::default_agent))
        .route("/v1/agui/{agent}", post(agui::agent))
        .route("/v1/vercel/chat", post(vercel::chat))
        .route("/v1/vercel/chat/{chat}/stream", get(vercel::resume))
}
