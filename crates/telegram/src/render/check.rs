//! Telegram's rules and the promise of [`super::render`], written without its code.
//!
//! For tests and fuzzing: whatever does not hold panics.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a check fails by panicking")]

use unicode_segmentation::UnicodeSegmentation as _;

use super::{Entity, Kind, Page, Rendered, is_too_deep, page, render_within, walk};

/// Renders a text in messages of at most `limit` UTF-16 code units, at least 2, and `most` entities,
/// and checks everything about them.
#[track_caller]
pub(crate) fn check(markdown: &str, limit: usize, most: usize) {
    let messages = render_within(markdown, limit, most);
    check_messages(&messages, limit, most);
    let mut page = page(markdown);
    if messages.iter().all(|message| message.text.is_empty()) || !has_visible(&page.text) {
        assert_eq!(messages.is_empty(), !has_visible(markdown), "{markdown:?}");
        page = Page::plain(markdown);
    }
    if is_too_deep(markdown) {
        assert_eq!(visible(&page.text), visible(markdown));
    } else {
        check_content(markdown, &page);
    }
    check_cuts(&page, &messages, limit);
    check_marks(&page, &messages, most);
}

/// Every message is one that Telegram takes as it is.
#[track_caller]
pub(super) fn check_messages(messages: &[Rendered], limit: usize, most: usize) {
    for message in messages {
        check_message(message, limit, most);
    }
}

#[track_caller]
fn check_message(message: &Rendered, limit: usize, most: usize) {
    let units: Vec<u16> = message.text.encode_utf16().collect();
    assert!((1..=limit).contains(&units.len()), "{} units", units.len());
    assert!(has_visible(&message.text), "nothing to see: {:?}", message.text);
    assert_eq!(message.text.trim_end(), message.text);
    let is_indented_code =
        matches!(message.entities.first(), Some(Entity { kind: Kind::Pre { .. }, offset: 0, .. }));
    assert!(is_indented_code || message.text.trim_start() == message.text, "{:?}", message.text);
    assert!(message.entities.len() <= most);

    let mut around: Vec<&Entity> = Vec::new();
    let mut last = (0, u32::MAX);
    for entity in &message.entities {
        let order = (entity.offset, u32::MAX - entity.length);
        assert!(
            entity.offset >= last.0
                && (entity.offset > last.0 || order.1 >= last.1 || last.1 == u32::MAX)
        );
        last = order;
        check_entity(entity, &units);
        around.retain(|outer| outer.offset + outer.length > entity.offset);
        for outer in &around {
            assert!(
                outer.offset + outer.length >= entity.offset + entity.length,
                "overlap: {message:?}"
            );
            assert!(may_contain(&outer.kind, &entity.kind), "{outer:?} contains {entity:?}");
        }
        around.push(entity);
    }
}

#[track_caller]
fn check_entity(entity: &Entity, units: &[u16]) {
    let (start, end) = (entity.offset as usize, (entity.offset + entity.length) as usize);
    assert!(start < end && end <= units.len(), "{entity:?} of {} units", units.len());
    let is_second_half =
        |at: usize| units.get(at).is_some_and(|unit| (0xdc00..0xe000).contains(unit));
    assert!(!is_second_half(start) && !is_second_half(end), "{entity:?} cuts a surrogate pair");
    let text = String::from_utf16(&units[start..end]).unwrap();
    assert_eq!(text.trim_end(), text, "{entity:?}");
    match &entity.kind {
        Kind::Pre { language } => {
            assert!(!text.lines().next().unwrap().trim().is_empty(), "{text:?}");
            let is_fine = |char: char| char.is_ascii_graphic();
            assert!(
                language.as_ref().is_none_or(|name| !name.is_empty() && name.chars().all(is_fine))
            );
        }
        Kind::TextLink { url } => {
            assert_eq!(text.trim(), text);
            check_url(url);
        }
        _ => assert_eq!(text.trim(), text, "{entity:?}"),
    }
}

#[track_caller]
fn check_url(url: &str) {
    assert!(url.is_ascii() && url.chars().all(|char| char.is_ascii_graphic()), "{url}");
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.split(['/', '?', '#']).next().unwrap();
    assert!(!host.is_empty() && !host.contains('@'), "{url}");
    match scheme {
        "http" | "https" => assert!(host.contains('.') || host.starts_with('['), "{url}"),
        _ => assert_eq!(scheme, "tg", "{url}"),
    }
}

