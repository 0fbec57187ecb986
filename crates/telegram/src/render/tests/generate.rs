//! Markdown as a model may write it: right, sloppy, long, in many scripts.

use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes of the texts that make several messages.
const LONG: usize = 12_000;

/// A text of up to some thousand characters.
pub(super) fn markdown() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => vec(block(), 1..5).prop_map(|blocks| blocks.concat()),
        1 => vec(block(), 1..3).prop_map(|blocks| {
            let text = blocks.concat();
            text.repeat(LONG / (text.len() + 1) + 1)
        }),
        2 => vec(prop_oneof![marker(), word()], 0..100).prop_map(|parts| parts.concat()),
        1 => unbroken(),
        1 => any::<String>(),
    ]
}

/// Several messages without a place to cut but between characters, of which many are joined.
fn unbroken() -> impl Strategy<Value = String> {
    let joined = prop::sample::select(vec![
        "漢",
        "𝒳",
        "e\u{301}\u{302}",
        "👩‍👩‍👧‍👦",
        "👍🏽",
        "🇩🇪",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "क्षि",
        "กำ",
        "각",
        "x",
    ]);
    let around = prop::sample::select(vec!["", "**", "`", "~~", "> ", "```\n"]);
    (vec(joined, 1..30), around).prop_map(|(characters, around)| {
        let text = characters.concat();
        format!("{around}{}{around}", text.repeat(LONG / text.len() + 1))
    })
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        10 => "[a-zA-Z]{1,12}",
        3 => Just(" ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => any::<char>().prop_map(String::from),
        1 => Just("snake_case_name".to_owned()),
        8 => prop::sample::select(vec![
            "漢字かな交じり文。", "한국어", "ไทย", "हिन्दी", "עברית", "العربية", "e\u{301}\u{302}", "𝒳𝒴",
            "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪🇫🇷", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "\u{200b}", "\u{a0}", "\t", "1. ", "5 * 3", "$x_1$", "a|b", "&amp;", "&#10;", "&nbsp;",
            "https://example.com/a_b?c=d*e*", "@name", "#tag", "Dr. Who. Then?",
        ]).prop_map(String::from),
    ]
}

/// Something that means something, put anywhere.
fn marker() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "*",
        "**",
        "***",
        "_",
        "__",
        "~",
        "~~",
        "`",
        "``",
        "```",
        "```\n",
        "~~~",
        "[",
        "]",
        "](",
        ")",
        "![",
        "](https://e.example)",
        "[a]: b\n",
        "<",
        ">",
        "> ",
        "\n> ",
        "\n- ",
        "\n1. ",
        "\n  - ",
        "# ",
        "\n\n",
        "\n",
        "|",
        "\n|-|-|\n",
        "---",
        "\n---\n",
        "===",
        "\\",
        "<br>",
        "<!--",
        "-->",
        "<b>",
        "</b>",
        "&",
        "    ",
        "[ ] ",
    ])
    .prop_map(String::from)
}

fn words() -> impl Strategy<Value = String> {
    vec(prop_oneof![12 => word(), 2 => Just(" ".to_owned()), 1 => marker()], 1..8)
        .prop_map(|words| words.concat())
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("https://example.com/a?b=c".to_owned()),
        Just("http://localhost:8080".to_owned()),
        Just("docs/a.md".to_owned()),
        Just("tg://user?id=7".to_owned()),
        Just("mailto:a@example.com".to_owned()),
        Just(String::new()),
        "[a-z:/.@<> ]{0,12}",
    ]
}

/// Marked words within marked words.
fn inline() -> impl Strategy<Value = String> {
    words().prop_recursive(3, 6, 2, |inner| {
        let inner = vec(inner, 1..3).prop_map(|parts| parts.concat());
        prop_oneof![
            inner.clone().prop_map(|text| format!("**{text}**")),
            inner.clone().prop_map(|text| format!("*{text}*")),
            inner.clone().prop_map(|text| format!("~~{text}~~")),
            inner.clone().prop_map(|text| format!("`{text}`")),
            (inner.clone(), address()).prop_map(|(text, to)| format!("[{text}]({to})")),
            (inner.clone(), address()).prop_map(|(text, to)| format!("![{text}]({to})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a} {b}")),
        ]
    })
}

fn code() -> impl Strategy<Value = String> {
    let lines = vec(prop_oneof![words(), "[ ]{0,8}[a-z]{0,20}", Just(String::new())], 0..6);
    let long = "[a-z ]{1,40}\n".prop_map(|line| line.repeat(150));
    let text = prop_oneof![20 => lines.prop_map(|lines| lines.join("\n")), 1 => long];
    let info = prop_oneof![Just(""), Just("rust"), Just("c++ title=x"), Just("md"), Just("✓")];
    let fence = prop_oneof![Just("```"), Just("````"), Just("~~~")];
    (fence, info, text, any::<prop::sample::Index>()).prop_map(|(fence, info, text, how)| {
        match how.index(8) {
            0 => format!("{fence}{info}\n{text}\n"), // never closed
            1 => format!("````{info}\n```py\n{text}\n```\n````\n"),
            2 => format!("```{info}\n```py\n{text}\n```\n```\n"),
            _ => format!("{fence}{info}\n{text}\n{fence}\n\n"),
        }
    })
}

fn table() -> impl Strategy<Value = String> {
    let cell = prop_oneof![4 => inline(), 1 => Just(String::new())];
    let row =
        vec(cell, 1..5).prop_map(|cells| format!("| {} |\n", cells.join(" | ").replace('\n', " ")));
    (vec(row, 1..6), 1_usize..5).prop_map(|(rows, columns)| {
        let (head, body) = rows.split_first().unwrap();
        format!("{head}|{}\n{}\n", ":-:|".repeat(columns), body.concat())
    })
}

fn block() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => inline().prop_map(|text| format!("{text}\n\n")),
        2 => (1_usize..7, inline()).prop_map(|(level, text)| format!("{} {text}\n", "#".repeat(level))),
        2 => code(),
        1 => table(),
        1 => Just("---\n\n".to_owned()),
        1 => ("[a-z0-9]{1,3}", address()).prop_map(|(label, to)| format!("[{label}]: {to}\n\n")),
        1 => words().prop_map(|text| format!("<div>\n{text}\n</div>\n\n")),
        1 => words().prop_map(|text| format!("    {text}\n\n")),
    ];
    leaf.prop_recursive(3, 10, 2, |inner| {
        let inner = vec(inner, 1..3).prop_map(|blocks| blocks.concat());
        let item = |marker: &'static str| {
            move |text: String| format!("{marker}{}", indented(&text, marker.len()))
        };
        prop_oneof![
            vec(inner.clone().prop_map(item("- ")), 1..3).prop_map(|items| items.concat()),
            vec(inner.clone().prop_map(item("1. ")), 1..3).prop_map(|items| items.concat()),
            inner.clone().prop_map(item("- [ ] ")),
            inner.prop_map(|text| text.lines().map(|line| format!("> {line}\n")).collect()),
        ]
    })
}

fn indented(text: &str, columns: usize) -> String {
    let lines: Vec<_> = text.split('\n').collect();
    lines.join(&format!("\n{}", " ".repeat(columns)))
}
