//! PostgreSQL for the workers that own rows.
//!
//! Owns the pool, the tenant transaction, the migrations' runner and the catalogue lint. The
//! tables belong to their owners: `memory`, `tools`, `gateway`. Invariants: the application's
//! role owns nothing; every row with a tenant is reached only in a transaction that names the
//! tenant; no tenant named means no rows.

mod error;
mod lint;
mod migrate;
mod pool;

pub use error::Error;
pub use lint::{Finding, lint};
pub use migrate::{Migration, migrate};
pub use pool::{Config, Store};

/// The transaction of one tenant.
pub type TenantTransaction = sqlx::Transaction<'static, sqlx::Postgres>;
