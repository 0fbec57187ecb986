mod generate;

use std::time::Instant;

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[track_caller]
fn check(markdown: &str) {
    check::check(markdown, LIMIT, MOST_ENTITIES);
}

/// What a message's entities mark, as `kind:text`.
fn marked(message: &Rendered) -> Vec<String> {
    let units: Vec<u16> = message.text.encode_utf16().collect();
    let text = |entity: &Entity| {
        let (from, length) = (entity.offset as usize, entity.length as usize);
        String::from_utf16(&units[from..from + length]).unwrap()
    };
    let name = |kind: &Kind| match kind {
        Kind::Bold => "b".to_owned(),
        Kind::Italic => "i".to_owned(),
        Kind::Strikethrough => "s".to_owned(),
        Kind::Blockquote => "quote".to_owned(),
        Kind::Code => "code".to_owned(),
        Kind::Pre { language } => format!("pre {}", language.as_deref().unwrap_or("-")),
        Kind::TextLink { url } => format!("link {url}"),
    };
    message
        .entities
        .iter()
        .map(|entity| format!("{}:{}", name(&entity.kind), text(entity)))
        .collect()
}

/// The only message of a short text, checked, and what it marks.
fn one(markdown: &str) -> (String, Vec<String>) {
    check(markdown);
    let messages = render(markdown);
    assert_eq!(messages.len(), 1, "{markdown:?}: {messages:?}");
    (messages[0].text.clone(), marked(&messages[0]))
}

#[track_caller]
fn assert_rendered(markdown: &str, text: &str, marks: &[&str]) {
    let (found, found_marks) = one(markdown);
    assert_eq!(found, text, "text of {markdown:?}");
    assert_eq!(found_marks, marks, "marks of {markdown:?}");
}

#[test]
fn words_are_marked() {
    assert_rendered("plain", "plain", &[]);
    assert_rendered("a **b** c", "a b c", &["b:b"]);
    assert_rendered("*a* _b_ ~~c~~", "a b c", &["i:a", "i:b", "s:c"]);
    assert_rendered("***a***", "a", &["i:a", "b:a"]);
    assert_rendered("**a *b* c**", "a b c", &["b:a b c", "i:b"]);
    assert_rendered("**a __b__ c**", "a b c", &["b:a b c"]);
    assert_rendered("👍🏽 **é👩‍👩‍👧‍👦** 漢字", "👍🏽 é👩‍👩‍👧‍👦 漢字", &["b:é👩‍👩‍👧‍👦"]);
    assert_rendered("run `cargo test` now", "run cargo test now", &["code:cargo test"]);
    assert_rendered("# Title\ntext", "Title\n\ntext", &["b:Title"]);
    assert_rendered("Title\n===\n\ntext", "Title\n\ntext", &["b:Title"]);
}

#[test]
fn code_is_cut_out_of_what_may_not_contain_it() {
    assert_rendered("**a `b` c**", "a b c", &["b:a", "code:b", "b:c"]);
    assert_rendered("# Use `x`", "Use x", &["b:Use", "code:x"]);
    assert_rendered("**`x`**", "x", &["code:x"]);
    assert_rendered("[`x`](https://a.example)", "x", &["link https://a.example/:x"]);
    assert_rendered("> a `b` c", "a b c", &["quote:a b c"]);
    assert_rendered(
        "> a\n>\n> ```rs\n> b\n> ```\n>\n> c",
        "a\n\nb\n\nc",
        &["quote:a", "pre rs:b", "quote:c"],
    );
}

