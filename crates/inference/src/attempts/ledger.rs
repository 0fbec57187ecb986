//! What a call has tried and what that cost, also when it is cut off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nexus_contracts::{Attempt, AttemptLimits, Cost, InferenceRequest, KeyOwner, Timestamp, Usage};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::{CallError, Completion, Piece, Sink};
use crate::failure::Cause;
use crate::fit;
use crate::models::Facts;

/// What was tried for one call, over all its deliveries.
#[derive(Debug)]
pub(crate) struct Ledger<'r> {
    request: &'r InferenceRequest,
    now: fn() -> Timestamp,
    estimate: OnceLock<u64>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    attempts: Vec<Attempt>,
    /// The last number that was given.
    last: u32,
    requests: u32,
    spent: u64,
    /// What the attempts in flight are expected to cost.
    reserved: u64,
    /// Time spent in attempts.
    busy: Duration,
}

impl<'r> Ledger<'r> {
    /// An empty ledger.
    pub(crate) fn new(request: &'r InferenceRequest, now: fn() -> Timestamp) -> Self {
        Self { request, now, estimate: OnceLock::new(), entries: Mutex::default() }
    }

    /// About how many tokens the request has.
    pub(crate) fn estimate(&self) -> u64 {
        *self.estimate.get_or_init(|| fit::estimate(self.request))
    }

    /// Whether one more request, expected to cost so much, keeps the request's limits: those in
    /// flight count as what they are expected to cost, and those of killed workers as well.
    pub(crate) fn allows(&self, expected: u64) -> Result<(), Cause> {
        self.lock().allow(self.request.limits, expected)
    }

    /// Enters a request that is being made, if the limits allow it: samples begin together, so that
    /// what one of them may take is reserved for it.
    pub(crate) fn begin<'l>(
        &'l self,
        model: &str,
        sample: Option<u32>,
        key: Option<KeyOwner>,
        facts: &'l Facts,
        expected: u64,
        seen: &'l Seen,
    ) -> Result<Running<'l, 'r>, Cause> {
        let mut entries = self.lock();
        entries.allow(self.request.limits, expected)?;
        entries.last += 1;
        entries.requests += 1;
        entries.reserved = entries.reserved.saturating_add(expected);
        let attempt = Some(Attempt { key, ..blank(entries.last, model, sample) });
        drop(entries);
        Ok(Running { ledger: self, attempt, facts, expected, seen, started: Instant::now() })
    }

    /// Enters a request that is not made, and why.
    pub(crate) fn skip(&self, model: &str, sample: Option<u32>, cause: &Cause) {
        let mut entries = self.lock();
        entries.last += 1;
        let failure = Some(cause.label().to_owned());
        let attempt = Attempt { asked: false, failure, ..blank(entries.last, model, sample) };
        entries.attempts.push(attempt);
    }

    /// Enters what a killed worker had begun.
    pub(crate) fn lost(&self, attempt: Attempt) {
        let mut entries = self.lock();
        entries.last = entries.last.max(attempt.number);
        entries.requests += 1;
        entries.take(attempt);
    }

    /// Numbers that come are greater than this.
    pub(crate) fn go_on_after(&self, number: u32) {
        let mut entries = self.lock();
        entries.last = entries.last.max(number);
    }

    /// Time spent in the only attempt, which has answered: the rest is our own.
    pub(crate) fn smooth(&self) -> Option<Duration> {
        let entries = self.lock();
        match entries.attempts.as_slice() {
            [Attempt { failure: None, .. }] => Some(entries.busy),
            _ => None,
        }
    }

    /// The last number that was given.
    pub(crate) fn last(&self) -> u32 {
        self.lock().last
    }

    /// All attempts in order, and what they cost together.
    pub(crate) fn close(&self) -> (Vec<Attempt>, Option<Cost>) {
        let mut attempts = std::mem::take(&mut self.lock().attempts);
        attempts.sort_by_key(|attempt| attempt.number);
        let costs = || attempts.iter().filter_map(|attempt| attempt.cost.as_ref());
        let microusd = costs().fold(0_u64, |sum, cost| sum.saturating_add(cost.microusd));
        // One price stands for all: that of the last, not always of the answer's where several
        // samples were asked for.
        let cost = costs().next_back().map(|cost| Cost { microusd, price: cost.price.clone() });
        (attempts, cost)
    }

    /// What a usage costs, where the provider does not say it itself.
    pub(crate) fn cost(&self, facts: &Facts, usage: Usage, said: Option<u64>) -> Option<Cost> {
        let said = said.map(|microusd| Cost { microusd, price: "provider".to_owned() });
        said.or_else(|| facts.cost(usage, (self.now)()))
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn allow(&self, limits: AttemptLimits, expected: u64) -> Result<(), Cause> {
        if limits.max_attempts.is_some_and(|most| self.requests >= most.get()) {
            return Err(Cause::Exhausted { attempts: self.requests });
        }
        let taken = self.spent.saturating_add(self.reserved);
        let left = limits.max_cost_microusd.map_or(u64::MAX, |most| most.saturating_sub(taken));
        if expected > left { Err(Cause::Dear { microusd: expected, left }) } else { Ok(()) }
    }

    fn take(&mut self, attempt: Attempt) {
        let cost = attempt.cost.as_ref().map_or(0, |cost| cost.microusd);
        self.spent = self.spent.saturating_add(cost);
        self.attempts.push(attempt);
    }
}

