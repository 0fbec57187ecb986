//! Sending, changing and deleting messages.
//!
//! # Source
//! The Bot API's documentation; order of checks and descriptions from tdlib/telegram-bot-api.

use serde_json::{Value, json};

use super::arguments::Arguments;
use super::files::Attachment;
use super::html;
use super::keyboard::markup;
use super::markdown::{self, Dialect};
use super::refusal::Refusal;
use super::state::{BotState, Moment, is_group};
use super::text::{self, Formatted, units};
use super::transcript::{Action, Draft, Message, Sent, Version};

/// Longest text and caption in UTF-16 code units, after entities are parsed.
const LONGEST_TEXT: usize = 4096;
const LONGEST_CAPTION: usize = 1024;
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

/// Where a text stands in the arguments, and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Text,
    Caption,
}

/// A text with its entities, from `parse_mode` or a list.
fn formatted(arguments: &Arguments, field: Field) -> Result<Formatted, Refusal> {
    let (name, list) = match field {
        Field::Text => ("text", "entities"),
        Field::Caption => ("caption", "caption_entities"),
    };
    let text = arguments.text(name).unwrap_or("");
    let mode = arguments.text("parse_mode").unwrap_or("").to_lowercase();
    let parsed = match mode.as_str() {
        "markdownv2" => markdown::parse(text, Dialect::V2)?,
        "markdown" => markdown::parse(text, Dialect::Old)?,
        "html" => html::parse(text)?,
        "" | "none" => {
            let entities = match arguments.json::<Value>(list, "entities")? {
                Some(list) => text::entities(&list)?,
                None => Vec::new(),
            };
            Formatted { text: text.to_owned(), entities }
        }
        _ => return Err(Refusal::rule("unsupported parse_mode")),
    };
    let parsed = text::fix(&parsed.text, parsed.entities)?;
    let length = units(&parsed.text);
    match field {
        Field::Text if length > LONGEST_TEXT => Err(Refusal::rule("message is too long")),
        Field::Caption if length > LONGEST_CAPTION => {
            Err(Refusal::rule("message caption is too long"))
        }
        _ => Ok(parsed),
    }
}

/// The text of a message, which shows something.
fn formatted_text(arguments: &Arguments) -> Result<Formatted, Refusal> {
    if arguments.text("text").is_none() {
        return Err(Refusal::rule("message text is empty"));
    }
    let text = formatted(arguments, Field::Text)?;
    if text.text.is_empty() {
        return Err(Refusal::rule("text must be non-empty"));
    }
    Ok(text)
}

impl BotState {
    pub(super) fn send_message(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let text = formatted_text(arguments)?;
        let chat = self.chat(arguments)?;
        self.publish(chat, text, None, arguments, now)
    }

    pub(super) fn send_file(
        &mut self,
        file: impl FnOnce(&mut Self) -> Result<Attachment, Refusal>,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let caption = formatted(arguments, Field::Caption)?;
        let file = file(self)?;
        self.publish(chat, caption, Some(file), arguments, now)
    }

    /// Puts a checked message into a chat.
    fn publish(
        &mut self,
        chat: i64,
        text: Formatted,
        file: Option<Attachment>,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let markup = markup(arguments)?;
        let thread = self.thread(chat, arguments)?;
        let reply_to = self.reply_to(chat, arguments)?;
        let mut options = serde_json::Map::new();
        options.extend(markup.other.map(|other| ("reply_markup".to_owned(), other)));
        let preview = arguments.json::<Value>("link_preview_options", "link preview options")?;
        options.extend(preview.map(|preview| ("link_preview_options".to_owned(), preview)));
        self.admit(chat, now)?;
        let message_id = self.number(chat);
        let Formatted { text, entities } = text;
        let (at, keyboard) = (now.at, markup.rows);
        self.sent.push(Sent { chat, thread, text: text.clone(), at, message_id });
        let message = Message {
            chat,
            thread,
            message_id,
            from: self.id,
            is_from_bot: true,
            reply_to,
            is_silent: arguments.is_true("disable_notification"),
            file,
            versions: vec![Version { at, text, entities, keyboard }],
            deleted: None,
            options,
        };
        let json = self.message_json(&message);
        self.insert(message);
        Ok(json)
    }

    /// The message that is answered, by `reply_parameters` or by the older argument.
    fn reply_to(&self, chat: i64, arguments: &Arguments) -> Result<Option<i64>, Refusal> {
        let given = arguments.json::<Value>("reply_parameters", "reply parameters")?;
        let (number, is_optional) = match &given {
            Some(given) => {
                let number = given.get("message_id").and_then(Value::as_i64);
                let number =
                    number.ok_or_else(|| Refusal::rule("can't find field \"message_id\""))?;
                let is_optional = given.get("allow_sending_without_reply").and_then(Value::as_bool);
                (number, is_optional.unwrap_or(false))
            }
            None => match arguments.number("reply_to_message_id") {
                Some(number) => (number, arguments.is_true("allow_sending_without_reply")),
                None => return Ok(None),
            },
        };
        match self.message(chat, number) {
            Some(message) => Ok(Some(message.message_id)),
            None if is_optional => Ok(None),
            None => Err(Refusal::state("message to be replied not found")),
        }
    }

