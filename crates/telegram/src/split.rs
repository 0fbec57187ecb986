//! Long texts in pieces that Telegram takes.

/// Most UTF-16 code units of one message.
///
/// # Source
/// Bot API, `sendMessage`: "1-4096 characters"; Telegram counts UTF-16 code units.
pub(crate) const LIMIT: usize = 4096;

/// Splits a text into pieces of at most `limit` UTF-16 code units, in order and without loss.
///
/// Prefers to cut after a paragraph, a line, a sentence, a word, in this order, as long as the piece
/// is at least half full; else between characters. What a reader sees as one character (an
/// accented letter, a flag, a joined emoji) stays whole unless it alone exceeds the limit.
/// Joined, the pieces are the text again. `limit` is at least 2, one scalar value's size.
pub(crate) fn split(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(cut(rest, limit));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Where the first piece of `text` ends, in bytes.
fn cut(text: &str, limit: usize) -> usize {
    // `fits`: end of the longest prefix within the limit; `half`: where the half-full part begins.
    let (mut units, mut fits, mut half) = (0, 0, 0);
    for (at, char) in text.char_indices() {
        units += char.len_utf16();
        if units > limit {
            break;
        }
        fits = at + char.len_utf8();
        if units <= limit / 2 {
            half = fits;
        }
    }
    if fits == text.len() {
        return fits;
    }
    let fits =
        if fits == 0 { text.chars().next().map_or(text.len(), char::len_utf8) } else { fits };
    let is_enough = |at: &usize| *at > half;
    let window = text.get(..fits).unwrap_or(text);
    let found = [paragraph, line, sentence, word]
        .iter()
        .find_map(|boundary| boundary(window).filter(is_enough));
    found.unwrap_or_else(|| between_characters(text, fits))
}

/// After the last empty line.
fn paragraph(window: &str) -> Option<usize> {
    window.rfind("\n\n").map(|at| at + 2)
}

/// After the last line.
fn line(window: &str) -> Option<usize> {
    window.rfind('\n').map(|at| at + 1)
}

/// After the last sentence; the space behind it belongs to it.
fn sentence(window: &str) -> Option<usize> {
    let ends = |(at, char): (usize, char)| {
        let end = at + char.len_utf8();
        match char {
            '。' | '！' | '？' => Some(end),
            '.' | '!' | '?' | '…' if window.get(end..)?.starts_with(' ') => Some(end + 1),
            _ => None,
        }
    };
    window.char_indices().rev().find_map(ends)
}

/// After the last white space.
fn word(window: &str) -> Option<usize> {
    let spaces = |(at, char): (usize, char)| char.is_whitespace().then(|| at + char.len_utf8());
    // Never within "\r\n", which is one character; lines have been tried before.
    window.char_indices().rev().filter(|(_, char)| *char != '\r').find_map(spaces)
}

/// The last place up to `fits` that is not within what a reader sees as one character.
fn between_characters(text: &str, fits: usize) -> usize {
    // Longest emoji are about 35 bytes; further back it is no character but an attack.
    const REACH: usize = 64;
    let mut at = fits;
    while fits - at <= REACH {
        let (before, after) = text.split_at(at);
        let Some(previous) = before.chars().next_back() else { break };
        if !after.chars().next().is_some_and(|next| joins(before, previous, next)) {
            return at;
        }
        at -= previous.len_utf8();
    }
    fits
}

/// Whether `next` is shown as one character with what is before it.
///
/// A cheap part of Unicode Standard Annex 29: what appears in chats.
fn joins(before: &str, previous: char, next: char) -> bool {
    const JOINER: char = '\u{200d}';
    let extends = matches!(next,
        JOINER
        | '\u{0300}'..='\u{036f}' // accents
        | '\u{0591}'..='\u{05bd}' | '\u{064b}'..='\u{065f}' | '\u{0670}' // Hebrew, Arabic
        | '\u{093a}'..='\u{093c}' | '\u{093e}'..='\u{094f}' // Devanagari
        | '\u{0e31}' | '\u{0e34}'..='\u{0e3a}' | '\u{0e47}'..='\u{0e4e}' // Thai
        | '\u{1160}'..='\u{11ff}' // Hangul vowels and finals
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{3099}' | '\u{309a}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}'
        | '\u{1f3fb}'..='\u{1f3ff}' // skin tones
        | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}');
    let is_flag_letter = |char: char| matches!(char, '\u{1f1e6}'..='\u{1f1ff}');
    let completes_flag = || {
        let letters = before.chars().rev().take_while(|char| is_flag_letter(*char)).count();
        is_flag_letter(next) && letters % 2 == 1
    };
    extends || previous == JOINER || (previous == '\r' && next == '\n') || completes_flag()
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
