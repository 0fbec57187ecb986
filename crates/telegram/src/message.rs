//! A message that somebody has sent: who, where, what, and whether it is meant for the bot. Pure.

use nexus_contracts::AttachmentKind;
use serde_json::{Map, Value};

use crate::chat::Chat;
use crate::files::Incoming;
use crate::update::text;

/// Somebody sent something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) chat: Chat,
    pub(crate) user: i64,
    /// Text or caption; empty when there is none.
    pub(crate) text: String,
    pub(crate) files: Vec<Incoming>,
    pub(crate) kind: Kind,
    /// Whether a program has sent it.
    is_from_bot: bool,
    /// The author of the message that it replies to.
    replies_to: Option<i64>,
    /// What it mentions by name, without the `@`, in lower case.
    mentions: Vec<String>,
    /// Whom it mentions who has no name.
    mentioned_ids: Vec<i64>,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, files, or both.
    Content,
    /// A sticker, a place, a poll: content that the bot does not take.
    Foreign,
    /// Telegram says that something happened in the chat.
    Service,
}

/// Content that is not taken.
const FOREIGN: [&str; 14] = [
    "sticker",
    "location",
    "venue",
    "contact",
    "poll",
    "dice",
    "game",
    "story",
    "paid_media",
    "checklist",
    "invoice",
    "giveaway",
    "live_location",
    "rich_message",
];

/// Reads a message; `None` when it says not where it is or who sent it, or not as it should.
pub(crate) fn read(message: &Map<String, Value>) -> Option<Message> {
    let id_of = |part: &str| message.get(part)?.get("id")?.as_i64();
    let (id, user) = (id_of("chat")?, id_of("from")?);
    // Replies in ordinary groups have a thread id as well, which cannot be sent to.
    let is_topic = message.get("is_topic_message").and_then(Value::as_bool) == Some(true);
    let topic = message.get("message_thread_id").and_then(Value::as_i64).filter(|_| is_topic);
    if ["text", "caption"].iter().any(|name| message.get(*name).is_some_and(|it| !it.is_string())) {
        return None;
    }
    let words = text(message, "text").or_else(|| text(message, "caption")).unwrap_or_default();
    let files = files(message)?;
    let kind = if !words.is_empty() || !files.is_empty() {
        Kind::Content
    } else if FOREIGN.iter().any(|name| message.contains_key(*name)) {
        Kind::Foreign
    } else {
        Kind::Service
    };
    let from = message.get("from");
    let is_bot = from.and_then(|from| from.get("is_bot")).and_then(Value::as_bool) == Some(true);
    let replied = message.get("reply_to_message");
    Some(Message {
        chat: Chat { id, topic },
        user,
        text: words.to_owned(),
        files,
        kind,
        // Whoever writes as the group itself is shown as one of Telegram's own bots.
        is_from_bot: is_bot && !message.contains_key("sender_chat"),
        replies_to: replied.and_then(|replied| replied.get("from")?.get("id")?.as_i64()),
        mentions: mentions(words),
        mentioned_ids: mentioned_ids(message),
    })
}

impl Message {
    /// Whether the bot is meant to hear it.
    pub(crate) fn is_for(&self, bot: i64, username: Option<&str>, hears_all: bool) -> bool {
        if self.is_from_bot {
            return false;
        }
        let name = username.map(str::to_lowercase);
        // A command for another bot of the group is not for us, whatever else we hear.
        if let Some(command) = command(&self.text) {
            match command.to {
                Some(to) => return name.as_deref() == Some(&to.to_lowercase()),
                None if self.chat.is_group() => {
                    return hears_all || Known::of(command.name).is_some();
                }
                None => {}
            }
        }
        !self.chat.is_group()
            || hears_all
            || self.replies_to == Some(bot)
            || self.mentioned_ids.contains(&bot)
            || name.is_some_and(|name| self.mentions.contains(&name))
    }

    /// The command that it is, if the bot knows it.
    pub(crate) fn command(&self) -> Option<Known> {
        command(&self.text).and_then(|command| Known::of(command.name))
    }
}

/// A command that the bot knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Start,
    Help,
    Stop,
}

impl Known {
    fn of(name: &str) -> Option<Self> {
        match name {
            "start" => Some(Self::Start),
            "help" => Some(Self::Help),
            "stop" => Some(Self::Stop),
            _ => None,
        }
    }
}

/// The commands as Telegram's menu shows them.
pub(crate) const MENU: [(&str, &str); 2] =
    [("stop", "Stop what the agent is doing"), ("help", "What this bot can do")];

#[derive(Debug, PartialEq, Eq)]
struct Command<'a> {
    name: &'a str,
    /// The bot that it is for, where one is named.
    to: Option<&'a str>,
}

/// Reads `/name` or `/name@bot` at the beginning of a text.
fn command(text: &str) -> Option<Command<'_>> {
    let word = text.strip_prefix('/')?.split_whitespace().next()?;
    let (name, to) = match word.split_once('@') {
        Some((name, to)) => (name, Some(to)),
        None => (word, None),
    };
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    (is_name(name) && to.is_none_or(is_name)).then_some(Command { name, to })
}

fn mentions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        // An address of mail is no mention.
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        if before.is_some_and(char::is_alphanumeric) {
            continue;
        }
        let after = text.get(at + 1..).unwrap_or_default();
        let name: String =
            after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !name.is_empty() {
            found.push(name.to_lowercase());
        }
    }
    found
}

