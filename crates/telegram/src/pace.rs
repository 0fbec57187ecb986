//! How fast a bot may send, over all that it sends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::Limits;

const MINUTE: Duration = Duration::from_secs(60);
/// Longest wait for a call's turn before its delivery goes back to the stream.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages a minute of a group that are kept back for final answers.
const RESERVE: usize = 6;
/// Chats that are remembered; far more than can be served in a minute.
const MOST: usize = 20_000;

/// Counts what goes out and says when the next may. Cheap to clone; one for each bot.
///
/// Final answers wait for their turn; what shows progress goes out now or not at all, so that it
/// never delays an answer. Calls to one chat are made one after the other, and counted when they
/// end: a call that was late on its way must not arrive together with the next.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// When the next call of any chat may go out.
    next: Instant,
    chats: HashMap<i64, Chat>,
}

#[derive(Debug, Default)]
struct Chat {
    /// Ends of the calls of the last minute, oldest first; of private chats only the last.
    recent: VecDeque<Instant>,
    is_busy: bool,
    /// Final answers that wait.
    waiting: usize,
    /// Telegram takes nothing for this chat before.
    blocked: Option<Instant>,
}

/// The right to make one call to a chat.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    chat: i64,
}

impl Pace {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State { next: Instant::now(), chats: HashMap::new() };
        let (state, changed) = (Mutex::new(state), Notify::new());
        Self { shared: Arc::new(Shared { limits, state, changed }) }
    }

    /// Waits until the chat may get a message.
    ///
    /// # Errors
    /// How long to stay away, when it is not soon.
    pub(crate) async fn admit(&self, chat: i64) -> Result<Permit, Duration> {
        let _waiting = Waiting::new(&self.shared, chat);
        let end = Instant::now() + PATIENCE;
        let slot = loop {
            let changed = self.shared.changed.notified();
            let wait = match self.shared.lock().take(chat, 0, &self.shared.limits) {
                Ok(slot) => break slot,
                Err(wait) => wait,
            };
            if Instant::now() + wait > end {
                return Err(wait);
            }
            let _ = tokio::time::timeout(wait, changed).await;
        };
        let permit = Permit { shared: Arc::clone(&self.shared), chat };
        tokio::time::sleep_until(slot).await;
        Ok(permit)
    }

    /// The right to make a call that nobody waits for, if it may go out now.
    pub(crate) fn try_admit(&self, chat: i64) -> Option<Permit> {
        let mut state = self.shared.lock();
        let is_wanted = state.chats.get(&chat).is_some_and(|chat| chat.waiting > 0);
        if is_wanted || state.next > Instant::now() {
            return None;
        }
        state.take(chat, RESERVE, &self.shared.limits).ok()?;
        Some(Permit { shared: Arc::clone(&self.shared), chat })
    }

    /// Whether a sign that is no message may go out now; it counts against the overall limit only.
    pub(crate) fn try_sign(&self, chat: i64) -> bool {
        let mut state = self.shared.lock();
        let now = Instant::now();
        let blocked = state.chats.get(&chat).and_then(|chat| chat.blocked);
        if state.next > now || blocked.is_some_and(|blocked| blocked > now) {
            return false;
        }
        state.next = now + self.shared.limits.spacing();
        true
    }

    /// Least time between two messages to one chat.
    pub(crate) fn chat_interval(&self) -> Duration {
        self.shared.limits.chat_interval
    }

    /// Nothing goes to this chat for `wait`.
    pub(crate) fn block(&self, chat: i64, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.shared.lock();
        let chat = state.chats.entry(chat).or_default();
        chat.blocked = chat.blocked.max(Some(until));
    }
}

