use std::time::Duration;

use nexus_contracts::Partition;

use crate::handler::{Disposition, Fault};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why something on the bus did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connecting to NATS at {url}; is the server running, and is NEXUS_NATS_URL right?")]
    Connect { url: String, source: Source },
    #[error(
        "the event store is full ({detail}); free disk space or raise max_bytes in bus-config/streams, then `nexus bus apply`"
    )]
    StorageFull { detail: String },
    #[error(
        "event for {subject} has {bytes} bytes, the limit is {limit}; send less, or an attachment by reference"
    )]
    TooLarge { subject: String, bytes: usize, limit: usize },
    #[error("no stream takes {subject}; run `nexus bus apply`")]
    NoStream { subject: String },
    #[error("the event store did not confirm {subject} in time")]
    Unconfirmed { subject: String },
    #[error("the event store refused {subject}: {reason}")]
    Refused { subject: String, reason: String, code: u64 },
    #[error("partition {partition} has a newer owner")]
    Fenced { partition: Partition },
    #[error("{doing}")]
    Request { doing: String, source: Source },
    #[error("{place}: {reason}")]
    Config { place: String, reason: String },
}

impl Error {
    pub(crate) fn request<E: Into<Source>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::Request { doing, source: source.into() }
    }

    /// Bounded name, for metrics and error frames.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::StorageFull { .. } => "storage_full",
            Self::TooLarge { .. } => "too_large",
            Self::Fenced { .. } => "fenced",
            Self::Refused { .. } => "refused",
            Self::Config { .. } => "config",
            Self::Connect { .. }
            | Self::NoStream { .. }
            | Self::Unconfirmed { .. }
            | Self::Request { .. } => "unavailable",
        }
    }
}

impl Fault for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Connect { .. }
            | Self::StorageFull { .. }
            | Self::NoStream { .. }
            | Self::Unconfirmed { .. }
            | Self::Request { .. } => Disposition::Retry(Duration::from_secs(1)),
            Self::TooLarge { .. }
            | Self::Refused { .. }
            | Self::Fenced { .. }
            | Self::Config { .. } => Disposition::Reject,
        }
    }
}
