use nexus_bus::Catalog;
use nexus_contracts::{Tenant, TenantId, Timestamp};
use tokio::sync::Notify;

use crate::error::Error;
use crate::group::Group;
use crate::interactions::{Recent, Row};

/// What all handlers of memory share.
#[derive(Debug)]
pub(crate) struct Mind {
    pub(crate) writing: Group<Row>,
    pub(crate) reading: Group<Recent>,
    pub(crate) now: fn() -> Timestamp,
    /// Woken when a reply has been recorded.
    pub(crate) learned: Notify,
    pub(crate) tenants: Catalog<Tenant>,
}

impl Mind {
    pub(crate) fn known(&self, tenant: TenantId) -> Result<(), Error> {
        let known = self.tenants.entries().values().any(|known| known.id == tenant);
        if known { Ok(()) } else { Err(Error::UnknownTenant { tenant }) }
    }
}
