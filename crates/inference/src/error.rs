use std::time::Duration;

use nexus_bus::{Disposition, Fault};

/// Why the inference worker cannot work. What happens to one call is no error, but its outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("serving model calls")]
    Bus(#[from] nexus_bus::Error),
    #[error("setting up the HTTP client for model providers")]
    Client(#[source] reqwest::Error),
}

impl Fault for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Bus(error) => error.disposition(),
            Self::Client(_) => Disposition::Retry(Duration::from_secs(5)),
        }
    }
}
