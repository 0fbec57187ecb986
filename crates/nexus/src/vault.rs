//! The vault of this installation: where its master keys are, and how it is opened.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nexus_bus::{Bucket, Bus, Catalog};
use nexus_contracts::{Tenant, TenantId};
use nexus_egress::Guard;
use nexus_gateway::Keys;
use nexus_store::Store;
use nexus_vault::{KeySource, Sources, Vault, system_random};
use tokio_util::sync::CancellationToken;

use crate::cli::now;
use crate::config::{self, Config, Settings};
use crate::installation;

/// Secret with the master keys, for installations whose keys come from elsewhere than a file.
const KEYS: &str = "NEXUS_VAULT_KEYS";

const SOURCES: Sources = Sources { now, clock: Instant::now, fill: system_random };

/// Where the master keys are; `data` is the data folder.
pub(crate) fn keys(config: &Config, data: &Path) -> KeySource {
    match config::secret(KEYS) {
        Some(lines) => KeySource::Fixed { place: KEYS.to_owned(), lines },
        None => KeySource::File(config.vault.key_file(data)),
    }
}

/// Makes the first master key of an installation, if it has none.
pub(crate) fn prepare(config: &Config, data: &Path) -> Result<()> {
    let source = keys(config, data);
    if let Some(key_id) = source.prepare(system_random)? {
        let place = source.place();
        tracing::info!(key_id, place, "master key made; back it up apart from the database");
    }
    Ok(())
}

/// Opens the vault for the workers of this process, until `stop`.
pub(crate) async fn open(
    bus: &Bus,
    store: &Store,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Vault> {
    let source = keys(&settings.config, &settings.data()?);
    let opened = Vault::open(bus, store.clone(), source, SOURCES, Guard::default(), stop.clone());
    opened.await.context("opening the vault")
}

/// The vault of the installation that runs, for one command.
pub(crate) struct Opened {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) stop: CancellationToken,
}

impl Opened {
    pub(crate) async fn find(settings: &Settings) -> Result<Self> {
        let (bus, store) = (installation::bus(settings).await?, installation::store(settings)?);
        let stop = CancellationToken::new();
        let vault = open(&bus, &store, settings, &stop).await?;
        Ok(Self { bus, store, vault, stop })
    }

    /// All tenants: of the settings, and of API keys that were made for others.
    pub(crate) async fn tenants(&self) -> Result<Vec<TenantId>> {
        let followed =
            Catalog::<Tenant>::follow(&self.bus, Bucket::Config, "tenant", self.stop.clone());
        let named = followed.await?.entries();
        let mut all: BTreeSet<TenantId> = named.values().map(|tenant| tenant.id).collect();
        let keys = Keys::new(self.store.clone()).list().await?;
        all.extend(keys.into_iter().map(|key| TenantId(key.tenant)));
        Ok(all.into_iter().collect())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What `nexus doctor` says of the master keys of an installation that does not run.
pub(crate) fn look_at_keys(settings: &Settings) -> Result<String, String> {
    let data = settings.data().map_err(|error| format!("{error:#}"))?;
    let source = keys(&settings.config, &data);
    let ring = source.read().map_err(|error| nexus_bus::Chain(&error).to_string())?;
    ring.first().map_err(|error| error.to_string())?;
    Ok(format!("{} in {}", ring.ids().collect::<Vec<_>>().join(", "), source.place()))
}

/// Whether all credentials are under master keys that are there.
pub(crate) async fn look_at_rows(settings: &Settings) -> Result<String> {
    let opened = Opened::find(settings).await?;
    let known = keys(&settings.config, &settings.data()?).read()?;
    let (mut count, mut lost) = (0_usize, BTreeSet::new());
    for tenant in opened.tenants().await? {
        for row in opened.vault.list(tenant, None).await? {
            count += 1;
            if !known.ids().any(|id| id == row.key_id) {
                lost.insert(row.key_id);
            }
        }
    }
    let lost: Vec<String> = lost.into_iter().collect();
    anyhow::ensure!(
        lost.is_empty(),
        "credentials are under master keys that are missing: {}; add their lines again",
        lost.join(", ")
    );
    Ok(format!("{count} credentials, their master keys are there"))
}
