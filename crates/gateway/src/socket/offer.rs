//! Tools that a client declares and runs itself.
//!
//! Nothing that a model writes reaches a client unless its name was declared and its arguments fit
//! the declared schema. Schemas never lead anywhere: a reference to a file or a server is refused.

use jsonschema::Validator;
use nexus_contracts::{Effect, ToolOutcome, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Tools of one client, most.
const MOST: usize = 128;
/// Characters of a name, most: what providers of models allow.
const NAME: usize = 64;
/// Faults named in one answer: a model mends a few at a time.
const FAULTS: usize = 3;
/// Characters of one fault; it may quote what the model wrote.
const FAULT_CHARS: usize = 300;

/// A tool as a client declares it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Declaration {
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    /// JSON Schema of the arguments, an object; none for no arguments.
    #[serde(default, alias = "args")]
    pub(super) parameters: Option<Value>,
    /// What it does to the world; `write` when the client does not say.
    #[serde(default)]
    pub(super) effect: Option<Effect>,
    #[serde(default)]
    pub(super) timeout_ms: Option<u64>,
}

/// Why tools cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadTool {
    #[error("{count} tools are declared, the limit is {MOST}; offer fewer")]
    TooMany { count: usize },
    #[error("tool name {name:?}: use 1 to {NAME} letters, digits, '_' and '-'")]
    Name { name: String },
    #[error("tool {name:?} is declared twice; give each its own name")]
    Twice { name: String },
    #[error("tool {name:?}: its parameters are no usable JSON Schema of an object: {reason}")]
    Schema { name: String, reason: String },
}

/// The longest that a call may take, in milliseconds: what stands for it, and the most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) default_ms: u64,
    pub(super) most_ms: u64,
}

/// Which numbers a client can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    Any,
    /// No integer beyond 32 bits: game engines' JSON readers lose or refuse them.
    Small,
}

/// The tools of one client.
#[derive(Debug)]
pub(super) struct Offer {
    tools: Vec<Tool>,
    numbers: Numbers,
}

#[derive(Debug)]
struct Tool {
    spec: ToolSpec,
    validator: Validator,
}

impl Offer {
    /// Checks and compiles what a client declares.
    pub(super) fn new(
        declared: Vec<Declaration>,
        patience: Patience,
        numbers: Numbers,
    ) -> Result<Self, BadTool> {
        if declared.len() > MOST {
            return Err(BadTool::TooMany { count: declared.len() });
        }
        let mut tools: Vec<Tool> = Vec::with_capacity(declared.len());
        for declaration in declared {
            let name = declaration.name.clone();
            if tools.iter().any(|tool| tool.spec.name == name) {
                return Err(BadTool::Twice { name });
            }
            tools.push(Tool::new(declaration, patience)?);
        }
        Ok(Self { tools, numbers })
    }

    pub(super) fn len(&self) -> usize {
        self.tools.len()
    }

    /// The tools as a request offers them, to be run by this client.
    pub(super) fn specs(&self, client: &str) -> Vec<ToolSpec> {
        let specs = self.tools.iter().map(|tool| tool.spec.clone());
        specs.map(|spec| ToolSpec { client: Some(client.to_owned()), ..spec }).collect()
    }

    /// The arguments of a call, when the client may be sent it.
    ///
    /// # Errors
    /// What the model is told: the call never reaches the client.
    pub(super) fn check(&self, tool: &str, arguments: &str) -> Result<Value, ToolOutcome> {
        let Some(tool) = self.tools.iter().find(|known| known.spec.name == tool) else {
            let message = format!("the client has not declared {tool:?}");
            return Err(ToolOutcome::Failed { code: "tool_not_declared".to_owned(), message });
        };
        let value = parse(arguments)?;
        let faults: Vec<String> =
            tool.validator.iter_errors(&value).take(FAULTS).map(|error| describe(&error)).collect();
        if !faults.is_empty() {
            return Err(invalid(&faults.join("; ")));
        }
        if self.numbers == Numbers::Small && !is_small(&value) {
            return Err(invalid("integers have to fit into 32 bits; use a smaller one or a text"));
        }
        Ok(value)
    }
}

impl Tool {
    fn new(declaration: Declaration, patience: Patience) -> Result<Self, BadTool> {
        let Declaration { name, description, parameters, effect, timeout_ms } = declaration;
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > NAME || !name.chars().all(legal) {
            return Err(BadTool::Name { name });
        }
        let nothing =
            || json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let parameters = parameters.unwrap_or_else(nothing);
        let bad = |reason: String| BadTool::Schema { name: name.clone(), reason };
        if parameters.get("type").and_then(Value::as_str) != Some("object") {
            return Err(bad("its \"type\" has to be \"object\"".to_owned()));
        }
        let validator = jsonschema::validator_for(&parameters);
        let validator = validator.map_err(|error| bad(error.to_string()))?;
        let timeout_ms = timeout_ms.unwrap_or(patience.default_ms).clamp(1, patience.most_ms);
        let effect = effect.unwrap_or(Effect::Write);
        let spec = ToolSpec { name, description, parameters, effect, timeout_ms, client: None };
        Ok(Self { spec, validator })
    }
}

fn parse(arguments: &str) -> Result<Value, ToolOutcome> {
    let value = if arguments.trim().is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_str(arguments)
            .map_err(|error| invalid(&format!("the arguments are no JSON: {error}")))?
    };
    if value.is_object() { Ok(value) } else { Err(invalid("the arguments must be a JSON object")) }
}

fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    let place = match error.instance_path().as_str() {
        "" => "the arguments".to_owned(),
        pointer => pointer.to_owned(),
    };
    format!("at {place}: {error}").chars().take(FAULT_CHARS).collect()
}

fn invalid(message: &str) -> ToolOutcome {
    ToolOutcome::Failed { code: "invalid_arguments".to_owned(), message: message.to_owned() }
}

/// Whether every integer in it fits into 32 bits.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => true,
        Value::Number(number) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        Value::Array(items) => items.iter().all(is_small),
        Value::Object(fields) => fields.values().all(is_small),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
#[path = "offer/tests.rs"]
mod tests;
