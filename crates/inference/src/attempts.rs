//! One call, put to its targets until one answers or none would.
//!
//! What to do after a failure is decided in [`next`], which target comes when in [`course`]: both
//! pure. Here is what happens in between.

mod course;
mod ledger;
pub(crate) mod lost;
mod next;
mod samples;
mod target;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nexus_contracts::{Consensus, Event, Finish, InferenceRequest, KeyOwner, Usage};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::ledger::Ledger;

use self::course::{Course, Pick};
use self::ledger::{Ear, Running, Seen};
use self::next::{Failed, Next, SHORT, Scene};
use self::target::{Target, Waits};
use crate::breaker::{Breakers, Verdict};
use crate::call::{Call, CallError, Class, Completion};
use crate::choice::Choice;
use crate::cooling::{Cooling, Shared};
use crate::failure::Cause;
use crate::files::Files;
use crate::limits::{Grant, Pools};
use crate::live::Live;
use crate::providers::Providers;
use crate::settings::RateLimits;

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

/// A call in progress.
struct Progress<'a> {
    course: Course,
    targets: Vec<Option<Target<'a>>>,
    /// What is said if nobody answers.
    blame: Option<(usize, Cause)>,
    /// Targets that take no more than this would find the request too long as well.
    longer_than: Option<u64>,
    /// Whether a provider was asked and failed.
    failed: bool,
}

/// What became of looking at a target.
enum Step {
    Answered(Box<Answer>),
    Go,
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
        let mut progress = Progress {
            course: Course::new(choices.len()),
            targets: choices.iter().map(|_| None).collect(),
            blame: None,
            longer_than: None,
            failed: false,
        };
        loop {
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
        match progress.blame.and_then(|(at, cause)| Some((choices.get(at)?, cause))) {
            Some((choice, cause)) => self.ended(choice, Err(cause)),
            None => self.nobody(choices),
        }
    }

    /// How a call ends that there is nobody to put to.
    fn nobody(&self, choices: &[Choice]) -> Ended {
        let none = || Choice { provider: "none".to_owned(), model: String::new() };
        self.ended(&choices.first().cloned().unwrap_or_else(none), Err(Cause::Gone))
    }

    fn ended(&self, choice: &Choice, result: Result<Answer, Cause>) -> Ended {
        let entry = self.engine.providers.entry(&choice.provider);
        let place = entry.map(|entry| entry.provider.place().to_owned()).unwrap_or_default();
        Ended { choice: choice.clone(), place, result }
    }

    /// Asks one target, if it can be asked now.
    async fn step(
        &self,
        progress: &mut Progress<'a>,
        at: usize,
        choice: &Choice,
        live: &mut Live,
    ) -> Step {
        let ready = match progress.targets.get_mut(at).and_then(Option::take) {
            Some(target) => Ok(target),
            None => Target::ready(&self.engine.providers, self.event, self.files, choice).await,
        };
        let target = match ready {
            Ok(target) => target,
            Err(cause) => {
                self.pass(progress, at, choice, cause);
                return Step::Go;
            }
        };
        let step = self.put(progress, at, &target, live).await;
        if let Some(place) = progress.targets.get_mut(at) {
            *place = Some(target);
        }
        step
    }

    /// Leaves a target aside that cannot be asked.
    fn pass(&self, progress: &mut Progress<'_>, at: usize, choice: &Choice, cause: Cause) {
        let model = choice.full_name();
        tracing::info!(%model, reason = cause.label(), "model passed over");
        self.ledger.skip(&model, self.sample, &cause);
        progress.course.rule_out(at);
        progress.blame(at, cause);
    }

