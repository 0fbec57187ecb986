/// What may be shown of a secret: what keys of its kind begin with, and its last four characters,
/// where enough stays hidden.
pub(crate) fn hint(secret: &str) -> String {
    /// Fewer hidden characters could be guessed.
    const HIDDEN: usize = 12;
    /// `sk-ant-` and the like.
    const LONGEST_PREFIX: usize = 8;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if secret.len() < LONGEST_PREFIX + HIDDEN + 4 || !secret.chars().all(is_plain) {
        return "...".to_owned();
    }
    let (begin, end) = (&secret[..LONGEST_PREFIX], &secret[secret.len() - 4..]);
    let prefix = begin.rfind(['-', '_']).map_or("", |at| &begin[..=at]);
    format!("{prefix}...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_shows_the_kind_and_four_characters_or_nothing() {
        for (secret, expected) in [
            ("sk-0123456789abcdefghijklmnop", "sk-...mnop"),
            ("sk-ant-api03-0123456789abcdefgh", "sk-ant-...efgh"),
            ("gsk_0123456789abcdefghijklmnop", "gsk_...mnop"),
            ("AIzaSyA0123456789abcdefghijklm", "...jklm"),
            ("sk-short-0123456789", "..."),
            ("{\"refresh_token\":\"0123456789abcdefgh\"}", "..."),
            ("schlüssel-0123456789abcdefghij", "..."),
        ] {
            assert_eq!(hint(secret), expected);
        }
    }
}
