//! What was done: for tests, and for people at the control addresses.

use std::time::Duration;

use axum::body::Bytes;

use super::Bot;
use super::faults::{Fault, Order};
use super::limits::Limits;
use super::refusal::{Cause, Refused};
use super::transcript::{Draft, Message, PressAnswer, Sent, Transcript};

/// How long a draft is shown.
///
/// # Source
/// "sendMessageDraft" of the Bot API: "a temporary 30-second preview".
const DRAFT_TIME: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);

impl Bot {
    /// Messages that the bot has sent as they were at first, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.with(|bot| bot.sent.clone())
    }

    /// Everything that happened in a chat; nothing where the bot does not know it.
    #[must_use]
    pub fn transcript(&self, chat: i64) -> Transcript {
        self.with(|bot| {
            let Some(place) = bot.chats.get(&chat) else { return Transcript::default() };
            let actions = bot.actions.iter().filter(|action| action.chat == chat);
            Transcript {
                messages: place.messages.values().cloned().collect(),
                drafts: place.drafts.clone(),
                actions: actions.cloned().collect(),
            }
        })
    }

    /// A message, deleted ones included.
    #[must_use]
    pub fn message(&self, chat: i64, message_id: i64) -> Option<Message> {
        self.with(|bot| bot.chats.get(&chat)?.messages.get(&message_id).cloned())
    }

    /// The draft that the user of a chat sees now: younger than 30 s, with no message after it.
    #[must_use]
    pub fn draft(&self, chat: i64) -> Option<Draft> {
        let transcript = self.transcript(chat);
        let newest = transcript.unfinished_drafts().last().map(|draft| (*draft).clone())?;
        let age = jiff::Timestamp::now().duration_since(newest.at);
        (age < DRAFT_TIME).then_some(newest)
    }

    /// Chats with the actions that they were shown, oldest first.
    #[must_use]
    pub fn actions(&self) -> Vec<(i64, String)> {
        self.with(|bot| {
            bot.actions.iter().map(|action| (action.chat, action.action.clone())).collect()
        })
    }

    /// What the bot has answered to presses of buttons.
    #[must_use]
    pub fn press_answers(&self) -> Vec<PressAnswer> {
        self.with(|bot| bot.answers.clone())
    }

    /// The content of a file by its `file_id`.
    #[must_use]
    pub fn file(&self, file_id: &str) -> Option<Bytes> {
        self.with(|bot| bot.files.content(file_id))
    }

    /// How often a method was called, failed calls included.
    #[must_use]
    pub fn calls(&self, method: &str) -> u64 {
        self.with(|bot| bot.calls.get(&method.to_lowercase()).copied().unwrap_or(0))
    }

    /// All calls that were refused, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> Vec<Refused> {
        self.with(|bot| bot.refused.clone())
    }

    /// Calls that broke a rule which the client could have kept.
    #[must_use]
    pub fn violations(&self) -> Vec<Refused> {
        let mut refused = self.refused();
        refused.retain(|refused| refused.cause == Cause::Rule);
        refused
    }

    /// Updates that the client has not confirmed.
    #[must_use]
    pub fn unconfirmed(&self) -> usize {
        self.with(|bot| bot.queue.len())
    }

    /// Makes the next call of a method fail; faults of further orders wait for the calls after it.
    /// `*` stands for any method.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        self.fail_times(method, 1, fault);
    }

    /// Makes the next calls of a method fail.
    pub fn fail_times(&self, method: &str, times: usize, fault: Fault) {
        self.change(|bot| bot.faults.order(method, None, times, &Order::Fault(fault)));
    }

    /// Makes the next calls of a method for a chat fail.
    pub fn fail_in_chat(&self, chat: i64, method: &str, times: usize, fault: Fault) {
        self.change(|bot| bot.faults.order(method, Some(chat), times, &Order::Fault(fault)));
    }

    /// Refuses the next calls of a method in these words.
    pub fn refuse_next(
        &self,
        method: &str,
        times: usize,
        code: u16,
        description: &str,
        retry_after: Option<u64>,
    ) {
        let description = description.to_owned();
        let order = Order::Refuse { code, description, retry_after };
        self.change(|bot| bot.faults.order(method, None, times, &order));
    }

    /// Orders that have not met their calls yet.
    #[must_use]
    pub fn orders_left(&self) -> usize {
        self.with(|bot| bot.faults.len())
    }

    /// Takes back all orders.
    pub fn clear_orders(&self) {
        self.with(|bot| bot.faults.clear());
    }

    /// Refuses calls that come too fast, or does not any more.
    pub fn set_limits(&self, is_on: bool) {
        self.with(|bot| bot.limits = is_on.then(Limits::default));
    }

    /// Waits until a chat has at least `count` messages of the bot; returns what it has then or in
    /// the end.
    pub async fn wait_for_sent(&self, chat: i64, count: usize, timeout: Duration) -> Vec<Sent> {
        let is_of_chat = |sent: &&Sent| sent.chat == chat;
        let enough = || self.with(|bot| bot.sent.iter().filter(is_of_chat).count() >= count);
        self.wait_until(timeout, || enough().then_some(())).await;
        self.with(|bot| bot.sent.iter().filter(is_of_chat).cloned().collect())
    }

    /// Waits until `condition` gives something; it is asked again whenever something happens.
    /// `None` when it never did.
    pub async fn wait_until<T>(
        &self,
        timeout: Duration,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let met = async {
            loop {
                // From here on nothing is missed.
                let changed = self.shared.changed.notified();
                if let Some(found) = condition() {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(timeout, met).await.ok()
    }
}