    async fn put(
        &self,
        progress: &mut Progress<'_>,
        at: usize,
        target: &Target<'_>,
        live: &mut Live,
    ) -> Step {
        let others = progress.course.has_others(at);
        if let Some(rest) = self.engine.cooling.rest(&target.credential, &target.choice.model) {
            let again = rest.until.saturating_duration_since(Instant::now());
            let until = self.started.elapsed()
                + again
                + Duration::from_millis(100).mul_f64(self.jitter(self.ledger.last()));
            let waits = rest.class == Class::RateLimited && self.started + until < self.deadline;
            progress.blame(at, Cause::resting(&rest, again));
            match (waits, others) {
                (true, true) if again > SHORT => progress.course.postpone(at, until),
                (true, _) => progress.course.wait(at, until),
                (false, _) => {
                    let cause = Cause::resting(&rest, again);
                    self.pass(progress, at, &target.choice, cause);
                }
            }
            return Step::Go;
        }
        if let Some(cause) = self.unaffordable(progress, target) {
            self.pass(progress, at, &target.choice, cause);
            return Step::Go;
        }
        let grant = match self.leave(target, others).await {
            Ok(grant) => grant,
            Err(again) => {
                let class = Class::RateLimited;
                let message = "its limit in our own settings is used up".to_owned();
                let cause = Cause::Resting { class, message, again };
                let until = self.started.elapsed() + again;
                if others && self.started + until < self.deadline {
                    progress.blame(at, cause);
                    progress.course.postpone(at, until);
                } else {
                    self.pass(progress, at, &target.choice, cause);
                }
                return Step::Go;
            }
        };
        let permit = match self.engine.breakers.admit(target.line.clone()) {
            Ok(permit) => permit,
            Err(again) => {
                self.pass(progress, at, &target.choice, Cause::Open { again });
                return Step::Go;
            }
        };
        progress.course.ask(at, self.started.elapsed());
        self.current.store(at, Ordering::Relaxed);
        let seen = Seen::default();
        let running = self.ledger.begin(&target.full_name, self.sample, &target.facts, &seen);
        live.begin(running.number(), &target.full_name);
        let waits = target.waits(others, self.engine.rules.first_token);
        let error = match self.ask(target, waits, &seen, live).await {
            Ok(completion) => {
                permit.settle(Verdict::Works);
                let usage = running.answered(&completion);
                grant.settle(usage.input_tokens.saturating_add(usage.output_tokens));
                let key = target.credential.owner;
                let answer = Answer { completion, usage, key, consensus: None };
                return Step::Answered(Box::new(answer));
            }
            Err(error) => error,
        };
        permit.settle(verdict(&error, waits, self.deadline));
        if let Some(usage) = error.usage {
            grant.settle(usage.input_tokens.saturating_add(usage.output_tokens));
        }
        drop(grant);
        self.failed(progress, at, target, error, running, &seen).await;
        Step::Go
    }

