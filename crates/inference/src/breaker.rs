//! Breakers: a model that fails again and again is left alone for a while. Pure, but for the
//! table of them; time is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Outcomes that are remembered.
const WINDOW: usize = 20;
/// Outcomes before anything is concluded from them.
const ENOUGH: usize = 5;
/// First time that a model is left alone.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// Longest time; each failed probe doubles it.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// When to ask again while somebody else probes.
const WHILE_PROBED: Duration = Duration::from_secs(1);
/// Breakers that are kept; the addresses of people's own servers are without number.
const MAX_BREAKERS: usize = 4096;

/// One breaker. Moments are times since any fixed one.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    /// Whether each of the last calls failed, oldest first.
    recent: VecDeque<bool>,
    state: State,
    /// How long it opens next time.
    pause: Duration,
    /// Counts changes of state: what began before one says nothing after it.
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    Probing,
}

/// Leave to make one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass {
    era: u64,
}

/// What a call says about the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Works,
    Fails,
    /// It was not the model's doing.
    Nothing,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { recent: VecDeque::new(), state: State::Closed, pause: FIRST_PAUSE, era: 0 }
    }
}

impl Breaker {
    /// Leave for a call, or how long until it is worth asking again.
    pub(crate) fn admit(&mut self, now: Duration) -> Result<Pass, Duration> {
        if let Some(again) = self.look(now) {
            return Err(again);
        }
        if self.state != State::Closed {
            self.turn(State::Probing);
        }
        Ok(Pass { era: self.era })
    }

    /// Takes note of how a call ended.
    pub(crate) fn settle(&mut self, pass: Pass, verdict: Verdict, now: Duration) {
        if pass.era != self.era {
            return;
        }
        match (self.state, verdict) {
            (State::Closed, Verdict::Works | Verdict::Fails) => {
                self.recent.push_back(verdict == Verdict::Fails);
                if self.recent.len() > WINDOW {
                    self.recent.pop_front();
                }
                let failed = self.recent.iter().filter(|failed| **failed).count();
                // What works has worked: only a failure opens.
                if verdict == Verdict::Fails
                    && self.recent.len() >= ENOUGH
                    && failed * 2 >= self.recent.len()
                {
                    self.open(now);
                }
            }
            (State::Probing, Verdict::Works) => {
                self.pause = FIRST_PAUSE;
                self.recent.clear();
                self.turn(State::Closed);
            }
            (State::Probing, Verdict::Fails) => self.open(now),
            // The next call probes.
            (State::Probing, Verdict::Nothing) => self.turn(State::Open { until: now }),
            (State::Closed | State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, now: Duration) {
        self.recent.clear();
        self.turn(State::Open { until: now.saturating_add(self.pause) });
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }

    /// How long it is not worth asking; takes nobody's turn to probe.
    pub(crate) fn look(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until } if now < until => Some(until - now),
            State::Probing => Some(WHILE_PROBED),
            State::Open { .. } | State::Closed => None,
        }
    }

    fn is_fresh(&self) -> bool {
        self.state == State::Closed && !self.recent.contains(&true)
    }

    /// Closed, half-open, open.
    fn level(&self) -> f64 {
        match self.state {
            State::Closed => 0.0,
            State::Probing => 1.0,
            State::Open { .. } => 2.0,
        }
    }
}

/// What a breaker is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    pub(crate) provider: String,
    pub(crate) base_url: String,
    pub(crate) model: String,
}

/// The breakers of this process.
#[derive(Debug)]
pub(crate) struct Breakers {
    origin: Instant,
    known: Mutex<HashMap<Line, Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    breaker: Breaker,
    /// When it was last asked for leave.
    used: Duration,
}

impl Default for Breakers {
    fn default() -> Self {
        Self { origin: Instant::now(), known: Mutex::default() }
    }
}

impl Breakers {
    /// How long a model is not worth asking; takes nobody's turn to probe.
    pub(crate) fn look(&self, line: &Line) -> Option<Duration> {
        self.lock().get(line)?.breaker.look(self.origin.elapsed())
    }

    /// Leave for a call, or how long until it is worth asking again. `label`: the model's name in
    /// metrics, of which there are not without number.
    pub(crate) fn admit<'b>(&'b self, line: Line, label: &str) -> Result<Permit<'b>, Duration> {
        let (mut known, now) = (self.lock(), self.origin.elapsed());
        if known.len() >= MAX_BREAKERS && !known.contains_key(&line) {
            make_room(&mut known);
        }
        let Kept { breaker, used } = known.entry(line.clone()).or_default();
        *used = now;
        let (before, admitted) = (breaker.era, breaker.admit(now));
        tell(&line, label, breaker, before);
        drop(known);
        Ok(Permit { breakers: self, pass: admitted?, line, label: label.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Line, Kept>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one call; dropped without a verdict it says nothing about the model.
#[derive(Debug)]
pub(crate) struct Permit<'b> {
    breakers: &'b Breakers,
    line: Line,
    label: String,
    pass: Pass,
}

impl Permit<'_> {
    /// Ends the call.
    pub(crate) fn settle(self, verdict: Verdict) {
        self.note(verdict);
    }

    fn note(&self, verdict: Verdict) {
        let mut known = self.breakers.lock();
        if let Some(Kept { breaker, .. }) = known.get_mut(&self.line) {
            let before = breaker.era;
            breaker.settle(self.pass, verdict, self.breakers.origin.elapsed());
            tell(&self.line, &self.label, breaker, before);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // After a verdict this changes nothing: a probe's pass is of an era gone by, and nothing
        // is what any other says.
        self.note(Verdict::Nothing);
    }
}

/// Forgets what says nothing; where that is too little, a quarter of the rest: the closed before the
/// open, of these the longest unused. Who asks chooses the models' names, so that even the failing
/// are without number.
fn make_room(known: &mut HashMap<Line, Kept>) {
    known.retain(|_, kept| !kept.breaker.is_fresh());
    if known.len() < MAX_BREAKERS {
        return;
    }
    let worth = |kept: &Kept| (kept.breaker.state != State::Closed, kept.used);
    let mut all: Vec<_> = known.iter().map(|(line, kept)| (worth(kept), line.clone())).collect();
    all.sort_unstable_by_key(|(worth, _)| *worth);
    for (_, line) in all.into_iter().take(MAX_BREAKERS / 4) {
        known.remove(&line);
    }
}

/// Shows a change of state.
fn tell(line: &Line, label: &str, breaker: &Breaker, before: u64) {
    if breaker.era == before {
        return;
    }
    let Line { provider, model, .. } = line;
    metrics::gauge!("nexus_inference_breaker_state", "provider" => provider.clone(), "model" => label.to_owned())
        .set(breaker.level());
    match breaker.state {
        State::Open { .. } => {
            tracing::warn!(%provider, %model, "model fails again and again, it is left alone for a while");
        }
        State::Probing => tracing::info!(%provider, %model, "model is tried again"),
        State::Closed => tracing::info!(%provider, %model, "model works again"),
    }
}

#[cfg(test)]
mod tests;
