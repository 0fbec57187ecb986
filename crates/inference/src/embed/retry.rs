//! How often a batch of texts is tried, and with which pauses. Pure.

use std::time::Duration;

use crate::call::{CallError, Class};

/// Most tries again of a provider that has trouble of its own.
const OVERLOADED: u32 = 2;
/// Most waits for a provider that limits us.
const LIMITED: u32 = 5;
/// Most tries again after a connection or an answer broke.
const BROKEN: u32 = 1;

/// What has been tried, over all batches of a request.
#[derive(Debug, Default)]
pub(super) struct Tried {
    overloaded: u32,
    limited: u32,
    transport: u32,
    truncated: u32,
}

impl Tried {
    /// How long to wait before trying again; `None` when that does not help. `jitter` is from 0.5
    /// to 1.5.
    pub(super) fn pause(&mut self, error: &CallError, jitter: f64) -> Option<Duration> {
        let back_off = |base_ms: u64, tries: u32| {
            let pause = Duration::from_millis(base_ms * 2_u64.pow(tries)).mul_f64(jitter);
            match error.retry_after {
                // A hint is kept to; jitter only on top, so that we never come too early.
                Some(hint) => hint + Duration::from_millis(100).mul_f64(jitter),
                None => pause,
            }
        };
        let next = |tried: &mut u32, most: u32| {
            let tries = *tried;
            *tried += 1;
            (tries < most).then_some(tries)
        };
        match error.class {
            Class::Overloaded => next(&mut self.overloaded, OVERLOADED).map(|n| back_off(300, n)),
            Class::RateLimited => next(&mut self.limited, LIMITED).map(|n| back_off(1000, n)),
            Class::Transport => next(&mut self.transport, BROKEN).map(|n| back_off(100, n)),
            Class::Truncated => next(&mut self.truncated, BROKEN).map(|n| back_off(100, n)),
            // The same route would take as long again; the others fail again.
            Class::Timeout
            | Class::QuotaExhausted
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

    #[test]
    fn each_class_is_tried_as_often_as_makes_sense() {
        for (class, again) in [
            (Class::Overloaded, 2),
            (Class::RateLimited, 5),
            (Class::Transport, 1),
            (Class::Truncated, 1),
            (Class::Timeout, 0),
            (Class::QuotaExhausted, 0),
            (Class::Auth, 0),
            (Class::NoKey, 0),
            (Class::Invalid, 0),
            (Class::ContextLength, 0),
            (Class::ContentFilter, 0),
        ] {
            let (mut tried, error) = (Tried::default(), CallError::new(class, ""));
            let pauses = std::iter::from_fn(|| tried.pause(&error, 1.0)).take(20).count();
            assert_eq!(pauses, again, "{class:?}");
        }
    }

    #[test]
    fn a_provider_is_not_asked_before_it_said() {
        let hint = Some(Duration::from_secs(3));
        for class in [Class::RateLimited, Class::Overloaded] {
            let error = CallError { retry_after: hint, ..CallError::new(class, "") };
            assert!(Tried::default().pause(&error, 0.5) > hint, "{class:?}");
        }
    }
}
