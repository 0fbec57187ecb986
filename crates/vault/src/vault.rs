//! The vault itself: rows, keys and the cache put together.

mod holding;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use nexus_bus::{Bucket, Bus, Catalog, Chain};
use nexus_contracts::{KeyOwner, TenantId, Timestamp};
use nexus_egress::{Guard, Refused};
use nexus_store::{Store, TenantTransaction};
use ring::aead::NONCE_LEN;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::cache::{Cache, Finding, Key, Revision};
use crate::error::Error;
use crate::hint;
use crate::key_file::KeySource;
use crate::keyring::{Keyring, Unversioned};
use crate::owner::Owner;
use crate::rows::{self, New, Stored, Summary, TestResult};
use crate::sources::Sources;

/// Kind of the settings that tell changes: `vault.TENANT`, and `vault.keys` for the master keys.
const NEWS: &str = "vault";
pub(crate) const KEYS: &str = "keys";
/// Questions to the database at once, so that a busy moment leaves connections to others.
const TURNS: usize = 4;
/// How often secrets that are too old are looked for.
const PURGE: Duration = Duration::from_secs(5);

/// A credential, decrypted.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Another one whenever the secret is another one; says nothing about it.
    pub id: Uuid,
    pub owner: KeyOwner,
    pub secret: SecretString,
    /// The owner's own endpoint, where the secret belongs to another than the usual one.
    pub base_url: Option<Url>,
    pub expires_at: Option<Timestamp>,
}

/// What is put into the vault.
#[derive(Debug, Clone)]
pub struct NewCredential {
    pub secret: SecretString,
    pub base_url: Option<Url>,
    pub scopes: Vec<String>,
    pub expires_at: Option<Timestamp>,
}

