//! What to do after a failure. Pure.

use std::time::Duration;

use crate::call::Class;

/// Longest wait for the same target while another could be asked instead.
pub(crate) const SHORT: Duration = Duration::from_secs(2);
/// Most requests to one target for one call.
const MOST: usize = 6;
/// Most repeats of a limited request.
const LIMITED: u32 = 5;
/// The same while another target could be asked instead.
const LIMITED_OF_MANY: u32 = 2;
/// Most repeats of a request to a target with troubles of its own.
const OVERLOADED: u32 = 2;
/// A limited target gets no more requests than these within these times.
const PACE: [(usize, Duration); 2] =
    [(2, Duration::from_millis(1500)), (4, Duration::from_secs(3))];

/// What one call has tried on one target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried {
    /// When each request began, since the start of the call.
    asked: Vec<Duration>,
    overloaded: u32,
    transport: u32,
    limited: u32,
    /// The answer had begun, or ended before it was whole.
    restarted: bool,
}

/// A failure, as far as it decides anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) class: Class,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) status: Option<u16>,
}

/// Where the call stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scene {
    /// Since the start of the call.
    pub(crate) now: Duration,
    /// Until the call has to be over.
    pub(crate) left: Duration,
    /// Whether somebody has seen some of the answer.
    pub(crate) shown: bool,
    /// Whether there are targets that have not been asked.
    pub(crate) others: bool,
    /// Whether this target is asked because another failed.
    pub(crate) stands_in: bool,
    /// From 0.5 to 1.5: spreads the repeats of calls that failed together.
    pub(crate) jitter: f64,
    /// Whether what one provider declines another may be asked.
    pub(crate) despite_filter: bool,
}

/// What is done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The same target is asked again after this pause.
    Retry { after: Duration },
    /// Another target is asked; this one again after this pause, if no other answers.
    Another { again: Option<Duration> },
    /// Nobody would do better.
    GiveUp,
}

impl Tried {
    /// Takes note of a request.
    pub(crate) fn ask(&mut self, now: Duration) {
        self.asked.push(now);
    }

    /// What to do after a request failed.
    pub(crate) fn next(&mut self, failed: Failed, scene: Scene) -> Next {
        let wish = self.wish(failed, scene);
        // A pause that outlasts the call helps nobody.
        let fits = |pause: &Duration| *pause < scene.left && self.asked.len() < MOST;
        match wish {
            Next::Retry { after } if fits(&after) => wish,
            Next::Retry { .. } => Next::Another { again: None },
            Next::Another { again } => Next::Another { again: again.filter(fits) },
            Next::GiveUp => Next::GiveUp,
        }
    }

    fn wish(&mut self, failed: Failed, scene: Scene) -> Next {
        let never = Next::Another { again: None };
        match failed.class {
            Class::RateLimited | Class::Overloaded | Class::Transport if scene.shown => {
                self.restart(failed, scene)
            }
            Class::Truncated => self.restart(failed, scene),
            Class::RateLimited => {
                self.limited += 1;
                let most = if scene.others { LIMITED_OF_MANY } else { LIMITED };
                if self.limited > most {
                    return never;
                }
                let pause = self.limited_pause(failed, scene);
                let short = failed.retry_after.is_some_and(|hint| hint <= SHORT);
                if scene.others && !short {
                    return Next::Another { again: Some(pause) };
                }
                Next::Retry { after: pause }
            }
            Class::Overloaded => {
                self.overloaded += 1;
                if self.overloaded > OVERLOADED {
                    return never;
                }
                let pause = back_off(300, self.overloaded - 1, failed, scene);
                if scene.others && pause > SHORT {
                    return Next::Another { again: Some(pause) };
                }
                Next::Retry { after: pause }
            }
            Class::Transport => {
                self.transport += 1;
                if self.transport > 1 {
                    return never;
                }
                Next::Retry { after: back_off(100, 0, failed, scene) }
            }
            // The same route would take as long again.
            Class::Timeout => never,
            // Of this credential, or of this model.
            Class::QuotaExhausted | Class::Auth | Class::NoKey | Class::ContextLength => never,
            // A model that is not there says nothing about the request; nor does a stand-in that
            // dislikes what another was asked.
            Class::Invalid if failed.status == Some(404) || scene.stands_in => never,
            Class::Invalid => Next::GiveUp,
            Class::ContentFilter if scene.despite_filter => never,
            Class::ContentFilter => Next::GiveUp,
        }
    }

    /// The whole answer again: from another target, or once from this one.
    fn restart(&mut self, failed: Failed, scene: Scene) -> Next {
        let first = !std::mem::replace(&mut self.restarted, true);
        let again = first.then(|| match failed.class {
            Class::RateLimited => self.limited_pause(failed, scene),
            _ => back_off(100, 0, failed, scene),
        });
        match again {
            Some(after) if !scene.others => Next::Retry { after },
            again => Next::Another { again },
        }
    }

    /// A hint is kept to, with jitter only on top, so that we never come too early.
    fn limited_pause(&self, failed: Failed, scene: Scene) -> Duration {
        let pause = match failed.retry_after {
            Some(hint) => hint + Duration::from_millis(100).mul_f64(scene.jitter),
            None => back_off(1000, self.limited.saturating_sub(1), failed, scene),
        };
        pause.max(self.earliest().saturating_sub(scene.now))
    }

    /// When the next request keeps the pace.
    fn earliest(&self) -> Duration {
        let earliest = PACE.iter().filter_map(|(most, within)| {
            let oldest = self.asked.len().checked_sub(*most)?;
            Some(*self.asked.get(oldest)? + *within)
        });
        earliest.max().unwrap_or_default()
    }
}

fn back_off(base_ms: u64, tries: u32, failed: Failed, scene: Scene) -> Duration {
    Duration::from_millis(base_ms * 2_u64.pow(tries.min(8)))
        .mul_f64(scene.jitter)
        .max(failed.retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests;
