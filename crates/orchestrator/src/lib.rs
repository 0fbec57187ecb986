//! The orchestrator: owns partitions of the log and publishes what the engine decides.
//!
//! Decisions are made in `nexus-conversation`; this crate reads inputs in stream order, gives
//! runs their configuration, keeps deadlines, and publishes commands under the partition's epoch.
//! It keeps no state of its own but checkpoints, which it can lose.

mod config;
mod configuration;
mod deadlines;
mod error;
mod feed;
mod partition;
mod recovery;
mod session;

pub use config::Config;
pub use error::Error;
pub use session::Orchestrator;
