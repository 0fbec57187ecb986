use serde_json::{Value, json};

use crate::{ANN, done, refused, start};

fn with(text: &str, entities: Value) -> Value {
    json!({ "chat_id": ANN, "text": text, "entities": entities })
}

fn entity(kind: &str, offset: i64, length: i64) -> Value {
    json!({ "type": kind, "offset": offset, "length": length })
}

fn marked(text: &str, mode: &str) -> Value {
    json!({ "chat_id": ANN, "text": text, "parse_mode": mode })
}

/// Kinds with offset and length.
fn shape(message: &Value) -> Vec<(String, u64, u64)> {
    let entities = message["entities"].as_array().cloned().unwrap_or_default();
    let number = |entity: &Value, name: &str| entity[name].as_u64().unwrap();
    entities
        .iter()
        .map(|entity| {
            let kind = entity["type"].as_str().unwrap().to_owned();
            (kind, number(entity, "offset"), number(entity, "length"))
        })
        .collect()
}

#[tokio::test]
async fn entities_lie_on_whole_characters_within_the_text() {
    let api = start().await;
    let wrong = [
        (
            entity("bold", 3, 6),
            "aba caba",
            "entity beginning at UTF-16 offset 3 ends after the end of the text at UTF-16 offset 9",
        ),
        (
            entity("bold", 9, 1),
            "aba caba",
            "entity begins after the end of the text at UTF-16 offset 9",
        ),
        (entity("bold", -1, 1), "aba caba", "receive an entity with incorrect offset -1"),
        (entity("bold", 0, -1), "aba caba", "receive an entity with incorrect length -1"),
        (
            entity("bold", 1, 1),
            "👉 👉",
            "entity begins in a middle of a UTF-16 symbol at byte offset 4",
        ),
        (
            entity("bold", 0, 1),
            "👉 👉",
            "entity beginning at UTF-16 offset 0 ends in a middle of a UTF-16 symbol at byte offset 4",
        ),
        (entity("sparkling", 0, 1), "x", "can't parse MessageEntity: Unsupported type specified"),
        (json!({ "type": "bold" }), "x", "can't parse MessageEntity: Can't find field \"offset\""),
        (entity("text_link", 0, 1), "x", "can't parse MessageEntity: Can't find field \"url\""),
        (
            json!({ "type": "text_link", "offset": 0, "length": 1, "url": "not-a-url" }),
            "x",
            "entity URL 'not-a-url' is invalid: Wrong HTTP URL",
        ),
    ];
    let count = wrong.len();
    for (entity, text, why) in wrong {
        let said = refused(&api, "sendMessage", with(text, json!([entity]))).await;
        assert_eq!(said, format!("Bad Request: {why}"));
    }
    assert_eq!(api.violations().len(), count);
    let message = done(&api, "sendMessage", with("👉 👉", json!([entity("bold", 3, 2)]))).await;
    assert_eq!(shape(&message), [("bold".to_owned(), 3, 2)]);
}

#[tokio::test]
async fn entities_nest_and_code_holds_nothing() {
    let api = start().await;
    let wrong = [
        [entity("bold", 0, 3), entity("italic", 2, 3)],
        [entity("bold", 0, 5), entity("code", 1, 2)],
        [entity("pre", 0, 5), entity("bold", 1, 2)],
        [entity("blockquote", 0, 5), entity("expandable_blockquote", 1, 2)],
    ];
    for pair in wrong {
        let said = refused(&api, "sendMessage", with("abcdefgh", json!(pair))).await;
        assert!(
            said.starts_with("Bad Request: can't parse entities: ENTITY_BOUNDS_INVALID"),
            "{said}"
        );
    }
    let right = json!([
        entity("code", 6, 2),
        entity("italic", 1, 2),
        entity("bold", 0, 5),
        entity("blockquote", 0, 8)
    ]);
    let message = done(&api, "sendMessage", with("abcdefgh", right)).await;
    let kinds: Vec<String> = shape(&message).into_iter().map(|(kind, _, _)| kind).collect();
    assert_eq!(kinds, ["blockquote", "bold", "italic", "code"]);
}

#[tokio::test]
async fn entities_follow_the_text_when_it_is_trimmed() {
    let api = start().await;
    let message =
        done(&api, "sendMessage", with("  a\r bold \n", json!([entity("bold", 5, 6)]))).await;
    assert_eq!(
        (message["text"].as_str(), shape(&message)),
        (Some("a bold"), vec![("bold".to_owned(), 2, 4)])
    );
    let lost = done(&api, "sendMessage", with("a  ", json!([entity("bold", 1, 2)]))).await;
    assert_eq!(shape(&lost), []);
}

