use std::sync::Arc;

use futures_util::future::BoxFuture;
use nexus_contracts::TenantId;

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    pub tenant: TenantId,
    pub user: String,
}

/// What is known of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Opens(Speaker),
    /// It opens nothing, or not any more.
    Nothing,
    /// It cannot be looked up now. Sessions that are open stay so.
    Unavailable,
}

/// Looks an API key up.
pub type Verify = Arc<dyn Fn(String) -> BoxFuture<'static, Verdict> + Send + Sync>;
