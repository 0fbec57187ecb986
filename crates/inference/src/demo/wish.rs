//! What a sentence asks for, by rules.

use nexus_contracts::{RequestedCall, ToolSpec};
use serde_json::json;

/// Something that a tool can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Time { zone: Option<String> },
    Calculate { expression: String },
    Fetch { url: String },
    Echo { text: String },
    Count { note: String },
}

impl Wish {
    /// The call that grants it.
    fn call(&self) -> RequestedCall {
        let (tool, arguments) = match self {
            Self::Time { zone: Some(zone) } => ("clock", json!({ "time_zone": zone })),
            Self::Time { zone: None } => ("clock", json!({})),
            Self::Calculate { expression } => ("calculator", json!({ "expression": expression })),
            Self::Fetch { url } => ("http_fetch", json!({ "url": url })),
            Self::Echo { text } => ("echo", json!({ "text": text })),
            Self::Count { note } => ("count_effect", json!({ "note": note })),
        };
        RequestedCall { provider_id: None, tool: tool.to_owned(), arguments: arguments.to_string() }
    }

    /// Takes the words of an "and ..." that is no wish of its own.
    fn continue_with(&mut self, joint: &str, words: &str) -> Option<Self> {
        match self {
            Self::Echo { text } | Self::Count { note: text } => {
                text.push_str(joint);
                text.push_str(words);
                None
            }
            // "in Tokyo and Berlin", but not "in Tokyo and tell me a joke".
            Self::Time { zone: Some(_) } => {
                let place = words.strip_prefix("in ").unwrap_or(words).trim_end_matches(END);
                let named = place.chars().next().is_some_and(char::is_uppercase)
                    && place.split(' ').count() <= 3;
                named.then(|| Self::Time { zone: Some(place.to_owned()) })
            }
            Self::Time { zone: None } | Self::Calculate { .. } | Self::Fetch { .. } => None,
        }
    }
}

/// What ends a sentence.
const END: [char; 6] = ['?', '!', '.', ',', ';', ' '];
const JOINTS: [&str; 2] = [" and ", " und "];

/// The tool calls that grant a text's wishes, as far as tools for them are offered.
pub(super) fn calls(text: &str, tools: &[ToolSpec]) -> Vec<RequestedCall> {
    let calls = wishes(text).into_iter().map(|wish| wish.call());
    calls.filter(|call| tools.iter().any(|spec| spec.name == call.tool)).collect()
}

/// The wishes in a text, in its order.
pub(super) fn wishes(text: &str) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = Vec::new();
    for (joint, part) in parts(text.trim()) {
        let more = match wish(part) {
            Some(wish) => Some(wish),
            None => wishes.last_mut().and_then(|last| last.continue_with(joint, part)),
        };
        wishes.extend(more);
    }
    wishes
}

/// A text cut at its joints; each part with the joint before it.
fn parts(text: &str) -> Vec<(&str, &str)> {
    let (mut parts, mut rest, mut joint) = (Vec::new(), text, "");
    while let Some((at, next)) =
        JOINTS.iter().filter_map(|joint| Some((rest.find(joint)?, *joint))).min()
    {
        let (part, after) = rest.split_at(at);
        parts.push((joint, part));
        (joint, rest) = (next, after.get(next.len()..).unwrap_or_default());
    }
    parts.push((joint, rest));
    parts
}

fn wish(part: &str) -> Option<Wish> {
    let part = without(part, &["please ", "bitte ", "then ", "dann "]);
    if let Some(text) = after(part, &["echo "]) {
        return Some(Wish::Echo { text: text.to_owned() });
    }
    if let Some(note) = after(part, &["count "]) {
        return Some(Wish::Count { note: note.to_owned() });
    }
    if let Some(url) = url(part) {
        return Some(Wish::Fetch { url });
    }
    if let Some(expression) = expression(part) {
        return Some(Wish::Calculate { expression });
    }
    time(part)
}

/// What follows one of these beginnings, however it is written.
fn after<'a>(text: &'a str, beginnings: &[&str]) -> Option<&'a str> {
    let begins = |beginning: &&&str| {
        text.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    };
    let beginning = beginnings.iter().find(begins)?;
    let rest = text.get(beginning.len()..)?.trim();
    (!rest.is_empty()).then_some(rest)
}

fn without<'a>(text: &'a str, beginnings: &[&str]) -> &'a str {
    after(text, beginnings).unwrap_or(text)
}

