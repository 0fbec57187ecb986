//! Questions whether a tool may be called, as people see them. The token is all that Telegram gets.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nexus_bus::{Delivery, Records};
use nexus_contracts::{Event, NotifyDeliver};

use crate::chat::Address;
use crate::display::Display;
use crate::error::Error;
use crate::piece::{Button, Piece};
use crate::record::{Ask, Kept, Style};

/// Longest arguments that are shown, in UTF-16 code units; leaves room for the words around them.
const LONGEST_ARGUMENTS: usize = 3000;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) tool: &'a str,
    /// JSON text.
    pub(crate) arguments: &'a str,
    pub(crate) arguments_sha256: &'a str,
    pub(crate) users: &'a [String],
    pub(crate) expires_after_ms: u64,
}

/// Keeps a question for the press of a button, and returns what its chat is to show.
///
/// May be called again for the same question: its buttons stay the same.
pub(crate) async fn prepare(
    asks: &Records<Ask>,
    display: &mut Display,
    address: Address,
    event: &Event<NotifyDeliver>,
    delivery: Delivery,
    question: Question<'_>,
) -> Result<Vec<Piece>, Error> {
    let mut users: BTreeSet<String> = question.users.iter().cloned().collect();
    if users.is_empty() {
        users.extend(event.metadata.user.clone());
    }
    if users.is_empty() {
        return Err(Error::NobodyToAsk);
    }
    let token = match &display.kept.value.token {
        Some(token) => token.clone(),
        None => {
            // Whoever presses changes the message, so it has to be one that is edited.
            display.kept.value.style = Style::Placeholder;
            display.keep_token(new_token()).await?
        }
    };
    let waits_us = question.expires_after_ms.saturating_mul(1000);
    let new = Ask {
        tenant: event.metadata.tenant,
        bot: address.bot,
        chat: address.chat,
        users,
        question: event.id,
        run: event.correlation_id,
        tool: question.tool.to_owned(),
        text: text(question.tool, question.arguments),
        arguments_sha256: question.arguments_sha256.to_owned(),
        expires_at: delivery
            .stored_at
            .as_micros()
            .saturating_add(i64::try_from(waits_us).unwrap_or(i64::MAX)),
        answer: None,
    };
    let mut ask = Kept::load_or(asks, Ask::key(&token), new).await?;
    ask.keep_if_new(asks).await?;
    Ok(pieces(&ask.value, &token))
}

/// The question with its buttons, or with its answer.
pub(crate) fn pieces(ask: &Ask, token: &str) -> Vec<Piece> {
    let mut pieces = Piece::of_markdown(&ask.text);
    if let Some(last) = pieces.last_mut() {
        match ask.verdict() {
            // Not through the renderer: people choose their names.
            Some(verdict) => {
                let _ = write!(last.text, "\n\n{verdict}");
            }
            None => last.buttons = Button::pair(token),
        }
    }
    pieces
}

/// The question with what became of it, for when nobody can answer any more.
pub(crate) fn expired(ask: &Ask) -> Vec<Piece> {
    let mut pieces = Piece::of_markdown(&ask.text);
    if let Some(last) = pieces.last_mut() {
        last.text.push_str("\n\nNobody answered in time: not allowed.");
    }
    pieces
}

fn new_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// What the person reads, in Markdown.
fn text(tool: &str, arguments: &str) -> String {
    let pretty = serde_json::from_str::<serde_json::Value>(arguments)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| arguments.to_owned());
    let (shown, cut) = shorten(&pretty);
    let (tool_fence, fence) = (fence(tool, 1), fence(shown, 3));
    let mut text =
        format!("May I call {tool_fence}{tool}{tool_fence}?\n\n{fence}json\n{shown}\n{fence}");
    if cut > 0 {
        let _ = write!(text, "\n\nNot shown: {cut} more characters of its arguments.");
    }
    text
}

/// The part of a text that fits, and how many characters do not.
fn shorten(text: &str) -> (&str, usize) {
    let mut units = 0;
    for (at, char) in text.char_indices() {
        units += char.len_utf16();
        if units > LONGEST_ARGUMENTS {
            let (shown, rest) = text.split_at(at);
            return (shown, rest.chars().count());
        }
    }
    (text, 0)
}

/// More backticks in a row than a text has, and at least `least`.
fn fence(text: &str, least: usize) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(least.max(longest + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_tool_and_arguments_and_says_what_it_leaves_out() {
        assert_eq!(
            text("send_mail", r#"{"to":"a@b.c"}"#),
            "May I call `send_mail`?\n\n```json\n{\n  \"to\": \"a@b.c\"\n}\n```"
        );
        assert!(text("x", "not json ``` {").contains("````json\nnot json ``` {\n````"));
        let long = text("x", &format!("\"{}\"", "ä".repeat(5000)));
        assert!(long.encode_utf16().count() < 3200);
        assert!(long.ends_with("Not shown: 2002 more characters of its arguments."));
    }
}
