//! Text with entities: lengths, bounds, trimming, and what the server finds by itself.
//!
//! # Source
//! tdlib/td, `MessageEntity.cpp` (`fix_formatted_text`): the bounds and their descriptions. Those of
//! fields and addresses are what clients' tests against the real server got.
//! The real server silently drops or splits entities that overlap or mix with code; the stand-in
//! refuses them as `ENTITY_BOUNDS_INVALID`, because a reader would not see what the bot meant.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refusal::Refusal;

/// Most entities that a message may have. The real server drops those after them.
const MOST_ENTITIES: usize = 100;
/// What a bot may ask for by `entities`; mentions and the like are found by the server.
const STYLES: [&str; 13] = [
    "bold",
    "italic",
    "underline",
    "strikethrough",
    "spoiler",
    "blockquote",
    "expandable_blockquote",
    "code",
    "pre",
    "text_link",
    "text_mention",
    "custom_emoji",
    "date_time",
];
/// What the server finds by itself; given by a bot, it is passed over.
const FOUND: [&str; 7] =
    ["mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number"];

/// A part of a text that looks or acts differently; offset and length in UTF-16 code units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: usize,
    pub length: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_emoji_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_time: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_time_format: Option<String>,
}

impl Entity {
    pub(super) fn new(kind: &str, offset: usize, length: usize) -> Self {
        Self {
            kind: kind.to_owned(),
            offset,
            length,
            url: None,
            language: None,
            user: None,
            custom_emoji_id: None,
            unix_time: None,
            date_time_format: None,
        }
    }

    fn end(&self) -> usize {
        self.offset + self.length
    }

    fn is_code(&self) -> bool {
        matches!(self.kind.as_str(), "code" | "pre")
    }
}

/// A text as its readers see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Formatted {
    pub(super) text: String,
    pub(super) entities: Vec<Entity>,
}

/// Length in UTF-16 code units, in which Telegram counts.
pub(super) fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Reads what a bot gave as `entities`.
pub(super) fn entities(list: &Value) -> Result<Vec<Entity>, Refusal> {
    let list =
        list.as_array().ok_or_else(|| Refusal::entities("expected an Array of MessageEntity"))?;
    if list.len() > MOST_ENTITIES {
        return Err(Refusal::rule("ENTITIES_TOO_LONG"));
    }
    let mut entities = Vec::new();
    for item in list {
        let number = |name: &str| item.get(name).and_then(Value::as_i64);
        let missing = |field| {
            let what = "can't parse MessageEntity: Can't find field";
            Refusal::rule(format_args!("{what} \"{field}\""))
        };
        let kind = item.get("type").and_then(Value::as_str).ok_or_else(|| missing("type"))?;
        let offset = number("offset").ok_or_else(|| missing("offset"))?;
        let length = number("length").ok_or_else(|| missing("length"))?;
        let receive = |what, value| {
            Refusal::rule(format_args!("receive an entity with incorrect {what} {value}"))
        };
        let offset = usize::try_from(offset).map_err(|_| receive("offset", offset))?;
        let length = usize::try_from(length).map_err(|_| receive("length", length))?;
        if FOUND.contains(&kind) || length == 0 {
            continue;
        }
        if !STYLES.contains(&kind) {
            return Err(Refusal::rule("can't parse MessageEntity: Unsupported type specified"));
        }
        let mut entity: Entity = serde_json::from_value(item.clone()).map_err(|error| {
            Refusal::entities(format_args!("entity of type \"{kind}\": {error}"))
        })?;
        (entity.offset, entity.length) = (offset, length);
        check_fields(&entity)?;
        entities.push(entity);
    }
    Ok(entities)
}

fn check_fields(entity: &Entity) -> Result<(), Refusal> {
    let missing = |field| {
        Err(Refusal::rule(format_args!("can't parse MessageEntity: Can't find field \"{field}\"")))
    };
    match (entity.kind.as_str(), &entity.url) {
        ("text_link", None) => missing("url"),
        ("text_link", Some(url)) => link(url)
            .map_err(|why| Refusal::rule(format_args!("entity URL '{url}' is invalid: {why}"))),
        ("text_mention", _) if entity.user.is_none() => missing("user"),
        ("custom_emoji", _) if entity.custom_emoji_id.is_none() => missing("custom_emoji_id"),
        ("date_time", _) if entity.unix_time.is_none() => missing("unix_time"),
        _ => Ok(()),
    }
}

