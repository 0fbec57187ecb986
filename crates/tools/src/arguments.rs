//! From the text that a model wrote to arguments that fit a tool.

use jsonschema::Validator;
use nexus_contracts::ToolOutcome;
use serde_json::{Map, Value};

use crate::outcome::clean;

/// Faults named in one answer: a model mends a few at a time.
const FAULTS: usize = 3;
/// Characters of one fault; it may quote what the model wrote.
const FAULT_CHARS: usize = 300;

/// Reads arguments: strict JSON, an object, nothing for none.
///
/// # Errors
/// The outcome `failed`, code `invalid_arguments`, that tells the model what to write instead.
pub(crate) fn parse(text: &str, validator: &Validator) -> Result<Value, ToolOutcome> {
    let value = if text.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(text)
            .map_err(|error| invalid(&format!("the arguments are no JSON: {error}")))?
    };
    if !value.is_object() {
        return Err(invalid("the arguments must be a JSON object"));
    }
    let faults: Vec<String> =
        validator.iter_errors(&value).take(FAULTS).map(|error| describe(&error)).collect();
    if faults.is_empty() { Ok(value) } else { Err(invalid(&faults.join("; "))) }
}

fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    let place = match error.instance_path().as_str() {
        "" => "the arguments".to_owned(),
        pointer => pointer.to_owned(),
    };
    format!("at {place}: {error}").chars().take(FAULT_CHARS).collect()
}

fn invalid(message: &str) -> ToolOutcome {
    ToolOutcome::Failed { code: "invalid_arguments".to_owned(), message: clean(message) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validator() -> Validator {
        jsonschema::validator_for(&json!({
            "type": "object",
            "properties": { "expression": { "type": "string", "maxLength": 5 }, "deep": { "type": "array", "items": { "type": "integer" } } },
            "required": ["expression"],
            "additionalProperties": false,
        }))
        .unwrap()
    }

    fn message(text: &str) -> String {
        match parse(text, &validator()).unwrap_err() {
            ToolOutcome::Failed { code, message } if code == "invalid_arguments" => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_that_fit_are_passed_on() {
        let read = parse(r#" {"expression":"1+1","deep":[1,2]} "#, &validator());
        assert_eq!(read, Ok(json!({"expression": "1+1", "deep": [1, 2]})));
    }

    #[test]
    fn no_text_is_no_arguments() {
        let anything = jsonschema::validator_for(&json!({ "type": "object" })).unwrap();
        assert_eq!(parse("", &anything), Ok(json!({})));
        assert_eq!(parse(" \n", &anything), Ok(json!({})));
        assert!(message("").contains("\"expression\" is a required property"), "{}", message(""));
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        assert!(
            message(r#"{"expression":5}"#)
                .starts_with("at /expression: 5 is not of type \"string\"")
        );
        assert!(message(r#"{"expression":"1","deep":[1,"x"]}"#).starts_with("at /deep/1: "));
        assert!(message(r#"{"expression":"1","b":1}"#).contains("'b' was unexpected"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in
            ["[]", "null", "\"x\"", "1", "{", "{} {}", "{'expression':'1'}", "```json\n{}\n```"]
        {
            assert!(message(text).starts_with("the arguments"), "{text}: {}", message(text));
        }
    }

    #[test]
    fn a_long_fault_is_cut() {
        let long = "x".repeat(10_000);
        assert!(message(&format!(r#"{{"expression":"{long}"}}"#)).chars().count() <= FAULT_CHARS);
    }
}