/// The credentials of people and tenants. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) source: KeySource,
    keys: RwLock<Arc<Keyring>>,
    cache: Mutex<Cache>,
    turns: Semaphore,
    news: Catalog<String>,
    pub(crate) sources: Sources,
    guard: Guard,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("keys", &self.keyring()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Reads the master keys and follows changes until `stop`; `guard` says which addresses people
    /// may bring. Without master keys it opens too:
    /// what needs them fails and says so.
    ///
    /// # Errors
    /// As [`KeySource::read`]; [`Error::Bus`] when the bus has not been set up.
    pub async fn open(
        bus: &Bus,
        store: Store,
        source: KeySource,
        sources: Sources,
        guard: Guard,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let keys = RwLock::new(Arc::new(source.read()?));
        let news = Catalog::follow(bus, Bucket::Tools, NEWS, stop.clone());
        let news = news.await.map_err(Error::Bus)?;
        let (bus, cache, turns) = (bus.clone(), Mutex::default(), Semaphore::new(TURNS));
        let inner = Inner { bus, store, source, keys, cache, turns, news, sources, guard };
        let vault = Self { inner: Arc::new(inner) };
        tokio::spawn(vault.clone().follow(stop));
        Ok(vault)
    }

    /// Which addresses people may bring.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.inner.guard
    }

    /// Whether a credential may be sent to its owner's address: before each request, because it
    /// may have been stored under another guard.
    ///
    /// # Errors
    /// [`Refused`] when not.
    pub fn check_address(&self, credential: &Credential) -> Result<(), Refused> {
        credential.base_url.as_ref().map_or(Ok(()), |url| self.inner.guard.check(url))
    }

    /// What a user has for a service: the user's own credential, else the tenant's; `None` when
    /// there is neither. Expired ones are none.
    ///
    /// # Errors
    /// When it cannot be known, or not be decrypted: then nobody else's may be used instead.
    pub async fn find(
        &self,
        tenant: TenantId,
        user: Option<&str>,
        service: &str,
    ) -> Result<Option<Arc<Credential>>, Error> {
        let key = Key { tenant, user: user.map(str::to_owned), service: service.to_owned() };
        if let Some(finding) = self.remembered(&key) {
            return Ok(finding);
        }
        // The semaphore is never closed.
        let _turn = self.inner.turns.acquire().await;
        if let Some(finding) = self.remembered(&key) {
            return Ok(finding);
        }
        // Both of before the look: a change during it makes the finding void.
        let (revision, at) = (self.revision(tenant), (self.inner.sources.clock)());
        match self.look(&key).await {
            Ok(finding) => {
                self.cache().put(key, finding.clone(), revision, at);
                Ok(finding)
            }
            Err(error) if error.is_transient() && self.cache().was_absent(&key, &revision) => {
                tracing::warn!(error = %Chain(&error), service, "credentials cannot be read; there was none before");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// One owner's own credential, read anew.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn get(&self, owner: &Owner, service: &str) -> Result<Option<Credential>, Error> {
        let mut tx = self.inner.store.tenant(owner.tenant.0).await?;
        let rows = rows::find(&mut tx, owner.user.as_deref(), service).await?;
        finish(tx).await?;
        let row = rows.iter().find(|row| row.summary.user == owner.user);
        row.filter(|row| !self.has_expired(row))
            .map(|row| self.opened(owner.tenant, row))
            .transpose()
    }

    /// Puts a credential in the place of the one that the owner has for this service.
    ///
    /// # Errors
    /// [`Error::NoKeys`] and others when it is not stored; [`Error::Untold`] when it is.
    pub async fn put(
        &self,
        owner: &Owner,
        service: &str,
        new: &NewCredential,
    ) -> Result<Summary, Error> {
        let Sources { now, fill, .. } = self.inner.sources;
        let base_url = new.base_url.as_ref().map(Url::as_str);
        let place =
            Unversioned { tenant: owner.tenant, user: owner.user.as_deref(), service, base_url };
        // Another process may have made the first key, or a newer one: what is encrypted under an
        // older one after a sweep would be lost with that key.
        let ring = self.read_keys()?;
        let (mut nonce, mut id) = ([0; NONCE_LEN], [0; 16]);
        fill(&mut nonce)?;
        fill(&mut id)?;
        let (key_id, sealed) = ring.seal(place, nonce, &new.secret)?;
        let hint = hint::hint(new.secret.expose_secret());
        let row = New {
            id: uuid::Builder::from_random_bytes(id).into_uuid(),
            owner,
            service,
            hint: &hint,
            key_id,
            sealed: &sealed,
            base_url,
            scopes: &new.scopes,
            created_at: now(),
            expires_at: new.expires_at,
        };
        let summary = summary(&row);
        let mut tx = self.inner.store.tenant(owner.tenant.0).await?;
        rows::put(&mut tx, row).await?;
        finish(tx).await?;
        self.announce(owner.tenant).await?;
        Ok(summary)
    }

    /// The credentials of a tenant; with `user`, those of this user and of the tenant itself.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list(&self, tenant: TenantId, user: Option<&str>) -> Result<Vec<Summary>, Error> {
        let mut tx = self.inner.store.tenant(tenant.0).await?;
        let rows = rows::list(&mut tx, user).await?;
        finish(tx).await?;
        Ok(rows.into_iter().map(|row| row.summary).collect())
    }

    /// Takes a credential away, for all workers within moments; `false` when there is none.
    ///
    /// # Errors
    /// When it is not removed; [`Error::Untold`] when it is.
    pub async fn remove(&self, owner: &Owner, service: &str) -> Result<bool, Error> {
        let mut tx = self.inner.store.tenant(owner.tenant.0).await?;
        let removed = rows::remove(&mut tx, owner, service).await?;
        finish(tx).await?;
        if removed {
            self.announce(owner.tenant).await?;
        }
        Ok(removed)
    }

    /// Forgets expired credentials of services whose names end so.
    pub(crate) async fn remove_expired(&self, tenant: TenantId, ending: &str) -> Result<(), Error> {
        let mut tx = self.inner.store.tenant(tenant.0).await?;
        rows::remove_expired(&mut tx, ending, (self.inner.sources.now)()).await?;
        finish(tx).await
    }

    /// Notes what the service said about the credential with this id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tested(
        &self,
        tenant: TenantId,
        id: Uuid,
        result: &TestResult,
    ) -> Result<(), Error> {
        let mut tx = self.inner.store.tenant(tenant.0).await?;
        rows::tested(&mut tx, id, result, (self.inner.sources.now)()).await?;
        finish(tx).await
    }

    async fn look(&self, key: &Key) -> Result<Finding, Error> {
        let mut tx = self.inner.store.tenant(key.tenant.0).await?;
        let rows = rows::find(&mut tx, key.user.as_deref(), &key.service).await?;
        finish(tx).await?;
        let Some(row) = rows.iter().find(|row| !self.has_expired(row)) else { return Ok(None) };
        let credential = self.opened(key.tenant, row)?;
        let is_old = self.keyring().first().is_ok_and(|first| first != row.summary.key_id);
        if is_old && let Err(error) = self.reseal(key.tenant, row, &credential.secret).await {
            tracing::warn!(error = %Chain(&error), key_id = row.summary.key_id, "credential stays under an old master key for now");
        }
        Ok(Some(Arc::new(credential)))
    }

    /// Decrypts a row; a key that is not known yet may have been made by another process.
    pub(crate) fn opened(&self, tenant: TenantId, row: &Stored) -> Result<Credential, Error> {
        let summary = &row.summary;
        let open =
            |ring: &Keyring| ring.open(unversioned(tenant, summary), &summary.key_id, &row.sealed);
        let secret = match open(&self.keyring()) {
            Err(Error::UnknownKey { .. } | Error::NoKeys { .. }) => open(&*self.read_keys()?)?,
            other => other?,
        };
        // Addresses are written by us, and bound to the secret.
        let base_url = summary.base_url.as_deref().map(Url::parse).transpose();
        let wrong =
            |_| Error::Sealed { service: summary.service.clone(), key_id: summary.key_id.clone() };
        let expires_at = summary.expires_at.as_deref().and_then(|at| at.parse().ok());
        let base_url = base_url.map_err(wrong)?;
        Ok(Credential { id: summary.id, owner: summary.owner, secret, base_url, expires_at })
    }

    fn has_expired(&self, row: &Stored) -> bool {
        let at = row.summary.expires_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
        at.is_some_and(|at| at <= (self.inner.sources.now)())
    }

    fn remembered(&self, key: &Key) -> Option<Finding> {
        let now = (self.inner.sources.clock)();
        let finding = self.cache().get(key, &self.revision(key.tenant), now)?;
        let expired = finding.as_ref().and_then(|credential| credential.expires_at);
        expired.is_none_or(|at| at > (self.inner.sources.now)()).then_some(finding)
    }

    fn revision(&self, tenant: TenantId) -> Revision {
        self.inner.news.entries().get(&tenant.to_string()).cloned()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.inner.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the master keys again. A file of some hundred bytes: not worth another thread.
    pub(crate) fn read_keys(&self) -> Result<Arc<Keyring>, Error> {
        let ring = Arc::new(self.inner.source.read()?);
        // A file that is gone takes nothing from those who can decrypt without it.
        if ring.first().is_ok() {
            *self.inner.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&ring);
        }
        Ok(ring)
    }

    /// Tells all workers, this one first, that a tenant's credentials are others now.
    async fn announce(&self, tenant: TenantId) -> Result<(), Error> {
        self.cache().forget(tenant);
        let mut revision = [0; 16];
        (self.inner.sources.fill)(&mut revision)?;
        let revision = uuid::Builder::from_random_bytes(revision).into_uuid().to_string();
        let key = news_key(&tenant.to_string());
        let told = self.inner.bus.put_setting(Bucket::Tools, &key, &revision).await;
        told.map_err(Error::Untold)
    }

    /// Drops secrets whose time is over, and reads new master keys when there are any.
    async fn follow(self, stop: CancellationToken) {
        let mut news = self.inner.news.clone();
        let mut known = news.entries().get(KEYS).cloned();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = news.changed() => {}
                () = tokio::time::sleep(PURGE) => {}
            }
            let entries = news.entries();
            let now = (self.inner.sources.clock)();
            self.cache().purge(now, |tenant| entries.get(&tenant.to_string()).cloned());
            let newest = entries.get(KEYS).cloned();
            if newest != known {
                known = newest;
                if let Err(error) = self.read_keys() {
                    tracing::error!(error = %Chain(&error), "new master keys cannot be read");
                }
            }
        }
    }
}

pub(crate) async fn finish(tx: TenantTransaction) -> Result<(), Error> {
    tx.commit().await.map_err(|source| Error::Rows { doing: "ending a transaction", source })
}

pub(crate) fn news_key(name: &str) -> String {
    format!("{NEWS}.{name}")
}

pub(crate) fn unversioned(tenant: TenantId, summary: &Summary) -> Unversioned<'_> {
    let (user, base_url) = (summary.user.as_deref(), summary.base_url.as_deref());
    Unversioned { tenant, user, service: &summary.service, base_url }
}

fn summary(row: &New<'_>) -> Summary {
    Summary {
        id: row.id,
        owner: row.owner.kind(),
        user: row.owner.user.clone(),
        service: row.service.to_owned(),
        hint: row.hint.to_owned(),
        key_id: row.key_id.to_owned(),
        base_url: row.base_url.map(str::to_owned),
        scopes: row.scopes.to_vec(),
        created_at: row.created_at.to_string(),
        expires_at: row.expires_at.map(|at| at.to_string()),
        tested_at: None,
        test_result: None,
    }
}
