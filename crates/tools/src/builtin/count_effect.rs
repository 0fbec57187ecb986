use futures_util::future::BoxFuture;
use nexus_contracts::{Effect, ToolSpec};
use nexus_store::TenantTransaction;
use serde_json::{Value, json};

use crate::tool::{CallContext, Output, Repeat, Tool, ToolError};

/// Leaves one row for each time that it is executed.
pub(crate) struct CountEffect;

impl Tool for CountEffect {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "count_effect".to_owned(),
            description: "Writes a note down; for crash tests.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "note": { "type": "string", "description": "What to write down." } },
                "additionalProperties": false,
            }),
            effect: Effect::Write,
            timeout_ms: 10_000,
            client: None,
        }
    }

    fn repeat(&self) -> Repeat {
        Repeat::Transactional
    }

    fn call_in<'a>(
        &'a self,
        transaction: &'a mut TenantTransaction,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'a, Result<Output, ToolError>> {
        Box::pin(async move {
            let note = arguments.get("note").and_then(Value::as_str).unwrap_or_default();
            sqlx::query(
                "INSERT INTO tools.test_effects (tenant_id, call_id, note) VALUES ($1, $2, $3)",
            )
            .bind(context.tenant.0)
            .bind(context.call)
            .bind(note)
            .execute(&mut **transaction)
            .await?;
            Ok("written down".to_owned().into())
        })
    }
}
