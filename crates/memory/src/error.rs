use std::time::Duration;

use nexus_bus::{Disposition, Fault};
use nexus_contracts::TenantId;

/// Why memory could not keep or recall something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("setting up memory")]
    Bus(#[from] nexus_bus::Error),
    #[error("asking the database")]
    Store(#[from] nexus_store::Error),
    #[error("{doing}")]
    Query { doing: &'static str, source: sqlx::Error },
    #[error("memory is stopping")]
    Stopped,
    #[error("there is no tenant {tenant}; tenants are described in bus-config/tenants")]
    UnknownTenant { tenant: TenantId },
}

impl Error {
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { doing, source }
    }
}

impl Fault for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Bus(error) => error.disposition(),
            Self::Store(_) => Disposition::Retry(Duration::from_secs(1)),
            // A value that the database refuses (22, 23) is refused again; all else may pass.
            Self::Query { source: sqlx::Error::Database(refused), .. }
                if refused
                    .code()
                    .is_some_and(|code| code.starts_with("22") || code.starts_with("23")) =>
            {
                Disposition::Reject
            }
            Self::Query { .. } | Self::Stopped => Disposition::Retry(Duration::from_secs(1)),
            Self::UnknownTenant { .. } => Disposition::Reject,
        }
    }
}
