use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use nexus_osc_codec::{Message, Pattern};
use serde_json::{Value, json};

use super::argument::shown;
use super::link::{Link, Wanted};
use super::send::{address_schema, arguments_schema, message, target_schema};
use super::targets::Links;
use crate::tool::{CallContext, Output, Tool, ToolError};

/// Asks a declared target something and waits for what it answers.
#[derive(Debug)]
pub(crate) struct OscQuery {
    links: Links,
}

impl OscQuery {
    pub(crate) fn new(links: Links) -> Self {
        Self { links }
    }

    async fn query(&self, arguments: &Value, context: &CallContext) -> Result<Output, ToolError> {
        let text = |name| arguments.get(name).and_then(Value::as_str);
        let link = self.links.find(text("target"), None, context.tenant)?;
        let question = message(arguments)?;
        link.check(&question.address)?;
        let reply = text("reply_address").unwrap_or(&question.address).to_owned();
        let answers = ask(&link, 0, question, &reply, context).await?;
        let answers = answers.iter().map(|answer| {
            let arguments: Vec<Value> = answer.arguments.iter().map(shown).collect();
            json!({ "address": answer.address, "arguments": arguments })
        });
        Ok(Value::Array(answers.collect()).to_string().into())
    }
}

/// Asks, and keeps that it was asked.
///
/// # Errors
/// For the model: no answer, or what the target says is wrong.
pub(crate) async fn ask(
    link: &Link,
    number: usize,
    question: Message,
    reply: &str,
    context: &CallContext,
) -> Result<Vec<Message>, ToolError> {
    let pattern = Pattern::compile(reply)
        .map_err(|error| ToolError::failed("invalid_address", format!("{reply:?}: {error}")))?;
    let ids = if link.profile.ids_lead { question.arguments.clone() } else { Vec::new() };
    let wanted = Wanted { pattern, ids };
    let asked = [question.clone()];
    // What was sent is kept while the answer is awaited.
    let (answers, ()) = tokio::join!(
        link.ask(question, wanted, link.declared.timeout),
        link.log.sent(context, number, &asked, 0),
    );
    answers.map_err(|why| link.explain(why))
}

impl Tool for OscQuery {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "osc_query".to_owned(),
            description:
                "Asks a program or device that was declared as an OSC target for a value, \
                          and gives what it answers. An address with wildcards gives all answers. \
                          It is for questions only: use osc_send for what changes something."
                    .to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "target": target_schema(&self.links.names(None)),
                    "address": address_schema("What is asked, for example /live/song/get/tempo."),
                    "arguments": arguments_schema(),
                    "reply_address": address_schema("Where the answer comes; the same address when left out."),
                },
                "required": ["address"],
                "additionalProperties": false,
            }),
            effect: Effect::Read,
            timeout_ms: 30_000,
            client: None,
        }
    }

    fn call(
        &self,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'_, Result<Output, ToolError>> {
        Box::pin(async move { self.query(&arguments, &context).await })
    }
}
