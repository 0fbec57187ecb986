use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use nexus_osc_codec::{Message, TimeTag};
use serde_json::{Value, json};

use super::argument::meant;
use super::targets::Links;
use crate::tool::{CallContext, Output, Tool, ToolError};

/// Messages of one call.
const MOST: usize = 64;
/// The latest that a call may be for, in milliseconds from now.
const LATEST_MS: u64 = 60_000;

/// Sends messages to a declared target.
#[derive(Debug)]
pub(crate) struct OscSend {
    links: Links,
}

impl OscSend {
    pub(crate) fn new(links: Links) -> Self {
        Self { links }
    }

    async fn send(&self, arguments: &Value, context: &CallContext) -> Result<Output, ToolError> {
        let name = arguments.get("target").and_then(Value::as_str);
        let link = self.links.find(name, None, context.tenant)?;
        let listed = arguments.get("messages").and_then(Value::as_array);
        let messages: Vec<Message> =
            listed.into_iter().flatten().map(message).collect::<Result<_, _>>()?;
        for message in &messages {
            link.check(&message.address)?;
        }
        let in_ms = arguments.get("in_ms").and_then(Value::as_u64).unwrap_or(0);
        let at = link.log.now().plus_millis(in_ms);
        let (due, due_us) = match in_ms {
            0 => (TimeTag::IMMEDIATE, 0),
            _ => (TimeTag::from_unix_micros(at.as_micros()), micros(in_ms)),
        };
        link.send(due, &messages).await.map_err(|why| link.explain(why))?;
        link.log.sent(context, 0, &messages, due_us).await;
        let (count, name) = (messages.len(), &link.name);
        let unit = if count == 1 { "message" } else { "messages" };
        Ok(format!("{count} {unit} sent to {name}; OSC does not confirm that it arrived").into())
    }
}

impl Tool for OscSend {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "osc_send".to_owned(),
            description: "Sends OSC messages to a program or device that was declared as a target. \
                          Several messages arrive together, as one bundle. Where a target has tools \
                          of its own, prefer those."
                .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "target": target_schema(&self.links.names(None)),
                    "messages": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MOST,
                        "items": {
                            "type": "object",
                            "properties": {
                                "address": address_schema("Where to, for example /synth/1/cutoff."),
                                "arguments": arguments_schema(),
                            },
                            "required": ["address"],
                            "additionalProperties": false,
                        },
                    },
                    "in_ms": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": LATEST_MS,
                        "description": "When the target shall act, in milliseconds from now (a time tag); at once when left out.",
                    },
                },
                "required": ["messages"],
                "additionalProperties": false,
            }),
            effect: Effect::Write,
            timeout_ms: 10_000,
            client: None,
        }
    }

    fn call(
        &self,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'_, Result<Output, ToolError>> {
        Box::pin(async move { self.send(&arguments, &context).await })
    }
}

/// The message that a model has written.
///
/// # Errors
/// For the model: which argument is none.
pub(crate) fn message(written: &Value) -> Result<Message, ToolError> {
    let address = written.get("address").and_then(Value::as_str).unwrap_or_default();
    let arguments = written.get("arguments").and_then(Value::as_array);
    let arguments = arguments.into_iter().flatten().map(meant).collect::<Result<_, _>>();
    let arguments = arguments.map_err(|text| ToolError::failed("invalid_argument", text))?;
    Ok(Message::new(address, arguments))
}

pub(crate) fn target_schema(names: &[String]) -> Value {
    let about = "Name of the declared target; may be left out when there is only one.";
    if names.is_empty() {
        json!({ "type": "string", "description": about })
    } else {
        json!({ "type": "string", "description": format!("{about} There are: {}.", names.join(", ")) })
    }
}

pub(crate) fn address_schema(about: &str) -> Value {
    json!({ "type": "string", "pattern": "^/[^ #,]*$", "maxLength": 256, "description": about })
}

pub(crate) fn arguments_schema() -> Value {
    json!({
        "type": "array",
        "maxItems": 256,
        "items": {},
        "description": "Numbers, texts, booleans or null. 1 is sent as int and 1.0 as float; for any other type write {\"type\":\"double\",\"value\":1}.",
    })
}

fn micros(millis: u64) -> i64 {
    i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX)
}