fn may_contain(outer: &Kind, inner: &Kind) -> bool {
    let is_code = |kind: &Kind| matches!(kind, Kind::Code | Kind::Pre { .. });
    !is_code(outer)
        && !is_code(inner)
        && !matches!(inner, Kind::Blockquote)
        && std::mem::discriminant(outer) != std::mem::discriminant(inner)
}

/// Every text that the parser finds is on the page, in order.
#[track_caller]
fn check_content(markdown: &str, page: &Page) {
    use pulldown_cmark::Event;
    let found = visible(&page.text);
    let mut from = 0;
    for event in walk::parser(markdown) {
        let text = match event {
            Event::InlineHtml(html) if html.to_lowercase().starts_with("<br") => continue,
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                visible(&text)
            }
            _ => continue,
        };
        let at = found[from..].find(&text);
        assert!(at.is_some(), "{text:?} is missing in {:?} of {markdown:?}", &found[from..]);
        from += at.unwrap() + text.len();
    }
}

/// Messages are the page without white space where it was cut, and no character was cut.
#[track_caller]
fn check_cuts(page: &Page, messages: &[Rendered], limit: usize) {
    let characters: Vec<_> = page.text.grapheme_indices(true).collect();
    let mut at = 0;
    for message in messages {
        let skipped = page.text[at..].find(&message.text).expect("the message is in the page");
        assert!(!has_visible(&page.text[at..at + skipped]), "{:?}", &page.text[at..at + skipped]);
        let start = at + skipped;
        at = start + message.text.len();
        check_boundary(&characters, start, limit);
        check_boundary(&characters, at, limit);
    }
    assert!(!has_visible(&page.text[at..]), "lost {:?}", &page.text[at..]);
}

#[track_caller]
fn check_boundary(characters: &[(usize, &str)], at: usize, limit: usize) {
    let after = characters.partition_point(|(start, _)| *start < at);
    let Some((start, character)) = after.checked_sub(1).map(|last| characters[last]) else {
        return;
    };
    // Characters of more than 64 bytes may be cut, and what no message holds. Also a mark from the
    // white space next to it, since no message begins or ends with that.
    let may_be_cut = character.len() > 64 || character.encode_utf16().count() > limit;
    let parts = character.split_at_checked(at - start);
    let is_cut = parts.is_some_and(|(before, after)| has_visible(before) && has_visible(after));
    assert!(!is_cut || may_be_cut, "{character:?} is cut at {at}");
}

/// Whatever is marked on the page is marked in the messages, and nothing else.
#[track_caller]
fn check_marks(page: &Page, messages: &[Rendered], most: usize) {
    if messages.iter().any(|message| message.entities.len() == most) {
        return; // Some may have been left out.
    }
    let kinds = page.marks.iter().map(|mark| &mark.kind);
    let mut seen: Vec<&Kind> = Vec::new();
    for kind in kinds {
        if seen.contains(&kind) {
            continue;
        }
        seen.push(kind);
        let expected: String = (page.marks.iter())
            .filter(|mark| mark.kind == *kind)
            .map(|mark| visible(&page.text[mark.start..mark.end]))
            .collect();
        let mut found = String::new();
        for message in messages {
            let units: Vec<u16> = message.text.encode_utf16().collect();
            for entity in message.entities.iter().filter(|entity| entity.kind == *kind) {
                let (from, length) = (entity.offset as usize, entity.length as usize);
                found += &visible(&String::from_utf16(&units[from..from + length]).unwrap());
            }
        }
        assert_eq!(found, expected, "{kind:?}");
    }
    let entities = messages.iter().flat_map(|message| &message.entities);
    assert!(entities.map(|entity| &entity.kind).all(|kind| seen.contains(&kind)));
}

/// A text without what nobody sees.
fn visible(text: &str) -> String {
    text.chars().filter(|char| is_visible(*char)).collect()
}

fn has_visible(text: &str) -> bool {
    text.chars().any(is_visible)
}

/// Whether Telegram finds something to show in a character.
fn is_visible(char: char) -> bool {
    let is_format = matches!(u32::from(char),
        0xad | 0x34f | 0x61c | 0x180e | 0xfeff | 0x200b..=0x200f | 0x2028..=0x202e
        | 0x2060..=0x206f | 0xfe00..=0xfe0f | 0xe0000..=0xe0fff);
    !char.is_whitespace() && !char.is_control() && !is_format
}
