//! From the page to messages.

use super::page::{Mark, Page, blank_lines};
use super::{Entity, Kind, Rendered};
use crate::split;

/// Cuts a page into messages of at most `limit` UTF-16 code units and `most` entities.
///
/// A mark that is cut goes on in the next message. Where marks are so dense that messages would be
/// less than half full, those above `most` are left out, and their text stays.
pub(super) fn cut(page: &Page, limit: usize, most: usize) -> Vec<Rendered> {
    let text = page.text.as_str();
    let covers = covers(&page.marks);
    let mut messages = Vec::new();
    // Marks that go on from the message before, and the first that has not begun.
    let (mut lasting, mut next) = (Vec::<&Mark>::new(), 0);
    let mut start = 0;
    while start < text.len() {
        start += blank(text, start, &page.marks, next, &lasting);
        let rest = text.get(start..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let crowded = page.marks.get(next + most.saturating_sub(lasting.len()));
        let dense = crowded.and_then(|mark| text.get(start..mark.start));
        let fitting = dense
            .filter(|dense| dense.len() > limit * 3 || units(dense) > limit / 2)
            .map_or(rest.len(), str::len);
        let is_inside = |at: usize| is_inside(&covers, start + at);
        let end = start + split::cut(rest, limit, fitting, is_inside);
        let beginning = page.marks.get(next..).unwrap_or_default();
        let count = beginning.iter().take_while(|mark| mark.start < end).count();
        lasting.extend(beginning.iter().take(count));
        next += count;
        let piece = text.get(start..end).unwrap_or_default().trim_end();
        if piece.chars().any(is_visible) {
            let entities = entities(piece, start, &lasting, most);
            messages.push(Rendered { text: piece.to_owned(), entities });
        }
        lasting.retain(|mark| mark.end > end);
        start = end;
    }
    messages
}

/// How much at the start of a message would be trimmed: white space, but no code's indentation.
fn blank(text: &str, start: usize, marks: &[Mark], next: usize, lasting: &[&Mark]) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    if lasting.iter().any(|mark| matches!(mark.kind, Kind::Pre { .. })) {
        return blank_lines(rest);
    }
    let blank = rest.len() - rest.trim_start().len();
    marks.get(next).map_or(blank, |mark| blank.min(mark.start - start))
}

/// The parts that are within marks, in order and apart.
fn covers(marks: &[Mark]) -> Vec<(usize, usize)> {
    let mut covers = Vec::<(usize, usize)>::new();
    for mark in marks {
        if covers.last().is_none_or(|(_, end)| mark.start >= *end) {
            covers.push((mark.start, mark.end));
        }
    }
    covers
}

/// Whether a cut there would cut a mark.
fn is_inside(covers: &[(usize, usize)], at: usize) -> bool {
    let after = covers.partition_point(|(start, _)| *start < at);
    after.checked_sub(1).and_then(|index| covers.get(index)).is_some_and(|(_, end)| *end > at)
}

/// The marks as entities of a piece that begins at `start` of the page.
fn entities(piece: &str, start: usize, marks: &[&Mark], most: usize) -> Vec<Entity> {
    // UTF-16 code units before each byte.
    let mut before = Vec::with_capacity(piece.len() + 1);
    let mut units = 0;
    for char in piece.chars() {
        before.extend(std::iter::repeat_n(units, char.len_utf8()));
        units += if char.len_utf16() == 2 { 2 } else { 1 };
    }
    before.push(units);
    let entity = |mark: &&Mark| {
        let first = mark.start.saturating_sub(start);
        let last = mark.end.saturating_sub(start).min(piece.len());
        let marked = piece.get(first..last)?;
        let indent = match mark.kind {
            Kind::Pre { .. } => 0,
            Kind::Bold
            | Kind::Italic
            | Kind::Strikethrough
            | Kind::Blockquote
            | Kind::Code
            | Kind::TextLink { .. } => marked.len() - marked.trim_start().len(),
        };
        let offset = *before.get(first + indent)?;
        let length = *before.get(first + marked.trim_end().len())? - offset;
        (length > 0).then(|| Entity { kind: mark.kind.clone(), offset, length })
    };
    marks.iter().filter_map(entity).take(most).collect()
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Whether there is something to see; Telegram refuses a message of nothing.
fn is_visible(char: char) -> bool {
    let is_format = matches!(char,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{180e}' | '\u{feff}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}');
    !char.is_whitespace() && !char.is_control() && !is_format
}
