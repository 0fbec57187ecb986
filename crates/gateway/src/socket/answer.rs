//! What a client says about a tool call that it made.

use nexus_contracts::ToolOutcome;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// Bytes of a tool's output that a model is shown, as for tools that we run.
const OUTPUT: usize = 64 * 1024;
/// Characters of an error's message.
const MESSAGE: usize = 2_000;
/// Bytes of an error's code.
const CODE: usize = 64;

/// The fields of an answer, in every dialect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Answer {
    #[serde(alias = "call_id")]
    pub(super) call: Uuid,
    /// Whether it worked; it did when there is no `error`.
    #[serde(default)]
    ok: Option<bool>,
    /// A text, or any JSON.
    #[serde(default, alias = "result")]
    output: Option<Value>,
    /// A text, or `{code, message}`.
    #[serde(default)]
    error: Option<Value>,
}

impl Answer {
    pub(super) fn outcome(self) -> ToolOutcome {
        let output = self.output.map(text).unwrap_or_default();
        let error = self.error.filter(|error| !error.is_null());
        match (self.ok, error) {
            (Some(true) | None, None) => completed(output),
            (_, Some(Value::Object(error))) => {
                let field = |name: &str| error.get(name).and_then(Value::as_str);
                let message = field("message").unwrap_or("the client says that it failed");
                failed(field("code").unwrap_or("client_error"), message)
            }
            (_, Some(error)) => failed("client_error", &text(error)),
            (Some(false), None) if output.is_empty() => {
                failed("client_error", "the client says that it failed")
            }
            (Some(false), None) => failed("client_error", &output),
        }
    }
}

/// The outcome of a call that worked.
pub(super) fn completed(mut output: String) -> ToolOutcome {
    let truncated = output.len() > OUTPUT;
    output.truncate(output.floor_char_boundary(OUTPUT));
    ToolOutcome::Completed { output, truncated }
}

/// The outcome of a call that did not; codes are snake case and bounded.
pub(super) fn failed(code: &str, message: &str) -> ToolOutcome {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let is_code = !code.is_empty() && code.len() <= CODE && code.chars().all(legal);
    let code = if is_code { code } else { "client_error" };
    let message = message.chars().take(MESSAGE).collect();
    ToolOutcome::Failed { code: code.to_owned(), message }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(mut fields: Value) -> ToolOutcome {
        fields["call"] = json!(Uuid::nil());
        serde_json::from_value::<Answer>(fields).unwrap().outcome()
    }

    #[test]
    fn an_answer_is_a_text_any_json_or_an_error() {
        let done = |output: &str| completed(output.to_owned());
        assert_eq!(outcome(json!({})), done(""));
        assert_eq!(outcome(json!({ "ok": true, "output": "open" })), done("open"));
        assert_eq!(outcome(json!({ "output": { "hp": 3 } })), done(r#"{"hp":3}"#));
        assert_eq!(outcome(json!({ "result": [1] })), done("[1]"));
        assert_eq!(
            outcome(json!({ "ok": false, "output": "jammed" })),
            failed("client_error", "jammed")
        );
        assert_eq!(outcome(json!({ "error": "no" })), failed("client_error", "no"));
        let error = json!({ "code": "locked", "message": "The door is locked." });
        assert_eq!(
            outcome(json!({ "ok": true, "error": error })),
            failed("locked", "The door is locked.")
        );
    }

    #[test]
    fn a_wild_code_is_replaced_and_long_output_is_cut() {
        assert_eq!(failed("Not A Code", "x"), failed("client_error", "x"));
        let ToolOutcome::Completed { output, truncated } = completed("ä".repeat(OUTPUT)) else {
            panic!()
        };
        assert_eq!((output.len(), truncated), (OUTPUT, true));
    }
}