impl State {
    /// Takes the chat, and returns when the call may go out; or how long to wait.
    fn take(&mut self, id: i64, reserve: usize, limits: &Limits) -> Result<Instant, Duration> {
        let now = Instant::now();
        if self.chats.len() > MOST {
            self.chats.retain(|_, chat| !chat.is_idle(now));
        }
        let chat = self.chats.entry(id).or_default();
        if chat.is_busy {
            return Err(Duration::from_millis(50));
        }
        let wait = chat.wait(id, reserve, limits, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        chat.is_busy = true;
        let slot = self.next.max(now);
        self.next = slot + limits.spacing();
        Ok(slot)
    }
}

impl Chat {
    /// How long until the next message may come, with `reserve` messages of a group left over.
    fn wait(&self, id: i64, reserve: usize, limits: &Limits, now: Instant) -> Duration {
        let after =
            |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let last = self.recent.back().map(|last| *last + limits.chat_interval);
        let most = usize::try_from(limits.group_per_minute).unwrap_or(usize::MAX);
        let most = most.saturating_sub(reserve).max(1);
        let full = (id < 0).then(|| self.recent.iter().rev().nth(most - 1)).flatten();
        let full = full.map(|oldest| *oldest + MINUTE);
        after(self.blocked).max(after(last)).max(after(full))
    }

    fn is_idle(&self, now: Instant) -> bool {
        let is_old = self.recent.back().is_none_or(|last| *last + MINUTE < now);
        let is_free = self.blocked.is_none_or(|until| until < now);
        is_old && is_free && !self.is_busy && self.waiting == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.shared.lock();
        if let Some(chat) = state.chats.get_mut(&self.chat) {
            chat.is_busy = false;
            chat.recent.retain(|at| self.chat < 0 && *at + MINUTE > now);
            chat.recent.push_back(now);
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

/// A final answer that waits, as long as it does.
struct Waiting<'a> {
    shared: &'a Shared,
    chat: i64,
}

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared, chat: i64) -> Self {
        shared.lock().chats.entry(chat).or_default().waiting += 1;
        Self { shared, chat }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(chat) = self.shared.lock().chats.get_mut(&self.chat) {
            chat.waiting = chat.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace::new(Limits::default())
    }

    /// How long it takes, in tenths of a second.
    async fn tenths(future: impl Future<Output = Result<Permit, Duration>>) -> u128 {
        let start = Instant::now();
        drop(future.await.unwrap());
        start.elapsed().as_millis() / 100
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_gets_one_message_a_second_and_others_do_not_wait_for_it() {
        let pace = pace();
        assert_eq!(tenths(pace.admit(7)).await, 0);
        assert_eq!(tenths(pace.admit(8)).await, 0);
        assert_eq!(tenths(pace.admit(7)).await, 9, "a second after the first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_gets_twenty_messages_a_minute_and_a_few_are_kept_for_answers() {
        let pace = pace();
        for _ in 0..14 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(pace.try_admit(-7).is_some());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(pace.try_admit(-7).is_none());
        for _ in 0..6 {
            assert!(pace.admit(-7).await.is_ok());
        }
        let wait = pace.admit(-7).await.unwrap_err();
        assert!(wait > Duration::from_secs(30) && wait <= MINUTE, "{wait:?}");
        tokio::time::sleep(wait).await;
        assert!(pace.admit(-7).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_that_is_blocked_waits_alone() {
        let pace = pace();
        pace.block(7, Duration::from_secs(30));
        assert_eq!(pace.admit(7).await.unwrap_err(), Duration::from_secs(30));
        assert!(pace.try_admit(7).is_none() && !pace.try_sign(7));
        assert_eq!(tenths(pace.admit(8)).await, 0);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(tenths(pace.admit(7)).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_shows_progress_never_goes_before_an_answer_that_waits() {
        let pace = pace();
        let first = pace.admit(7).await.unwrap();
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move { pace.admit(7).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        tokio::time::sleep(Duration::from_millis(999)).await;
        assert!(pace.try_admit(7).is_none());
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn all_chats_together_get_thirty_a_second() {
        let pace = pace();
        let start = Instant::now();
        let all = (1..=90).map(|chat| {
            let pace = pace.clone();
            async move { pace.admit(chat).await.map(drop) }
        });
        futures_util::future::try_join_all(all).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 3);
    }
}
