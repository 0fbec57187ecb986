//! Ids that follow from other ids, so that a repeat has the same id.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::token::Token;

/// Namespace of every id that Nexus derives (a v5 of its own name in the DNS namespace).
const NAMESPACE: Uuid = Uuid::from_u128(0x7a1d_5c0e_93d4_5a6b_8f21_6e65_7875_7301);

/// The tenant of an installation for one machine.
pub const LOCAL_TENANT: TenantId = TenantId(Uuid::from_u128(1));

/// Who owns an event, a row, a secret. In every subject and every table.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for TenantId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Id of a request that the client numbered itself.
///
/// `native` is what the edge calls it, for example Telegram's `update_id` after the bot's id.
#[must_use]
pub fn edge_id(tenant: TenantId, channel: &Token, session: &str, native: &str) -> Uuid {
    name(&["edge", &tenant.to_string(), channel.as_str(), session, native])
}

/// Id of the `index`th command that a run issues in its `step`th step.
#[must_use]
pub fn command_id(run: Uuid, step: u32, index: u32) -> Uuid {
    name(&["command", &run.to_string(), &step.to_string(), &index.to_string()])
}

/// Id of what follows from `cause` in the role `role`, once.
#[must_use]
pub fn derived_id(cause: Uuid, role: &str) -> Uuid {
    name(&["derived", &cause.to_string(), role])
}

/// W3C span id of an event: the first half of its id.
#[must_use]
pub fn span_id(event: Uuid) -> String {
    let hex = event.simple().to_string();
    hex.get(..16).unwrap_or("0000000000000001").to_owned()
}

/// W3C `traceparent` of an event in the trace of its run.
///
/// # Source
/// W3C Trace Context, level 1, section 3.2.2.
#[must_use]
pub fn traceparent(run: Uuid, event: Uuid) -> String {
    format!("00-{}-{}-01", run.simple(), span_id(event))
}

/// Lengths go before the parts, so that no two lists of parts give one name.
fn name(parts: &[&str]) -> Uuid {
    let mut bytes = Vec::with_capacity(128);
    for part in parts {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &bytes)
}
