//! One call, put to its targets until one answers or none would.
//!
//! What to do after a failure is decided in [`next`], which target comes when in [`course`]: both
//! pure. Here is what happens in between.

mod ask;
mod course;
mod ledger;
pub(crate) mod lost;
mod next;
mod samples;
mod step;
mod target;
mod telemetry;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nexus_contracts::{Consensus, Event, InferenceRequest, KeyOwner, Usage};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::ask::verdict;
pub(crate) use self::ledger::{Ledger, payer};
pub(crate) use self::target::Waits;
pub(crate) use self::telemetry::{Asked, model_label};

use self::course::Pick;
use self::step::{Progress, Step};
use crate::breaker::Breakers;
use crate::call::{CallError, Class, Completion};
use crate::choice::Choice;
use crate::cooling::{Cooling, Shared};
use crate::failure::Cause;
use crate::files::Files;
use crate::limits::Pools;
use crate::live::Live;
use crate::providers::Providers;

/// What all calls of this process share.
pub(crate) struct Engine {
    pub(crate) providers: Providers,
    pub(crate) breakers: Breakers,
    pub(crate) cooling: Cooling,
    /// What other workers know of limited credentials.
    pub(crate) shared: Shared,
    pub(crate) pools: Pools,
    pub(crate) rules: Rules,
}

/// What the operator chose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Longest wait for the first piece of an answer while another target could be asked.
    pub(crate) first_token: Duration,
    /// Whether what one provider declines the next is asked.
    pub(crate) fallback_on_content_filter: bool,
}

/// A call, or one sample of it.
pub(crate) struct Job<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) event: &'a Event<InferenceRequest>,
    pub(crate) files: &'a Files,
    pub(crate) ledger: &'a Ledger<'a>,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Which of several samples it is, from 0.
    sample: Option<u32>,
    /// Told when the answer begins.
    begun: Option<&'a Notify>,
    /// The target in hand.
    current: AtomicUsize,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Who answered, or whose failure it is.
    pub(crate) choice: Choice,
    /// Where that is, for people.
    pub(crate) place: String,
    pub(crate) result: Result<Answer, Cause>,
}

/// A whole answer, and what it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) completion: Completion,
    pub(crate) usage: Usage,
    pub(crate) key: Option<KeyOwner>,
    /// How far several samples agree.
    pub(crate) consensus: Option<Consensus>,
}

impl<'a> Job<'a> {
    /// A call that starts now.
    pub(crate) fn new(
        engine: &'a Engine,
        event: &'a Event<InferenceRequest>,
        files: &'a Files,
        ledger: &'a Ledger<'a>,
        started: Instant,
    ) -> Self {
        let deadline = started + Duration::from_millis(event.payload.timeout_ms);
        let (sample, begun, current) = (None, None, AtomicUsize::new(0));
        Self { engine, event, files, ledger, started, deadline, sample, begun, current }
    }

    /// The same call once more.
    fn again(&self) -> Self {
        let Self { engine, event, files, ledger, started, .. } = *self;
        Self::new(engine, event, files, ledger, started)
    }

    /// The target in hand.
    fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Asks until there is an answer or no hope of one. `choices` is not empty.
    pub(crate) async fn run(&self, choices: &[Choice], live: &mut Live) -> Ended {
        let mut progress = Progress::new(choices.len());
        while Instant::now() < self.deadline {
            let at = match progress.course.pick(self.started.elapsed()) {
                Pick::Over => break,
                Pick::Wait(at, until) if self.started + until >= self.deadline => {
                    progress.course.rule_out(at);
                    continue;
                }
                Pick::Wait(_, until) => {
                    sleep_until(self.started + until).await;
                    continue;
                }
                Pick::Ask(at) => at,
            };
            let Some(choice) = choices.get(at) else { break };
            if let Step::Answered(answer) = self.step(&mut progress, at, choice, live).await {
                return self.ended(choice, Ok(*answer));
            }
        }
        match progress.blamed().and_then(|(at, cause)| Some((choices.get(at)?, cause))) {
            Some((choice, cause)) => self.ended(choice, Err(cause)),
            None => self.nobody(choices),
        }
    }

    /// How a call ends that was never put to anybody.
    fn nobody(&self, choices: &[Choice]) -> Ended {
        let none = || Choice { provider: "none".to_owned(), model: String::new() };
        let late = CallError::new(Class::Timeout, "there was no time left to ask");
        self.ended(&choices.first().cloned().unwrap_or_else(none), Err(Cause::Call(late)))
    }

    fn ended(&self, choice: &Choice, result: Result<Answer, Cause>) -> Ended {
        let entry = self.engine.providers.entry(&choice.provider);
        let place = entry.map(|entry| entry.provider.place().to_owned()).unwrap_or_default();
        Ended { choice: choice.clone(), place, result }
    }

    /// From 0.5 to 1.5, the same for the same attempt of the same call.
    fn jitter(&self, number: u32) -> f64 {
        let id = self.event.id.as_bytes();
        let salt = number.wrapping_mul(40_503).wrapping_add(self.sample.unwrap_or(0) * 7919);
        let [.., high, low] = salt.to_be_bytes();
        let hash = u16::from_be_bytes([id[14] ^ high, id[15] ^ low]);
        0.5 + f64::from(hash) / f64::from(u16::MAX)
    }
}
