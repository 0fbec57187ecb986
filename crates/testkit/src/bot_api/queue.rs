//! Updates that wait for the bot.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Kinds that a bot gets only when it asks for them by name.
const ON_REQUEST: [&str; 3] = ["chat_member", "message_reaction", "message_reaction_count"];

/// Updates that wait for the bot.
///
/// # Source
/// tdlib/telegram-bot-api, `Client::do_get_updates`, and td's `TQueue`.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: BTreeMap<i64, Value>,
    /// Everything that ever waited, to repeat it.
    all: BTreeMap<i64, Value>,
    repeats: Vec<Value>,
    last_answer: Vec<Value>,
    next: i64,
    /// Percent of updates that are given out twice, and what has come together of it.
    share: u32,
    due: u32,
    /// `None` means all kinds but [`ON_REQUEST`].
    allowed: Option<BTreeSet<String>>,
}

impl Queue {
    pub(super) fn new(first: i64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            all: BTreeMap::new(),
            repeats: Vec::new(),
            last_answer: Vec::new(),
            next: first,
            share: 0,
            due: 0,
            allowed: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Queues an update of a kind, if the bot wants that kind; returns its number.
    pub(super) fn push(&mut self, kind: &str, body: Value) -> i64 {
        let is_wanted = match &self.allowed {
            Some(allowed) => allowed.contains(kind),
            None => !ON_REQUEST.contains(&kind),
        };
        let number = self.next;
        self.next += 1;
        if is_wanted {
            self.insert(number, json!({ "update_id": number, kind: body }));
        }
        number
    }

    pub(super) fn push_as_is(&mut self, mut update: Value) -> i64 {
        if let Some(update) = update.as_object_mut() {
            update.entry("update_id").or_insert_with(|| self.next.into());
        }
        let number = update.get("update_id").and_then(Value::as_i64).unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        self.insert(number, update);
        number
    }

    fn insert(&mut self, number: i64, update: Value) {
        self.all.insert(number, update.clone());
        self.waiting.insert(number, update);
    }

    pub(super) fn repeat(&mut self, number: i64) {
        self.repeats.extend(self.all.get(&number).cloned());
    }

    /// Repeats this many of a hundred updates, evenly and without chance.
    pub(super) fn repeat_share(&mut self, percent: u32) {
        self.share = percent.min(100);
    }

    pub(super) fn repeat_last_answer(&mut self) {
        self.repeats.extend(self.last_answer.iter().cloned());
    }

    /// Which kinds the bot wants from now on; an empty list means the default ones.
    pub(super) fn allow(&mut self, kinds: BTreeSet<String>) {
        self.allowed = if kinds.is_empty() { None } else { Some(kinds) };
    }

    /// The next update for a webhook.
    pub(super) fn first(&self) -> Option<Value> {
        self.repeats.first().or_else(|| self.waiting.values().next()).cloned()
    }

    /// A webhook has taken what [`Self::first`] gave.
    pub(super) fn confirm_first(&mut self) {
        if self.repeats.is_empty() {
            let confirmed = self.waiting.pop_first().map(|(_, update)| update);
            self.confirmed(confirmed);
        } else {
            self.repeats.remove(0);
        }
    }

    fn confirmed(&mut self, updates: impl IntoIterator<Item = Value>) {
        for update in updates {
            self.due += self.share;
            if self.due >= 100 {
                self.due -= 100;
                self.repeats.push(update);
            }
        }
    }

    pub(super) fn allowed(&self) -> Option<&BTreeSet<String>> {
        self.allowed.as_ref()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Forgets what is before `offset` and gives the first `limit` of the rest.
    ///
    /// A negative offset counts from the end. One far behind the end confirms nothing.
    pub(super) fn take(&mut self, offset: i64, limit: usize) -> Vec<Value> {
        let offset = if offset < 0 { self.next + offset } else { offset };
        if offset <= self.next + 10 {
            let kept = self.waiting.split_off(&offset);
            let confirmed = std::mem::replace(&mut self.waiting, kept);
            self.confirmed(confirmed.into_values());
        }
        let mut updates = std::mem::take(&mut self.repeats);
        updates.extend(self.waiting.values().take(limit).cloned());
        updates.truncate(limit);
        if !updates.is_empty() {
            self.last_answer.clone_from(&updates);
        }
        updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(updates: &[Value]) -> Vec<i64> {
        updates.iter().filter_map(|update| update["update_id"].as_i64()).collect()
    }

    fn queue(count: i64) -> Queue {
        let mut queue = Queue::new(100);
        for _ in 0..count {
            queue.push("message", json!({}));
        }
        queue
    }

    #[test]
    fn an_offset_confirms_what_is_before_it() {
        let mut queue = queue(5);
        assert_eq!(numbers(&queue.take(0, 2)), [100, 101]);
        assert_eq!(numbers(&queue.take(102, 100)), [102, 103, 104]);
        assert_eq!(numbers(&queue.take(0, 100)), [102, 103, 104]);
        assert_eq!(numbers(&queue.take(105, 100)), Vec::<i64>::new());
    }

    #[test]
    fn a_negative_offset_counts_from_the_end_and_one_far_ahead_confirms_nothing() {
        let mut queue = queue(5);
        assert_eq!(numbers(&queue.take(1000, 100)), [100, 101, 102, 103, 104]);
        assert_eq!(numbers(&queue.take(-2, 100)), [103, 104]);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn kinds_that_nobody_wants_are_not_queued() {
        let mut queue = queue(0);
        queue.push("chat_member", json!({}));
        queue.allow(BTreeSet::from(["poll".to_owned()]));
        queue.push("message", json!({}));
        queue.push("poll", json!({}));
        assert_eq!(numbers(&queue.take(0, 100)), [102]);
        queue.allow(BTreeSet::new());
        queue.push("message", json!({}));
        assert_eq!(numbers(&queue.take(103, 100)), [103]);
    }

    #[test]
    fn a_share_of_what_is_confirmed_comes_again() {
        let mut queue = queue(20);
        queue.repeat_share(10);
        queue.take(0, 100);
        assert_eq!(numbers(&queue.take(120, 100)), [109, 119]);
        assert_eq!(numbers(&queue.take(120, 100)), Vec::<i64>::new());
    }

    #[test]
    fn repeats_come_before_what_is_new() {
        let mut queue = queue(2);
        queue.take(0, 100);
        queue.take(102, 100);
        queue.repeat_last_answer();
        queue.push("message", json!({}));
        assert_eq!(numbers(&queue.take(102, 100)), [100, 101, 102]);
        assert_eq!(numbers(&queue.take(102, 100)), [102]);
    }
}
