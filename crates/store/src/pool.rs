use std::str::FromStr as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::TenantTransaction;
use crate::error::Error;
use crate::migrate::{APP_ROLE, app_password};

/// Settings of the database, table `[database]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Connections of one process.
    pub max_connections: u32,
    /// Longest wait for a free connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub acquire_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_connections: 8, acquire_timeout: Duration::from_secs(5) }
    }
}

/// The pool of connections as the application's role. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Makes a pool; connections are made when they are needed.
    ///
    /// `url` is the owner's address, as in `NEXUS_DATABASE_URL`: the application's role has the
    /// password that [`migrate`](crate::migrate) gave it.
    ///
    /// # Errors
    /// [`Error::Url`] when the address cannot be read.
    pub fn connect(url: &str, config: &Config) -> Result<Self, Error> {
        let owner = PgConnectOptions::from_str(url).map_err(Error::Url)?;
        let options =
            owner.username(APP_ROLE).password(&app_password(url)).application_name("nexus");
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Begins a transaction that sees the rows of one tenant and no others.
    ///
    /// # Errors
    /// [`Error::Begin`] when the database cannot be reached.
    pub async fn tenant(&self, tenant: Uuid) -> Result<TenantTransaction, Error> {
        // A UUID prints as hexadecimal digits and dashes only, so nothing can be smuggled in; one
        // round trip begins the transaction and names the tenant.
        let begin = format!("BEGIN; SET LOCAL app.tenant_id = '{}'", tenant.hyphenated());
        self.pool.begin_with(AssertSqlSafe(begin)).await.map_err(Error::Begin)
    }

    /// The pool itself, for tables that are read before a tenant is known.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`Error::Connect`] when it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ()).map_err(Error::Connect)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
