//! What the methods do and refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Sent, Shared, chat_json};

/// Longest text in UTF-16 code units.
const LONGEST_TEXT: usize = 4096;
/// Longest time that a poll is held.
const LONGEST_POLL: u64 = 50;
const ACTIONS: [&str; 11] = [
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
];

/// Arguments of a call, all as text, as the real server takes them.
pub(super) type Arguments = BTreeMap<String, String>;

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(code: u16, description: &str) -> Self {
        Self { code, description: description.to_owned(), retry_after: None }
    }

    pub(super) fn flood(seconds: u64) -> Self {
        let description = format!("Too Many Requests: retry after {seconds}");
        Self { code: 429, description, retry_after: Some(seconds) }
    }
}

fn bad(description: &str) -> Refusal {
    Refusal::new(400, &format!("Bad Request: {description}"))
}

impl Shared {
    /// Does what a method says; its name in lower case.
    pub(super) async fn call(&self, method: &str, arguments: &Arguments) -> Result<Value, Refusal> {
        match method {
            "getme" => Ok(self.bot_json()),
            "getupdates" => self.get_updates(arguments).await,
            "sendmessage" => self.send_message(arguments),
            "sendchataction" => self.send_chat_action(arguments),
            "deletewebhook" => {
                if arguments.get("drop_pending_updates").is_some_and(|drop| is_true(drop)) {
                    self.state().queue.clear();
                }
                Ok(true.into())
            }
            "getwebhookinfo" => {
                let pending = self.state().queue.len();
                Ok(
                    json!({ "url": "", "has_custom_certificate": false, "pending_update_count": pending }),
                )
            }
            _ => Err(Refusal::new(404, "Not Found: method not found")),
        }
    }

    fn bot_json(&self) -> Value {
        json!({
            "id": self.bot_id(), "is_bot": true, "first_name": "Stand-in", "username": "stand_in_bot",
            "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false,
        })
    }

    async fn get_updates(&self, arguments: &Arguments) -> Result<Value, Refusal> {
        let number = |name: &str, or: i64| {
            arguments.get(name).and_then(|text| text.parse().ok()).unwrap_or(or)
        };
        let offset = number("offset", 0);
        let limit = usize::try_from(number("limit", 100).clamp(1, 100)).unwrap_or(100);
        let seconds = u64::try_from(number("timeout", 0)).unwrap_or(0).min(LONGEST_POLL);
        let mut allowed = arguments.get("allowed_updates").and_then(|list| kinds(list));
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let mut poll = None;
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                if let Some(allowed) = allowed.take() {
                    state.queue.allow(allowed);
                }
                if poll.is_some_and(|poll| poll != state.poll) {
                    return Err(Refusal::new(
                        409,
                        "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                    ));
                }
                let updates = state.queue.take(offset, limit);
                if !updates.is_empty() || tokio::time::Instant::now() >= end {
                    return Ok(updates.into());
                }
                if poll.is_none() {
                    // The poll that waited until now gives way.
                    state.poll += 1;
                    poll = Some(state.poll);
                    self.changed.notify_waiters();
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(end) => {}
                () = self.over.cancelled() => return Err(Refusal::new(502, "Bad Gateway")),
            }
        }
    }

    fn send_message(&self, arguments: &Arguments) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let text = arguments.get("text").map_or("", |text| text.trim());
        if text.is_empty() {
            return Err(bad("message text is empty"));
        }
        check_markup(arguments, text)?;
        if text.encode_utf16().count() > LONGEST_TEXT {
            return Err(bad("message is too long"));
        }
        let thread = self.thread(chat, arguments)?;
        let mut state = self.state();
        if self.options.limits {
            state.limits.admit(chat, Instant::now()).map_err(Refusal::flood)?;
        }
        state.message_id += 1;
        let (at, message_id) = (jiff::Timestamp::now(), state.message_id);
        state.sent.push(Sent { chat, thread, text: text.to_owned(), at, message_id });
        drop(state);
        self.changed.notify_waiters();
        let mut message = json!({
            "message_id": message_id, "date": at.as_second(), "chat": chat_json(chat),
            "from": self.bot_json(), "text": text,
        });
        if let (Some(thread), Some(message)) = (thread, message.as_object_mut()) {
            message.insert("message_thread_id".to_owned(), thread.into());
            message.insert("is_topic_message".to_owned(), true.into());
        }
        Ok(message)
    }

