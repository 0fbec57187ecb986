//! The worker with a real NATS server and a strict provider.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what fails here fails the test"
)]

mod answers;
mod embeddings;
mod failover;
mod failures;
mod faults;
mod inspect;
mod keys;
mod limits;
mod raw;
mod routes;

mod telemetry;
mod world;
