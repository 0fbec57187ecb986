//! MarkdownV2, as strict as the real server.
//!
//! # Source
//! "MarkdownV2 style" of the Bot API; the descriptions of errors are those of tdlib/td. The old
//! "Markdown" is read by the same rules for what it shares, and escapes only `_*[` and backticks.

use super::refusal::Refusal;
use super::text::{Entity, Formatted, is_link};

/// Characters that mean something, or must be escaped.
const RESERVED: &str = "_*[]()~`>#+-=|{}.!";
const RESERVED_OF_OLD: &str = "_*[`";

/// Which of the two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    Old,
}

/// An entity whose end is still to come.
struct Open {
    kind: &'static str,
    language: Option<String>,
    /// In UTF-16 code units of the result.
    offset: usize,
    /// In bytes of what the bot gave.
    at: usize,
    /// In bytes of the result.
    begin: usize,
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    text: String,
    units: usize,
    open: Vec<Open>,
    entities: Vec<Entity>,
    dialect: Dialect,
    /// Where the quote began whose lines are being read.
    quote: Option<usize>,
    is_expandable: bool,
}

pub(super) fn parse(source: &str, dialect: Dialect) -> Result<Formatted, Refusal> {
    let mut parser = Parser {
        source,
        at: 0,
        text: String::new(),
        units: 0,
        open: Vec::new(),
        entities: Vec::new(),
        dialect,
        quote: None,
        is_expandable: false,
    };
    while let Some(char) = parser.rest().chars().next() {
        parser.step(char)?;
    }
    if let Some(open) = parser.open.last() {
        let (name, at) = (name(open.kind), open.at);
        return Err(match dialect {
            Dialect::V2 => Refusal::entities(format_args!(
                "Can't find end of {name} entity at byte offset {at}"
            )),
            Dialect::Old => Refusal::entities(format_args!(
                "Can't find end of the entity starting at byte offset {at}"
            )),
        });
    }
    parser.end_quote();
    Ok(Formatted { text: parser.text, entities: parser.entities })
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn push(&mut self, char: char) {
        self.text.push(char);
        self.units += char.len_utf16();
    }

    /// Reads one character, or a mark of several.
    fn step(&mut self, char: char) -> Result<(), Refusal> {
        if char == '\\'
            && let Some(escaped) = self.rest().chars().nth(1).filter(|next| self.escapes(*next))
        {
            self.at += 2;
            self.push(escaped);
            return Ok(());
        }
        let is_code = self.open.last().is_some_and(|open| matches!(open.kind, "code" | "pre"));
        let reserved = match (is_code, self.dialect) {
            (true, _) => "`",
            (false, Dialect::V2) => RESERVED,
            (false, Dialect::Old) => RESERVED_OF_OLD,
        };
        if let Some(mark) = self.quote_mark() {
            self.at += mark;
            self.quote.get_or_insert(self.units);
            return Ok(());
        }
        if self.ends_expandable_quote() {
            self.at += 2;
            self.is_expandable = true;
            return Ok(());
        }
        if char == '\n' && !is_code && !self.rest().starts_with("\n>") {
            self.end_quote();
        }
        if !reserved.contains(char) {
            self.at += char.len_utf8();
            self.push(char);
            return Ok(());
        }
        if self.ends_entity(char) { self.end(char) } else { self.begin(char) }
    }

    fn escapes(&self, next: char) -> bool {
        match self.dialect {
            Dialect::V2 => (1..=126).contains(&u32::from(next)),
            Dialect::Old => RESERVED_OF_OLD.contains(next),
        }
    }

    /// Length of the mark before a line of a quote; `**>` begins a new one after another.
    fn quote_mark(&self) -> Option<usize> {
        let is_first = self.at == 0 || self.source.as_bytes().get(self.at - 1) == Some(&b'\n');
        let may_start = is_first && self.open.is_empty() && self.dialect == Dialect::V2;
        let mark = [">", "**>"].into_iter().find(|mark| self.rest().starts_with(mark));
        mark.filter(|_| may_start).map(str::len)
    }

    /// `||` at the end of a quote makes it one that is folded at first.
    fn ends_expandable_quote(&self) -> bool {
        let after = self.rest().strip_prefix("||");
        let is_last = after.is_some_and(|after| {
            after.is_empty() || (after.starts_with('\n') && !after.starts_with("\n>"))
        });
        is_last && self.quote.is_some() && self.open.is_empty()
    }

    fn end_quote(&mut self) {
        let kind = if self.is_expandable { "expandable_blockquote" } else { "blockquote" };
        self.is_expandable = false;
        if let Some(begin) = self.quote.take().filter(|begin| *begin < self.units) {
            self.entities.push(Entity::new(kind, begin, self.units - begin));
        }
    }

    fn ends_entity(&self, char: char) -> bool {
        let Some(open) = self.open.last() else { return false };
        let rest = self.rest();
        match open.kind {
            "bold" => char == '*',
            "italic" => char == '_' && (self.dialect == Dialect::Old || !rest.starts_with("__")),
            "underline" => rest.starts_with("__"),
            "strikethrough" => char == '~',
            "spoiler" => rest.starts_with("||"),
            "code" => char == '`',
            "pre" => rest.starts_with("```"),
            _ => char == ']',
        }
    }

    fn begin(&mut self, char: char) -> Result<(), Refusal> {
        let (at, rest) = (self.at, self.rest());
        let mut language = None;
        let is_new = self.dialect == Dialect::V2;
        let (kind, length) = match char {
            '_' if is_new && rest.starts_with("__") => ("underline", 2),
            '_' => ("italic", 1),
            '*' => ("bold", 1),
            '~' => ("strikethrough", 1),
            '|' if rest.starts_with("||") => ("spoiler", 2),
            '[' => ("text_link", 1),
            '!' if rest.starts_with("![") => ("custom_emoji", 2),
            '`' if rest.starts_with("```") => {
                let word = rest[3..].split(|char: char| char.is_whitespace() || char == '`').next();
                let word = word.unwrap_or("");
                let follows = rest[3 + word.len()..].chars().next();
                let is_language = !word.is_empty() && follows.is_some_and(|next| next != '`');
                let skipped = if is_language { 3 + word.len() } else { 3 };
                language = is_language.then(|| word.to_owned());
                ("pre", skipped + usize::from(rest[skipped..].starts_with('\n')))
            }
            '`' => ("code", 1),
            _ => {
                return Err(Refusal::entities(format_args!(
                    "Character '{char}' is reserved and must be escaped with the preceding '\\'"
                )));
            }
        };
        let (offset, begin) = (self.units, self.text.len());
        self.open.push(Open { kind, language, offset, at, begin });
        self.at += length;
        Ok(())
    }

    fn end(&mut self, char: char) -> Result<(), Refusal> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        self.at += match open.kind {
            "underline" | "spoiler" => 2,
            "pre" => 3,
            _ => char.len_utf8(),
        };
        let mut entity = Entity::new(open.kind, open.offset, self.units - open.offset);
        entity.language = open.language;
        match open.kind {
            "text_link" => {
                let url = self.address()?.unwrap_or_else(|| self.text[open.begin..].to_owned());
                let user = url.strip_prefix("tg://user?id=").and_then(|id| id.parse::<i64>().ok());
                if let Some(user) = user {
                    entity = Entity::new("text_mention", entity.offset, entity.length);
                    entity.user = Some(serde_json::json!({ "id": user }));
                } else if is_link(&url) {
                    entity.url = Some(url);
                } else {
                    // As the server does: the text stays, the link goes.
                    return Ok(());
                }
            }
            "custom_emoji" => {
                let url = self.address()?.unwrap_or_default();
                self.fill(&mut entity, &url)?;
            }
            _ => {}
        }
        if entity.length > 0 {
            self.entities.push(entity);
        }
        Ok(())
    }

    /// `![..](..)` is an emoji or a time; its address says which.
    fn fill(&self, entity: &mut Entity, url: &str) -> Result<(), Refusal> {
        let value = |name: &str| {
            let pairs = url.split_once('?').map_or("", |(_, pairs)| pairs).split('&');
            let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        if url.starts_with("tg://time?") {
            "date_time".clone_into(&mut entity.kind);
            entity.unix_time = value("unix").and_then(|time| time.parse().ok());
            entity.date_time_format = value("format");
            let has_time = entity.unix_time.is_some();
            return has_time
                .then_some(())
                .ok_or_else(|| Refusal::entities("Invalid date specified"));
        }
        let id =
            value("id").filter(|id| url.starts_with("tg://emoji?") && id.parse::<u64>().is_ok());
        entity.custom_emoji_id = Some(id.ok_or_else(|| {
            Refusal::entities("Custom emoji entity must contain a tg://emoji URL")
        })?);
        Ok(())
    }

    /// What stands in parentheses after a link's text.
    fn address(&mut self) -> Result<Option<String>, Refusal> {
        let Some(rest) = self.rest().strip_prefix('(') else { return Ok(None) };
        let (begin, mut url, mut chars) = (self.at + 1, String::new(), rest.char_indices());
        while let Some((at, char)) = chars.next() {
            match char {
                ')' => {
                    self.at = begin + at + 1;
                    return Ok(Some(url));
                }
                '\\' if self.dialect == Dialect::V2 => {
                    url.extend(chars.next().map(|(_, char)| char))
                }
                char => url.push(char),
            }
        }
        Err(Refusal::entities(format_args!("Can't find end of a URL at byte offset {begin}")))
    }
}

/// A kind as the server's errors name it.
fn name(kind: &str) -> &'static str {
    match kind {
        "bold" => "Bold",
        "italic" => "Italic",
        "underline" => "Underline",
        "strikethrough" => "Strikethrough",
        "spoiler" => "Spoiler",
        "code" => "Code",
        "pre" => "Pre",
        "custom_emoji" => "CustomEmoji",
        _ => "TextUrl",
    }
}
