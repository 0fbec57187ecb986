//! Nexus on JetStream: connection, topology, publishing, reading, and the worker runtime.
//!
//! Nothing else in the workspace names a NATS type. Invariants: an output is stored before its
//! input is acknowledged; subject, partition and fence of a command come from one value; nobody
//! but [`Topology`] creates or changes streams.

mod ask;
mod blob;
mod catalog;
mod chunk;
mod connection;
mod dead_letter;
mod error;
pub mod failpoint;
mod fence;
mod handler;
mod lease;
mod membership;
mod publish;
mod reader;
mod records;
mod runner;
mod topology;

pub use ask::{Question, Questions};
pub use blob::{Checkpoint, Checkpoints, Cursors};
pub use catalog::{Bucket, Catalog};
pub use chunk::Chunks;
pub use connection::{Bus, Health, Timeouts};
pub use dead_letter::{DeadEntry, DeadLetters};
pub use error::Error;
pub use fence::{Epoch, Fence};
pub use handler::{Chain, Delivery, Disposition, Fault, Handler};
pub use lease::Lease;
pub use membership::Membership;
pub use publish::Stored;
pub use reader::{Filter, Message, Reader, Start};
pub use records::{Records, Shelf};
pub use runner::{Limits, Runner};
pub use topology::{Change, Durability, Entry, Spec, Topology};

/// The stream that holds everything that conversations depend on.
pub const EVENTS: &str = "EVENTS";
/// The stream of messages that workers gave up on.
pub const DEAD: &str = "DEAD";
/// The stream of live pieces of answers, in memory.
pub const CHUNKS: &str = "CHUNKS";
