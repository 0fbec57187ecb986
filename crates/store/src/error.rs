/// Why the database did not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connecting to PostgreSQL; is it running, and is NEXUS_DATABASE_URL right?")]
    Connect(#[source] sqlx::Error),
    #[error("NEXUS_DATABASE_URL is no PostgreSQL address")]
    Url(#[source] sqlx::Error),
    #[error("migrating the database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("preparing the application's role")]
    Role(#[source] sqlx::Error),
    #[error("beginning a transaction")]
    Begin(#[source] sqlx::Error),
    #[error("checking the catalogue")]
    Lint(#[source] sqlx::Error),
}
