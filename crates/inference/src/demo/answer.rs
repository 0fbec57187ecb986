//! What the demo says.

use nexus_contracts::{Message, Part, RequestedCall, Role, ToolSpec};

use super::wish;

/// Most characters that are repeated of what somebody said.
const MAX_QUOTE: usize = 200;
/// Most earlier messages that are quoted.
const MAX_TURNS: usize = 5;

/// Text, or tool calls.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) tool_calls: Vec<RequestedCall>,
}

/// The next message of the assistant.
pub(super) fn answer(messages: &[Message], tools: &[ToolSpec]) -> Answer {
    let asked = messages.iter().rposition(|message| message.role == Role::User);
    let (before, since) = messages.split_at(asked.map_or(0, |at| at + 1));
    let text =
        before.last().filter(|_| asked.is_some()).map(Message::joined_text).unwrap_or_default();
    let results: Vec<_> =
        since.iter().flat_map(|message| &message.parts).filter_map(result).collect();
    if !results.is_empty() {
        return Answer { text: results.join("\n"), tool_calls: Vec::new() };
    }
    let tool_calls = wish::calls(&text, tools);
    if !tool_calls.is_empty() {
        return Answer { text: String::new(), tool_calls };
    }
    let earlier = before.split_last().map_or(&[][..], |(_, earlier)| earlier);
    let text =
        if asks_what_was_said(&text) { recall(earlier, german(&text)) } else { introduce(&text) };
    Answer { text, tool_calls: Vec::new() }
}

/// A sentence with what a tool said.
fn result(part: &Part) -> Option<String> {
    match part {
        Part::ToolResult { tool, text, is_error: false, .. } => {
            let text = text.trim();
            let text = if text.is_empty() { "nothing" } else { text };
            let end = if text.ends_with(['.', '!', '?', '}', ']']) || text.contains('\n') {
                ""
            } else {
                "."
            };
            Some(format!("The {} says: {text}{end}", spoken(tool)))
        }
        Part::ToolResult { tool, text, is_error: true, .. } => Some(format!(
            "The {} did not work: {}.",
            spoken(tool),
            text.trim().trim_end_matches('.')
        )),
        Part::Text { .. }
        | Part::Attachment { .. }
        | Part::Native { .. }
        | Part::ToolCall { .. } => None,
    }
}

fn spoken(tool: &str) -> String {
    match tool {
        "http_fetch" => "page".to_owned(),
        "count_effect" => "counter".to_owned(),
        other => other.replace('_', " "),
    }
}

fn asks_what_was_said(text: &str) -> bool {
    let lower = text.to_lowercase();
    let asked = [
        "what did i say",
        "what i said",
        "what have i said",
        "was habe ich gesagt",
        "was hab ich gesagt",
    ];
    asked.iter().any(|words| lower.contains(words))
}

/// Quotes what the user said before.
fn recall(earlier: &[Message], german: bool) -> String {
    let said =
        earlier.iter().filter(|message| message.role == Role::User).map(Message::joined_text);
    let said: Vec<_> = said
        .filter(|text| !text.trim().is_empty())
        .map(|text| format!("“{}”", quote(&text)))
        .collect();
    let last = said.get(said.len().saturating_sub(MAX_TURNS)..).unwrap_or_default();
    match (last.is_empty(), german) {
        (true, false) => "You have not said anything before this.".to_owned(),
        (true, true) => "Davor hast du noch nichts gesagt.".to_owned(),
        (false, false) => format!("You said: {}.", last.join(", then ")),
        (false, true) => format!("Du hast gesagt: {}.", last.join(", dann ")),
    }
}

/// Says what it is and how to get something better.
fn introduce(text: &str) -> String {
    let said = quote(text);
    if german(text) {
        return format!(
            "Ich bin das Demo-Modell von Nexus, kein Sprachmodell: Ich kenne nur ein paar Regeln. \
             Du hast gesagt: “{said}”. Für richtige Antworten setze OPENAI_API_KEY oder starte Ollama \
             oder einen llama.cpp-Server, dann starte `nexus up` neu."
        );
    }
    format!(
        "I am the demo model of Nexus, not a language model: I only know a few rules. You said: “{said}”. \
         For real answers, set OPENAI_API_KEY, or start Ollama or a llama.cpp server, then restart \
         `nexus up`. Until then you can ask me for the time, a calculation or a web page."
    )
}

