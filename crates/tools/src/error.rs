use std::time::Duration;

use nexus_bus::{Disposition, Fault};

/// Why the tools worker, or one delivery of a call, did not get on.
///
/// What goes wrong in a tool is no error here but an outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("serving tools")]
    Bus(#[from] nexus_bus::Error),
    #[error("setting tools.{setting}: {reason}")]
    Config { setting: &'static str, reason: String },
    #[error("two tools are called {tool}")]
    Duplicate { tool: String },
    #[error("the parameters of tool {tool} are no JSON Schema: {reason}")]
    Schema { tool: String, reason: String },
    #[error(
        "tool {tool} has effects, and this worker has no database to record them in; set NEXUS_DATABASE_URL"
    )]
    NoStore { tool: String, attempt: u64 },
    #[error("reaching the ledger of tool calls")]
    Store { attempt: u64, source: nexus_store::Error },
    #[error("writing the ledger of tool calls")]
    Ledger { attempt: u64, source: sqlx::Error },
    #[error("the ledger of tool calls has an outcome that this version cannot read")]
    Unreadable { attempt: u64 },
    #[error("an earlier delivery of this call is still at work here")]
    InFlight,
}

impl Fault for Error {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NoStore { attempt, .. }
            | Self::Store { attempt, .. }
            | Self::Ledger { attempt, .. }
            | Self::Unreadable { attempt } => Disposition::Retry(pause(*attempt)),
            Self::Bus(_) | Self::InFlight => Disposition::Retry(Duration::from_secs(1)),
            // These end the worker before it takes its first call.
            Self::Config { .. } | Self::Duplicate { .. } | Self::Schema { .. } => {
                Disposition::Reject
            }
        }
    }
}

/// A database that restarts costs moments; one that is away is asked for minutes.
fn pause(attempt: u64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1).min(6)).unwrap_or(6);
    Duration::from_millis(250) * 2_u32.pow(doublings)
}
