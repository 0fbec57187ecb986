//! Long texts in pieces that Telegram takes.

use unicode_segmentation::GraphemeCursor;

/// Most UTF-16 code units of one message.
///
/// # Source
/// Bot API, `sendMessage`: "1-4096 characters"; Telegram counts UTF-16 code units.
pub(crate) const LIMIT: usize = 4096;

/// All pieces of a text, for tests of [`cut`]; joined, they are the text again.
#[cfg(test)]
fn split(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cut(rest, limit, rest.len(), |_| false));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Where the first piece of `text` ends: a byte, at most `most`, after the start if there is text.
///
/// The piece has at most `limit` UTF-16 code units. Prefers to cut after a paragraph, a line, a
/// sentence, a word, in this order, as long as the piece is at least half full; else between
/// characters. What a reader sees as one character (an accented letter, a flag, a joined emoji)
/// stays whole unless it alone exceeds the limit. `limit` is at least 2, one scalar value's size.
///
/// Rather not where `is_inside` says that something is cut in two: what begins in the second
/// quarter of the piece and does not fit is left to the next piece.
pub(crate) fn cut(
    text: &str,
    limit: usize,
    most: usize,
    is_inside: impl Fn(usize) -> bool,
) -> usize {
    let Window { quarter, half, end } = window(text, limit, most);
    if end == text.len() {
        return end;
    }
    let before = text.get(..end).unwrap_or(text);
    let is_whole = |at: usize| is_character_boundary(text, at);
    let is_outside = |at: usize| is_whole(at) && !is_inside(at);
    let find = |boundaries: &[Boundary], after: usize, is_fine: &dyn Fn(usize) -> bool| {
        let is_fine = |at: usize| at > after && is_fine(at);
        boundaries.iter().find_map(|boundary| boundary(before, &is_fine))
    };
    let outside = find(&[paragraph, line, sentence, word], half, &is_outside);
    let early = || find(&[paragraph, line], quarter, &is_outside).filter(|_| is_inside(end));
    let inside = || find(&[paragraph, line, sentence, word], half, &is_whole);
    outside.or_else(early).or_else(inside).unwrap_or_else(|| between_characters(text, end))
}

/// What a piece can hold, in bytes.
struct Window {
    quarter: usize,
    half: usize,
    /// End of the longest prefix within the limit, at least one scalar value.
    end: usize,
}

fn window(text: &str, limit: usize, most: usize) -> Window {
    let mut window = Window { quarter: 0, half: 0, end: 0 };
    let mut units = 0;
    for (at, char) in text.char_indices() {
        units += char.len_utf16();
        let end = at + char.len_utf8();
        if at > 0 && (units > limit || end > most) {
            break;
        }
        window.end = end;
        if units <= limit / 2 {
            window.half = end;
        }
        if units <= limit / 4 {
            window.quarter = end;
        }
    }
    window
}

/// Finds the last place in a text after which a piece may end.
type Boundary = fn(&str, &dyn Fn(usize) -> bool) -> Option<usize>;

/// After an empty line.
fn paragraph(text: &str, is_fine: &dyn Fn(usize) -> bool) -> Option<usize> {
    text.rmatch_indices("\n\n").map(|(at, end)| at + end.len()).find(|at| is_fine(*at))
}

/// After a line.
fn line(text: &str, is_fine: &dyn Fn(usize) -> bool) -> Option<usize> {
    text.rmatch_indices('\n').map(|(at, end)| at + end.len()).find(|at| is_fine(*at))
}

/// After a sentence; the space behind it belongs to it.
fn sentence(text: &str, is_fine: &dyn Fn(usize) -> bool) -> Option<usize> {
    let ends = |(at, char): (usize, char)| {
        let end = at + char.len_utf8();
        match char {
            '。' | '！' | '？' => Some(end),
            '.' | '!' | '?' | '…' if text.get(end..)?.starts_with(' ') => Some(end + 1),
            _ => None,
        }
    };
    text.char_indices().rev().filter_map(ends).find(|at| is_fine(*at))
}

