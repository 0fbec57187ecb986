//! The conversation engine: a pure state machine over the log.
//!
//! [`step`] takes one stored event and says which events follow from it. It has no clock, no
//! I/O and no randomness, so the same inputs give the same commands, byte for byte, on every
//! machine and every replay.
//!
//! Invariants: one active run per conversation; every request gets exactly one
//! `requests.processed`; the first input in stream order closes a call; a run always ends.
//!
//! It does not know partitions, fencing, deadlines' clocks or the bus: see `nexus-orchestrator`.

mod acting;
mod admission;
mod command;
mod input;
mod prompt;
mod run;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod verdict;
mod verify;

pub use command::{Body, Command, PendingStart};
pub use input::{Input, InputEvent};
pub use state::{Conversation, ConversationKey, PendingCall, State};
pub use step::step;
pub use verdict::{Step, Verdict};
pub use verify::{Mismatch, Recorded, Verification, verify};

/// Version of the engine's decisions. Raise it when the same inputs may give other commands.
pub const ENGINE: u32 = 2;

/// Ids of requests are remembered this long: the longest `max_age` that EVENTS may have.
pub const REMEMBER_MS: u64 = 30 * 24 * 3600 * 1000;

/// Most bytes of a command; the stream takes 256 KiB with headers.
pub const MAX_COMMAND_BYTES: usize = 240 * 1024;
