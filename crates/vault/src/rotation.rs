//! From one master key to the next, while calls go on.

use nexus_bus::Bucket;
use nexus_contracts::TenantId;
use ring::aead::NONCE_LEN;
use secrecy::SecretString;

use crate::error::Error;
use crate::rows::{self, Stored};
use crate::vault::{KEYS, Vault, finish, news_key, unversioned};

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The key that encrypts now.
    pub key_id: String,
    /// Credentials encrypted anew, and such that were under that key already.
    pub resealed: usize,
    pub current: usize,
    /// What could not be decrypted: service and reason.
    pub failed: Vec<(String, String)>,
}

impl Vault {
    /// Makes a new master key, tells all workers, and encrypts everything of these tenants under it.
    ///
    /// # Errors
    /// When there is no new key. What could not be swept is in the result.
    pub async fn rotate(&self, tenants: &[TenantId]) -> Result<Swept, Error> {
        let id = self.inner.source.add(self.inner.sources.fill)?;
        self.read_keys()?;
        let told = self.inner.bus.put_setting(Bucket::Tools, &news_key(KEYS), &id).await;
        told.map_err(Error::Untold)?;
        self.sweep(tenants).await
    }

    /// Encrypts everything of these tenants under the first master key. Calls go on meanwhile.
    ///
    /// # Errors
    /// When the keys or the rows cannot be read.
    pub async fn sweep(&self, tenants: &[TenantId]) -> Result<Swept, Error> {
        let key_id = self.read_keys()?.first()?.to_owned();
        let mut swept = Swept { key_id, ..Swept::default() };
        for tenant in tenants {
            let mut tx = self.inner.store.tenant(tenant.0).await?;
            let rows = rows::list(&mut tx, None).await?;
            finish(tx).await?;
            for row in rows {
                // Opened also where nothing is to be done: a sweep is a check of all of them.
                match self.opened(*tenant, &row) {
                    Ok(_) if row.summary.key_id == swept.key_id => swept.current += 1,
                    Ok(credential) => {
                        self.reseal(*tenant, &row, &credential.secret).await?;
                        swept.resealed += 1;
                    }
                    Err(error) => swept.failed.push((row.summary.service, error.to_string())),
                }
            }
        }
        Ok(swept)
    }

    /// Encrypts a row anew under the first key.
    pub(crate) async fn reseal(
        &self,
        tenant: TenantId,
        row: &Stored,
        secret: &SecretString,
    ) -> Result<(), Error> {
        let mut nonce = [0; NONCE_LEN];
        (self.inner.sources.fill)(&mut nonce)?;
        // As they are now: under an older one it would be lost with that key.
        let ring = self.read_keys()?;
        let (key_id, sealed) = ring.seal(unversioned(tenant, &row.summary), nonce, secret)?;
        let mut tx = self.inner.store.tenant(tenant.0).await?;
        // Somebody who was faster has done it, or has replaced the secret: both are well.
        rows::reseal(&mut tx, row, key_id, &sealed).await?;
        finish(tx).await
    }
}
