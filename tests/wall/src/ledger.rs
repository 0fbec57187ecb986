//! What was asked, what it was charged, and how far each scenario is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::Protocol;
use crate::answer::Bill;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// An answer began.
    Answered,
    /// The scenario wanted a failure instead of an answer.
    Failed,
    /// Refused, with the rule that it broke.
    BrokeRule(String),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub protocol: Protocol,
    pub method: String,
    /// Without the host, with the query.
    pub path: String,
    pub model: String,
    /// Whose request it is; empty without one.
    pub key: String,
    /// In lower case, without those that hold the key.
    pub headers: Vec<(String, String)>,
    /// Null where it was no JSON.
    pub body: Value,
    /// When it was there as a whole.
    pub at: Instant,
    /// When its answer was over, or the client gone; `None` while it is being answered.
    pub ended: Option<Instant>,
    /// Whether every byte of the answer was taken.
    pub whole: bool,
    pub verdict: Verdict,
}

/// What a key has been charged for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Charge {
    /// Whole answers.
    pub answers: u64,
    /// Cached ones included.
    pub input_tokens: u64,
    /// Reasoning included.
    pub output_tokens: u64,
    /// Read from the cache, of the input.
    pub cached_tokens: u64,
    /// Of the output.
    pub reasoning_tokens: u64,
    /// Answers that did not reach their end; nothing is charged for them here.
    pub lost_answers: u64,
}

#[derive(Default)]
struct Pages {
    seen: Vec<Seen>,
    charges: HashMap<String, Charge>,
    /// How often each model was asked with a request that kept the rules, and when first.
    counts: HashMap<(Protocol, String), (u32, Instant)>,
    /// What a model thought, and must be given back.
    thoughts: HashMap<(Protocol, String), Vec<Value>>,
}

/// Everything that a wall remembers.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<Pages>);

/// Stands for an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry(usize);

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, seen: Seen) -> Entry {
        let mut pages = self.pages();
        pages.seen.push(seen);
        Entry(pages.seen.len() - 1)
    }

    /// Which attempt at this model it is, from 1, and when the first was.
    pub(crate) fn count(&self, protocol: Protocol, model: &str, now: Instant) -> (u32, Instant) {
        let mut pages = self.pages();
        let count = pages.counts.entry((protocol, model.to_owned())).or_insert((0, now));
        count.0 += 1;
        *count
    }

    pub(crate) fn judge(&self, Entry(at): Entry, verdict: Verdict) {
        // A reset may have been in between.
        if let Some(seen) = self.pages().seen.get_mut(at) {
            seen.verdict = verdict;
        }
    }

    /// The answer is over.
    pub(crate) fn end(&self, Entry(at): Entry, bill: &Bill, whole: bool) {
        let mut pages = self.pages();
        let Some(seen) = pages.seen.get_mut(at) else {
            return;
        };
        seen.ended = Some(Instant::now());
        seen.whole = whole;
        let key = seen.key.clone();
        let charge = pages.charges.entry(key).or_default();
        if whole {
            charge.answers += 1;
            charge.input_tokens += bill.input;
            charge.output_tokens += bill.output;
            charge.cached_tokens += bill.cached;
            charge.reasoning_tokens += bill.reasoning;
        } else {
            charge.lost_answers += 1;
        }
    }

    /// A request that got no answer is over.
    pub(crate) fn close(&self, Entry(at): Entry) {
        if let Some(seen) = self.pages().seen.get_mut(at) {
            seen.ended = Some(Instant::now());
        }
    }

    pub(crate) fn think(&self, protocol: Protocol, model: &str, thoughts: Vec<Value>) {
        self.pages().thoughts.entry((protocol, model.to_owned())).or_default().extend(thoughts);
    }

    /// Whether the model wrote exactly this.
    pub(crate) fn thought(&self, protocol: Protocol, model: &str, thought: &Value) -> bool {
        let pages = self.pages();
        pages
            .thoughts
            .get(&(protocol, model.to_owned()))
            .is_some_and(|thoughts| thoughts.contains(thought))
    }

    /// Whether the model ever thought.
    pub(crate) fn has_thoughts(&self, protocol: Protocol, model: &str) -> bool {
        let pages = self.pages();
        let thoughts = pages.thoughts.get(&(protocol, model.to_owned()));
        thoughts.is_some_and(|thoughts| !thoughts.is_empty())
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.pages().seen.clone()
    }

    pub(crate) fn charged(&self, key: &str) -> Charge {
        self.pages().charges.get(key).copied().unwrap_or_default()
    }

    pub(crate) fn reset(&self) {
        *self.pages() = Pages::default();
    }
}
