//! What is seen in the chats, for those who look at it afterwards.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::Attachment;
use super::keyboard::Button;
use super::text::Entity;

/// A message that the bot has sent, as it was at first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    pub chat: i64,
    /// The topic, when it went to one.
    pub thread: Option<i64>,
    /// As a reader sees it: Telegram trims white space at both ends. Of a file: its caption.
    pub text: String,
    pub at: Timestamp,
    pub message_id: i64,
}

/// What a message said from some moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub at: Timestamp,
    /// Text or caption.
    pub text: String,
    /// Those that the writer gave; what the server finds by itself is left out.
    pub entities: Vec<Entity>,
    /// Rows of the inline keyboard.
    pub keyboard: Vec<Vec<Button>>,
}

/// A message in a chat with everything that it ever said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub chat: i64,
    pub thread: Option<i64>,
    pub message_id: i64,
    /// The user, or the bot.
    pub from: i64,
    pub is_from_bot: bool,
    /// The message that it answers.
    pub reply_to: Option<i64>,
    pub is_silent: bool,
    pub file: Option<Attachment>,
    /// Oldest first; never empty.
    pub versions: Vec<Version>,
    pub deleted: Option<Timestamp>,
    /// Keyboards that are no inline keyboards, and `link_preview_options`, as the bot gave them.
    pub options: serde_json::Map<String, Value>,
}

impl Message {
    /// What it says now, or said when it was deleted.
    #[must_use]
    pub fn text(&self) -> &str {
        self.versions.last().map_or("", |version| version.text.as_str())
    }

    /// Its entities now.
    #[must_use]
    pub fn entities(&self) -> &[Entity] {
        self.versions.last().map_or(&[], |version| version.entities.as_slice())
    }

    /// The buttons that can be pressed now, of all rows.
    pub fn buttons(&self) -> impl Iterator<Item = &Button> {
        self.versions.last().into_iter().flat_map(|version| version.keyboard.iter().flatten())
    }

    /// How often it was edited.
    #[must_use]
    pub fn edits(&self) -> usize {
        self.versions.len().saturating_sub(1)
    }

    /// Whether a reader can see it.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.deleted.is_none()
    }
}

/// A part of a message that was shown while it was being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub chat: i64,
    pub thread: Option<i64>,
    pub draft_id: i64,
    pub at: Timestamp,
    /// Empty where "Thinking…" is shown.
    pub text: String,
    pub entities: Vec<Entity>,
    /// Whether the user may stop it.
    pub can_stop: bool,
}

/// "typing…" and the like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub chat: i64,
    pub thread: Option<i64>,
    pub action: String,
    pub at: Timestamp,
}

/// What the bot answered to the press of a button.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PressAnswer {
    /// The press.
    pub query: String,
    pub text: Option<String>,
    pub is_alert: bool,
    pub at: Timestamp,
}

/// Everything that happened in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transcript {
    /// In the order of their numbers, those of users included.
    pub messages: Vec<Message>,
    pub drafts: Vec<Draft>,
    pub actions: Vec<Action>,
}

impl Transcript {
    /// What the bot has said and is still to be seen, in order.
    #[must_use]
    pub fn shown(&self) -> Vec<&str> {
        self.of_bot().filter(|message| message.is_visible()).map(Message::text).collect()
    }

    /// Messages of the bot, deleted ones included.
    pub fn of_bot(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.is_from_bot)
    }

    /// Drafts that no later message of the bot in the same place has replaced.
    #[must_use]
    pub fn unfinished_drafts(&self) -> Vec<&Draft> {
        let is_finished = |draft: &&Draft| {
            self.of_bot().any(|message| {
                let sent = message.versions.first().map(|version| version.at);
                message.thread == draft.thread && sent >= Some(draft.at)
            })
        };
        self.drafts.iter().filter(|draft| !is_finished(draft)).collect()
    }
}
