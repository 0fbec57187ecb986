//! How fast a bot may send.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::state::{is_group, whole_seconds};

/// How fast a bot may send.
///
/// # Source
/// "Bots FAQ", "My bot is hitting limits": about 30 messages a second in all, one a second to one
/// chat, 20 a minute to one group. The real limits are softer and unpublished.
#[derive(Debug, Default)]
pub(super) struct Limits {
    all: VecDeque<Instant>,
    chats: HashMap<i64, VecDeque<Instant>>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Limits {
    /// Counts a message, or says after how many seconds it may come.
    pub(super) fn admit(&mut self, chat: i64, now: Instant) -> Result<(), u64> {
        let of_chat = self.chats.entry(chat).or_default();
        for times in [&mut self.all, &mut *of_chat] {
            while times.front().is_some_and(|at| now.duration_since(*at) > MINUTE) {
                times.pop_front();
            }
        }
        let waits = [
            wait(&self.all, 30, SECOND, now),
            wait(of_chat, 1, SECOND, now),
            if is_group(chat) { wait(of_chat, 20, MINUTE, now) } else { None },
        ];
        if let Some(wait) = waits.into_iter().flatten().max() {
            return Err(whole_seconds(wait));
        }
        of_chat.push_back(now);
        self.all.push_back(now);
        Ok(())
    }
}

/// How long until fewer than `most` of `times` lie within `window`.
fn wait(
    times: &VecDeque<Instant>,
    most: usize,
    window: Duration,
    now: Instant,
) -> Option<Duration> {
    let limiting = times.iter().rev().nth(most - 1)?;
    window.checked_sub(now.duration_since(*limiting)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_to_a_chat_and_twenty_a_minute_to_a_group() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        assert_eq!(limits.admit(1, start), Ok(()));
        assert_eq!(limits.admit(1, start + SECOND / 2), Err(1));
        assert_eq!(limits.admit(2, start + SECOND / 2), Ok(()));
        assert_eq!(limits.admit(1, start + SECOND), Ok(()));
        for second in 0..20 {
            assert_eq!(limits.admit(-7, start + SECOND * second), Ok(()));
        }
        assert_eq!(limits.admit(-7, start + SECOND * 20), Err(40));
    }

    #[test]
    fn thirty_a_second_in_all() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for chat in 1..=30 {
            assert_eq!(limits.admit(chat, start), Ok(()));
        }
        assert_eq!(limits.admit(31, start), Err(1));
        assert_eq!(limits.admit(31, start + SECOND), Ok(()));
    }
}
