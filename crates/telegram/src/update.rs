use serde::Deserialize;
use serde_json::Value;

use crate::chat::Chat;

/// What an update is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Update {
    Text(TextMessage),
    /// Readable and not for us: an edit, a photo, a kind that came later than this code.
    Other,
    Unreadable,
}

/// Somebody wrote something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TextMessage {
    pub(crate) chat: Chat,
    pub(crate) user: i64,
    pub(crate) text: String,
}

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
    let Ok(Value::Object(update)) = serde_json::from_str(update) else { return Update::Unreadable };
    let Some(message) = update.get("message") else { return Update::Other };
    let Value::Object(message) = message else { return Update::Unreadable };
    let Some(text) = message.get("text") else { return Update::Other };
    let id_of = |part: &str| message.get(part)?.get("id")?.as_i64();
    // Replies in ordinary groups have a thread id as well, which cannot be sent to.
    let is_topic = message.get("is_topic_message").and_then(Value::as_bool) == Some(true);
    let topic = message.get("message_thread_id").and_then(Value::as_i64).filter(|_| is_topic);
    match (id_of("chat"), id_of("from"), text.as_str()) {
        (Some(id), Some(user), Some(text)) if !text.is_empty() => {
            Update::Text(TextMessage { chat: Chat { id, topic }, user, text: text.to_owned() })
        }
        _ => Update::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(chat: Chat) -> Update {
        Update::Text(TextMessage { chat, user: 2, text: "hi".to_owned() })
    }

    #[test]
    fn texts_are_read_with_their_chat_and_topic() {
        let plain = r#"{"update_id":1,"message":{"chat":{"id":1},"from":{"id":2},"text":"hi"}}"#;
        assert_eq!(read(plain), text(Chat { id: 1, topic: None }));
        let topic = r#"{"update_id":1,"message":{"chat":{"id":-5},"from":{"id":2},"text":"hi",
            "message_thread_id":9,"is_topic_message":true}}"#;
        assert_eq!(read(topic), text(Chat { id: -5, topic: Some(9) }));
        let reply = r#"{"update_id":1,"message":{"chat":{"id":-5},"from":{"id":2},"text":"hi","message_thread_id":9}}"#;
        assert_eq!(read(reply), text(Chat { id: -5, topic: None }));
    }

    #[test]
    fn what_is_not_for_us_and_what_cannot_be_read_are_told_apart() {
        assert_eq!(read(r#"{"update_id":1,"edited_message":{"text":"x"}}"#), Update::Other);
        assert_eq!(
            read(r#"{"update_id":1,"message":{"chat":{"id":1},"photo":[]}}"#),
            Update::Other
        );
        assert_eq!(read(r#"{"update_id":1,"invented_in_2030":[1]}"#), Update::Other);
        for broken in [
            "7",
            "null",
            r#"{"update_id":1,"message":7}"#,
            r#"{"update_id":1,"message":{"text":"x"}}"#,
            r#"{"update_id":1,"message":{"chat":{"id":"1"},"from":{"id":2},"text":"x"}}"#,
            r#"{"update_id":1,"message":{"chat":{"id":1},"from":{"id":2},"text":["x"]}}"#,
        ] {
            assert_eq!(read(broken), Update::Unreadable, "{broken}");
        }
    }

    #[test]
    fn half_an_emoji_makes_one_update_unreadable_and_leaves_its_number() {
        let update =
            r#"{"update_id":8,"message":{"chat":{"id":1},"from":{"id":2},"text":"\ud83d"}}"#;
        assert_eq!((number(update), read(update)), (Some(8), Update::Unreadable));
        assert_eq!(number(r#"{"update_id":"8"}"#), None);
    }
}
