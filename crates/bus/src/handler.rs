use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use nexus_contracts::{Event, Payload, Timestamp};

/// What a worker does with one event.
///
/// A handler is a function from one event to its outcome. The runner publishes, waits for the
/// stream's confirmation, then acknowledges. Handlers never acknowledge, publish or spawn.
pub trait Handler: Send + Sync + 'static {
    type In: Payload;
    type Out: Payload;
    type Error: Fault;

    /// Works on one event; `None` when nothing is to be said.
    ///
    /// May be called again for the same event.
    fn handle(
        &self,
        event: &Event<Self::In>,
        delivery: Delivery,
    ) -> impl Future<Output = Result<Option<Event<Self::Out>>, Self::Error>> + Send;

    /// What to say about an event that is given up, so that nobody waits for it in vain.
    fn give_up(&self, _event: &Event<Self::In>, _reason: &str) -> Option<Event<Self::Out>> {
        None
    }
}

/// The circumstances of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub sequence: u64,
    /// When the stream stored the event.
    pub stored_at: Timestamp,
    /// Counts from 1.
    pub attempt: u64,
}

/// An error that knows whether trying again helps.
pub trait Fault: StdError + Send + Sync + 'static {
    fn disposition(&self) -> Disposition;

    /// Whether nothing is wrong and the event only has to wait for its turn.
    fn is_wait(&self) -> bool {
        false
    }
}

/// What becomes of an event whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Deliver it again after this time.
    Retry(Duration),
    /// It never works: dead letter.
    Reject,
}

/// Prints an error with all its causes.
pub struct Chain<'a>(pub &'a (dyn StdError + Send + Sync + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