/// A text on one line, shortened.
fn quote(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn german(text: &str) -> bool {
    let known = [
        "ich", "du", "und", "ist", "bist", "der", "das", "nicht", "bitte", "hallo", "wie", "habe",
        "guten",
    ];
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_alphabetic()).any(|word| known.contains(&word))
}

#[cfg(test)]
mod tests {
    use nexus_contracts::Effect;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn tools(names: &[&str]) -> Vec<ToolSpec> {
        let spec = |name: &&str| ToolSpec {
            name: (*name).to_owned(),
            description: String::new(),
            parameters: json!({ "type": "object" }),
            effect: Effect::Read,
            timeout_ms: 1,
            client: None,
        };
        names.iter().map(spec).collect()
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn said(messages: &[Message]) -> String {
        answer(messages, &[]).text
    }

    fn tool_result(tool: &str, text: &str, is_error: bool) -> Message {
        let (tool, text) = (tool.to_owned(), text.to_owned());
        let part = Part::ToolResult { call: Uuid::nil(), provider_id: None, tool, text, is_error };
        Message { role: Role::Tool, parts: vec![part] }
    }

    #[test]
    fn two_wishes_become_two_calls_at_once() {
        let messages = [
            Message::text(Role::System, "be brief"),
            user("What time is it in Tokyo and what is 2+2?"),
        ];
        let call = |tool: &str, arguments: &str| RequestedCall {
            provider_id: None,
            tool: tool.to_owned(),
            arguments: arguments.to_owned(),
        };
        let wanted = vec![
            call("clock", r#"{"time_zone":"Tokyo"}"#),
            call("calculator", r#"{"expression":"2+2"}"#),
        ];
        let offered = tools(&["calculator", "clock"]);
        assert_eq!(answer(&messages, &offered), Answer { text: String::new(), tool_calls: wanted });
    }

    #[test]
    fn tool_that_is_not_offered_is_not_called() {
        let answer = answer(&[user("what time is it?")], &tools(&["calculator"]));
        assert_eq!(answer.tool_calls, []);
        assert!(answer.text.contains("not a language model"), "{}", answer.text);
    }

    #[test]
    fn results_become_sentences_and_no_new_calls() {
        let messages = [
            user("what time is it and fetch example.com"),
            tool_result("clock", "12:30", false),
            tool_result("http_fetch", "error (timeout): no answer.", true),
        ];
        let wanted = "The clock says: 12:30.\nThe page did not work: error (timeout): no answer.";
        let text = wanted.to_owned();
        assert_eq!(
            answer(&messages, &tools(&["clock", "http_fetch"])),
            Answer { text, tool_calls: Vec::new() }
        );
    }

    #[test]
    fn earlier_words_are_quoted() {
        let messages = [
            user("I like tea"),
            Message::text(Role::Assistant, "ok"),
            user("and cake"),
            user("What did I say?"),
        ];
        assert_eq!(said(&messages), "You said: “I like tea”, then “and cake”.");
        assert_eq!(said(&[user("what did I say?")]), "You have not said anything before this.");
        assert_eq!(said(&[user("Tee"), user("Was habe ich gesagt?")]), "Du hast gesagt: “Tee”.");
    }

    #[test]
    fn everything_else_is_answered_honestly() {
        let text = said(&[user("Tell me\na joke")]);
        for part in [
            "not a language model",
            "“Tell me a joke”",
            "OPENAI_API_KEY",
            "Ollama",
            "llama.cpp",
            "nexus up",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(said(&[user("Hallo, wer bist du?")]).contains("kein Sprachmodell"));
        assert!(said(&[]).contains("demo model"));
        assert!(said(&[user(&"ä".repeat(5000))]).chars().count() < 800);
    }

    #[test]
    fn equal_questions_have_equal_answers() {
        let messages = [user("hello")];
        assert_eq!(answer(&messages, &[]), answer(&messages, &[]));
    }
}