/// After white space.
fn word(text: &str, is_fine: &dyn Fn(usize) -> bool) -> Option<usize> {
    let spaces = text.char_indices().rev().filter(|(_, char)| char.is_whitespace());
    spaces.map(|(at, char)| at + char.len_utf8()).find(|at| is_fine(*at))
}

/// Whether a reader sees one character end and another begin there.
fn is_character_boundary(text: &str, at: usize) -> bool {
    // The whole text is given, so that there is always an answer.
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

/// The last place up to `end` that is not within what a reader sees as one character.
fn between_characters(text: &str, end: usize) -> usize {
    // Longest emoji are about 35 bytes; further back it is no character but an attack.
    const REACH: usize = 64;
    if is_character_boundary(text, end) {
        return end;
    }
    let before = GraphemeCursor::new(end, text.len(), true).prev_boundary(text, 0);
    match before {
        Ok(Some(at)) if at > 0 && end - at <= REACH => at,
        Ok(_) | Err(_) => end,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn units(text: &str) -> usize {
        text.encode_utf16().count()
    }

    fn alphabet() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => any::<char>().prop_map(String::from),
            6 => "[a-z]{1,9}",
            3 => Just(" ".to_owned()),
            1 => Just("\n\n".to_owned()),
            1 => Just("\r\n".to_owned()),
            1 => Just(". ".to_owned()),
            1 => Just("。".to_owned()),
            1 => Just("👩‍👩‍👧‍👦".to_owned()),
            1 => Just("🇩🇪🇫🇷".to_owned()),
            1 => Just("e\u{301}\u{302}".to_owned()),
            1 => Just("漢字".to_owned()),
        ];
        proptest::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
        #[test]
        fn pieces_fit_and_make_up_the_text(text in alphabet(), limit in 2_usize..80) {
            let pieces = split(&text, limit);
            prop_assert!(pieces.iter().all(|piece| units(piece) <= limit && !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), text);
        }

        #[test]
        fn long_texts_fit_the_real_limit(text in alphabet(), times in 1_usize..60) {
            let text = text.repeat(times);
            let pieces = split(&text, LIMIT);
            prop_assert!(pieces.iter().all(|piece| units(piece) <= LIMIT));
            prop_assert!(pieces.len() <= 1 + 2 * units(&text) / (LIMIT - 64));
            prop_assert_eq!(pieces.concat(), text);
        }
    }

    #[test]
    fn cuts_are_where_a_reader_would_make_them() {
        assert_eq!(split("one two.\n\nthree four", 16), ["one two.\n\n", "three four"]);
        assert_eq!(split("one two, line\nthree", 16), ["one two, line\n", "three"]);
        assert_eq!(split("One two. Three four", 16), ["One two. ", "Three four"]);
        assert_eq!(split("漢字漢字。漢字漢字", 8), ["漢字漢字。", "漢字漢字"]);
        assert_eq!(split("one two three four", 16), ["one two three ", "four"]);
        // A line end in the first half would leave too short a piece.
        assert_eq!(split("a\nbcdefghi jklmnop", 12), ["a\nbcdefghi ", "jklmnop"]);
    }

    #[test]
    fn what_is_seen_as_one_character_stays_whole() {
        let families = "👩‍👩‍👧‍👦".repeat(3); // 11 units each
        assert_eq!(split(&families, 30), ["👩‍👩‍👧‍👦👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"]);
        assert_eq!(split(&"🇩🇪".repeat(3), 6), ["🇩🇪", "🇩🇪", "🇩🇪"]);
        assert_eq!(split("aaae\u{301}", 4), ["aaa", "e\u{301}"]);
        assert_eq!(split("👍🏽👍🏽", 6), ["👍🏽", "👍🏽"]);
        assert_eq!(split("𝒳𝒳𝒳", 3), ["𝒳", "𝒳", "𝒳"]);
    }

    #[test]
    fn an_endless_character_is_cut_all_the_same() {
        let text = format!("a{}", "\u{301}".repeat(500));
        assert_eq!(split(&text, 100).concat(), text);
        assert!(split(&text, 100).len() <= 6);
        assert_eq!(split("", LIMIT), Vec::<&str>::new());
    }
}
