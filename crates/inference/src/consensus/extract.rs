//! What an answer comes to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::call::Completion;

/// What an answer comes to; equal ones are the same answer.
#[derive(Debug, Clone)]
pub(super) enum Gist {
    /// Names and canonical arguments.
    Tools(Vec<(String, String)>),
    /// A short value, and what it was found by.
    Value { value: String, method: &'static str },
    /// Different words of a text, in lower case.
    Words(BTreeSet<String>),
}

impl PartialEq for Gist {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tools(one), Self::Tools(other)) => one == other,
            // 42 is 42, whether a text or a JSON object says so.
            (Self::Value { value: one, .. }, Self::Value { value: other, .. }) => one == other,
            (Self::Words(one), Self::Words(other)) => one == other,
            (Self::Tools(_) | Self::Value { .. } | Self::Words(_), _) => false,
        }
    }
}

impl Gist {
    /// Name of the comparison.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Tools(_) => "tool_calls",
            Self::Value { method, .. } => method,
            Self::Words(_) => "words",
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Words(_))
    }
}

pub(super) fn gist(answer: &Completion) -> Gist {
    if !answer.tool_calls.is_empty() {
        let call = |arguments: &str| match serde_json::from_str::<Value>(arguments) {
            Ok(value) => canonical(&value),
            Err(_) => arguments.to_owned(),
        };
        let calls =
            answer.tool_calls.iter().map(|asked| (asked.tool.clone(), call(&asked.arguments)));
        return Gist::Tools(calls.collect());
    }
    let text = unfenced(answer.text.trim());
    let value = |value: String, method| Gist::Value { value, method };
    if let Some(field) = json_answer(text) {
        return value(field, "json_answer");
    }
    if let Some(letter) = choice(text) {
        return value(letter, "choice");
    }
    if let Some(number) = number(text) {
        return value(number, "number");
    }
    Gist::Words(words(text))
}

/// The inside of a Markdown code block that is the whole text.
fn unfenced(text: &str) -> &str {
    let inside = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inside.and_then(|text| text.split_once('\n')).map_or(text, |(_, inside)| inside.trim())
}

/// The field `answer` of a JSON object, the whole object where it has none.
fn json_answer(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let object = value.as_object()?;
    Some(match object.get("answer") {
        Some(Value::String(text)) => {
            let text = text.trim();
            choice(text).or_else(|| plain_number(text)).unwrap_or_else(|| text.to_lowercase())
        }
        Some(Value::Number(number)) => plain_number(&number.to_string())?,
        Some(other) => canonical(other),
        None => canonical(&value),
    })
}

/// JSON with its keys sorted, without spaces, and with numbers written one way.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut fields: Vec<_> = object.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            let field = |(key, value): (&String, &Value)| {
                format!("{}:{}", Value::String(key.clone()), canonical(value))
            };
            format!("{{{}}}", fields.into_iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::Number(number) => {
            let text = number.to_string();
            plain_number(&text).unwrap_or(text)
        }
        Value::String(_) | Value::Bool(_) | Value::Null => value.to_string(),
    }
}

/// A letter from A to J that is the answer: alone, at the beginning, or named at the end.
fn choice(text: &str) -> Option<String> {
    let bare = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric());
        let mut letters = word.chars();
        let letter = letters.next().filter(|letter| ('A'..='J').contains(letter))?;
        letters.next().is_none().then(|| letter.to_ascii_lowercase().to_string())
    };
    let first = text.split_whitespace().next()?;
    let alone = text.split_whitespace().nth(1).is_none();
    // "A cat sits there" begins with a letter that chooses nothing.
    let marked = first.len() > 1 && first.ends_with([')', '.', ':', '*']);
    if alone || marked {
        let chosen = bare(first);
        if chosen.is_some() {
            return chosen;
        }
    }
    let line = last_line(text)?;
    let mut words = line.split_whitespace().rev();
    let last = bare(words.next()?)?;
    let named = words.next().map(str::to_lowercase)?;
    let named = named.trim_matches(|c: char| !c.is_alphanumeric());
    ["is", "answer", "option", "choice", "ist", "antwort", "est", "es"]
        .contains(&named)
        .then_some(last)
}

/// The last number of the last line.
fn number(text: &str) -> Option<String> {
    let line = last_line(text)?;
    let of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '/');
    let mut words = line.split(|c: char| !of_number(c)).rev();
    words.find_map(plain_number)
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// A number without separators of thousands and without zeros that say nothing.
fn plain_number(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['.', ',', '-', '/']).trim_start_matches(['.', ',', '/']);
    let (minus, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let is_digit = |c: char| c.is_ascii_digit();
    if !digits.chars().any(is_digit) || digits.chars().any(|c| !is_digit(c) && c != '.' && c != ',')
    {
        return None;
    }
    let thousands = |group: &str| group.len() == 3;
    let mut groups = digits.split(',');
    let _ = groups.next();
    let digits = match digits.split_once('.') {
        None if groups.clone().all(thousands) => digits.replace(',', ""),
        // A decimal comma.
        None => digits.replacen(',', ".", 1),
        Some(_) => digits.replace(',', ""),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    if fraction.contains(['.', ',']) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let number = if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") };
    Some(if number == "0" { number } else { format!("{minus}{number}") })
}

fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<(String, &'static str)> {
        let completion = super::super::tests::said(text);
        match gist(&completion) {
            Gist::Value { value, method } => Some((value, method)),
            Gist::Tools(_) | Gist::Words(_) => None,
        }
    }

    #[test]
    fn short_values_are_found_in_what_models_write() {
        for (text, wanted, method) in [
            ("{\"answer\": \"B\", \"why\": \"so\"}", "b", "json_answer"),
            ("```json\n{\"answer\": 42.0}\n```", "42", "json_answer"),
            ("{\"b\": 1, \"a\": [2.50, \"x\"]}", "{\"a\":[2.5,\"x\"],\"b\":1}", "json_answer"),
            ("{\"answer\": \" Paris \"}", "paris", "json_answer"),
            ("B", "b", "choice"),
            ("(C)", "c", "choice"),
            ("**D**", "d", "choice"),
            ("B) because 7 is prime", "b", "choice"),
            ("Let me see.\n\nThe answer is (A).", "a", "choice"),
            ("Die Antwort ist C.", "c", "choice"),
            ("6 times 7.\nThe answer is 42.", "42", "number"),
            ("= 1,234.50 dollars", "1234.5", "number"),
            ("It is -0,5", "-0.5", "number"),
            ("\\boxed{007}", "7", "number"),
            ("$12,000", "12000", "number"),
        ] {
            assert_eq!(value(text), Some((wanted.to_owned(), method)), "{text}");
        }
        for text in [
            "A cat sits on the mat",
            "I do not know.",
            "In 1914.\nThen war came.",
            "1.2.3.4",
            "v",
            "",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
