//! What an update is to us; read field by field, so that nothing unknown makes it unreadable. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::chat::Chat;
use crate::message::{self, Message};

/// What an update is to us.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Update {
    /// Somebody sent something.
    Message(Box<Message>),
    /// Somebody pressed a button.
    Press(Press),
    /// Somebody stopped an answer that was being drafted.
    Stopped { chat: Chat, draft: i64 },
    /// Readable, known, and not for us: an edit, a reaction, a member that comes or goes.
    Passed,
    /// Kept as it is, with the reason.
    Unread(&'static str),
}

/// Somebody pressed a button below a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Press {
    /// What Telegram calls it.
    pub(crate) query: String,
    pub(crate) user: i64,
    /// What the person is called.
    pub(crate) name: String,
    /// Where the message is.
    pub(crate) chat: Option<i64>,
    pub(crate) data: Option<String>,
}

/// Kinds that are known and not for us; Telegram sends them only to who asks, or asked before.
///
/// # Source
/// Bot API 10.3, "Update".
const NOT_FOR_US: [&str; 24] = [
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "message_reaction",
    "message_reaction_count",
    "inline_query",
    "chosen_inline_result",
    "shipping_query",
    "pre_checkout_query",
    "purchased_paid_media",
    "poll",
    "poll_answer",
    "my_chat_member",
    "chat_member",
    "chat_join_request",
    "chat_boost",
    "removed_chat_boost",
    "guest_message",
    "managed_bot",
    "edited_guest_message",
];

/// An update's number, readable even where the rest is not.
pub(crate) fn number(update: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Numbered {
        update_id: i64,
    }
    serde_json::from_str::<Numbered>(update).ok().map(|numbered| numbered.update_id)
}

/// Reads one update.
pub(crate) fn read(update: &str) -> Update {
    let Ok(Value::Object(update)) = serde_json::from_str(update) else {
        return Update::Unread("no_object");
    };
    if let Some(value) = update.get("message") {
        let message = value.as_object().map(message::read);
        return match message {
            Some(Some(message)) => Update::Message(Box::new(message)),
            Some(None) | None => Update::Unread("bad_message"),
        };
    }
    if let Some(query) = update.get("callback_query") {
        return press(query).map_or(Update::Unread("bad_callback_query"), Update::Press);
    }
    if let Some(stopped) = update.get("stopped_message_generation") {
        return self::stopped(stopped).unwrap_or(Update::Unread("bad_stop"));
    }
    if NOT_FOR_US.iter().any(|kind| update.contains_key(*kind)) {
        return Update::Passed;
    }
    Update::Unread("unknown_kind")
}

fn press(query: &Value) -> Option<Press> {
    let user = query.get("from")?;
    Some(Press {
        query: query.get("id")?.as_str()?.to_owned(),
        user: user.get("id")?.as_i64()?,
        name: name(user),
        chat: query.get("message").and_then(|message| message.get("chat")?.get("id")?.as_i64()),
        data: query.get("data").and_then(Value::as_str).map(str::to_owned),
    })
}

fn stopped(stopped: &Value) -> Option<Update> {
    let id = stopped.get("chat")?.get("id")?.as_i64()?;
    let topic = stopped.get("message_thread_id").and_then(Value::as_i64);
    let draft = stopped.get("draft_id")?.as_i64()?;
    Some(Update::Stopped { chat: Chat { id, topic }, draft })
}

/// What a person is called.
fn name(user: &Value) -> String {
    let part = |name: &str| user.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{} {}", part("first_name"), part("last_name"));
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(64).collect();
    if name.is_empty() { "somebody".to_owned() } else { name }
}

/// A text field, if it is one.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_us_and_what_cannot_be_read_are_told_apart() {
        assert_eq!(read(r#"{"update_id":1,"edited_message":{"text":"x"}}"#), Update::Passed);
        assert_eq!(read(r#"{"update_id":1,"poll":7}"#), Update::Passed);
        for (update, reason) in [
            ("7", "no_object"),
            ("null", "no_object"),
            (r#"{"update_id":1,"invented_in_2030":[1]}"#, "unknown_kind"),
            (r#"{"update_id":1}"#, "unknown_kind"),
            (r#"{"update_id":1,"message":7}"#, "bad_message"),
            (r#"{"update_id":1,"message":{"text":"x"}}"#, "bad_message"),
            (r#"{"update_id":1,"callback_query":{"id":7}}"#, "bad_callback_query"),
            (r#"{"update_id":1,"stopped_message_generation":{}}"#, "bad_stop"),
        ] {
            assert_eq!(read(update), Update::Unread(reason), "{update}");
        }
    }

    #[test]
    fn half_an_emoji_makes_one_update_unreadable_and_leaves_its_number() {
        let update =
            r#"{"update_id":8,"message":{"chat":{"id":1},"from":{"id":2},"text":"\ud83d"}}"#;
        assert_eq!((number(update), read(update)), (Some(8), Update::Unread("no_object")));
        assert_eq!(number(r#"{"update_id":"8"}"#), None);
    }

    #[test]
    fn presses_and_stops_are_read() {
        let press = r#"{"update_id":1,"callback_query":{"id":"9","from":{"id":2,"first_name":"Ann","last_name":"Lee"},
            "message":{"chat":{"id":5}},"data":"y.0"}}"#;
        let expected = Press {
            query: "9".to_owned(),
            user: 2,
            name: "Ann Lee".to_owned(),
            chat: Some(5),
            data: Some("y.0".to_owned()),
        };
        assert_eq!(read(press), Update::Press(expected));
        let stop =
            r#"{"update_id":1,"stopped_message_generation":{"chat":{"id":5},"draft_id":77}}"#;
        let chat = Chat { id: 5, topic: None };
        assert_eq!(read(stop), Update::Stopped { chat, draft: 77 });
    }
}