#[test]
fn code_blocks_stay_as_they_are() {
    assert_rendered(
        "```rust\nfn a() {\n    b\n}\n```",
        "fn a() {\n    b\n}",
        &["pre rust:fn a() {\n    b\n}"],
    );
    assert_rendered("x\n```\n\n  a\n\n b\n\n```\ny", "x\n\n  a\n\n b\n\ny", &["pre -:  a\n\n b"]);
    assert_rendered("````md\n```py\na\n```\n````", "```py\na\n```", &["pre md:```py\na\n```"]);
    assert_rendered(
        "before\n```sh\nnever closed\n*a*",
        "before\n\nnever closed\n*a*",
        &["pre sh:never closed\n*a*"],
    );
    assert_rendered("    indented\n    code", "indented\ncode", &["pre -:indented\ncode"]);
    assert_rendered("```\ta b\nif:\n\tx\n```", "if:\n    x", &["pre a:if:\n    x"]);
    assert_rendered("```c++,linenos\nx\n```", "x", &["pre c++:x"]);
    assert_rendered("1. a\n   ```\n   b\n   ```\n2. c", "1. a\nb\n\n2. c", &["pre -:b"]);
    assert_rendered("- ```\n  b\n  ```", "• \nb", &["pre -:b"]);
}

#[test]
fn lists_have_bullets_numbers_and_indentation() {
    assert_rendered(
        "- a\n- b\n  c\n  - d\n    - e\n- f",
        "• a\n• b\n  c\n  • d\n    • e\n• f",
        &[],
    );
    assert_rendered("3. a\n4. b\n   - c\n\nend", "3. a\n4. b\n   • c\n\nend", &[]);
    assert_rendered("1. **a**\n\n   b\n\n2. c", "1. a\n\n   b\n\n2. c", &["b:a"]);
    assert_rendered("- [ ] a\n- [x] b", "☐ a\n☑ b", &[]);
    assert_rendered("- a\n-\n- b", "• a\n• \n• b", &[]);
    assert_rendered("- - a", "• • a", &[]);
    assert_rendered("text\n- a", "text\n\n• a", &[]);
    assert_rendered("- > a\n- b", "• \n  a\n\n• b", &["quote:a"]);
}

#[test]
fn quotes_are_one_deep() {
    assert_rendered("> a\n> **b**\n\nc", "a\nb\n\nc", &["quote:a\nb", "b:b"]);
    assert_rendered("> a\n>\n> > b\n>\n> c", "a\n\nb\n\nc", &["quote:a\n\nb\n\nc"]);
    assert_rendered("> a\n\n> b", "a\n\nb", &["quote:a", "quote:b"]);
    assert_rendered("> - a\n> - b", "• a\n• b", &["quote:• a\n• b"]);
    assert_rendered("> [a](https://b.example)", "a", &["quote:a", "link https://b.example/:a"]);
}

#[test]
fn links_lead_somewhere_or_tell_their_address() {
    assert_rendered(
        "[a **b**](https://c.example/d)",
        "a b",
        &["link https://c.example/d:a b", "b:b"],
    );
    assert_rendered("**[a](https://b.example)**", "a", &["b:a", "link https://b.example/:a"]);
    assert_rendered("[a](docs/b.md)", "a (docs/b.md)", &[]);
    assert_rendered("[a](http://localhost:3000)", "a (http://localhost:3000)", &[]);
    assert_rendered("[a](javascript:b)", "a (javascript:b)", &[]);
    assert_rendered(
        "[](https://a.example)",
        "https://a.example/",
        &["link https://a.example/:https://a.example/"],
    );
    assert_rendered("[](b.md)", "b.md", &[]);
    assert_rendered("[a]()", "a", &[]);
    assert_rendered(
        "<https://a.example>",
        "https://a.example",
        &["link https://a.example/:https://a.example"],
    );
    assert_rendered("<me@a.example>", "me@a.example", &[]);
    assert_rendered(
        "![alt](https://a.example/b.png)",
        "alt",
        &["link https://a.example/b.png:alt"],
    );
    assert_rendered(
        "[![alt](https://a.example/b.png)](https://c.example)",
        "alt",
        &["link https://c.example/:alt"],
    );
    assert_rendered("[tg](tg://user?id=7)", "tg", &["link tg://user?id=7:tg"]);
}

#[test]
fn sources_at_the_end_are_shown_unless_they_are_links_already() {
    assert_rendered("see [1]\n\n[1]: https://a.example", "see 1", &["link https://a.example/:1"]);
    assert_rendered(
        "see [A  b]\n\n[a B]: https://a.example",
        "see A  b",
        &["link https://a.example/:A  b"],
    );
    assert_rendered(
        "text\n\n[1]: https://a.example\n[2]: https://b.example \"B\"\n\nend",
        "text\n\n[1]: https://a.example\n[2]: https://b.example \"B\"\nend",
        &[],
    );
}

