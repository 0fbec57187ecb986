//! One lane per chat: answers go out one after the other, in stream order.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_contracts::Token;
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

/// An answer that should have been tried again this long ago is somebody else's by now.
const FORGET: Duration = Duration::from_secs(60);
/// Longest wait for one's turn before the delivery goes back to the stream.
const PATIENCE: Duration = Duration::from_secs(5);
/// The chats that have answers on their way. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What an answer takes at least.
    each: Duration,
    lanes: Mutex<HashMap<Token, Lane>>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Lane {
    /// By stream sequence.
    answers: BTreeMap<u64, Answer>,
    /// Telegram takes nothing for this chat before.
    blocked: Option<Instant>,
}

#[derive(Debug)]
struct Answer {
    event: Uuid,
    working: bool,
    /// Tries that failed; waiting for one's turn is none.
    failures: u32,
    /// When it is tried next.
    due: Instant,
}

/// The right to send one answer; given back when dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
    chat: Token,
    sequence: u64,
}

impl Lanes {
    /// `each` is what an answer takes at least: who stands far back comes again later.
    pub(crate) fn new(each: Duration) -> Self {
        let (lanes, left) = (Mutex::default(), Notify::new());
        Self { shared: Arc::new(Shared { each, lanes, left }) }
    }

    /// Lines an answer up, so that one that comes later in the stream waits for it.
    pub(crate) fn line_up(&self, chat: &Token, sequence: u64, event: Uuid) {
        let now = Instant::now();
        let mut lanes = self.shared.lock();
        let answers = &mut lanes.entry(chat.clone()).or_default().answers;
        let new = Answer { event, working: false, failures: 0, due: now };
        answers.entry(sequence).or_insert(new).due = now;
    }

    /// Waits for this answer's turn.
    ///
    /// # Errors
    /// How long to stay away, when it is not its turn soon.
    pub(crate) async fn enter(&self, chat: &Token, sequence: u64) -> Result<Turn, Duration> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = self.shared.left.notified();
            let wait = match self.shared.try_enter(chat, sequence) {
                Ok(()) => {
                    return Ok(Turn {
                        shared: Arc::clone(&self.shared),
                        chat: chat.clone(),
                        sequence,
                    });
                }
                Err(wait) => wait,
            };
            let now = Instant::now();
            if now + wait > end {
                return Err(wait);
            }
            let _ = tokio::time::timeout(wait.max(Duration::from_millis(50)), left).await;
        }
    }

    /// Forgets an answer that is given up.
    pub(crate) fn forget(&self, chat: &Token, event: Uuid) {
        let mut lanes = self.shared.lock();
        if let Some(lane) = lanes.get_mut(chat) {
            lane.answers.retain(|_, answer| answer.event != event);
        }
        self.shared.tidy(&mut lanes, chat);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Token, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn, or says when to ask again.
    fn try_enter(&self, chat: &Token, sequence: u64) -> Result<(), Duration> {
        let now = Instant::now();
        let mut lanes = self.lock();
        let lane = lanes.entry(chat.clone()).or_default();
        if let Some(blocked) = lane.blocked.filter(|blocked| *blocked > now) {
            return Err(blocked - now);
        }
        lane.answers.retain(|other, answer| {
            *other >= sequence || answer.working || answer.due + FORGET > now
        });
        if let Some((_, other)) =
            lane.answers.iter().find(|(other, answer)| **other != sequence && answer.working)
        {
            return Err(other.due.saturating_duration_since(now).max(Duration::from_secs(1)));
        }
        match lane.answers.first_key_value() {
            Some((first, other)) if *first < sequence => {
                // Not all at once when it is free again: each has those before it to wait for.
                let ahead = lane.answers.range(..sequence).count();
                let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
                Err(other.due.saturating_duration_since(now) + self.each.saturating_mul(ahead))
            }
            _ => {
                if let Some(answer) = lane.answers.get_mut(&sequence) {
                    answer.working = true;
                }
                Ok(())
            }
        }
    }

    fn tidy(&self, lanes: &mut HashMap<Token, Lane>, chat: &Token) {
        let now = Instant::now();
        let is_idle =
            |lane: &Lane| lane.answers.is_empty() && lane.blocked.is_none_or(|until| until <= now);
        if lanes.get(chat).is_some_and(is_idle) {
            lanes.remove(chat);
        }
        self.left.notify_waiters();
    }
}