    /// Leave for one request of the target's key, where it has limits.
    async fn leave(&self, target: &Target<'_>, others: bool) -> Result<Grant, Duration> {
        let limits = target.entry.endpoint().map(|endpoint| endpoint.limits).unwrap_or_default();
        if limits == RateLimits::default() {
            return Ok(Grant::default());
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = if others { left.min(SHORT) } else { left };
        let tokens = self.ledger.estimate().saturating_add(target.expected_output());
        let asked = Instant::now();
        let pools = &self.engine.pools;
        let granted = pools.admit(&target.credential.id, limits, tokens, patience).await;
        let provider = target.choice.provider.clone();
        metrics::histogram!("nexus_inference_ratelimit_wait_seconds", "provider" => provider)
            .record(asked.elapsed().as_secs_f64());
        granted
    }

    /// Why a target may not be asked any more, or not at this price.
    fn unaffordable(&self, progress: &Progress<'_>, target: &Target<'_>) -> Option<Cause> {
        let limits = self.event.payload.limits;
        let requests = self.ledger.requests();
        if limits.max_attempts.is_some_and(|most| requests >= most.get()) {
            return Some(Cause::Exhausted { attempts: requests });
        }
        if let (Some(tokens), Some(limit)) = (progress.longer_than, target.facts.context_tokens)
            && limit <= tokens
        {
            let tokens = self.ledger.estimate().max(tokens.saturating_add(1));
            return Some(Cause::Unfit(crate::fit::Unfit::Context { tokens, limit }));
        }
        let most = limits.max_cost_microusd?;
        let left = most.saturating_sub(self.ledger.spent());
        let expected = Usage::of(self.ledger.estimate(), target.expected_output());
        // What nobody knows the price of is taken to cost nothing.
        let cost = self.ledger.cost(&target.facts, expected, None);
        let microusd = cost.map_or(0, |cost| cost.microusd);
        (microusd > left || (left == 0 && most > 0)).then_some(Cause::Dear { microusd, left })
    }

    /// One attempt.
    async fn ask(
        &self,
        target: &Target<'_>,
        waits: Waits,
        seen: &Seen,
        live: &mut Live,
    ) -> Result<Completion, CallError> {
        let began = Instant::now();
        let call = Call {
            full_name: &target.full_name,
            model: &target.choice.model,
            request: &target.request,
            files: self.files,
            credential: &target.credential,
            patience: waits.patience,
        };
        let mut ear = Ear { seen, begun: self.begun, next: live };
        let answering = target.entry.provider.complete(call, &mut ear);
        // Other events of an answer reset its idle time, never this.
        let silent = async {
            match waits.first_token {
                Some(first_token) => {
                    sleep_until(began + first_token).await;
                    if seen.first_ms().is_some() {
                        std::future::pending::<()>().await;
                    }
                    first_token
                }
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = answering => result,
            () = sleep_until(self.deadline) => {
                let limit = self.deadline.saturating_duration_since(self.started).as_secs_f32();
                Err(CallError::new(Class::Timeout, &format!("no whole answer within {limit} s")))
            }
            limit = silent => {
                let limit = limit.as_secs_f32();
                Err(CallError::new(Class::Timeout, &format!("nothing of the answer within {limit} s")))
            }
        };
        match result {
            Ok(completion) if is_empty(&completion) => Err(CallError {
                usage: completion.usage,
                provider_request_id: completion.provider_request_id,
                ..CallError::new(Class::Truncated, EMPTY)
            }),
            result => result,
        }
    }

    /// Draws the consequences of a failure.
    async fn failed(
        &self,
        progress: &mut Progress<'_>,
        at: usize,
        target: &Target<'_>,
        error: CallError,
        running: Running<'_, '_>,
        seen: &Seen,
    ) {
        let number = running.number();
        let ours = error.class == Class::Timeout;
        running.failed(&error, ours);
        let (credential, model) = (&target.credential, &target.choice.model);
        if let Some(rest) = self.engine.cooling.note(credential, model, &error) {
            self.engine.shared.tell(&credential.id, rest).await;
        }
        if error.class == Class::Transport {
            self.engine.providers.doubt();
        }
        if error.class == Class::ContextLength {
            progress.longer_than = progress.longer_than.max(target.facts.context_tokens);
        }
        let scene = Scene {
            now: self.started.elapsed(),
            left: self.deadline.saturating_duration_since(Instant::now()),
            shown: seen.first_ms().is_some(),
            others: progress.course.has_others(at),
            stands_in: progress.failed && at > 0,
            jitter: self.jitter(number),
            despite_filter: self.engine.rules.fallback_on_content_filter,
        };
        let CallError { class, retry_after, status, .. } = error;
        let next = progress.course.failed(at, Failed { class, retry_after, status }, scene);
        tell(target, &error, next, scene.others);
        progress.failed = true;
        progress.blame(at, Cause::Call(error));
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

impl Progress<'_> {
    /// What a provider said says more than why one was not asked; of equals the first counts.
    fn blame(&mut self, at: usize, cause: Cause) {
        let replace = match &self.blame {
            None => true,
            Some((of, known)) => {
                let (known, new) = (known.was_asked(), cause.was_asked());
                (new && !known) || (new == known && *of == at)
            }
        };
        if replace {
            self.blame = Some((at, cause));
        }
    }
}

const EMPTY: &str = "the answer was empty";

/// An empty answer is a failure that calls itself success.
fn is_empty(completion: &Completion) -> bool {
    completion.finish == Finish::Stop
        && completion.text.trim().is_empty()
        && completion.tool_calls.is_empty()
}

/// What a failure says about the model, whoever asks it.
fn verdict(error: &CallError, waits: Waits, deadline: Instant) -> Verdict {
    match error.class {
        Class::Overloaded | Class::Transport => Verdict::Fails,
        // One question may have no answer.
        Class::Truncated if error.message == EMPTY => Verdict::Nothing,
        Class::Truncated => Verdict::Fails,
        // The caller waited no longer.
        Class::Timeout if waits.hurried || Instant::now() >= deadline => Verdict::Nothing,
        Class::Timeout => Verdict::Fails,
        Class::RateLimited
        | Class::QuotaExhausted
        | Class::Auth
        | Class::NoKey
        | Class::Invalid
        | Class::ContextLength
        | Class::ContentFilter => Verdict::Nothing,
    }
}

fn tell(target: &Target<'_>, error: &CallError, next: Next, others: bool) {
    let (model, class) = (&target.full_name, error.class.as_str());
    let provider = target.choice.provider.clone();
    match next {
        Next::Retry { after } => {
            tracing::warn!(%model, class, error = %error.message, pause_ms = after.as_millis(), "model call failed, trying again");
            metrics::counter!("nexus_inference_retries_total", "provider" => provider, "class" => class).increment(1);
        }
        Next::Another { .. } if others => {
            tracing::warn!(%model, class, error = %error.message, "model call failed, asking another model");
            metrics::counter!("nexus_inference_fallbacks_total", "provider" => provider, "class" => class).increment(1);
        }
        Next::Another { .. } | Next::GiveUp => {
            tracing::warn!(%model, class, error = %error.message, "model call failed");
        }
    }
}
