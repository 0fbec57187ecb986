use std::net::SocketAddr;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use nexus_blobs::Blobs;
use nexus_bus::{Bucket, Bus, Catalog};
use nexus_contracts::{Timestamp, Token};
use nexus_store::Store;
use nexus_vault::{ProviderKeys, Vault};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::app::{App, READS};
use crate::config::Config;
use crate::error::Error;
use crate::hub::Hub;
use crate::keys::Keys;
use crate::patient::Patient;
use crate::readiness::Readiness;
use crate::routes;
use crate::socket::Clients;
use crate::threads::Threads;

/// Where the gateway keeps keys and files.
#[derive(Debug, Clone)]
pub struct Storage {
    pub store: Store,
    pub blobs: Blobs,
    pub vault: Vault,
}

/// The HTTP server.
pub struct Gateway {
    listener: TcpListener,
    app: Arc<App>,
}

impl Gateway {
    /// Binds the address and begins to read the channel.
    ///
    /// # Errors
    /// [`Error::Listen`] when the port is taken; [`Error::Bus`] when the bus has not been set up.
    pub async fn open(
        bus: &Bus,
        config: Config,
        storage: Storage,
        readiness: Readiness,
        metrics: PrometheusHandle,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let address = config.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let channel = Token::encode("web").map_err(|error| nexus_bus::Error::Request {
            doing: "naming the channel".to_owned(),
            source: error.into(),
        })?;
        let app = App {
            bus: bus.clone(),
            keys: Keys::new(storage.store.clone()),
            provider_keys: ProviderKeys::open(bus, storage.vault, now, stop.clone()).await?,
            store: storage.store,
            blobs: storage.blobs,
            hub: Hub::start(bus, &channel, stop.clone()).await?,
            threads: Threads::open(bus).await?,
            reads: Semaphore::new(READS),
            clients: Clients::default(),
            agents: Catalog::follow(bus, Bucket::Config, "agent", stop.clone()).await?,
            models: Catalog::follow(bus, Bucket::Tools, "model", stop.clone()).await?,
            channel,
            config,
            now,
            readiness,
            metrics,
            stop,
        };
        Ok(Self { listener, app: Arc::new(app) })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// [`Error::Serve`] when the system does not say.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::Serve)
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// [`Error::Serve`] when the listener breaks.
    pub async fn run(self) -> Result<(), Error> {
        let stop = self.app.stop.clone();
        let patience = self.app.config.heartbeat * 3;
        let listener = Patient { listener: self.listener, patience };
        let serve = axum::serve(listener, routes::all(self.app))
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let patience = async {
            stop.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        };
        tokio::select! {
            served = serve => served.map_err(Error::Serve),
            () = patience => Ok(()),
        }
    }
}
