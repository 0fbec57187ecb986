//! Why a call is refused, and whose doing that is.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Whose doing a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The client broke a rule that it could have kept by itself: lengths, entities, arguments,
    /// unknown methods, a `retry_after` that was not kept.
    Rule,
    /// The call was well-formed, but the world is not as the client thinks: no such chat or message,
    /// blocked, not modified, query too old, somebody else polls.
    State,
    /// Too fast, or in a chat that is to be left alone for a while.
    Limit,
    /// On order.
    Fault,
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub at: jiff::Timestamp,
    /// As the client wrote it.
    pub method: String,
    pub chat: Option<i64>,
    pub code: u16,
    pub description: String,
    pub cause: Cause,
}

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) retry_after: Option<u64>,
    /// The supergroup that a group has become.
    pub(super) migrate_to: Option<i64>,
    pub(super) cause: Cause,
}

impl Refusal {
    pub(super) fn new(code: u16, description: impl Into<String>, cause: Cause) -> Self {
        let description = description.into();
        Self { code, description, retry_after: None, migrate_to: None, cause }
    }

    /// A broken rule; the server's "Bad Request: " goes before the description.
    pub(super) fn rule(description: impl std::fmt::Display) -> Self {
        Self::new(400, format!("Bad Request: {description}"), Cause::Rule)
    }

    /// A well-formed call that does not fit the world.
    pub(super) fn state(description: impl std::fmt::Display) -> Self {
        Self::new(400, format!("Bad Request: {description}"), Cause::State)
    }

    /// Markup or entities that cannot be used.
    pub(super) fn entities(description: impl std::fmt::Display) -> Self {
        Self::rule(format_args!("can't parse entities: {description}"))
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "Not Found", Cause::Rule)
    }

    pub(super) fn too_many(seconds: u64, cause: Cause) -> Self {
        let description = format!("Too Many Requests: retry after {seconds}");
        Self { retry_after: Some(seconds), ..Self::new(429, description, cause) }
    }

    pub(super) fn body(&self) -> Value {
        let mut body =
            json!({ "ok": false, "error_code": self.code, "description": self.description });
        let mut parameters = serde_json::Map::new();
        parameters.extend(self.retry_after.map(|after| ("retry_after".to_owned(), after.into())));
        parameters.extend(self.migrate_to.map(|to| ("migrate_to_chat_id".to_owned(), to.into())));
        if !parameters.is_empty() {
            body["parameters"] = parameters.into();
        }
        body
    }
}
