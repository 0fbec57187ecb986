//! The memory worker: records what was said, and recalls it.
//!
//! Owns the schema `memory`. First form: the turns of a conversation. A recall waits until it has
//! seen the reply that it is asked to be no older than, so an agent never forgets its last words.

mod error;
mod group;
mod interactions;
mod mind;
mod recall;
mod record;
mod worker;

pub use error::Error;
pub use worker::{Config, Memory};

/// The schema's migrations.
pub const MIGRATIONS: &[nexus_store::Migration] = &[nexus_store::Migration {
    version: 2026112001,
    name: "interactions",
    sql: include_str!("../migrations/2026112001_interactions.sql"),
}];