#[tokio::test]
async fn markdown_is_refused_with_the_place() {
    let api = start().await;
    let wrong = [
        ("1. one", "Character '.' is reserved and must be escaped with the preceding '\\'"),
        ("a | b", "Character '|' is reserved and must be escaped with the preceding '\\'"),
        ("so! it", "Character '!' is reserved and must be escaped with the preceding '\\'"),
        ("grüße *bold", "Can't find end of Bold entity at byte offset 8"),
        ("_a *b_ c*", "Can't find end of Bold entity at byte offset 8"),
        ("__under_", "Can't find end of Italic entity at byte offset 7"),
        ("```rust\nlet x", "Can't find end of Pre entity at byte offset 0"),
        ("`a", "Can't find end of Code entity at byte offset 0"),
        ("[a](https://a.de", "Can't find end of a URL at byte offset 4"),
    ];
    for (text, why) in wrong {
        let said = refused(&api, "sendMessage", marked(text, "MarkdownV2")).await;
        assert_eq!(said, format!("Bad Request: can't parse entities: {why}"), "{text}");
    }
    let old = refused(&api, "sendMessage", marked("*unclosed", "Markdown")).await;
    let why = "Can't find end of the entity starting at byte offset 0";
    assert_eq!(old, format!("Bad Request: can't parse entities: {why}"));
    assert_eq!(
        refused(&api, "sendMessage", marked("x", "RTF")).await,
        "Bad Request: unsupported parse_mode"
    );
}

#[tokio::test]
async fn markdown_becomes_entities() {
    let api = start().await;
    let text = "*b _i __u___* ~s~ ||sp|| `c\\`` [l](https://a.de/x\\)) ![👍](tg://emoji?id=5) \\*\n```rust\nlet x;\n```\n>q1\n>q2||\nend";
    let message = done(&api, "sendMessage", marked(text, "MarkdownV2")).await;
    assert_eq!(message["text"], "b i u s sp c` l 👍 *\nlet x;\n\nq1\nq2\nend");
    let wanted = [
        ("bold", 0, 5),
        ("italic", 2, 3),
        ("underline", 4, 1),
        ("strikethrough", 6, 1),
        ("spoiler", 8, 2),
        ("code", 11, 2),
        ("text_link", 14, 1),
        ("custom_emoji", 16, 2),
        ("pre", 21, 7),
        ("expandable_blockquote", 29, 5),
    ];
    let wanted = wanted.map(|(kind, offset, length)| (kind.to_owned(), offset, length));
    assert_eq!(shape(&message), wanted);
    assert_eq!(message["entities"][6]["url"], "https://a.de/x)");
    assert_eq!(message["entities"][8]["language"], "rust");
    let old = done(&api, "sendMessage", marked("*b* 1. - _i_", "Markdown")).await;
    assert_eq!((old["text"].as_str(), shape(&old).len()), (Some("b 1. - i"), 2));
}

#[tokio::test]
async fn html_is_refused_with_the_place() {
    let api = start().await;
    let wrong = [
        ("<b>a", "Can't find end tag corresponding to start tag \"b\""),
        ("a</b>", "Unexpected end tag at byte offset 1"),
        ("<b>a</i>", "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\""),
        ("ü <h1>a</h1>", "Unsupported start tag \"h1\" at byte offset 3"),
        ("1 < 2", "Unsupported start tag \"\" at byte offset 2"),
        ("<b", "Unclosed start tag at byte offset 0"),
        (
            "<a href>x</a>",
            "Expected equal sign in declaration of an attribute of the tag \"a\" at byte offset 0",
        ),
        (
            "<span class=\"x\">x</span>",
            "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0",
        ),
    ];
    for (text, why) in wrong {
        let said = refused(&api, "sendMessage", marked(text, "HTML")).await;
        assert_eq!(said, format!("Bad Request: can't parse entities: {why}"), "{text}");
    }
}

#[tokio::test]
async fn html_becomes_entities() {
    let api = start().await;
    let text = "<b>b &lt;<i>i</i></b> &#128077;&amp;&copy; <a href=\"https://a.de/?x=1&amp;y\">l</a> <pre><code class=\"language-rust\">x;</code></pre><blockquote expandable>q</blockquote><a href=\"tg://user?id=7\">u</a>";
    let message = done(&api, "sendMessage", marked(text, "html")).await;
    assert_eq!(message["text"], "b <i 👍&&copy; l x;qu");
    let wanted = [
        ("bold", 0, 4),
        ("italic", 3, 1),
        ("text_link", 15, 1),
        ("pre", 17, 2),
        ("expandable_blockquote", 19, 1),
        ("text_mention", 20, 1),
    ];
    let wanted = wanted.map(|(kind, offset, length)| (kind.to_owned(), offset, length));
    assert_eq!(shape(&message), wanted);
    assert_eq!(message["entities"][2]["url"], "https://a.de/?x=1&y");
    assert_eq!(message["entities"][3]["language"], "rust");
}

#[tokio::test]
async fn the_server_finds_commands_mentions_and_addresses() {
    let api = start().await;
    api.user_says(ANN, ANN, "/start@stand_in_bot see https://a.de, @somebody #tag no/thing");
    let update = done(&api, "getUpdates", json!({})).await;
    let wanted = [("bot_command", 0, 19), ("url", 24, 12), ("mention", 38, 9), ("hashtag", 48, 4)];
    let wanted = wanted.map(|(kind, offset, length)| (kind.to_owned(), offset, length));
    assert_eq!(shape(&update[0]["message"]), wanted);
    let code = done(&api, "sendMessage", marked("`/start` x", "MarkdownV2")).await;
    assert_eq!(shape(&code), [("code".to_owned(), 0, 6)]);
}
