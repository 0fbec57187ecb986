use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    let pattern = Pattern::compile(pattern).unwrap();
    for address in matching {
        assert!(pattern.matches(address), "{pattern:?} has to match {address}");
    }
    for address in other {
        assert!(!pattern.matches(address), "{pattern:?} must not match {address}");
    }
}

#[test]
fn addresses_match_themselves() {
    check("/a/b", &["/a/b"], &["/a", "/a/b/c", "/a/b/", "/ab", "a/b", "", "/A/b"]);
    check("/", &["/"], &["", "//", "/a"]);
    check("/a/", &["/a/"], &["/a", "/a/b"]);
    assert!(Pattern::compile("/a/b").unwrap().is_literal());
    assert!(!Pattern::compile("/a/*").unwrap().is_literal());
    assert!(!Pattern::compile("/a//b").unwrap().is_literal());
}

#[test]
fn wildcards_stay_within_a_part() {
    check("/a?", &["/ab", "/aé"], &["/a", "/abc", "/a/"]);
    check("/a*", &["/a", "/ab", "/abc"], &["/b", "/a/b"]);
    check("/*/b", &["/a/b", "//b", "/abc/b"], &["/b", "/a/a/b"]);
    check("/*a*b*", &["/ab", "/xaybz", "/aab", "/abab"], &["/ba", "/a", "/b"]);
    check("/**a**", &["/a", "/xxa"], &["/x"]);
    check("/?*?", &["/ab", "/abc"], &["/a", "/"]);
}

#[test]
fn classes_hold_characters_and_ranges() {
    check("/[a-c]1", &["/a1", "/b1", "/c1"], &["/d1", "/-1", "/a"]);
    check("/[!a-c]1", &["/d1", "/-1"], &["/a1", "/1", "/dd1"]);
    check("/[a-]", &["/a", "/-"], &["/b"]);
    check("/[-a]", &["/a", "/-"], &["/b"]);
    check("/[c-a]", &["/b"], &["/-"]);
    check("/[a!]", &["/a", "/!"], &["/b"]);
    check("/[*?{]", &["/*", "/?", "/{"], &["/a"]);
    check("/[à-ö]", &["/é"], &["/e"]);
}

#[test]
fn braces_hold_words() {
    check("/{cat,dog}s", &["/cats", "/dogs"], &["/cat", "/catdogs", "/birds"]);
    check("/{a,ab}{bc,c}", &["/abc", "/ac", "/abbc"], &["/a", "/ab", "/abcc"]);
    check("/a{,b}", &["/a", "/ab"], &["/abb"]);
    check("/{*,?}", &["/*", "/?"], &["/a"]);
}

#[test]
fn two_slashes_go_to_any_depth() {
    check("//b", &["/b", "/a/b", "/a/a/b"], &["/b/a", "/ab", "/"]);
    check("/a//b", &["/a/b", "/a/x/b", "/a/x/y/b"], &["/b", "/a", "/x/a/b"]);
    check("/a//b//c", &["/a/b/c", "/a/1/b/2/3/c", "/a/b/b/c/c"], &["/a/c/b", "/a/c"]);
    check("//a*/{b,c}", &["/x/ab/c", "/a/b"], &["/x/ab/d", "/c"]);
    check("///b", &["/b", "/a/b"], &["/a"]);
    check("/a//", &["/a/b", "/a/b/c"], &["/a", "/b"]);
    check("//", &["/a", "/a/b", "/"], &["", "a"]);
}

#[test]
fn broken_patterns_are_refused() {
    let broken = [
        ("", PatternError::Address),
        ("a", PatternError::Address),
        ("/[a", PatternError::Unpaired('[')),
        ("/a]", PatternError::Unpaired(']')),
        ("/{a", PatternError::Unpaired('{')),
        ("/{a/b}", PatternError::Unpaired('{')),
        ("/{a{b}}", PatternError::Unpaired('{')),
        ("/a}", PatternError::Unpaired('}')),
        ("/[]", PatternError::Empty),
        ("/[!]", PatternError::Empty),
    ];
    for (pattern, error) in broken {
        assert_eq!(Pattern::compile(pattern), Err(error), "{pattern}");
    }
    assert_eq!(Pattern::compile(&"/a".repeat(513)), Err(PatternError::Long));
}

#[test]
fn a_hostile_pattern_needs_no_exponential_time() {
    let address = format!("/{}", "a".repeat(4000));
    for hostile in
        ["*a".repeat(500) + "b", "{a,aa,aaa}".repeat(100) + "b", "//a*".repeat(250) + "/b"]
    {
        assert!(!Pattern::compile(&format!("/{hostile}")).unwrap().matches(&address));
    }
}

/// Tries everything, as the definition reads.
fn naive(pattern: &str, name: &str) -> bool {
    let mut pattern_chars = pattern.chars();
    match pattern_chars.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = pattern_chars.as_str();
            (0..=name.len()).any(|skip| name.get(skip..).is_some_and(|name| naive(rest, name)))
        }
        Some('{') => {
            let (words, rest) = pattern_chars.as_str().split_once('}').unwrap();
            words
                .split(',')
                .any(|word| name.strip_prefix(word).is_some_and(|name| naive(rest, name)))
        }
        Some('[') => {
            let (inside, rest) = pattern_chars.as_str().split_once(']').unwrap();
            let mut name = name.chars();
            let fits = |char: char| match inside.strip_prefix('!') {
                Some(inside) => !inside.contains(char),
                None => inside.contains(char),
            };
            name.next().is_some_and(fits) && naive(rest, name.as_str())
        }
        Some('?') => {
            let mut name = name.chars();
            name.next().is_some() && naive(pattern_chars.as_str(), name.as_str())
        }
        Some(literal) => {
            name.strip_prefix(literal).is_some_and(|name| naive(pattern_chars.as_str(), name))
        }
    }
}

proptest! {
    #[test]
    fn matching_is_what_trying_everything_finds(
        pieces in prop::collection::vec("[abé]|\\*|\\?|\\[[abé]{1,2}\\]|\\[![ab]\\]|\\{[ab]{0,2},[ab]{1,2}\\}", 1..7),
        name in "[abé]{0,7}",
    ) {
        let pattern = pieces.concat();
        let compiled = Pattern::compile(&format!("/{pattern}")).unwrap();
        prop_assert_eq!(compiled.matches(&format!("/{name}")), naive(&pattern, &name), "{} {}", pattern, name);
    }

    #[test]
    fn no_pattern_and_no_address_does_harm(pattern in "/[/a*?!,\\[\\]{}\\-]{0,40}", address in "/[/ab]{0,40}") {
        if let Ok(compiled) = Pattern::compile(&pattern) {
            let _ = compiled.matches(&address);
        }
    }
}
