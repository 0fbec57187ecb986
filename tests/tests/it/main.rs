//! Nexus from outside: the built binary, real servers, real clients.
//!
//! Needs `cargo build --package nexus --features failpoints`, and what `scripts/test` installs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the lints' own exception leaves out helpers of tests"
)]

mod bad_input;
mod chat;
mod clients;
mod devices;
mod doors;
mod embeddings;
mod games;
mod operations;
mod ordering;
mod providers;
mod secrets;
mod support;
mod usage;
mod web_client;
