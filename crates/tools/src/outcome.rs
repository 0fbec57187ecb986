//! From how a tool ended to what is said about it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use nexus_contracts::{Attachment, ToolOutcome};

use crate::tool::{Output, ToolError};

/// What it means for the world when a tool does not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stakes {
    /// Nothing happened: it only reads, or its transaction is rolled back.
    Nothing,
    /// It may have had its effect.
    Effect,
}

/// How a tool ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Returned(Result<Output, ToolError>),
    TimedOut(Duration),
    Panicked,
}

/// What is said about a call, with the files that it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) outcome: ToolOutcome,
    pub(crate) attachments: Vec<Attachment>,
}

impl From<ToolOutcome> for Made {
    fn from(outcome: ToolOutcome) -> Self {
        Self { outcome, attachments: Vec::new() }
    }
}

/// Runs a tool for no longer than `limit`, and catches its panic.
pub(crate) async fn bounded(
    limit: Duration,
    work: impl Future<Output = Result<Output, ToolError>>,
) -> Ending {
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(returned)) => Ending::Returned(returned),
        Ok(Err(_)) => Ending::Panicked,
        Err(_) => Ending::TimedOut(limit),
    }
}

impl Ending {
    /// The outcome, with the output cut to `limit` bytes.
    ///
    /// # Errors
    /// The database's error when trying the call again may help; nothing has happened then.
    pub(crate) fn outcome(self, stakes: Stakes, limit: usize) -> Result<Made, sqlx::Error> {
        let outcome = match self {
            Self::Returned(Ok(output)) => {
                let attachments = output.attachments;
                return Ok(Made { outcome: completed(&output.text, limit), attachments });
            }
            Self::Returned(Err(ToolError::Failed { code, message })) => {
                failed(code, &message, limit)
            }
            Self::Returned(Err(ToolError::Unknown { message })) => {
                ToolOutcome::Unknown { message: text(&message, limit) }
            }
            Self::Returned(Err(ToolError::Transaction(error))) if passes(&error) => {
                return Err(error);
            }
            Self::Returned(Err(ToolError::Transaction(error))) => {
                failed("database_refused", &format!("the database refused it: {error}"), limit)
            }
            Self::TimedOut(after) => broken(
                stakes,
                "timeout",
                &format!("it did not end within {} ms", after.as_millis()),
            ),
            Self::Panicked => broken(stakes, "panicked", "the tool crashed"),
        };
        Ok(outcome.into())
    }
}

fn completed(output: &str, limit: usize) -> ToolOutcome {
    let output = clean(output);
    let kept = output.floor_char_boundary(limit);
    ToolOutcome::Completed {
        truncated: kept < output.len(),
        output: output.get(..kept).unwrap_or_default().to_owned(),
    }
}

fn failed(code: &str, message: &str, limit: usize) -> ToolOutcome {
    ToolOutcome::Failed { code: code.to_owned(), message: text(message, limit) }
}

/// What is said of a call that did not come to its end.
pub(crate) fn broken(stakes: Stakes, code: &str, message: &str) -> ToolOutcome {
    match stakes {
        Stakes::Nothing => {
            ToolOutcome::Failed { code: code.to_owned(), message: message.to_owned() }
        }
        Stakes::Effect => ToolOutcome::Unknown { message: message.to_owned() },
    }
}

fn text(message: &str, limit: usize) -> String {
    let message = clean(message);
    message.get(..message.floor_char_boundary(limit)).unwrap_or_default().to_owned()
}

/// PostgreSQL's jsonb takes no NUL, and the ledger must take every outcome.
pub(crate) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Whether the error goes away by itself: lost connections, shutdowns, conflicts, full pools.
///
/// # Source
/// PostgreSQL 18, appendix A, classes 08, 40, 53, 55, 57 and 58.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(refused) => refused.code().is_some_and(|code| {
            ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ending: Ending, stakes: Stakes) -> ToolOutcome {
        ending.outcome(stakes, 8).unwrap().outcome
    }

    #[test]
    fn output_is_cut_between_characters() {
        let cut = of(Ending::Returned(Ok("aaaaaaa€b".to_owned().into())), Stakes::Nothing);
        assert_eq!(cut, ToolOutcome::Completed { output: "aaaaaaa".to_owned(), truncated: true });
        let whole = of(Ending::Returned(Ok("12345678".to_owned().into())), Stakes::Effect);
        assert_eq!(
            whole,
            ToolOutcome::Completed { output: "12345678".to_owned(), truncated: false }
        );
    }

    #[test]
    fn nul_is_replaced() {
        let outcome = of(Ending::Returned(Ok("a\0b".to_owned().into())), Stakes::Nothing);
        assert_eq!(
            outcome,
            ToolOutcome::Completed { output: "a\u{fffd}b".to_owned(), truncated: false }
        );
    }

    #[test]
    fn an_error_of_the_tool_is_told_as_it_is() {
        for stakes in [Stakes::Nothing, Stakes::Effect] {
            let failed = of(Ending::Returned(Err(ToolError::failed("no_such", "none"))), stakes);
            assert_eq!(
                failed,
                ToolOutcome::Failed { code: "no_such".to_owned(), message: "none".to_owned() }
            );
            let unknown = of(
                Ending::Returned(Err(ToolError::Unknown { message: "who knows".to_owned() })),
                stakes,
            );
            assert_eq!(unknown, ToolOutcome::Unknown { message: "who know".to_owned() });
        }
    }

    #[test]
    fn a_transaction_that_may_work_later_is_no_outcome() {
        let lost = Ending::Returned(Err(ToolError::Transaction(sqlx::Error::PoolTimedOut)));
        assert!(lost.outcome(Stakes::Nothing, 8).is_err());
        let wrong = Ending::Returned(Err(ToolError::Transaction(sqlx::Error::RowNotFound)));
        assert!(
            matches!(of(wrong, Stakes::Nothing), ToolOutcome::Failed { code, .. } if code == "database_refused")
        );
    }

    #[tokio::test]
    async fn what_does_not_end_depends_on_the_stakes() {
        let limit = Duration::from_millis(5);
        let slow = || bounded(limit, std::future::pending());
        assert_eq!(of(slow().await, Stakes::Nothing).status(), "failed");
        assert_eq!(of(slow().await, Stakes::Effect).status(), "unknown");
        let crash = || bounded(limit, async { panic!("on purpose") });
        assert_eq!(of(crash().await, Stakes::Nothing).status(), "failed");
        assert_eq!(of(crash().await, Stakes::Effect).status(), "unknown");
    }
}
