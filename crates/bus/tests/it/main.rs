//! A real NATS server: needs `scripts/install-servers`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "the lints' own exception leaves out helpers of tests"
)]

mod dead_letters;
mod fence;
mod lease;
mod place;
mod publish;
mod reader;
mod runner;
mod state;
mod topology;
mod worker;
