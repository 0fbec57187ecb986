//! When messages take effect, and those whose time has not come. Pure.

use std::collections::{BTreeMap, HashMap};

use nexus_contracts::Timestamp;
use nexus_osc_codec::{Message, TimeTag};
use uuid::Uuid;

use crate::peer::Peer;

/// A time tag that lies further ahead is refused: more likely a wrong clock than a plan.
pub(crate) const MAX_AHEAD_MS: u64 = 10_000;
/// Messages that wait, of all sessions and of one.
const MAX_HELD: usize = 4096;
const MAX_HELD_OF_SESSION: usize = 256;
const MAX_HELD_BYTES: usize = 4 << 20;

/// When a message takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Now,
    /// Its time has passed, so now.
    Late,
    At(Timestamp),
    TooFar,
}

impl Due {
    pub(crate) fn of(tag: TimeTag, now: Timestamp) -> Self {
        if tag.is_immediate() {
            return Self::Now;
        }
        let at = Timestamp::from_micros(tag.unix_micros());
        let furthest = now.plus_millis(MAX_AHEAD_MS);
        match at {
            at if at < now => Self::Late,
            at if at == now => Self::Now,
            at if at > furthest => Self::TooFar,
            at => Self::At(at),
        }
    }
}

/// A message whose time has not come.
#[derive(Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) session: Uuid,
    pub(crate) source: Peer,
    pub(crate) message: Message,
    /// About what it takes in memory.
    pub(crate) bytes: usize,
}

/// Messages in the order of their times; bounded.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    waiting: BTreeMap<(Timestamp, u64), Held>,
    /// Keeps messages of one moment in their order.
    next: u64,
    of_session: HashMap<Uuid, usize>,
    bytes: usize,
}

impl Schedule {
    /// Keeps a message until its time; `false` when too many wait.
    pub(crate) fn hold(&mut self, at: Timestamp, held: Held) -> bool {
        let of_session = self.of_session.get(&held.session).copied().unwrap_or(0);
        if self.waiting.len() >= MAX_HELD
            || of_session >= MAX_HELD_OF_SESSION
            || self.bytes + held.bytes > MAX_HELD_BYTES
        {
            return false;
        }
        self.bytes += held.bytes;
        self.of_session.insert(held.session, of_session + 1);
        self.waiting.insert((at, self.next), held);
        self.next += 1;
        true
    }

    /// When the next message takes effect.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next message whose time has come.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<Held> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let held = first.remove();
        self.bytes -= held.bytes;
        if let Some(count) = self.of_session.get_mut(&held.session) {
            *count -= 1;
            if *count == 0 {
                self.of_session.remove(&held.session);
            }
        }
        Some(held)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).plus_millis(millis)
    }

    fn tag(millis: u64) -> TimeTag {
        TimeTag::from_unix_micros(at(millis).as_micros())
    }

    fn held(session: u128, address: &str, bytes: usize) -> Held {
        let source = Peer::Udp(([127, 0, 0, 1], 9).into());
        let message = Message::new(address, Vec::new());
        Held { session: Uuid::from_u128(session), source, message, bytes }
    }

    #[test]
    fn a_time_tag_says_now_late_later_or_too_far() {
        let due = |tag| Due::of(tag, at(1000));
        assert_eq!(due(TimeTag::IMMEDIATE), Due::Now);
        assert_eq!(due(TimeTag(0)), Due::Now);
        assert_eq!(due(tag(1000)), Due::Now);
        assert_eq!(due(tag(999)), Due::Late);
        assert_eq!(due(tag(1001)), Due::At(at(1001)));
        assert_eq!(due(tag(11_000)), Due::At(at(11_000)));
        assert_eq!(due(tag(11_001)), Due::TooFar);
        assert_eq!(due(TimeTag(u64::MAX)), Due::TooFar);
    }

    #[test]
    fn messages_come_at_their_time_in_their_order() {
        let mut schedule = Schedule::default();
        for (millis, address) in [(30, "/c"), (10, "/a"), (10, "/b")] {
            assert!(schedule.hold(at(millis), held(1, address, 1)));
        }
        let mut due = |millis| {
            std::iter::from_fn(|| schedule.take_due(at(millis)))
                .map(|held| held.message.address)
                .collect::<Vec<_>>()
        };
        assert_eq!(due(9), Vec::<String>::new());
        assert_eq!(due(10), ["/a", "/b"]);
        assert_eq!(due(31), ["/c"]);
        assert_eq!((schedule.next_due(), schedule.len(), schedule.bytes), (None, 0, 0));
        assert!(schedule.of_session.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_for_each_and_for_all() {
        let mut schedule = Schedule::default();
        let fits = |schedule: &mut Schedule, session, bytes| {
            (0..=MAX_HELD).take_while(|_| schedule.hold(at(9), held(session, "/a", bytes))).count()
        };
        assert_eq!(fits(&mut schedule, 0, 1), MAX_HELD_OF_SESSION);
        let all: usize = (1..40).map(|session| fits(&mut schedule, session, 1)).sum();
        assert_eq!(all, MAX_HELD - MAX_HELD_OF_SESSION);
        assert_eq!(fits(&mut Schedule::default(), 0, MAX_HELD_BYTES / 4), 4);
    }
}
