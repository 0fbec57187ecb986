//! The adapter between a real NATS server and the stand-in of the Bot API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod approvals;
mod bots;
mod commands;
mod faults;
mod files;
mod intake;
mod live;
mod nats;
mod output;
mod start;
mod webhook;
mod world;

use world::{SOON, World, distinct, now};
