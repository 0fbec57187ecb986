use nexus_contracts::Decision;
use serde::Serialize;

use crate::render::{Entity, Rendered, render};

/// What one message shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) entities: Vec<Entity>,
    /// In one row below the text.
    pub(crate) buttons: Vec<Button>,
}

/// A button below a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Button {
    pub(crate) text: &'static str,
    pub(crate) callback_data: String,
}

impl Piece {
    /// Text without marks.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), entities: Vec::new(), buttons: Vec::new() }
    }

    /// An agent's Markdown as messages.
    pub(crate) fn of_markdown(markdown: &str) -> Vec<Self> {
        render(markdown).into_iter().map(Self::from).collect()
    }

    /// The same without entities, for when Telegram does not like them.
    pub(crate) fn unmarked(&self) -> Self {
        Self { entities: Vec::new(), ..self.clone() }
    }
}

impl From<Rendered> for Piece {
    fn from(rendered: Rendered) -> Self {
        Self { text: rendered.text, entities: rendered.entities, buttons: Vec::new() }
    }
}

impl Button {
    /// The two answers to a question; `token` is all that Telegram learns of it.
    pub(crate) fn pair(token: &str) -> Vec<Self> {
        let button = |text, decision| Self { text, callback_data: data(token, decision) };
        vec![button("Allow", Decision::Approved), button("Deny", Decision::Denied)]
    }
}

/// What a press of a button carries; at most 64 bytes.
fn data(token: &str, decision: Decision) -> String {
    let letter = match decision {
        Decision::Approved => 'y',
        Decision::Denied => 'n',
    };
    format!("{letter}.{token}")
}

/// The token and the decision in the data of a press.
pub(crate) fn read_data(data: &str) -> Option<(&str, Decision)> {
    let (letter, token) = data.split_once('.')?;
    let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    match letter {
        "y" if is_token => Some((token, Decision::Approved)),
        "n" if is_token => Some((token, Decision::Denied)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_button_is_short_and_read_back_and_nothing_else_is() {
        let token = "0123456789abcdef0123456789abcdef";
        let pair = Button::pair(token);
        assert!(pair.iter().all(|button| button.callback_data.len() <= 64));
        assert_eq!(read_data(&pair[0].callback_data), Some((token, Decision::Approved)));
        assert_eq!(read_data(&pair[1].callback_data), Some((token, Decision::Denied)));
        for forged in [
            "",
            "y.",
            "y.0123",
            "x.0123456789abcdef0123456789abcdef",
            "y.0123456789abcdef0123456789abcde.",
            "y",
        ] {
            assert_eq!(read_data(forged), None, "{forged:?}");
        }
    }
}