/// Whether an address can be linked.
pub(super) fn is_link(url: &str) -> bool {
    link(url).is_ok()
}

/// Why an address cannot be linked: it is to have a scheme that Telegram knows, or none, and a host
/// with a dot. So `localhost` is refused, as bots in development find out.
pub(super) fn link(url: &str) -> Result<(), &'static str> {
    let url = url.trim();
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let rest = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = rest.rsplit('@').next().unwrap_or("");
    let bare = host.rsplit_once(':').map_or(host, |(host, _)| host);
    match scheme.to_lowercase().as_str() {
        "http" | "https" | "tg" | "ton" | "tonsite" if rest.is_empty() => Err("URL host is empty"),
        "tg" | "ton" | "tonsite" => Ok(()),
        "http" | "https" => {
            let has_dot = bare.contains('.') && !bare.starts_with('.') && !bare.ends_with("..");
            let is_whole = !url.contains(char::is_whitespace);
            let is_host = is_whole && (has_dot || host.starts_with('['));
            is_host.then_some(()).ok_or("Wrong HTTP URL")
        }
        _ => Err("Unsupported URL protocol"),
    }
}

/// What a message will show: checked, cleaned, trimmed.
pub(super) fn fix(text: &str, mut entities: Vec<Entity>) -> Result<Formatted, Refusal> {
    // Those that begin together: the longer one is outside.
    entities.sort_by(order);
    check_bounds(text, &entities)?;
    check_nesting(&entities)?;
    Ok(trim(text, entities))
}

/// Outer before inner; those of the same place by name, whatever order they were given in.
fn order(one: &Entity, other: &Entity) -> std::cmp::Ordering {
    let key = |entity: &Entity| (entity.offset, std::cmp::Reverse(entity.length));
    key(one).cmp(&key(other)).then_with(|| one.kind.cmp(&other.kind))
}

fn check_bounds(text: &str, entities: &[Entity]) -> Result<(), Refusal> {
    let mut ends = Vec::with_capacity(text.len());
    let mut offset = 0;
    for (byte, char) in text.char_indices() {
        ends.push((offset, byte));
        offset += char.len_utf16();
    }
    ends.push((offset, text.len()));
    let total = offset;
    // Not at a character: the byte at which the next one begins.
    let split = |offset: usize| {
        let found = ends.binary_search_by_key(&offset, |(offset, _)| *offset);
        found.err().map(|next| ends.get(next).map_or(text.len(), |(_, byte)| *byte))
    };
    for entity in entities {
        let (begin, end) = (entity.offset, entity.end());
        if begin > total || (begin == total && end > total) {
            return Err(Refusal::rule(format_args!(
                "entity begins after the end of the text at UTF-16 offset {begin}"
            )));
        }
        if end > total {
            return Err(Refusal::rule(format_args!(
                "entity beginning at UTF-16 offset {begin} ends after the end of the text at UTF-16 offset {end}"
            )));
        }
        if let Some(byte) = split(begin) {
            return Err(Refusal::rule(format_args!(
                "entity begins in a middle of a UTF-16 symbol at byte offset {byte}"
            )));
        }
        if let Some(byte) = split(end) {
            return Err(Refusal::rule(format_args!(
                "entity beginning at UTF-16 offset {begin} ends in a middle of a UTF-16 symbol at byte offset {byte}"
            )));
        }
    }
    Ok(())
}

