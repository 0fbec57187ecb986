use std::sync::Arc;
use std::time::Duration;

use nexus_bus::{Disposition, Fault};

/// Why usage could not be recorded or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading what was used from the bus")]
    Bus(#[from] nexus_bus::Error),
    #[error("asking the database")]
    Store(#[from] nexus_store::Error),
    #[error("{doing}")]
    Query { doing: &'static str, source: sqlx::Error },
    #[error("reading a usage record that the database holds")]
    Record(#[source] serde_json::Error),
    #[error("recording usage together with that of other calls")]
    Together(#[source] Arc<Self>),
    #[error("billing is stopping")]
    Stopped,
}

impl Error {
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { doing, source }
    }

    /// Whether the database refuses the values (22, 23), so that it refuses them again.
    pub(crate) fn is_refusal(&self) -> bool {
        let Self::Query { source: sqlx::Error::Database(refused), .. } = self else { return false };
        refused.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
    }
}

impl Fault for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Bus(error) => error.disposition(),
            Self::Together(error) => error.disposition(),
            Self::Query { .. } if self.is_refusal() => Disposition::Reject,
            Self::Store(_) | Self::Query { .. } | Self::Stopped => {
                Disposition::Retry(Duration::from_secs(1))
            }
            Self::Record(_) => Disposition::Reject,
        }
    }
}
