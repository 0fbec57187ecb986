//! The most that one key is used, over all workers.
//!
//! Each key has a [`Window`] on the bus, changed by compare-and-set: a request goes out only after
//! it has been counted there. A key without limits costs nothing.

mod pools;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::pools::{Grant, Pools, key_of};

use crate::settings::RateLimits;

/// How long a request counts, in seconds: a minute, the second in which it is counted, and one for
/// its way to the provider. So no minute of the provider's clock holds more than the limit.
const COUNTS: i64 = 62;
/// How long slots are held without a word from their holder, in milliseconds.
const HELD: i64 = 10_000;

/// What one key has used, as all workers see it. Pure: time is passed in, in milliseconds since
/// 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// By second.
    used: BTreeMap<i64, Used>,
    /// Requests in flight, by worker.
    held: BTreeMap<Uuid, Held>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    requests: u64,
    tokens: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    slots: u64,
    until: i64,
}

/// What one request is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) worker: Uuid,
    /// Requests of this worker in flight, without this one.
    pub(crate) in_flight: u64,
    pub(crate) tokens: u64,
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// At least until this moment.
    Until(i64),
    /// Until a request in flight ends.
    Slots,
}

impl Window {
    /// Counts a request, and names the second under which it is counted.
    pub(crate) fn take(&mut self, limits: RateLimits, wish: Wish, now: i64) -> Result<i64, Full> {
        self.forget(now);
        let per_minute =
            |limit: Option<std::num::NonZeroU32>| limit.map(|limit| limit.get().into());
        // More than a whole minute's tokens go out alone.
        let most_tokens: Option<u64> = per_minute(limits.tokens_per_minute);
        let tokens = most_tokens.map_or(wish.tokens, |most| wish.tokens.min(most));
        let requests =
            self.free_at(per_minute(limits.requests_per_minute), 1, |used| used.requests);
        let free = requests.max(self.free_at(most_tokens, tokens, |used| used.tokens));
        if let Some(until) = free {
            return Err(Full::Until(until));
        }
        let others = self.held.iter().filter(|(worker, _)| **worker != wish.worker);
        let held: u64 = others.map(|(_, held)| held.slots).sum::<u64>() + wish.in_flight;
        if limits.concurrency.is_some_and(|most| held >= most.get().into()) {
            return Err(Full::Slots);
        }
        // A clock that is behind the others' counts with theirs.
        let last = self.used.last_key_value().map_or(i64::MIN, |(second, _)| *second);
        let second = now.div_euclid(1000).max(last);
        let used = self.used.entry(second).or_default();
        used.requests += 1;
        used.tokens += tokens;
        if limits.concurrency.is_some() {
            self.hold(wish.worker, wish.in_flight + 1, now);
        }
        Ok(second)
    }

    /// Counts what a request really used in place of what it was taken to use.
    pub(crate) fn correct(&mut self, second: i64, taken: u64, used: u64) {
        if let Some(counted) = self.used.get_mut(&second) {
            counted.tokens = counted.tokens.saturating_sub(taken).saturating_add(used);
        }
    }

    /// Takes back a request that was never made.
    pub(crate) fn uncount(&mut self, second: i64, tokens: u64) {
        if let Some(counted) = self.used.get_mut(&second) {
            counted.requests = counted.requests.saturating_sub(1);
            counted.tokens = counted.tokens.saturating_sub(tokens);
        }
    }

    /// Says how many requests a worker has in flight.
    pub(crate) fn hold(&mut self, worker: Uuid, slots: u64, now: i64) {
        if slots == 0 {
            self.held.remove(&worker);
        } else {
            self.held.insert(worker, Held { slots, until: now + HELD });
        }
    }

    /// Whether a worker has slots.
    pub(crate) fn holds(&self, worker: Uuid) -> bool {
        self.held.contains_key(&worker)
    }

    fn forget(&mut self, now: i64) {
        let oldest = now.div_euclid(1000) - COUNTS;
        self.used.retain(|second, _| *second > oldest);
        self.held.retain(|_, held| held.until > now);
    }

    /// When there is room for so much more; `None` when there is now.
    fn free_at(&self, most: Option<u64>, more: u64, of: impl Fn(&Used) -> u64) -> Option<i64> {
        let most = most?;
        let mut sum: u64 = self.used.values().map(&of).sum();
        if sum + more <= most {
            return None;
        }
        let mut until = None;
        for (second, used) in &self.used {
            until = Some((second + COUNTS) * 1000);
            sum -= of(used);
            if sum + more <= most {
                break;
            }
        }
        until
    }
}

#[cfg(test)]
mod tests;
