//! The settings that this worker reads, live.

use nexus_bus::{Bucket, Bus, Catalog};
use tokio_util::sync::CancellationToken;

use crate::models::ModelSettings;
use crate::routing::RouteSettings;
use crate::settings::ProviderSettings;

/// The settings on the bus, live.
#[derive(Clone)]
pub(crate) struct Catalogs {
    pub(crate) providers: Catalog<ProviderSettings>,
    pub(crate) routes: Catalog<RouteSettings>,
    pub(crate) models: Catalog<ModelSettings>,
}

impl Catalogs {
    /// Loads the settings, and follows them until `stop`.
    pub(crate) async fn follow(
        bus: &Bus,
        stop: &CancellationToken,
    ) -> Result<Self, nexus_bus::Error> {
        let config = Bucket::Config;
        Ok(Self {
            providers: Catalog::follow(bus, config, "provider", stop.clone()).await?,
            routes: Catalog::follow(bus, config, "route", stop.clone()).await?,
            models: Catalog::follow(bus, config, "model", stop.clone()).await?,
        })
    }
}