impl Turn {
    /// The answer is out, or never will be.
    pub(crate) fn finish(self) {
        let mut lanes = self.shared.lock();
        if let Some(lane) = lanes.get_mut(&self.chat) {
            lane.answers.remove(&self.sequence);
        }
    }

    /// Counts a try that failed, and returns how many did before.
    pub(crate) fn fail(&self) -> u32 {
        let mut before = 0;
        self.change(|answer| {
            before = answer.failures;
            answer.failures = before.saturating_add(1);
        });
        before
    }

    /// The answer is tried again after `wait`.
    pub(crate) fn put_off(self, wait: Duration) {
        self.change(|answer| answer.due = Instant::now() + wait);
    }

    /// Nothing goes to this chat for `wait`.
    pub(crate) fn block(&self, wait: Duration) {
        let mut lanes = self.shared.lock();
        if let Some(lane) = lanes.get_mut(&self.chat) {
            lane.blocked = Some(Instant::now() + wait);
        }
    }

    fn change(&self, change: impl FnOnce(&mut Answer)) {
        let mut lanes = self.shared.lock();
        let lane = lanes.get_mut(&self.chat);
        if let Some(answer) = lane.and_then(|lane| lane.answers.get_mut(&self.sequence)) {
            change(answer);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.change(|answer| answer.working = false);
        let mut lanes = self.shared.lock();
        self.shared.tidy(&mut lanes, &self.chat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> Token {
        Token::parse("7").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_a_chat_take_turns_in_stream_order() {
        let lanes = Lanes::new(Duration::from_millis(500));
        for sequence in [12, 11] {
            lanes.line_up(&chat(), sequence, Uuid::from_u128(sequence.into()));
        }
        let first = lanes.enter(&chat(), 11).await.unwrap();
        let second = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.enter(&chat(), 12).await.map(|turn| turn.sequence) }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!second.is_finished());
        first.finish();
        assert_eq!(second.await.unwrap(), Ok(12));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retried_answer_keeps_its_place() {
        let lanes = Lanes::new(Duration::from_millis(500));
        for sequence in [11, 12] {
            lanes.line_up(&chat(), sequence, Uuid::from_u128(sequence.into()));
        }
        let turn = lanes.enter(&chat(), 11).await.unwrap();
        turn.block(Duration::from_secs(30));
        turn.put_off(Duration::from_secs(30));
        assert_eq!(lanes.enter(&chat(), 12).await.unwrap_err(), Duration::from_secs(30));

        tokio::time::sleep(Duration::from_secs(30)).await;
        lanes.line_up(&chat(), 11, Uuid::from_u128(11));
        let turn = lanes.enter(&chat(), 11).await.unwrap();
        turn.finish();
        assert!(lanes.enter(&chat(), 12).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_back_is_waited_for_a_minute_only() {
        let lanes = Lanes::new(Duration::from_millis(500));
        for sequence in [11, 12] {
            lanes.line_up(&chat(), sequence, Uuid::from_u128(sequence.into()));
        }
        lanes.enter(&chat(), 11).await.unwrap().put_off(Duration::from_secs(20));
        assert!(lanes.enter(&chat(), 12).await.is_err());
        tokio::time::sleep(Duration::from_secs(81)).await;
        lanes.enter(&chat(), 12).await.unwrap().finish();
        assert!(lanes.shared.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_given_up_lets_the_next_one_pass() {
        let lanes = Lanes::new(Duration::from_millis(500));
        for sequence in [11, 12] {
            lanes.line_up(&chat(), sequence, Uuid::from_u128(sequence.into()));
        }
        drop(lanes.enter(&chat(), 11).await.unwrap());
        lanes.forget(&chat(), Uuid::from_u128(11));
        assert!(lanes.enter(&chat(), 12).await.is_ok());
    }
}