/// Whose key paid for a call that nobody answered, as far as tokens were used.
pub(crate) fn payer(attempts: &[Attempt]) -> Option<KeyOwner> {
    attempts.iter().rfind(|attempt| attempt.usage.is_some()).and_then(|attempt| attempt.key)
}

/// An attempt of which nothing is known yet.
pub(super) fn blank(number: u32, model: &str, sample: Option<u32>) -> Attempt {
    Attempt {
        number,
        model: model.to_owned(),
        sample,
        asked: true,
        key: None,
        failure: None,
        http_status: None,
        provider_request_id: None,
        first_token_ms: None,
        duration_ms: 0,
        usage: None,
        cost: None,
    }
}

/// A request in the making; dropped without an end it was cut off.
#[derive(Debug)]
pub(crate) struct Running<'l, 'r> {
    ledger: &'l Ledger<'r>,
    /// Until it is entered.
    attempt: Option<Attempt>,
    facts: &'l Facts,
    /// Reserved for it, in millionths of a US dollar.
    expected: u64,
    seen: &'l Seen,
    started: Instant,
}

impl Running<'_, '_> {
    pub(crate) fn number(&self) -> u32 {
        self.attempt.as_ref().map_or(0, |attempt| attempt.number)
    }

    /// The answer is whole: enters it, and says what it used.
    pub(crate) fn answered(mut self, completion: &Completion) -> Usage {
        let usage = completion.usage.unwrap_or_else(|| self.estimated());
        let id = completion.provider_request_id.clone();
        let cost = self.ledger.cost(self.facts, usage, completion.cost_microusd);
        self.enter(|attempt| Attempt {
            provider_request_id: id,
            usage: Some(usage),
            cost,
            ..attempt
        });
        usage
    }

    /// It failed. What a provider does not report is not billed, unless we ended it.
    pub(crate) fn failed(mut self, error: &CallError, ours: bool) {
        let cut = ours && self.seen.first_ms().is_some();
        let usage = error.usage.or_else(|| cut.then(|| self.estimated()));
        let cost = usage.and_then(|usage| self.ledger.cost(self.facts, usage, None));
        self.enter(|attempt| Attempt {
            failure: Some(error.class.as_str().to_owned()),
            http_status: error.status,
            provider_request_id: error.provider_request_id.clone(),
            usage,
            cost,
            ..attempt
        });
    }

    /// Counted from the texts.
    fn estimated(&self) -> Usage {
        Usage { estimated: true, ..Usage::of(self.ledger.estimate(), self.seen.tokens()) }
    }

    fn enter(&mut self, end: impl FnOnce(Attempt) -> Attempt) {
        if let Some(mut attempt) = self.attempt.take() {
            attempt.duration_ms = millis(self.started);
            attempt.first_token_ms = self.seen.first_ms();
            let mut entries = self.ledger.lock();
            entries.busy += self.started.elapsed();
            entries.reserved = entries.reserved.saturating_sub(self.expected);
            entries.take(end(attempt));
        }
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        if self.attempt.is_some() {
            let usage = self.estimated();
            let cost = self.ledger.cost(self.facts, usage, None);
            let failure = Some("cancelled".to_owned());
            self.enter(|attempt| Attempt { failure, usage: Some(usage), cost, ..attempt });
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What has been seen of an answer so far.
#[derive(Debug)]
pub(crate) struct Seen {
    started: Instant,
    /// Milliseconds until the first piece, and one more.
    first: AtomicU64,
    characters: AtomicU64,
}

impl Default for Seen {
    fn default() -> Self {
        let (first, characters) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { started: Instant::now(), first, characters }
    }
}

impl Seen {
    /// When the first piece came, in milliseconds; `None` while none has.
    pub(crate) fn first_ms(&self) -> Option<u64> {
        self.first.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Since the attempt began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// About how many tokens came: four characters each.
    fn tokens(&self) -> u64 {
        self.characters.load(Ordering::Relaxed).div_ceil(4)
    }
}

/// Hears an answer on its way to who shows it.
pub(crate) struct Ear<'s, S> {
    pub(crate) seen: &'s Seen,
    /// Told when the answer begins.
    pub(crate) begun: Option<&'s Notify>,
    pub(crate) next: &'s mut S,
}

impl<S: Sink> Sink for Ear<'_, S> {
    fn take(&mut self, piece: Piece<'_>) {
        if self.seen.first.load(Ordering::Relaxed) == 0 {
            self.seen.first.store(millis(self.seen.started).saturating_add(1), Ordering::Relaxed);
            if let Some(begun) = self.begun {
                begun.notify_one();
            }
        }
        if let Piece::Text(text) | Piece::Reasoning(text) = piece {
            let characters = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            self.seen.characters.fetch_add(characters, Ordering::Relaxed);
        }
        self.next.take(piece);
    }
}

#[cfg(test)]
mod tests;
