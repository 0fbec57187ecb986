//! One target of a call: whether it can be asked now, and what follows when it fails.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nexus_contracts::Usage;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::ask::verdict;
use super::course::Course;
use super::ledger::{Running, Seen};
use super::next::{Failed, Next, SHORT, Scene};
use super::target::Target;
use super::{Answer, Job, telemetry};
use crate::breaker::Verdict;
use crate::call::{CallError, Class};
use crate::choice::Choice;
use crate::cooling::Rest;
use crate::failure::Cause;
use crate::fit::Unfit;
use crate::limits::Grant;
use crate::live::Live;
use crate::settings::RateLimits;

/// A call in progress.
pub(super) struct Progress<'a> {
    pub(super) course: Course,
    targets: Vec<Option<Target<'a>>>,
    /// What is said if nobody answers.
    blame: Option<(usize, Cause)>,
    /// Targets that take no more than this would find the request too long as well.
    longer_than: Option<u64>,
    /// Whether a provider was asked and failed.
    failed: bool,
}

/// What became of looking at a target.
pub(super) enum Step {
    Answered(Box<Answer>),
    Go,
}

impl Progress<'_> {
    pub(super) fn new(targets: usize) -> Self {
        Self {
            course: Course::new(targets),
            targets: std::iter::repeat_with(|| None).take(targets).collect(),
            blame: None,
            longer_than: None,
            failed: false,
        }
    }

    /// Which target's failure is shown.
    pub(super) fn blamed(self) -> Option<(usize, Cause)> {
        self.blame
    }

    /// What a provider said says more than why one was not asked; of equals the first counts, of
    /// those that are left alone the one that is tried again first.
    fn blame(&mut self, at: usize, cause: Cause) {
        let replace = match &self.blame {
            None => true,
            Some((_, Cause::Open { again: known })) if matches!(cause, Cause::Open { .. }) => {
                matches!(cause, Cause::Open { again } if again < *known)
            }
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

impl<'a> Job<'a> {
    /// Asks one target, if it can be asked now.
    pub(super) async fn step(
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
            self.rest(progress, at, target, &rest);
            return Step::Go;
        }
        let expected = self.expected(target);
        if let Err(cause) = self.affordable(progress, target, expected) {
            self.pass(progress, at, &target.choice, cause);
            return Step::Go;
        }
        // Before a request is counted that would not be made.
        if let Some(again) = self.engine.breakers.look(&target.line) {
            self.pass(progress, at, &target.choice, Cause::Open { again });
            return Step::Go;
        }
        let grant = match self.leave(target, others).await {
            Ok(grant) => grant,
            Err(again) => {
                self.postpone(progress, at, target, again);
                return Step::Go;
            }
        };
        let seen = Seen::default();
        let label = telemetry::model_label(&target.entry, &target.facts, &target.choice.model);
        let admitted = self.engine.breakers.admit(target.line.clone(), label);
        let begun = admitted.map_err(|again| Cause::Open { again }).and_then(|permit| {
            let (name, key) = (&target.full_name, target.credential.owner);
            let begun =
                self.ledger.begin(name, self.sample, key, &target.facts, expected, &seen)?;
            Ok((permit, begun))
        });
        let (permit, running) = match begun {
            Ok(begun) => begun,
            Err(cause) => {
                grant.give_back();
                self.pass(progress, at, &target.choice, cause);
                return Step::Go;
            }
        };
        progress.course.ask(at, self.started.elapsed());
        self.current.store(at, Ordering::Relaxed);
        live.begin(running.number(), &target.full_name);
        let waits = target.waits(others, self.engine.rules.first_token);
        let span = telemetry::span(self.event, target);
        let asking = self.ask(target, waits, &seen, live).instrument(span.clone());
        let error = match asking.await {
            Ok(completion) => {
                permit.settle(Verdict::Works);
                let usage = running.answered(&completion);
                telemetry::answered(&span, target, &completion, usage, &seen);
                grant.settle(usage.input_tokens.saturating_add(usage.output_tokens));
                let key = target.credential.owner;
                let answer = Answer { completion, usage, key, consensus: None };
                return Step::Answered(Box::new(answer));
            }
            Err(error) => error,
        };
        permit.settle(verdict(&error, waits, self.deadline));
        telemetry::failed(&span, target, &error, &seen);
        if let Some(usage) = error.usage {
            grant.settle(usage.input_tokens.saturating_add(usage.output_tokens));
        }
        drop(grant);
        self.failed(progress, at, target, error, running, &seen).await;
        Step::Go
    }

    /// The target's key rests: waits for it, or leaves it aside.
    fn rest(&self, progress: &mut Progress<'_>, at: usize, target: &Target<'_>, rest: &Rest) {
        let again = rest.until.saturating_duration_since(Instant::now());
        let apart = Duration::from_millis(100).mul_f64(self.jitter(self.ledger.last()));
        let until = self.started.elapsed() + again + apart;
        let cause = Cause::resting(rest, again);
        if rest.class != Class::RateLimited || self.started + until >= self.deadline {
            return self.pass(progress, at, &target.choice, cause);
        }
        progress.blame(at, cause);
        progress.course.rest(at, again, until);
    }

    /// The target's key has used up its limits in our own settings.
    fn postpone(
        &self,
        progress: &mut Progress<'_>,
        at: usize,
        target: &Target<'_>,
        again: Duration,
    ) {
        let message = "its limit in our own settings is used up".to_owned();
        let cause = Cause::Resting { class: Class::RateLimited, message, again };
        let until = self.started.elapsed() + again;
        if progress.course.has_others(at) && self.started + until < self.deadline {
            progress.blame(at, cause);
            progress.course.postpone(at, until);
        } else {
            self.pass(progress, at, &target.choice, cause);
        }
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

    /// What asking a target is expected to cost, in millionths of a US dollar. What nobody knows
    /// the price of is taken to cost nothing.
    fn expected(&self, target: &Target<'_>) -> u64 {
        let expected = Usage::of(self.ledger.estimate(), target.expected_output());
        self.ledger.cost(&target.facts, expected, None).map_or(0, |cost| cost.microusd)
    }

    /// Why a target may not be asked any more, or not at this price.
    fn affordable(
        &self,
        progress: &Progress<'_>,
        target: &Target<'_>,
        expected: u64,
    ) -> Result<(), Cause> {
        if let (Some(tokens), Some(limit)) = (progress.longer_than, target.facts.context_tokens)
            && limit <= tokens
        {
            let tokens = self.ledger.estimate().max(tokens.saturating_add(1));
            return Err(Cause::Unfit(Unfit::Context { tokens, limit }));
        }
        self.ledger.allows(expected)
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
        if error.refuses_the_key() {
            let wallet = self.engine.providers.wallet();
            wallet.refused(self.event.metadata.tenant, credential).await;
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
