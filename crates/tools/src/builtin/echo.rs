use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use serde_json::{Value, json};

use crate::tool::{CallContext, Output, Tool, ToolError};

pub(crate) struct Echo;

impl Tool for Echo {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "echo".to_owned(),
            description: "Repeats the text; for trying the system out.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "text": { "type": "string", "description": "What to repeat." } },
                "required": ["text"],
                "additionalProperties": false,
            }),
            effect: Effect::Read,
            timeout_ms: 1_000,
            client: None,
        }
    }

    fn call(&self, arguments: Value, _: CallContext) -> BoxFuture<'_, Result<Output, ToolError>> {
        let text = arguments.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        Box::pin(async { Ok(text.into()) })
    }
}
