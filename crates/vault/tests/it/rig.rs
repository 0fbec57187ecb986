//! Servers, vaults, and a look at the rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nexus_bus::{Bucket, Bus, Durability, Spec, Topology};
use nexus_contracts::{TenantId, Timestamp};
use nexus_egress::Guard;
use nexus_embedded::Servers;
use nexus_store::Store;
use nexus_vault::{
    Credential, KeySource, MIGRATIONS, NewCredential, Sources, Vault, system_random,
};
use secrecy::ExposeSecret as _;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Rig {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) stop: CancellationToken,
    servers: Servers,
    folder: TempDir,
}

pub(crate) fn now() -> Timestamp {
    jiff::Timestamp::now().into()
}

/// A clock by which more than a minute passes between any two looks at it.
fn future() -> Instant {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    Instant::now()
        + Duration::from_secs(61) * u32::try_from(LOOKS.fetch_add(1, Ordering::Relaxed)).unwrap()
}

/// Waits for a state.
pub(crate) async fn until(what: &str, mut state: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !state().await {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn secret(text: &str) -> NewCredential {
    let secret = text.to_owned().into();
    NewCredential { secret, base_url: None, scopes: Vec::new(), expires_at: None }
}

pub(crate) fn exposed(found: Option<Arc<Credential>>) -> Option<String> {
    found.map(|credential| credential.secret.expose_secret().to_owned())
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let folder = tempfile::tempdir().unwrap();
        // The servers' user has to get through to its own folders.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let servers = std::env::var_os("NEXUS_SERVERS");
        let servers = servers.map_or_else(|| workspace.join(".servers"), PathBuf::from);
        let servers = Servers::start(nexus_embedded::Config {
            data: folder.path().join("data"),
            servers: vec![servers],
            durability: nexus_embedded::Durability::Interval,
            nats_port: None,
            postgres_port: None,
        })
        .await
        .unwrap();
        let bus = Bus::connect(servers.nats_url(), "test").await.unwrap();
        let spec = Spec::read_folder(&workspace.join("bus-config"), Durability::Interval).unwrap();
        Topology::new(&bus, &spec).apply(false).await.unwrap();
        let url = servers.database_url();
        nexus_store::migrate(url, MIGRATIONS).await.unwrap();
        let store = Store::connect(url, &nexus_store::Config::default()).unwrap();
        let rig = Self { bus, store, stop: CancellationToken::new(), servers, folder };
        rig.keys().prepare(system_random).unwrap();
        rig
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.path().join("master.keys")
    }

    pub(crate) fn keys(&self) -> KeySource {
        KeySource::File(self.key_file())
    }

    /// The vault of another process.
    pub(crate) async fn vault(&self) -> Vault {
        self.open(Instant::now).await
    }

    /// One that remembers nothing for long enough.
    pub(crate) async fn vault_of_the_future(&self) -> Vault {
        self.open(future).await
    }

    async fn open(&self, clock: fn() -> Instant) -> Vault {
        let sources = Sources { now, clock, fill: system_random };
        let (store, stop) = (self.store.clone(), self.stop.clone());
        let guard = Guard::default();
        Vault::open(&self.bus, store, self.keys(), sources, guard, stop).await.unwrap()
    }

    /// All rows of a tenant as PostgreSQL prints them.
    pub(crate) async fn rows(&self, tenant: TenantId) -> Vec<String> {
        let mut tx = self.store.tenant(tenant.0).await.unwrap();
        let rows = sqlx::query_scalar("SELECT c::text FROM vault.credentials c");
        rows.fetch_all(&mut *tx).await.unwrap()
    }

    /// Copies ada's key for OpenAI as somebody could who may write to the database.
    pub(crate) async fn copy(&self, from: TenantId, to: TenantId, user: &str, service: &str) {
        let mut tx = self.store.tenant(from.0).await.unwrap();
        let row: (String, Vec<u8>, Vec<u8>) = sqlx::query_as(
            "SELECT key_id, nonce, ciphertext FROM vault.credentials
             WHERE user_id = 'ada' AND service = 'llm_openai'",
        )
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let mut tx = self.store.tenant(to.0).await.unwrap();
        sqlx::query(
            "INSERT INTO vault.credentials
               (tenant_id, id, user_id, service, hint, key_id, nonce, ciphertext, created_at)
             VALUES ($1, $2, $3, $4, '', $5, $6, $7, now())",
        )
        .bind(to.0)
        .bind(Uuid::now_v7())
        .bind(user)
        .bind(service)
        .bind(row.0)
        .bind(row.1)
        .bind(row.2)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    /// Changes all rows of a tenant behind the vault's back.
    pub(crate) async fn change(&self, tenant: TenantId, set: &str) {
        let mut tx = self.store.tenant(tenant.0).await.unwrap();
        let update = AssertSqlSafe(format!("UPDATE vault.credentials SET {set}"));
        sqlx::query(update).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// As when the bus began anew, or nobody could be told.
    pub(crate) async fn forget_news(&self, tenant: TenantId) {
        self.bus.remove_setting(Bucket::Tools, &format!("vault.{tenant}")).await.unwrap();
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.store.close().await;
        self.bus.close().await;
        self.servers.stop().await;
    }
}
