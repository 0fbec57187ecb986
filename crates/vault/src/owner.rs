use nexus_contracts::{KeyOwner, TenantId};
use serde::{Deserialize, Serialize};

/// Whose a credential is: a tenant's, or one of its users'.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    pub tenant: TenantId,
    /// `None`: the whole tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Owner {
    #[must_use]
    pub fn tenant(tenant: TenantId) -> Self {
        Self { tenant, user: None }
    }

    #[must_use]
    pub fn user(tenant: TenantId, user: impl Into<String>) -> Self {
        Self { tenant, user: Some(user.into()) }
    }

    #[must_use]
    pub fn kind(&self) -> KeyOwner {
        if self.user.is_some() { KeyOwner::User } else { KeyOwner::Tenant }
    }
}