#[test]
fn tables_are_aligned_and_their_links_follow() {
    assert_rendered(
        "| Name | Age |\n|:--|--:|\n| **Bo** | 5 |\n| 漢字 `x` | 40 |\n| short |",
        "| Name   | Age |\n|--------|-----|\n| Bo     |   5 |\n| 漢字 x |  40 |\n| short  |",
        &[
            "pre -:| Name   | Age |\n|--------|-----|\n| Bo     |   5 |\n| 漢字 x |  40 |\n| short  |",
        ],
    );
    assert_rendered(
        "| a |\n|---|\n| [b](https://c.example) |\n\nd",
        "| a |\n|---|\n| b |\nb\n\nd",
        &["pre -:| a |\n|---|\n| b |", "link https://c.example/:b"],
    );
}

#[test]
fn sloppy_markdown_stays_readable() {
    for (markdown, text) in [
        ("snake_case_name and __init__.py", "snake_case_name and init.py"),
        ("2 * 3 * 4 = 24", "2 * 3 * 4 = 24"),
        ("**never closed", "**never closed"),
        ("a ** b ** c", "a ** b ** c"),
        ("`never closed", "`never closed"),
        ("[not a link](", "[not a link]("),
        ("<b>bold</b> & <!-- note --> a < b", "<b>bold</b> & <!-- note --> a < b"),
        ("<div>\n  <p>x\n</div>\n\ny", "<div>\n  <p>x\n</div>\n\ny"),
        ("a<br>b", "a\nb"),
        ("one\ntwo  \nthree\\\nfour", "one\ntwo\nthree\nfour"),
        ("a\n\n---\n\nb", "a\n\n──────────\n\nb"),
        ("costs $5 or $6", "costs $5 or $6"),
        ("note[^1]\n\n[^1]: the note itself", "note[^1]\n\n[^1]: the note itself"),
        ("1\\. \\*a\\* &amp; &copy;", "1. *a* & ©"),
        ("a\u{0}\u{7}b\r\nc\u{2028}d\te", "a  b\nc\nd e"),
        ("**", "**"),
        ("[](<>)", "[](<>)"),
        ("```\n```", "```\n```"),
        ("#", "#"),
    ] {
        assert_eq!(one(markdown).0, text, "{markdown:?}");
    }
    for blank in ["", "  \n\t\n", "\u{200b}\u{feff}"] {
        assert_eq!(render(blank), [], "{blank:?}");
    }
}

#[test]
fn an_entity_is_written_as_telegram_reads_it() {
    let messages = render("**a**\n\n```rs\nb\n```\n\n```\nc\n```\n\n[d](https://e.example)");
    let entities = serde_json::to_value(&messages[0].entities).unwrap();
    assert_eq!(
        entities,
        json!([
            { "type": "bold", "offset": 0, "length": 1 },
            { "type": "pre", "language": "rs", "offset": 3, "length": 1 },
            { "type": "pre", "offset": 6, "length": 1 },
            { "type": "text_link", "url": "https://e.example/", "offset": 9, "length": 1 },
        ])
    );
}

