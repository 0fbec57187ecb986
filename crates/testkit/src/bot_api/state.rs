//! What the stand-in knows: bots, and for each its chats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::faults::Faults;
use super::files::Files;
use super::limits::Limits;
use super::queue::Queue;
use super::refusal::{Cause, Refusal, Refused};
use super::text::found;
use super::transcript::{Action, Draft, Message, PressAnswer, Sent, Version};
use super::webhook::Webhook;
use super::{Arguments, Options};

/// Both clocks, read once for each call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) instant: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { at: Timestamp::now(), instant: Instant::now() }
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By token.
    pub(super) bots: BTreeMap<String, BotState>,
}

/// One bot's view of the world; nothing is shared with other bots.
#[derive(Debug)]
pub(super) struct BotState {
    pub(super) id: i64,
    pub(super) options: Options,
    pub(super) queue: Queue,
    pub(super) chats: BTreeMap<i64, Chat>,
    pub(super) files: Files,
    pub(super) faults: Faults,
    pub(super) limits: Option<Limits>,
    pub(super) webhook: Option<Webhook>,
    pub(super) commands: BTreeMap<String, Value>,
    /// Presses of buttons, by query.
    pub(super) presses: BTreeMap<String, Press>,
    pub(super) answers: Vec<PressAnswer>,
    pub(super) sent: Vec<Sent>,
    pub(super) actions: Vec<Action>,
    pub(super) refused: Vec<Refused>,
    /// By method in lower case.
    pub(super) calls: HashMap<String, u64>,
    /// Numbers of messages outside of supergroups, which count for themselves.
    message_id: i64,
    /// Which long poll is the one that waits.
    pub(super) poll: u64,
}

/// A press that may still be answered.
#[derive(Debug)]
pub(super) struct Press {
    pub(super) since: Instant,
    pub(super) is_answered: bool,
}

/// A chat that the bot knows.
#[derive(Debug, Default)]
pub(super) struct Chat {
    pub(super) topics: BTreeSet<i64>,
    pub(super) messages: BTreeMap<i64, Message>,
    pub(super) drafts: Vec<Draft>,
    /// Why the bot may not write here.
    pub(super) barred: Option<&'static str>,
    /// The supergroup that it has become.
    pub(super) moved_to: Option<i64>,
    /// Until when the bot is to leave it alone, and when it was told.
    pub(super) flood: Option<Flood>,
    message_id: i64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flood {
    pub(super) until: Instant,
    pub(super) told: Option<Instant>,
}

/// Slack for calls that were on their way when the bot was told to wait, and for its clock.
const SLACK: Duration = Duration::from_millis(100);

impl BotState {
    pub(super) fn new(id: i64, options: &Options) -> Self {
        Self {
            id,
            options: options.clone(),
            queue: Queue::new(options.first_update),
            chats: BTreeMap::new(),
            files: Files::default(),
            faults: Faults::default(),
            limits: options.limits.then(Limits::default),
            webhook: None,
            commands: BTreeMap::new(),
            presses: BTreeMap::new(),
            answers: Vec::new(),
            sent: Vec::new(),
            actions: Vec::new(),
            refused: Vec::new(),
            calls: HashMap::new(),
            message_id: 0,
            poll: 0,
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id, "is_bot": true, "first_name": "Stand-in", "username": "stand_in_bot",
            "can_join_groups": true, "can_read_all_group_messages": false,
            "supports_inline_queries": false, "can_connect_to_business": false,
            "has_main_web_app": false, "has_topics_enabled": false,
        })
    }

    /// The number of the next message in a chat.
    pub(super) fn number(&mut self, chat: i64) -> i64 {
        let counter = if is_supergroup(chat) {
            &mut self.chats.entry(chat).or_default().message_id
        } else {
            &mut self.message_id
        };
        *counter += 1;
        *counter
    }

    /// The chat that is meant, if the bot may write to it.
    pub(super) fn chat(&self, arguments: &Arguments) -> Result<i64, Refusal> {
        let id = arguments.text("chat_id").map_or("", str::trim);
        if id.is_empty() {
            return Err(Refusal::rule("chat_id is empty"));
        }
        let not_found = || Refusal::state("chat not found");
        let id = id.parse().map_err(|_| not_found())?;
        let chat = self.chats.get(&id).ok_or_else(not_found)?;
        if let Some(to) = chat.moved_to {
            let refusal = Refusal::state("group chat was upgraded to a supergroup chat");
            return Err(Refusal { migrate_to: Some(to), ..refusal });
        }
        match chat.barred {
            Some(why) => Err(Refusal::new(403, format!("Forbidden: {why}"), Cause::State)),
            None => Ok(id),
        }
    }

