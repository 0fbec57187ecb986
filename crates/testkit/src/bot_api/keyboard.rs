//! `reply_markup`: inline keyboards in full, other kinds as they are.
//!
//! # Source
//! "InlineKeyboardMarkup" of the Bot API; descriptions from tdlib/telegram-bot-api and the server.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::arguments::Arguments;
use super::refusal::Refusal;
use super::text::link;

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
                .map_err(|_| unreadable("Can't find field \"text\""))?;
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

fn unreadable(why: &str) -> Refusal {
    Refusal::rule(format_args!("can't parse inline keyboard button: {why}"))
}

fn check(button: &Button) -> Result<(), Refusal> {
    if button.text.trim().is_empty() {
        return Err(Refusal::rule("inline keyboard button text must be non-empty"));
    }
    let is_given = |name: &&&str| button.action.get(**name).is_some_and(|value| value != "");
    match ACTIONS.iter().filter(is_given).count() {
        1 => {}
        0 => return Err(unreadable("Text buttons are unallowed in the inline keyboard")),
        // The real server takes one of them; nobody means that.
        _ => return Err(unreadable("exactly one of the optional fields must be used")),
    }
    if button.data().is_some_and(|data| data.len() > LONGEST_DATA) {
        return Err(Refusal::rule("BUTTON_DATA_INVALID"));
    }
    if let Some(url) = button.action.get("url").and_then(Value::as_str) {
        link(url).map_err(|why| {
            Refusal::rule(format_args!("inline keyboard button URL '{url}' is invalid: {why}"))
        })?;
    }
    Ok(())
}
