//! Floods of strangers: keys that were refused a moment ago do not reach the database, and few are
//! answered. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use nexus_contracts::Timestamp;
use sha2::{Digest as _, Sha256};

/// How long a refusal is remembered, in milliseconds.
const REMEMBERED_MS: u64 = 10_000;
/// Wrong keys from one host in that time, after which no unknown key from it is looked at.
const STRIKES: u32 = 16;
const MAX_ENTRIES: usize = 4096;

/// What was refused lately.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    keys: HashMap<[u8; 32], Timestamp>,
    hosts: HashMap<IpAddr, (u32, Timestamp)>,
}

impl Guard {
    /// Whether this key is refused without asking.
    pub(crate) fn refuses(&self, key: &str, host: IpAddr, now: Timestamp) -> bool {
        let struck = self
            .hosts
            .get(&host)
            .is_some_and(|(strikes, until)| *strikes >= STRIKES && *until > now);
        struck || self.keys.get(&digest(key)).is_some_and(|until| *until > now)
    }

    /// Remembers a refusal.
    pub(crate) fn refused(&mut self, key: &str, host: IpAddr, now: Timestamp) {
        let until = now.plus_millis(REMEMBERED_MS);
        if self.keys.len() >= MAX_ENTRIES {
            self.keys.retain(|_, until| *until > now);
        }
        if self.hosts.len() >= MAX_ENTRIES {
            self.hosts.retain(|_, (_, until)| *until > now);
        }
        // Full of fresh refusals: the strikes of the hosts go on counting.
        if self.keys.len() < MAX_ENTRIES {
            self.keys.insert(digest(key), until);
        }
        if self.hosts.len() < MAX_ENTRIES || self.hosts.contains_key(&host) {
            let (strikes, host_until) = self.hosts.entry(host).or_insert((0, until));
            if *host_until <= now {
                (*strikes, *host_until) = (0, until);
            }
            *strikes += 1;
        }
    }
}

/// Errors that strangers are told, all of them together: enough to find one's own mistake, too few
/// to make anybody else busy.
const ERRORS_PER_SECOND: u32 = 1000;
const SECOND_MS: u64 = 1000;

/// How many strangers have been answered in the current second.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    since: Option<Timestamp>,
    answered: u32,
}

impl Strangers {
    /// Whether one more is answered.
    pub(crate) fn may_answer(&mut self, now: Timestamp) -> bool {
        if self.since.is_none_or(|since| now.millis_since(since) >= SECOND_MS) {
            *self = Self { since: Some(now), answered: 0 };
        }
        self.answered = self.answered.saturating_add(1);
        self.answered <= ERRORS_PER_SECOND
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_is_not_looked_at_again_until_its_time_is_up() {
        let (mut guard, host) = (Guard::default(), IpAddr::from([127, 0, 0, 1]));
        let at = Timestamp::from_micros(0);
        guard.refused("wrong", host, at);
        assert!(guard.refuses("wrong", host, at));
        assert!(!guard.refuses("other", host, at));
        assert!(!guard.refuses("wrong", host, at.plus_millis(REMEMBERED_MS)));
    }

    #[test]
    fn a_host_that_guesses_is_shut_out_for_a_while() {
        let (mut guard, host) = (Guard::default(), IpAddr::from([10, 0, 0, 1]));
        let at = Timestamp::from_micros(0);
        for guess in 0..STRIKES {
            assert!(!guard.refuses("next", host, at));
            guard.refused(&guess.to_string(), host, at);
        }
        assert!(guard.refuses("next", host, at));
        assert!(!guard.refuses("next", IpAddr::from([10, 0, 0, 2]), at));
        assert!(!guard.refuses("next", host, at.plus_millis(REMEMBERED_MS)));
    }

    #[test]
    fn few_strangers_are_answered_in_a_second() {
        let (mut strangers, at) = (Strangers::default(), Timestamp::from_micros(0));
        let answered =
            |strangers: &mut Strangers, at| (0..5000).filter(|_| strangers.may_answer(at)).count();
        assert_eq!(answered(&mut strangers, at), 1000);
        assert_eq!(answered(&mut strangers, at.plus_millis(999)), 0);
        assert_eq!(answered(&mut strangers, at.plus_millis(1000)), 1000);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut guard, at) = (Guard::default(), Timestamp::from_micros(0));
        for n in 0..20_000_u32 {
            guard.refused(&n.to_string(), IpAddr::from(n.to_be_bytes()), at);
        }
        assert_eq!((guard.keys.len(), guard.hosts.len()), (MAX_ENTRIES, MAX_ENTRIES));
    }
}