fn mentioned_ids(message: &Map<String, Value>) -> Vec<i64> {
    let lists =
        ["entities", "caption_entities"].iter().filter_map(|name| message.get(*name)?.as_array());
    let users = lists.flatten().filter_map(|entity| entity.get("user")?.get("id")?.as_i64());
    users.collect()
}

/// The files of a message; `None` when one is not as it should be.
fn files(message: &Map<String, Value>) -> Option<Vec<Incoming>> {
    let mut files = Vec::new();
    if let Some(sizes) = message.get("photo") {
        // The largest that models take; Telegram lists them in order, which is not promised.
        let is_seen = |photo: &&Value| {
            let bytes = photo.get("file_size").and_then(Value::as_u64);
            bytes.is_none_or(|bytes| bytes <= nexus_blobs::MAX_IMAGE_BYTES as u64)
        };
        let size = |photo: &&Value| (is_seen(photo), photo.get("width").and_then(Value::as_i64));
        let sizes = sizes.as_array()?;
        if let Some(largest) = sizes.iter().max_by_key(size) {
            files.push(file(largest, AttachmentKind::Photo)?);
        }
    }
    for (name, kind) in [
        // An animation comes as a document as well.
        ("document", AttachmentKind::Document),
        ("voice", AttachmentKind::Voice),
        ("audio", AttachmentKind::Audio),
        ("video", AttachmentKind::Document),
        ("video_note", AttachmentKind::Document),
    ] {
        if let Some(value) = message.get(name) {
            files.push(file(value, kind)?);
        }
    }
    Some(files)
}

fn file(value: &Value, kind: AttachmentKind) -> Option<Incoming> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Incoming {
        kind,
        file_id: text("file_id")?,
        name: text("file_name"),
        media_type: text("mime_type"),
        size: value.get("file_size").and_then(Value::as_u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(value: Value) -> Option<Message> {
        read(value.as_object().unwrap())
    }

    fn said(chat: i64, text: &str) -> Message {
        message(json!({ "chat": { "id": chat }, "from": { "id": 2 }, "text": text })).unwrap()
    }

    #[test]
    fn texts_are_read_with_their_chat_and_topic() {
        let at = |extra: Value| {
            let mut value = json!({ "chat": { "id": -5 }, "from": { "id": 2 }, "text": "hi" });
            value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let message = message(value).unwrap();
            (message.chat, message.text)
        };
        let hi = "hi".to_owned();
        assert_eq!(at(json!({})), (Chat { id: -5, topic: None }, hi.clone()));
        let topic = json!({ "message_thread_id": 9, "is_topic_message": true });
        assert_eq!(at(topic), (Chat { id: -5, topic: Some(9) }, hi.clone()));
        assert_eq!(at(json!({ "message_thread_id": 9 })), (Chat { id: -5, topic: None }, hi));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_not_read() {
        for broken in [
            json!({ "text": "x" }),
            json!({ "chat": { "id": "1" }, "from": { "id": 2 }, "text": "x" }),
            json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "text": ["x"] }),
            json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "photo": 7 }),
            json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "voice": { "duration": 3 } }),
        ] {
            assert_eq!(message(broken.clone()), None, "{broken}");
        }
    }

    #[test]
    fn files_are_read_and_of_photos_the_largest() {
        let photo = json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "caption": "look", "photo": [
            { "file_id": "s", "width": 90 }, { "file_id": "l", "width": 1280, "file_size": 7 },
            { "file_id": "m", "width": 320 } ] });
        let photo = message(photo).unwrap();
        assert_eq!((photo.text.as_str(), photo.files[0].file_id.as_str()), ("look", "l"));
        let large = json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "photo": [
            { "file_id": "s", "width": 90, "file_size": 7 },
            { "file_id": "m", "width": 1280, "file_size": 5_242_880 },
            { "file_id": "l", "width": 9000, "file_size": 5_242_881 } ] });
        assert_eq!(message(large).unwrap().files[0].file_id, "m", "no model takes the largest");
        let sticker = json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "sticker": {} });
        assert_eq!(message(sticker).unwrap().kind, Kind::Foreign);
        let joined = json!({ "chat": { "id": 1 }, "from": { "id": 2 }, "new_chat_members": [] });
        assert_eq!(message(joined).unwrap().kind, Kind::Service);
    }

    #[test]
    fn in_groups_the_bot_hears_what_is_meant_for_it() {
        let hears = |message: &Message| message.is_for(42, Some("Nexus_Bot"), false);
        for (text, expected) in [
            ("hello all", false),
            ("hey @nexus_bot, hello", true),
            ("mail a@nexus_bot.org", false),
            ("@nexus_bot2 hello", false),
            ("/stop", true),
            ("/stop@Nexus_Bot", true),
            ("/stop@other_bot", false),
            ("/weather", false),
            ("/weather@nexus_bot Berlin", true),
        ] {
            assert_eq!(hears(&said(-5, text)), expected, "{text}");
        }
        assert!(hears(&said(5, "hello")) && hears(&said(5, "/weather")));
        assert!(!hears(&said(5, "/stop@other_bot")));
        assert!(said(-5, "hello all").is_for(42, None, true));
        let reply = json!({ "chat": { "id": -5 }, "from": { "id": 2 }, "text": "yes",
            "reply_to_message": { "from": { "id": 42 } } });
        assert!(hears(&message(reply).unwrap()));
        let program = json!({ "chat": { "id": -5 }, "from": { "id": 9, "is_bot": true },
            "text": "@nexus_bot hi" });
        assert!(!hears(&message(program).unwrap()));
        assert_eq!(said(5, "/stop@Nexus_Bot now").command(), Some(Known::Stop));
        assert_eq!(said(5, "/stopit").command(), None);
    }
}
