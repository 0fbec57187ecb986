//! HTML, as strict as the real server.
//!
//! # Source
//! "HTML style" of the Bot API; the descriptions of errors are those of tdlib/td.

use super::refusal::Refusal;
use super::text::{Entity, Formatted, is_link};

/// Tags with the kind that they make.
const TAGS: [(&str, &str); 17] = [
    ("b", "bold"),
    ("strong", "bold"),
    ("i", "italic"),
    ("em", "italic"),
    ("u", "underline"),
    ("ins", "underline"),
    ("s", "strikethrough"),
    ("strike", "strikethrough"),
    ("del", "strikethrough"),
    ("span", "spoiler"),
    ("tg-spoiler", "spoiler"),
    ("tg-emoji", "custom_emoji"),
    ("tg-time", "date_time"),
    ("a", "text_link"),
    ("code", "code"),
    ("pre", "pre"),
    ("blockquote", "blockquote"),
];

struct Open {
    tag: String,
    kind: &'static str,
    /// Address, language, class, emoji or time, as the tag has it.
    argument: String,
    /// How a time is shown.
    format: Option<String>,
    offset: usize,
    begin: usize,
}

struct Parser<'a> {
    source: &'a str,
    at: usize,
    text: String,
    units: usize,
    open: Vec<Open>,
    entities: Vec<Entity>,
}

pub(super) fn parse(source: &str) -> Result<Formatted, Refusal> {
    let mut parser = Parser {
        source,
        at: 0,
        text: String::new(),
        units: 0,
        open: Vec::new(),
        entities: Vec::new(),
    };
    while let Some(char) = parser.rest().chars().next() {
        match char {
            '<' if parser.rest().starts_with("</") => parser.end_tag()?,
            '<' => parser.start_tag()?,
            '&' => {
                let (char, length) = reference(parser.rest()).unwrap_or(('&', 1));
                parser.push(char, length);
            }
            char => parser.push(char, char.len_utf8()),
        }
    }
    if let Some(open) = parser.open.last() {
        let tag = &open.tag;
        return Err(Refusal::entities(format_args!(
            "Can't find end tag corresponding to start tag \"{tag}\""
        )));
    }
    Ok(Formatted { text: parser.text, entities: parser.entities })
}

