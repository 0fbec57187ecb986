//! `reply_markup`: inline keyboards in full, other kinds as they are.
//!
//! # Source
//! "InlineKeyboardMarkup" of the Bot API; descriptions from tdlib/telegram-bot-api and the server.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::refusal::Refusal;
use super::text::is_link;

/// Longest `callback_data` in bytes.
const LONGEST_DATA: usize = 64;
/// Most buttons in a row and in all.
const MOST_IN_ROW: usize = 8;
const MOST_BUTTONS: usize = 100;
/// What a button may do; each does exactly one of it.
const ACTIONS: [&str; 10] = [
    "callback_data",
    "url",
    "login_url",
    "web_app",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
];

/// A button under a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    pub text: String,
    /// Everything else that the bot gave, such as `callback_data`.
    #[serde(flatten)]
    pub action: Map<String, Value>,
}

impl Button {
    /// What the bot gets when the button is pressed.
    #[must_use]
    pub fn data(&self) -> Option<&str> {
        self.action.get("callback_data").and_then(Value::as_str)
    }
}

/// What stands below a message or the text field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Markup {
    pub(super) rows: Vec<Vec<Button>>,
    /// A keyboard of the other kinds, which belong to the chat and not to the message.
    pub(super) other: Option<Value>,
}

pub(super) fn markup(arguments: &Arguments) -> Result<Markup, Refusal> {
    let Some(markup) = arguments.json::<Map<String, Value>>("reply_markup", "reply markup")? else {
        return Ok(Markup::default());
    };
    let others = ["keyboard", "remove_keyboard", "force_reply"];
    if let Some(rows) = markup.get("inline_keyboard") {
        return Ok(Markup { rows: rows_of(rows)?, other: None });
    }
    // `{}` takes a keyboard away.
    if !markup.is_empty() && !others.iter().any(|kind| markup.contains_key(*kind)) {
        return Err(Refusal::rule("object expected as reply markup"));
    }
    let other = (!markup.is_empty()).then_some(Value::Object(markup));
    Ok(Markup { rows: Vec::new(), other })
}

fn rows_of(rows: &Value) -> Result<Vec<Vec<Button>>, Refusal> {
    let unreadable =
        |why: &str| Refusal::rule(format_args!("can't parse inline keyboard button: {why}"));
    let rows = rows
        .as_array()
        .ok_or_else(|| Refusal::rule("field \"inline_keyboard\" must be of type Array"))?;
    let mut result = Vec::new();
    for row in rows {
        let row = row
            .as_array()
            .ok_or_else(|| Refusal::rule("field \"inline_keyboard\" must be an Array of Arrays"))?;
        let mut buttons = Vec::new();
        for button in row {
            let button: Button = serde_json::from_value(button.clone())
                .map_err(|_| unreadable("field \"text\" must be a String"))?;
            check(&button)?;
            buttons.push(button);
        }
        if buttons.len() > MOST_IN_ROW {
            return Err(Refusal::rule("reply markup has a row with too many buttons"));
        }
        // The server passes empty rows over.
        if !buttons.is_empty() {
            result.push(buttons);
        }
    }
    if result.iter().map(Vec::len).sum::<usize>() > MOST_BUTTONS {
        return Err(Refusal::rule("reply markup is too long"));
    }
    Ok(result)
}

fn check(button: &Button) -> Result<(), Refusal> {
    if button.text.trim().is_empty() {
        return Err(Refusal::rule("inline keyboard button text must be non-empty"));
    }
    let actions = ACTIONS.iter().filter(|name| button.action.contains_key(**name)).count();
    if actions != 1 {
        return Err(Refusal::rule(
            "text buttons are unallowed in the inline keyboard: exactly one optional field must be used",
        ));
    }
    if let Some(data) = button.action.get("callback_data") {
        let data = data.as_str().unwrap_or("");
        if data.is_empty() || data.len() > LONGEST_DATA {
            return Err(Refusal::rule("BUTTON_DATA_INVALID"));
        }
    }
    if let Some(url) = button.action.get("url")
        && !url.as_str().is_some_and(is_link)
    {
        let text = &button.text;
        return Err(Refusal::rule(format_args!(
            "inline keyboard button URL of \"{text}\" is invalid: wrong HTTP URL"
        )));
    }
    Ok(())
}
