//! Metering: what every model call used and cost, per tenant, user, provider and model.
//!
//! Owns the schema `billing`, a projection of `inference.response` and `inference.embedded`.
//! Invariants: an event is in [`UsageRecord`]s exactly once, however often it is delivered; each
//! attempt of its is in that of who was asked, with which key and at which price; a record follows
//! from its event alone, so the table can be recomputed from the stream and
//! compared with it record by record ([`reconcile`]); a tenant's rows are reached only in that
//! tenant's transaction.
//!
//! Does not price anything: the cost stands in the event, with the row of the price table. Does
//! not limit anything: quotas read [`Ledger::totals`].

mod error;
mod handlers;
mod ledger;
mod reconcile;
mod record;
mod totals;
mod worker;
mod writer;

pub use error::Error;
pub use ledger::Ledger;
pub use reconcile::{Account, Difference, reconcile};
pub use record::{Operation, Outcome, UsageRecord};
pub use totals::{By, Group, Question, Totals};
pub use worker::{Billing, Config};

/// The schema's migrations.
pub const MIGRATIONS: &[nexus_store::Migration] = &[nexus_store::Migration {
    version: 2026112006,
    name: "usage records",
    sql: include_str!("../migrations/2026112006_usage_records.sql"),
}];