    fn send_chat_action(&self, arguments: &Arguments) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        self.thread(chat, arguments)?;
        let action = arguments.get("action").map_or("", String::as_str);
        if !ACTIONS.contains(&action) {
            return Err(bad("wrong parameter action in request"));
        }
        self.state().actions.push((chat, action.to_owned()));
        self.changed.notify_waiters();
        Ok(true.into())
    }

    /// The chat that is meant, if the bot may write to it.
    fn chat(&self, arguments: &Arguments) -> Result<i64, Refusal> {
        let id = arguments.get("chat_id").map_or("", |id| id.trim());
        if id.is_empty() {
            return Err(bad("chat_id is empty"));
        }
        let id = id.parse().map_err(|_| bad("chat not found"))?;
        match self.state().chats.get(&id) {
            None => Err(bad("chat not found")),
            Some(chat) if chat.has_blocked => {
                Err(Refusal::new(403, "Forbidden: bot was blocked by the user"))
            }
            Some(_) => Ok(id),
        }
    }

    fn thread(&self, chat: i64, arguments: &Arguments) -> Result<Option<i64>, Refusal> {
        let Some(thread) = arguments.get("message_thread_id") else { return Ok(None) };
        let thread = thread.parse().map_err(|_| bad("message thread not found"))?;
        let state = self.state();
        let is_known = state.chats.get(&chat).is_some_and(|chat| chat.topics.contains(&thread));
        if is_known { Ok(Some(thread)) } else { Err(bad("message thread not found")) }
    }
}

/// The kinds of a JSON list; a list that cannot be read changes nothing.
fn kinds(list: &str) -> Option<BTreeSet<String>> {
    let kinds: Vec<String> = serde_json::from_str(list).ok()?;
    Some(kinds.into_iter().map(|kind| kind.to_lowercase()).collect())
}

fn is_true(text: &str) -> bool {
    matches!(text.to_lowercase().as_str(), "true" | "yes" | "1")
}

/// The commonest mistakes with markup; nothing is formatted.
fn check_markup(arguments: &Arguments, text: &str) -> Result<(), Refusal> {
    let mode = arguments.get("parse_mode").map_or("", String::as_str).to_lowercase();
    match mode.as_str() {
        "" | "html" | "markdown" => {}
        "markdownv2" => {
            if let Some(char) = unescaped(text) {
                return Err(bad(&format!(
                    "can't parse entities: Character '{char}' is reserved and must be escaped with the preceding '\\'"
                )));
            }
        }
        _ => return Err(bad("unsupported parse_mode")),
    }
    let Some(entities) = arguments.get("entities") else { return Ok(()) };
    let entities: Vec<Value> = serde_json::from_str(entities)
        .map_err(|_| bad("can't parse entities: expected an Array"))?;
    let units = u64::try_from(text.encode_utf16().count()).unwrap_or(u64::MAX);
    let is_within = |entity: &Value| {
        let number = |name: &str| entity.get(name).and_then(Value::as_u64);
        let (offset, length) = (number("offset")?, number("length")?);
        (entity.get("type")?.is_string() && length > 0 && offset.checked_add(length)? <= units)
            .then_some(())
    };
    if entities.iter().all(|entity| is_within(entity).is_some()) {
        return Ok(());
    }
    Err(bad("can't parse entities: an entity lies outside of the text"))
}

/// A character that MarkdownV2 wants escaped wherever it stands.
fn unescaped(text: &str) -> Option<char> {
    let mut is_escaped = false;
    text.chars().find(|char| {
        let is_bare = !is_escaped && matches!(char, '.' | '!' | '-' | '=' | '{' | '}' | '+' | '#');
        is_escaped = *char == '\\' && !is_escaped;
        is_bare
    })
}