fn url(part: &str) -> Option<String> {
    let mut words = part.split_whitespace();
    let written = words.find(|word| word.starts_with("http://") || word.starts_with("https://"));
    if let Some(url) = written {
        return Some(url.trim_end_matches(END).to_owned());
    }
    let host = after(part, &["fetch ", "read ", "open ", "lies "])?.trim_end_matches(END);
    let is_host = host.contains('.') && !host.contains(char::is_whitespace) && !host.ends_with('.');
    is_host.then(|| format!("https://{host}"))
}

fn expression(part: &str) -> Option<String> {
    if let Some(rest) = after(part, &["calculate ", "compute ", "berechne ", "rechne "]) {
        return Some(rest.trim_end_matches(END).to_owned());
    }
    let asked = ["what is ", "what's ", "how much is ", "was ist ", "wie viel ist "];
    let rest = without(part, &asked).trim_end_matches(['?', '!', '.', '=', ' ']);
    let arithmetic = rest.chars().all(|c| c.is_ascii_digit() || " +-*/^().,%×÷".contains(c));
    let operated = rest.trim_start_matches('-').contains(['+', '-', '*', '/', '^', '%', '×', '÷']);
    (arithmetic && operated && rest.contains(|c: char| c.is_ascii_digit())).then(|| rest.to_owned())
}

fn time(part: &str) -> Option<Wish> {
    let lower = part.to_lowercase();
    let asked = [
        "what time",
        "the time",
        "time is it",
        "current time",
        "what day is",
        "what date",
        "today's date",
        "wie spät",
        "wie viel uhr",
        "uhrzeit",
        "welcher tag",
    ];
    if !asked.iter().any(|words| lower.contains(words)) {
        return None;
    }
    let zone = part.rsplit_once(" in ").map(|(_, place)| place.trim_end_matches(END).to_owned());
    Some(Wish::Time { zone: zone.filter(|place| !place.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(zone: Option<&str>) -> Wish {
        Wish::Time { zone: zone.map(str::to_owned) }
    }

    fn calculate(expression: &str) -> Wish {
        Wish::Calculate { expression: expression.to_owned() }
    }

    fn fetch(url: &str) -> Wish {
        Wish::Fetch { url: url.to_owned() }
    }

    fn echo(text: &str) -> Wish {
        Wish::Echo { text: text.to_owned() }
    }

    fn count(note: &str) -> Wish {
        Wish::Count { note: note.to_owned() }
    }

    #[test]
    fn wishes_are_found_in_plain_sentences() {
        for (text, wanted) in [
            ("What time is it?", vec![time(None)]),
            ("what time is it in New York?", vec![time(Some("New York"))]),
            ("Wie spät ist es in Tokyo?", vec![time(Some("Tokyo"))]),
            ("calculate 12 * (3 + 4)", vec![calculate("12 * (3 + 4)")]),
            ("Calculate sqrt(2) please.", vec![calculate("sqrt(2) please")]),
            ("2+2", vec![calculate("2+2")]),
            ("What is 7 * 6?", vec![calculate("7 * 6")]),
            ("fetch https://example.com/a?b=c.", vec![fetch("https://example.com/a?b=c")]),
            ("see http://localhost:8080/x", vec![fetch("http://localhost:8080/x")]),
            ("Fetch example.com", vec![fetch("https://example.com")]),
            ("echo Hallo, Welt!", vec![echo("Hallo, Welt!")]),
            ("count apples", vec![count("apples")]),
        ] {
            assert_eq!(wishes(text), wanted, "{text}");
        }
    }

    #[test]
    fn sentences_without_wishes_have_none() {
        for text in [
            "hello",
            "tell me about 1984",
            "what is love?",
            "what is -5",
            "read the news",
            "echo",
            "",
        ] {
            assert_eq!(wishes(text), [], "{text}");
        }
    }

    #[test]
    fn several_wishes_are_granted_at_once() {
        for (text, wanted) in [
            (
                "what time is it in Tokyo and calculate 2^10",
                vec![time(Some("Tokyo")), calculate("2^10")],
            ),
            (
                "What time is it in Tokyo and Berlin and in Lima?",
                vec![time(Some("Tokyo")), time(Some("Berlin")), time(Some("Lima"))],
            ),
            (
                "echo salt and pepper and count one und zwei",
                vec![echo("salt and pepper"), count("one und zwei")],
            ),
            ("hello and then 1+1 and tell me a joke", vec![calculate("1+1")]),
        ] {
            assert_eq!(wishes(text), wanted, "{text}");
        }
    }
}