#[test]
fn what_is_cut_goes_on_in_the_next_message() {
    let line = "    let total = total + 1;\n";
    let messages = render(&format!("Intro.\n\n```rust\n{}```\nEnd.", line.repeat(300)));
    check(&format!("Intro.\n\n```rust\n{}```\nEnd.", line.repeat(300)));
    assert_eq!(messages.len(), 2);
    let code: Vec<_> = messages.iter().map(|message| message.entities[0].kind.clone()).collect();
    assert_eq!(code, vec![Kind::Pre { language: Some("rust".to_owned()) }; 2]);
    // Cut after a line, and the indentation stays.
    assert!(messages[0].text.ends_with("+ 1;"));
    assert!(messages[1].text.starts_with("    let total"));

    let quote = render(&format!("> {}", "word ".repeat(2000)));
    assert_eq!(quote.iter().map(|message| message.entities.len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_block_that_fits_into_one_message_is_not_cut() {
    let code = format!("```\n{}```", "code();\n".repeat(400));
    let messages = render(&format!("{}\n\n{code}", "Words. ".repeat(200)));
    let starts: Vec<_> = messages.iter().map(|message| message.text.get(..6).unwrap()).collect();
    assert_eq!(starts, ["Words.", "code()"]);
}

#[test]
fn no_message_has_more_entities_than_telegram_takes() {
    let some = format!("{}{}", "**b** words between the marks ".repeat(90), "**b** x ".repeat(60));
    check(&some);
    let counts = |text: &str| -> Vec<usize> {
        render(text).iter().map(|message| message.entities.len()).collect()
    };
    assert_eq!(counts(&some), [100, 50]);
    // Too dense: rather fewer marks than a flood of messages.
    assert_eq!(counts(&"**b** ".repeat(4000)), [100, 100]);
}

#[test]
fn pathological_texts_are_rendered_without_deep_stacks_or_long_waits() {
    let many = |part: &str| part.repeat(200_000 / part.len());
    let wide =
        format!("|{0}\n|{1}\n{2}", "a|".repeat(30_000), "-|".repeat(30_000), "x\n".repeat(40_000));
    let tall = format!("|{}|b|\n|-|-|\n{}", "a".repeat(90_000), "x|y\n".repeat(25_000));
    let nested = format!("{}```\n{}", "- ".repeat(50_000), "\n".repeat(100_000));
    let fenced = format!("{}```\n{}", "- ".repeat(49), "\n".repeat(200_000));
    let stepwise: String =
        (0..5).map(|step| format!("{}{}a\n", "\t".repeat(5 * step), "- ".repeat(10))).collect();
    let stepwise = format!("{stepwise}{}```\n{}", "\t".repeat(25), "\n".repeat(200_000));
    let stairs: String = (0..600).map(|depth| format!("{}- a\n", "  ".repeat(depth))).collect();
    let quoted = format!("{}a\n{}", ">".repeat(99), "b\n".repeat(100_000));
    let bold = format!("{}a{}", "**".repeat(50_000), "**".repeat(50_000));
    let images = format!("{}{}", "![a".repeat(20_000), "](b)".repeat(20_000));
    let texts = [
        many("*"),
        many("_"),
        many("["),
        many("![a]("),
        many("> "),
        many("- "),
        many("1. "),
        many("`"),
        many("<"),
        many("<a "),
        many("&"),
        many("a**b"),
        many("*a _b "),
        many("~"),
        many("\\"),
        many("[a](b) "),
        many("[a]: b\n"),
        many("|"),
        many("a|b\n"),
        many("\n"),
        many("\u{301}"),
        many("🇩🇪"),
        many("👩‍"),
        many("**a `b` "),
        many("`a` "),
        many("```\n"),
        many("<!--"),
        many("<?"),
        many("[^a]"),
        many("[a][b]"),
        many("x"),
        many("  \n"),
        many("# a\n"),
        many("- a\n\n\n"),
        wide,
        tall,
        nested,
        fenced,
        stepwise,
        stairs,
        quoted,
        bold,
        images,
    ];
    for text in &texts {
        let began = Instant::now();
        let messages = render(text);
        let took = began.elapsed(); // With `--nocapture`; quadratic ones would take minutes.
        let start: String = text.chars().take(12).collect();
        println!("{start:?}: {} bytes, {} messages, {took:?}", text.len(), messages.len());
        check::check_messages(&messages, LIMIT, MOST_ENTITIES);
    }
}

/// How many generated texts are tried: the environment's `RENDER_CASES`, else 2,000.
fn cases() -> u32 {
    std::env::var("RENDER_CASES").map_or(2_000, |cases| cases.parse().expect("a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]
    #[test]
    fn generated_texts_arrive_whole_and_rightly_marked(
        text in generate::markdown(), limit in prop::sample::select(vec![LIMIT, LIMIT, 200, 60, 20]),
    ) {
        check::check(&text, limit, MOST_ENTITIES);
    }
}