/// A character reference at the beginning of a text, with its length.
fn reference(text: &str) -> Option<(char, usize)> {
    let name = text[1..].split(|char: char| !char.is_ascii_alphanumeric() && char != '#').next()?;
    let code = name.strip_prefix('#');
    let char = match (name, code.map(|code| (code.strip_prefix('x'), code))) {
        ("lt", _) => '<',
        ("gt", _) => '>',
        ("amp", _) => '&',
        ("quot", _) => '"',
        (_, Some((Some(hex), _))) => char::from_u32(u32::from_str_radix(hex, 16).ok()?)?,
        (_, Some((None, number))) => char::from_u32(number.parse().ok()?)?,
        _ => return None,
    };
    let length = 1 + name.len();
    Some((char, length + usize::from(text[length..].starts_with(';'))))
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn push(&mut self, char: char, length: usize) {
        self.text.push(char);
        self.units += char.len_utf16();
        self.at += length;
    }

    fn start_tag(&mut self) -> Result<(), Refusal> {
        let begin = self.at;
        let unclosed =
            || Refusal::entities(format_args!("Unclosed start tag at byte offset {begin}"));
        let rest = &self.rest()[1..];
        let name =
            rest.find(|char: char| char.is_whitespace() || char == '>').ok_or_else(unclosed)?;
        let tag = rest[..name].to_lowercase();
        let Some((_, kind)) = TAGS.iter().find(|(known, _)| *known == tag) else {
            return Err(Refusal::entities(format_args!(
                "Unsupported start tag \"{tag}\" at byte offset {begin}"
            )));
        };
        let mut kind = *kind;
        self.at += 1 + name;
        let (mut argument, mut format) = (String::new(), None);
        loop {
            let rest = self.rest().trim_start();
            self.at = self.source.len() - rest.len();
            if rest.is_empty() {
                return Err(unclosed());
            }
            if rest.starts_with('>') {
                break;
            }
            let (name, value) = self.attribute(&tag, begin)?;
            match (tag.as_str(), name.as_str()) {
                ("a", "href") | ("tg-emoji", "emoji-id") | ("tg-time", "unix") => argument = value,
                ("tg-time", "format") => format = Some(value),
                ("code", "class") if value.starts_with("language-") => {
                    value[9..].clone_into(&mut argument)
                }
                ("span", "class") => argument = value,
                ("blockquote", "expandable") => kind = "expandable_blockquote",
                _ => {}
            }
        }
        self.at += 1;
        if tag == "span" && argument != "tg-spoiler" {
            return Err(Refusal::entities(format_args!(
                "Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"
            )));
        }
        let (offset, begin) = (self.units, self.text.len());
        self.open.push(Open { tag, kind, argument, format, offset, begin });
        Ok(())
    }

    /// One attribute of the tag that began at `begin`.
    fn attribute(&mut self, tag: &str, begin: usize) -> Result<(String, String), Refusal> {
        let refuse =
            |what: &str| Refusal::entities(format!("{what} tag \"{tag}\" at byte offset {begin}"));
        let rest = self.rest();
        let end = rest.find(|char: char| char.is_whitespace() || matches!(char, '=' | '>'));
        let name = rest[..end.unwrap_or(rest.len())].to_lowercase();
        if name.is_empty() {
            return Err(refuse("Empty attribute name in the"));
        }
        let after = rest[name.len()..].trim_start();
        let Some(value) = after.strip_prefix('=') else {
            if tag == "blockquote" && name == "expandable" {
                self.at += name.len();
                return Ok((name, String::new()));
            }
            return Err(refuse("Expected equal sign in declaration of an attribute of the"));
        };
        let value = value.trim_start();
        let quote = value.chars().next().filter(|char| matches!(char, '"' | '\''));
        let (text, left) = if let Some(quote) = quote {
            let (text, left) =
                value[1..].split_once(quote).ok_or_else(|| refuse("Unclosed start"))?;
            (decode(text), left)
        } else {
            let is_token = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-');
            let end = value.find(|char| !is_token(char)).unwrap_or(value.len());
            if !value[end..].starts_with(|char: char| char.is_whitespace() || char == '>') {
                let at = self.source.len() - value.len();
                return Err(Refusal::entities(format_args!(
                    "Unexpected end of name token at byte offset {at}"
                )));
            }
            (value[..end].to_lowercase(), &value[end..])
        };
        self.at = self.source.len() - left.len();
        Ok((name, text))
    }

    fn end_tag(&mut self) -> Result<(), Refusal> {
        let begin = self.at;
        let Some(open) = self.open.pop() else {
            return Err(Refusal::entities(format_args!(
                "Unexpected end tag at byte offset {begin}"
            )));
        };
        let rest = &self.rest()[2..];
        let end = rest.find('>').ok_or_else(|| {
            Refusal::entities(format_args!("Unclosed end tag at byte offset {begin}"))
        })?;
        let tag = rest[..end].trim_end().to_lowercase();
        if !tag.is_empty() && tag != open.tag {
            let wanted = &open.tag;
            return Err(Refusal::entities(format_args!(
                "Unmatched end tag at byte offset {begin}, expected \"</{wanted}>\", found \"</{tag}>\""
            )));
        }
        self.at += 2 + end + 1;
        let mut entity = Entity::new(open.kind, open.offset, self.units - open.offset);
        match open.kind {
            "text_link" => {
                let shown = self.text[open.begin..].to_owned();
                let url = if open.argument.is_empty() { shown } else { open.argument };
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
                if open.argument.parse::<u64>().is_err() {
                    return Err(Refusal::entities("Invalid custom emoji identifier specified"));
                }
                entity.custom_emoji_id = Some(open.argument);
            }
            "date_time" => {
                let time = open.argument.parse().ok();
                let time = time.ok_or_else(|| Refusal::entities("Invalid date specified"))?;
                (entity.unix_time, entity.date_time_format) = (Some(time), open.format);
            }
            "code" if !open.argument.is_empty() => entity.language = Some(open.argument),
            "pre" => self.take_language(&mut entity),
            _ => {}
        }
        if entity.length > 0 {
            self.entities.push(entity);
        }
        Ok(())
    }

    /// `<pre><code class="language-x">` is one entity with a language.
    fn take_language(&mut self, pre: &mut Entity) {
        let is_inside = |code: &mut Entity| {
            code.kind == "code" && (code.offset, code.length) == (pre.offset, pre.length)
        };
        if let Some(code) = self.entities.pop_if(is_inside) {
            pre.language = code.language;
        }
    }
}

fn decode(text: &str) -> String {
    let (mut result, mut rest) = (String::new(), text);
    while let Some(char) = rest.chars().next() {
        let (char, length) =
            if char == '&' { reference(rest).unwrap_or(('&', 1)) } else { (char, char.len_utf8()) };
        result.push(char);
        rest = &rest[length..];
    }
    result
}
