//! One call, tried as often as makes sense.

use std::time::Duration;

use nexus_contracts::Finish;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::call::{Call, CallError, Class, Completion, Provider};
use crate::live::Live;

/// Attempts that can be told apart within one delivery: the first, and the one restart.
pub(crate) const STARTS: u32 = 2;
/// Most waits for a provider that limits us.
const MAX_WAITS: u32 = 5;

/// One call at one provider.
pub(crate) struct Attempts<'a> {
    pub(crate) name: &'a str,
    pub(crate) provider: &'a dyn Provider,
    pub(crate) call: Call<'a>,
    /// Spreads the retries of calls that failed together.
    pub(crate) id: Uuid,
    /// Number of the first attempt.
    pub(crate) first: u32,
    pub(crate) deadline: Instant,
}

/// What has been tried.
#[derive(Debug, Default)]
struct Tried {
    overloaded: u32,
    transport: u32,
    limited: u32,
    /// The answer had begun, or ended before it began.
    restarted: bool,
}

impl Attempts<'_> {
    /// Calls until there is an answer or no hope of one.
    pub(crate) async fn run(&self, mut live: Live) -> Result<Completion, CallError> {
        let mut tried = Tried::default();
        loop {
            let result = self.provider.complete(self.call, &mut live).await;
            let error = match result {
                Ok(completion) if is_empty(&completion) && !tried.restarted => {
                    CallError::new(Class::Truncated, "the answer was empty")
                }
                Ok(completion) => return Ok(completion),
                Err(error) => error,
            };
            let Some(pause) = tried.pause(&error, live.begun(), self.jitter()) else {
                return Err(error);
            };
            if Instant::now() + pause >= self.deadline {
                return Err(error);
            }
            let class = error.class.as_str();
            tracing::warn!(provider = self.name, class, error = %error.message, pause_ms = pause.as_millis(), "model call failed, trying again");
            metrics::counter!("nexus_inference_retries_total", "provider" => self.name.to_owned(), "class" => class)
                .increment(1);
            sleep(pause).await;
            if live.begun() {
                live.restart(self.first + 1);
            }
        }
    }

    /// From 0.5 to 1.5, the same for the same call.
    fn jitter(&self) -> f64 {
        let hash = u16::from_be_bytes([self.id.as_bytes()[14], self.id.as_bytes()[15]]);
        0.5 + f64::from(hash) / f64::from(u16::MAX)
    }
}

/// An empty answer is a failure that calls itself success.
fn is_empty(completion: &Completion) -> bool {
    completion.finish == Finish::Stop
        && completion.text.trim().is_empty()
        && completion.tool_calls.is_empty()
}

impl Tried {
    /// How long to wait before trying again; `None` when that does not help.
    fn pause(&mut self, error: &CallError, begun: bool, jitter: f64) -> Option<Duration> {
        let back_off = |base_ms: u64, tries: u32| {
            Duration::from_millis(base_ms * 2_u64.pow(tries.min(8)))
                .mul_f64(jitter)
                .max(error.retry_after.unwrap_or_default())
        };
        if begun {
            return match error.class {
                Class::RateLimited | Class::Overloaded | Class::Transport | Class::Truncated => {
                    (!std::mem::replace(&mut self.restarted, true)).then(|| back_off(200, 0))
                }
                Class::QuotaExhausted
                | Class::Timeout
                | Class::Auth
                | Class::NoKey
                | Class::Invalid
                | Class::ContextLength
                | Class::ContentFilter => None,
            };
        }
        let next = |tried: &mut u32, most: u32| {
            *tried += 1;
            (*tried <= most).then_some(*tried - 1)
        };
        match error.class {
            Class::Overloaded => next(&mut self.overloaded, 2).map(|tries| back_off(300, tries)),
            Class::Transport => next(&mut self.transport, 1).map(|tries| back_off(100, tries)),
            Class::RateLimited => {
                let tries = next(&mut self.limited, MAX_WAITS)?;
                // A hint is kept to; jitter only on top, so that we never come too early.
                Some(match error.retry_after {
                    Some(hint) => hint + Duration::from_millis(100).mul_f64(jitter),
                    None => back_off(1000, tries),
                })
            }
            Class::Truncated => {
                (!std::mem::replace(&mut self.restarted, true)).then(|| back_off(100, 0))
            }
            // The same route would take as long again.
            Class::Timeout => None,
            Class::QuotaExhausted
            | Class::Auth
            | Class::NoKey
            | Class::Invalid
            | Class::ContextLength
            | Class::ContentFilter => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(class: Class, begun: bool) -> usize {
        let mut tried = Tried::default();
        let error = CallError::new(class, "");
        std::iter::from_fn(|| tried.pause(&error, begun, 1.0)).take(20).count()
    }

    #[test]
    fn each_class_is_tried_as_often_as_makes_sense() {
        for (class, before, after) in [
            (Class::Overloaded, 2, 1),
            (Class::Transport, 1, 1),
            (Class::RateLimited, 5, 1),
            (Class::Truncated, 1, 1),
            (Class::Timeout, 0, 0),
            (Class::QuotaExhausted, 0, 0),
            (Class::Auth, 0, 0),
            (Class::Invalid, 0, 0),
            (Class::ContentFilter, 0, 0),
        ] {
            assert_eq!((pauses(class, false), pauses(class, true)), (before, after), "{class:?}");
        }
    }

    #[test]
    fn provider_is_not_asked_before_it_said() {
        let error = CallError {
            retry_after: Some(Duration::from_secs(3)),
            ..CallError::new(Class::RateLimited, "")
        };
        assert!(
            Tried::default()
                .pause(&error, false, 0.5)
                .is_some_and(|pause| pause >= Duration::from_secs(3))
        );
    }
}