    /// The topic that is meant.
    pub(super) fn thread(&self, chat: i64, arguments: &Arguments) -> Result<Option<i64>, Refusal> {
        let Some(thread) = arguments.text("message_thread_id") else { return Ok(None) };
        let not_found = || Refusal::state("message thread not found");
        let thread = thread.trim().parse().map_err(|_| not_found())?;
        let is_known = self.chats.get(&chat).is_some_and(|chat| chat.topics.contains(&thread));
        if is_known { Ok(Some(thread)) } else { Err(not_found()) }
    }

    /// Counts a message, or refuses it when the chat is to be left alone or the bot is too fast.
    pub(super) fn admit(&mut self, chat: i64, now: Moment) -> Result<(), Refusal> {
        let place = self.chats.entry(chat).or_default();
        if let Some(flood) = &mut place.flood {
            let left = flood.until.saturating_duration_since(now.instant);
            if !left.is_zero() {
                // Told already, and yet here it is.
                let is_early = |told| now.instant.saturating_duration_since(told) > SLACK;
                let is_rude = flood.told.is_some_and(is_early) && left > SLACK;
                flood.told.get_or_insert(now.instant);
                let cause = if is_rude { Cause::Rule } else { Cause::Limit };
                return Err(Refusal::too_many(whole_seconds(left), cause));
            }
            place.flood = None;
        }
        let Some(limits) = &mut self.limits else { return Ok(()) };
        limits.admit(chat, now.instant).map_err(|seconds| Refusal::too_many(seconds, Cause::Limit))
    }

    pub(super) fn message(&self, chat: i64, number: i64) -> Option<&Message> {
        let message = self.chats.get(&chat)?.messages.get(&number);
        message.filter(|message| message.is_visible())
    }

    pub(super) fn insert(&mut self, message: Message) {
        let chat = self.chats.entry(message.chat).or_default();
        chat.messages.insert(message.message_id, message);
    }

    pub(super) fn refuse(
        &mut self,
        method: &str,
        arguments: &Arguments,
        refusal: &Refusal,
        at: Timestamp,
    ) {
        self.refused.push(Refused {
            at,
            method: method.to_owned(),
            chat: arguments.number("chat_id"),
            code: refusal.code,
            description: refusal.description.clone(),
            cause: refusal.cause,
        });
    }

    /// A message as updates and answers show it.
    pub(super) fn message_json(&self, message: &Message) -> Value {
        let mut json = json!({
            "message_id": message.message_id,
            "date": message.versions.first().map_or(0, |version| version.at.as_second()),
            "chat": self.chat_json(message.chat),
            "from": if message.is_from_bot { self.json() } else { user_json(message.from) },
        });
        if let Some(thread) = message.thread {
            json["message_thread_id"] = thread.into();
            json["is_topic_message"] = true.into();
        }
        let answered = message.reply_to.and_then(|number| self.message(message.chat, number));
        if let Some(answered) = answered {
            let mut answered = answered.clone();
            answered.reply_to = None;
            json["reply_to_message"] = self.message_json(&answered);
        }
        if message.edits() > 0 {
            json["edit_date"] =
                message.versions.last().map_or(0, |version| version.at.as_second()).into();
        }
        let (mut text, mut entities) = ("text", "entities");
        if let Some(file) = &message.file {
            json[file.kind.name()] = file.json();
            (text, entities) = ("caption", "caption_entities");
        }
        if let Some(version) = message.versions.last() {
            show(&mut json, version, text, entities);
        }
        json
    }

    /// A chat as updates and messages show it; the id tells its type.
    pub(super) fn chat_json(&self, chat: i64) -> Value {
        if is_supergroup(chat) {
            let is_forum = self.chats.get(&chat).is_some_and(|chat| !chat.topics.is_empty());
            let mut json =
                json!({ "id": chat, "type": "supergroup", "title": format!("Group {chat}") });
            if is_forum {
                json["is_forum"] = true.into();
            }
            json
        } else if is_group(chat) {
            json!({ "id": chat, "type": "group", "title": format!("Group {chat}") })
        } else {
            json!({ "id": chat, "type": "private", "first_name": format!("User {chat}") })
        }
    }
}

fn show(json: &mut Value, version: &Version, text: &str, entities: &str) {
    if !version.text.is_empty() {
        json[text] = version.text.as_str().into();
    }
    let found = found(&version.text, &version.entities);
    if !found.is_empty() {
        json[entities] = json!(found);
    }
    if !version.keyboard.is_empty() {
        json["reply_markup"] = json!({ "inline_keyboard": version.keyboard });
    }
}

pub(super) fn user_json(user: i64) -> Value {
    json!({ "id": user, "is_bot": false, "first_name": format!("User {user}"), "language_code": "en" })
}

pub(super) fn is_group(chat: i64) -> bool {
    chat < 0
}

pub(super) fn is_supergroup(chat: i64) -> bool {
    chat <= -1_000_000_000_000
}

/// Rounded up, and at least one.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}
