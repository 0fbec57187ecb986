use std::time::Instant;

use futures_util::future::BoxFuture;
use nexus_contracts::{Attachment, TenantId, ToolSpec};
use nexus_store::TenantTransaction;
use serde_json::Value;
use uuid::Uuid;

/// Something that an agent can have done.
///
/// A tool implements [`Tool::call`], or [`Tool::call_in`] when it is [`Repeat::Transactional`].
/// Its arguments fit its schema. It may be dropped at any await when its time is up.
pub trait Tool: Send + Sync + 'static {
    /// How it advertises itself; the same for as long as the worker lives.
    fn spec(&self) -> ToolSpec;

    /// What a second delivery of one call may do; tools without effects are always safe.
    fn repeat(&self) -> Repeat {
        Repeat::Never
    }

    /// Does it, and says to the model what came of it.
    fn call(
        &self,
        _arguments: Value,
        _context: CallContext,
    ) -> BoxFuture<'_, Result<Output, ToolError>> {
        Box::pin(async {
            Err(ToolError::failed("not_callable", "this tool works in a transaction only"))
        })
    }

    /// Does it in a transaction: the effect and its record are committed together.
    fn call_in<'a>(
        &'a self,
        _transaction: &'a mut TenantTransaction,
        _arguments: Value,
        _context: CallContext,
    ) -> BoxFuture<'a, Result<Output, ToolError>> {
        Box::pin(async { Err(ToolError::failed("not_callable", "this tool has no transaction")) })
    }
}

/// What a tool gives back: a text for the model, and files for the speaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    pub text: String,
    /// They go out with the reply of the run.
    pub attachments: Vec<Attachment>,
}

impl From<String> for Output {
    fn from(text: String) -> Self {
        Self { text, attachments: Vec::new() }
    }
}

/// What may happen when a call with an effect is delivered again and its outcome is not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It is called again: whoever has the effect knows [`CallContext::call`] as idempotency key.
    Safe,
    /// It is called again: without its record, the effect was not committed either.
    Transactional,
    /// It is not called again, its outcome is unknown.
    Never,
}

/// The circumstances of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallContext {
    pub tenant: TenantId,
    /// Id of the `tools.execute`: the idempotency key.
    pub call: Uuid,
    /// The run that it belongs to.
    pub run: Uuid,
    /// Who the agent acts for, as the channel names them.
    pub user: Option<String>,
    /// When the call is given up.
    pub deadline: Instant,
}

/// Why a tool did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Nothing happened, and it is known why.
    #[error("{message}")]
    Failed {
        /// Bounded, snake case.
        code: &'static str,
        /// For the model: what was wrong and how to do it right.
        message: String,
    },
    /// It may have happened or not.
    #[error("{message}")]
    Unknown { message: String },
    /// The transaction broke; nothing happened.
    #[error("working in the transaction")]
    Transaction(#[from] sqlx::Error),
}

impl ToolError {
    /// Nothing happened.
    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into() }
    }
}
