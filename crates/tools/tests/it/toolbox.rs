//! Tools for tests: `note` in a transaction, `once` and `again` without, and some that only read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use nexus_contracts::{Attachment, AttachmentKind, Effect, LOCAL_TENANT, ToolSpec};
use nexus_store::TenantTransaction;
use nexus_tools::{CallContext, Output, Repeat, Tool, ToolError};
use serde_json::{Value, json};

/// When each tool was begun.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<HashMap<&'static str, Vec<Instant>>>>);

impl Log {
    pub(crate) fn runs(&self, tool: &str) -> usize {
        self.0.lock().unwrap().get(tool).map_or(0, Vec::len)
    }

    pub(crate) fn last(&self, tool: &str) -> Option<Instant> {
        self.0.lock().unwrap().get(tool).and_then(|runs| runs.last().copied())
    }

    pub(crate) async fn begun(&self, tool: &str, runs: usize) {
        super::rig::until(tool, async || self.runs(tool) >= runs).await;
    }
}

#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    pub(crate) repeat: Repeat,
    pub(crate) log: Log,
}

pub(crate) fn all(log: &Log) -> Vec<Arc<dyn Tool>> {
    let probe = |name, effect, repeat| {
        Arc::new(Probe { name, effect, repeat, log: log.clone() }) as Arc<dyn Tool>
    };
    vec![
        probe("note", Effect::Write, Repeat::Transactional),
        probe("once", Effect::Write, Repeat::Never),
        probe("again", Effect::Write, Repeat::Safe),
        probe("file", Effect::Write, Repeat::Never),
        probe("panics", Effect::Read, Repeat::Never),
        probe("hangs", Effect::Read, Repeat::Never),
        probe("waits", Effect::Read, Repeat::Never),
    ]
}

/// The file that `file` makes.
pub(crate) fn picture() -> Attachment {
    Attachment {
        uri: format!("blob:{LOCAL_TENANT}/0a"),
        sha256: "0a".to_owned(),
        media_type: "image/png".to_owned(),
        bytes: 1,
        kind: AttachmentKind::Photo,
        name: None,
    }
}

impl Probe {
    async fn act(&self, text: &str) -> Result<String, ToolError> {
        match (self.name, text) {
            ("panics", _) | (_, "panic") => panic!("on purpose"),
            ("hangs" | "waits", _) | (_, "hang") => std::future::pending().await,
            (_, "fail") => Err(ToolError::failed("on_purpose", "no")),
            (_, "pause") => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Ok("did pause".to_owned())
            }
            (_, text) => Ok(format!("did {text}")),
        }
    }
}

impl Tool for Probe {
    fn spec(&self) -> ToolSpec {
        let required = if self.effect == Effect::Read { json!([]) } else { json!(["text"]) };
        ToolSpec {
            name: self.name.to_owned(),
            description: "For tests.".to_owned(),
            parameters: json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": required }),
            effect: self.effect,
            timeout_ms: if self.name == "waits" { 60_000 } else { 300 },
            client: None,
        }
    }

    fn repeat(&self) -> Repeat {
        self.repeat
    }

    fn call(&self, arguments: Value, _: CallContext) -> BoxFuture<'_, Result<Output, ToolError>> {
        self.log.0.lock().unwrap().entry(self.name).or_default().push(Instant::now());
        Box::pin(async move {
            let text = self.act(arguments["text"].as_str().unwrap_or_default()).await?;
            let attachments = if self.name == "file" { vec![picture()] } else { Vec::new() };
            Ok(Output { text, attachments })
        })
    }

    fn call_in<'a>(
        &'a self,
        transaction: &'a mut TenantTransaction,
        arguments: Value,
        context: CallContext,
    ) -> BoxFuture<'a, Result<Output, ToolError>> {
        Box::pin(async move {
            let text = arguments["text"].as_str().unwrap_or_default();
            sqlx::query(
                "INSERT INTO tools.test_effects (tenant_id, call_id, note) VALUES ($1, $2, $3)",
            )
            .bind(context.tenant.0)
            .bind(context.call)
            .bind(text)
            .execute(&mut **transaction)
            .await?;
            Ok(self.act(text).await?.into())
        })
    }
}
