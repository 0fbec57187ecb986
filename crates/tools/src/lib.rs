//! The tools worker: runs the tool calls that agents want made.
//!
//! Owns the registry of tools, the built-in ones, and the ledger `tools.calls` in PostgreSQL.
//! Invariants: arguments that do not fit a tool's schema never reach it; a call with an effect
//! is claimed in the ledger before it is begun, and its first recorded outcome stays; a call
//! whose effect cannot be known is answered `unknown` and never repeated by itself; every call
//! is answered, also one that is given up.
//!
//! Tools come and go: those of OSC exist as long as a target for them is declared (`bus-config/osc/`).
//!
//! Not here: policy and approvals (the orchestrator decides what is called), the sandbox, MCP
//! and circuit breakers.

mod arguments;
mod builtin;
mod calls;
mod config;
mod error;
mod executor;
mod ledger;
pub mod osc;
mod outcome;
mod registry;
mod tool;
mod worker;

use nexus_store::Migration;

pub use config::Config;
pub use error::Error;
pub use tool::{CallContext, Output, Repeat, Tool, ToolError};
pub use worker::{Surroundings, Tools};

/// The tables of this worker.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 2026112002,
        name: "tools calls",
        sql: include_str!("../migrations/2026112002_tools_calls.sql"),
    },
    Migration {
        version: 2026112004,
        name: "tools attachments",
        sql: include_str!("../migrations/2026112004_tools_attachments.sql"),
    },
];

/// The table of the test tool `count_effect`; after [`MIGRATIONS`].
#[cfg(feature = "failpoints")]
pub const TEST_MIGRATIONS: &[Migration] = &[Migration {
    version: 2026112090,
    name: "tools test effects",
    sql: include_str!("../migrations/2026112090_tools_test_effects.sql"),
}];
