//! Whether it is worth looking for a tenant's credentials.

use nexus_bus::Chain;
use nexus_contracts::TenantId;

use super::{Vault, finish};
use crate::error::Error;
use crate::rows;

impl Vault {
    /// Whether somebody of this tenant may have a credential; free of charge once one was stored.
    pub async fn may_hold(&self, tenant: TenantId) -> bool {
        // Each change leaves a revision, and nobody takes the last one away.
        if self.revision(tenant).is_some() {
            return true;
        }
        // Or it could not be told, or the bus began anew while the rows stayed.
        let now = self.inner.sources.clock;
        if let Some(holds) = self.cache().holds(tenant, now()) {
            return holds;
        }
        // The semaphore is never closed.
        let _turn = self.inner.turns.acquire().await;
        let at = now();
        if let Some(holds) = self.cache().holds(tenant, at) {
            return holds;
        }
        let holds = self.has_rows(tenant).await.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "it cannot be read whether a tenant has credentials");
            false
        });
        self.cache().note_holds(tenant, holds, at);
        holds
    }

    async fn has_rows(&self, tenant: TenantId) -> Result<bool, Error> {
        let mut tx = self.inner.store.tenant(tenant.0).await?;
        let any = rows::any(&mut tx).await?;
        finish(tx).await?;
        Ok(any)
    }
}
