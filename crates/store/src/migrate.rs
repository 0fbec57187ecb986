use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use sqlx::migrate::{MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqlSafeStr as _, SqlStr};

use crate::error::Error;

pub(crate) const APP_ROLE: &str = "nexus_app";

/// One migration, from the crate that owns the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Date and number, for example `2026_11_20_01`; unique in the whole product.
    pub version: i64,
    pub name: &'static str,
    pub sql: &'static str,
}

/// Brings the database to this version and makes the application's role.
///
/// `url` is the owner's address. Safe to run from several processes at once.
///
/// # Errors
/// [`Error::Connect`], [`Error::Role`] or [`Error::Migrate`].
pub async fn migrate(url: &str, migrations: &[Migration]) -> Result<(), Error> {
    let mut owner = PgConnection::connect(url).await.map_err(Error::Connect)?;
    make_role(&mut owner, url).await.map_err(Error::Role)?;
    let all = migrations.iter().map(|migration| {
        sqlx::migrate::Migration::new(
            migration.version,
            Cow::Borrowed(migration.name),
            MigrationType::Simple,
            migration.sql.into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(all.collect());
    migrator.set_ignore_missing(true);
    migrator.run(&mut owner).await.map_err(Error::Migrate)?;
    owner.close().await.map_err(Error::Connect)
}

/// Makes the role that services use: it may log in, and nothing else by itself.
async fn make_role(owner: &mut PgConnection, url: &str) -> Result<(), sqlx::Error> {
    let mut tx = owner.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(7301)").execute(&mut *tx).await?;
    let exists: Option<(i32,)> = sqlx::query_as("SELECT 1 FROM pg_roles WHERE rolname = $1")
        .bind(APP_ROLE)
        .fetch_optional(&mut *tx)
        .await?;
    // The password is hexadecimal digits; role statements take no parameters.
    let password = app_password(url);
    let verb = if exists.is_some() { "ALTER" } else { "CREATE" };
    let statement = format!("{verb} ROLE {APP_ROLE} LOGIN NOINHERIT PASSWORD '{password}'");
    sqlx::query(safe(statement)).execute(&mut *tx).await?;
    tx.commit().await
}

fn safe(statement: String) -> SqlStr {
    AssertSqlSafe(statement).into_sql_str()
}

/// The role's password follows from the owner's, so that one address configures a process.
pub(crate) fn app_password(url: &str) -> String {
    let password = url
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'))
        .and_then(|(user, _)| user.split_once(':'))
        .map_or("", |(_, password)| password);
    let digest = Sha256::digest(format!("nexus application role\0{password}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