/// Entities lie in each other or apart; code holds nothing and is in nothing but quotes.
fn check_nesting(entities: &[Entity]) -> Result<(), Refusal> {
    let mut open: Vec<&Entity> = Vec::new();
    for entity in entities {
        while open.last().is_some_and(|outer| outer.end() <= entity.offset) {
            open.pop();
        }
        for outer in &open {
            let (kinds, at) = ((&outer.kind, &entity.kind), entity.offset);
            if entity.end() > outer.end() {
                return Err(Refusal::entities(format_args!(
                    "ENTITY_BOUNDS_INVALID: {} and {} overlap at UTF-16 offset {at}",
                    kinds.0, kinds.1
                )));
            }
            let is_quote = outer.kind.ends_with("blockquote");
            if outer.is_code() || (entity.is_code() && !is_quote) {
                return Err(Refusal::entities(format_args!(
                    "ENTITY_BOUNDS_INVALID: {} can't contain {} at UTF-16 offset {at}",
                    kinds.0, kinds.1
                )));
            }
            if is_quote && entity.kind.ends_with("blockquote") {
                return Err(Refusal::entities(format_args!(
                    "ENTITY_BOUNDS_INVALID: quotes can't be nested, at UTF-16 offset {at}"
                )));
            }
        }
        open.push(entity);
    }
    Ok(())
}

/// Removes carriage returns, makes control characters spaces, and trims both ends; entities follow.
fn trim(text: &str, entities: Vec<Entity>) -> Formatted {
    let is_blank = |char: char| char.is_whitespace();
    // White space at the beginning stays where an entity begins with it.
    let fixed = entities.first().map_or(usize::MAX, |entity| entity.offset);
    let (mut old, mut new, mut result) = (0, 0, String::with_capacity(text.len()));
    // New offset of each old one.
    let mut moved = Vec::with_capacity(text.len() + 1);
    for char in text.chars() {
        moved.extend(std::iter::repeat_n(new, char.len_utf16()));
        let char = match char {
            '\r' => None,
            '\n' => Some('\n'),
            char if u32::from(char) < 32 => Some(' '),
            char => Some(char),
        };
        let is_leading = result.is_empty() && old < fixed;
        if let Some(char) = char.filter(|char| !(is_leading && is_blank(*char))) {
            result.push(char);
            new += char.len_utf16();
        }
        old = moved.len();
    }
    moved.push(new);
    result.truncate(result.trim_end_matches(is_blank).len());
    let end = units(&result);
    let moved = |offset: usize| moved.get(offset).copied().unwrap_or(end).min(end);
    let entities = entities.into_iter().filter_map(|entity| {
        let (begin, end) = (moved(entity.offset), moved(entity.end()));
        (begin < end).then(|| Entity { offset: begin, length: end - begin, ..entity })
    });
    let entities = entities.collect();
    Formatted { text: result, entities }
}

/// What the server finds in a text by itself: commands, mentions, hashtags and addresses, outside of
/// code and links.
pub(super) fn found(text: &str, given: &[Entity]) -> Vec<Entity> {
    let mut all = given.to_vec();
    let mut offset = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end().trim_end_matches(['.', ',', '!', '?', ';', ':', ')']);
        if let Some(kind) = kind_of_word(bare) {
            let entity = Entity::new(kind, offset, units(bare));
            let is_taken = |other: &&Entity| {
                let overlaps = other.offset < entity.end() && entity.offset < other.end();
                overlaps && (other.is_code() || other.kind == "text_link")
            };
            if given.iter().find(is_taken).is_none() {
                all.push(entity);
            }
        }
        offset += units(word);
    }
    all.sort_by(order);
    all
}

fn kind_of_word(word: &str) -> Option<&'static str> {
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    if let Some(command) = word.strip_prefix('/') {
        let (command, bot) = command.split_once('@').unwrap_or((command, "bot"));
        return (is_name(command) && command.len() <= 64 && is_name(bot)).then_some("bot_command");
    }
    if let Some(name) = word.strip_prefix('@') {
        return (is_name(name) && (5..=32).contains(&name.len())).then_some("mention");
    }
    if let Some(tag) = word.strip_prefix('#') {
        let is_tag =
            !tag.is_empty() && tag.chars().all(|char| char.is_alphanumeric() || char == '_');
        return (is_tag && !tag.chars().all(|char| char.is_ascii_digit())).then_some("hashtag");
    }
    let is_address = word.starts_with("https://") || word.starts_with("http://");
    (is_address && is_link(word)).then_some("url")
}
