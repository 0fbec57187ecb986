//! An agent's Markdown as Telegram messages: plain text, and entities that mark parts of it.
//!
//! Entities instead of Telegram's own Markdown or HTML: those refuse a message for one character
//! that is not escaped or one tag that a split has cut in two.
//!
//! # What arrives
//! The *page* is the text before it is cut. It has every character of the Markdown's content in
//! order: words, code, raw HTML and comments as they are written, link definitions that nothing
//! refers to. Around them comes what a reader needs instead of the markers: bullets, numbers, table
//! rules, addresses that cannot be links. Left out are the markers themselves, a code block's info
//! string after its language, titles of links, and a line's outer white space. Control characters
//! become spaces. The messages are the page cut in pieces; only white space and invisible
//! characters between two pieces are left out.
//!
//! # Entities
//! Stricter than what Telegram takes: code neither contains nor is within another entity, so bold
//! text is interrupted for it, and within a link or a quote it is unmarked. A quote is interrupted
//! for a code block. A quote or link within its like is part of the outer one.
//!
//! # Source
//! Bot API, "Formatting options" and `MessageEntity`; where they are silent, `fix_formatted_text`
//! and `check_link` of TDLib, on which the Bot API server is built.

mod address;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod check;
mod cut;
mod page;
mod table;
mod walk;

use serde::Serialize;

use page::Page;

use crate::split::LIMIT;

/// Most entities of one message; Telegram leaves out the others without a word.
///
/// # Source
/// Known from use; the Bot API's documentation does not say it.
const MOST_ENTITIES: usize = 100;

/// Columns in which quotes and list items may open; a text with more is no Markdown but an attack.
///
/// Every later line is matched against all that are open: 60 KB of blank lines in 20,000 open lists
/// took the parser a minute.
const DEEPEST: usize = 100;

/// One message: plain text, and what is marked in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// At most [`LIMIT`] UTF-16 code units. No outer white space, except that a code block at the
    /// start keeps its indentation: Telegram trims up to the first entity.
    pub(crate) text: String,
    /// By offset, the outer one first; at most [`MOST_ENTITIES`].
    pub(crate) entities: Vec<Entity>,
}

/// A marked part of a message, as the Bot API writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entity {
    #[serde(flatten)]
    pub(crate) kind: Kind,
    /// First UTF-16 code unit.
    pub(crate) offset: u32,
    /// UTF-16 code units, at least one.
    pub(crate) length: u32,
}

/// How a part is marked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Kind {
    Bold,
    Italic,
    Strikethrough,
    Blockquote,
    Code,
    Pre {
        #[serde(skip_serializing_if = "Option::is_none")]
        language: Option<String>,
    },
    TextLink {
        url: String,
    },
}

/// Markdown as messages; none for a text in which there is nothing to see.
///
/// Takes time in proportion to the text, whatever is in it.
pub(crate) fn render(markdown: &str) -> Vec<Rendered> {
    render_within(markdown, LIMIT, MOST_ENTITIES)
}

/// As [`render`], with other limits.
fn render_within(markdown: &str, limit: usize, most: usize) -> Vec<Rendered> {
    let messages = cut::cut(&page(markdown), limit, most);
    if messages.is_empty() {
        // Markers around nothing, as in "**": somebody meant something.
        return cut::cut(&Page::plain(markdown), limit, most);
    }
    messages
}

/// The text before it is cut.
fn page(markdown: &str) -> Page {
    if is_too_deep(markdown) { Page::plain(markdown) } else { walk::walk(markdown) }
}

/// Whether a quote or list item opens further to the right than [`DEEPEST`].
fn is_too_deep(markdown: &str) -> bool {
    markdown.lines().any(|line| {
        let mut rest = line;
        let mut columns = 0;
        while columns <= DEEPEST {
            let Some((width, after)) = opening(rest) else { return false };
            columns += width;
            rest = after;
        }
        true
    })
}

/// The columns up to the end of the marker that a text begins with, and what is after it.
fn opening(text: &str) -> Option<(usize, &str)> {
    let marker = text.trim_start_matches([' ', '\t']);
    let after = marker.strip_prefix('>').or_else(|| {
        let mark = marker.trim_start_matches(|char: char| char.is_ascii_digit());
        let after = mark.strip_prefix(['-', '*', '+', '.', ')'])?;
        (after.is_empty() || after.starts_with([' ', '\t'])).then_some(after)
    })?;
    let before = text.get(..text.len() - marker.len()).unwrap_or_default();
    let tabs = before.matches('\t').count();
    // Up to a tab stop of four.
    Some((text.len() - after.len() + 3 * tabs, after))
}

#[cfg(test)]
mod tests;
