//! The gateway: HTTP for people and programs, and the `web` adapter.
//!
//! Owns API keys, the native WebSocket and events, the endpoints for clients of OpenAI, AG-UI and
//! Vercel, files, the chat page, health and metrics. One feed turns a conversation's slice of the
//! log into frames (`feed`); each protocol is an encoder over these frames (`encode`) behind a
//! door (`door`). A client is told "accepted" only when JetStream has stored its request. Reading a
//! conversation is following its slice of the log, so a client can leave and come back.

mod accept;
mod answers;
mod app;
mod assets;
mod callref;
mod config;
mod cursor;
mod dialogue;
mod digest;
mod door;
mod encode;
mod error;
mod feed;
mod follow;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod hub;
mod keys;
mod names;
mod openai;
mod origin;
mod patient;
mod readiness;
mod refused;
mod room;
mod routes;
mod server;
mod socket;
mod stream;
mod summary;
mod threads;
mod turn;
mod vectors;

pub use config::Config;
pub use error::Error;
pub use keys::{KeyRow, Keys, Principal};
pub use readiness::Readiness;
pub use server::{Gateway, Storage};

/// The migrations of the schema `system`.
pub const MIGRATIONS: &[nexus_store::Migration] = &[nexus_store::Migration {
    version: 2026112003,
    name: "api keys",
    sql: include_str!("../migrations/2026112003_api_keys.sql"),
}];