    /// The message that is to be changed, if the bot may do that.
    fn own(&self, chat: i64, arguments: &Arguments, verb: &str) -> Result<&Message, Refusal> {
        let number = arguments.number("message_id").filter(|number| *number > 0);
        let number = number.ok_or_else(|| Refusal::rule("message identifier is not specified"))?;
        let message = self.message(chat, number);
        let message =
            message.ok_or_else(|| Refusal::state(format_args!("message to {verb} not found")))?;
        if !message.is_from_bot && verb == "edit" {
            return Err(Refusal::state("message can't be edited"));
        }
        Ok(message)
    }

    pub(super) fn edit_text(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let text = formatted_text(arguments)?;
        let chat = self.chat(arguments)?;
        let message = self.own(chat, arguments, "edit")?;
        if message.file.is_some() {
            return Err(Refusal::state("there is no text in the message to edit"));
        }
        self.edit(chat, text, arguments, now)
    }

    pub(super) fn edit_caption(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let text = formatted(arguments, Field::Caption)?;
        let message = self.own(chat, arguments, "edit")?;
        if message.file.is_none() {
            return Err(Refusal::state("there is no caption in the message to edit"));
        }
        self.edit(chat, text, arguments, now)
    }

    pub(super) fn edit_markup(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let message = self.own(chat, arguments, "edit")?;
        let (text, entities) = (message.text().to_owned(), message.entities().to_vec());
        self.edit(chat, Formatted { text, entities }, arguments, now)
    }

    fn edit(
        &mut self,
        chat: i64,
        text: Formatted,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let keyboard = markup(arguments)?.rows;
        let message = self.own(chat, arguments, "edit")?;
        let number = message.message_id;
        let version = Version { at: now.at, text: text.text, entities: text.entities, keyboard };
        let is_same = message.versions.last().is_some_and(|last| {
            last.text == version.text
                && last.entities == version.entities
                && last.keyboard == version.keyboard
        });
        if is_same {
            return Err(Refusal::state(
                "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
            ));
        }
        self.admit(chat, now)?;
        let messages = self.chats.get_mut(&chat).map(|chat| &mut chat.messages);
        let message = messages.and_then(|messages| messages.get_mut(&number));
        let message = message.ok_or_else(|| Refusal::state("message to edit not found"))?;
        message.versions.push(version);
        let message = message.clone();
        Ok(self.message_json(&message))
    }

    pub(super) fn delete_message(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let message = self.own(chat, arguments, "delete")?;
        // In groups that takes a right, which the bot does not have.
        if !message.is_from_bot && is_group(chat) {
            return Err(Refusal::state("message can't be deleted"));
        }
        let number = message.message_id;
        let messages = self.chats.get_mut(&chat).map(|chat| &mut chat.messages);
        if let Some(message) = messages.and_then(|messages| messages.get_mut(&number)) {
            message.deleted = Some(now.at);
        }
        Ok(true.into())
    }

    /// Shows a part of a message that is being written; for 30 s, in private chats.
    pub(super) fn send_draft(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        if is_group(chat) {
            return Err(Refusal::rule("TEXTDRAFT_PEER_INVALID"));
        }
        let thread = self.thread(chat, arguments)?;
        let draft_id = arguments.number("draft_id").filter(|id| *id != 0);
        let draft_id =
            draft_id.ok_or_else(|| Refusal::rule("draft_id must be a non-zero Integer"))?;
        let Formatted { text, entities } = formatted(arguments, Field::Text)?;
        if let Some(flood) = self.chats.get(&chat).and_then(|chat| chat.flood)
            && flood.until > now.instant
        {
            self.admit(chat, now)?;
        }
        let can_stop = arguments.is_true("can_stop");
        let draft = Draft { chat, thread, draft_id, at: now.at, text, entities, can_stop };
        self.chats.entry(chat).or_default().drafts.push(draft);
        Ok(true.into())
    }

    pub(super) fn send_chat_action(
        &mut self,
        arguments: &Arguments,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let chat = self.chat(arguments)?;
        let thread = self.thread(chat, arguments)?;
        let action = arguments.text("action").unwrap_or("");
        if !ACTIONS.contains(&action) {
            return Err(Refusal::rule("wrong parameter action in request"));
        }
        self.actions.push(Action { chat, thread, action: action.to_owned(), at: now.at });
        Ok(true.into())
    }

    pub(super) fn get_chat(&self, arguments: &Arguments) -> Result<Value, Refusal> {
        let mut chat = self.chat_json(self.chat(arguments)?);
        chat["accent_color_id"] = 0.into();
        chat["max_reaction_count"] = 11.into();
        chat["accepted_gift_types"] = json!({
            "unlimited_gifts": false, "limited_gifts": false, "unique_gifts": false,
            "premium_subscription": false, "gifts_from_channels": false,
        });
        Ok(chat)
    }
}
