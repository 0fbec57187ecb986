use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nexus_contracts::{TenantId, Timestamp};
use nexus_store::Store;
use sha2::{Digest as _, Sha256};
use sqlx::Row as _;
use uuid::Uuid;

use crate::error::Error;

/// A revoked key is refused within this time.
const REMEMBER: Duration = Duration::from_secs(1);
/// Verdicts kept at most; beyond that the cache begins anew.
const REMEMBERED: usize = 4096;

/// Who a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub user: String,
    pub key: Uuid,
}

/// A key as operators see it: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyRow {
    pub id: Uuid,
    pub tenant: Uuid,
    pub user: String,
    pub label: String,
    /// RFC 3339.
    pub created_at: String,
    pub revoked: bool,
}

/// Who a hash stood for, and when we looked.
type Verdict = (Option<Principal>, Instant);

/// The API keys. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keys {
    store: Store,
    cache: Arc<Mutex<HashMap<[u8; 32], Verdict>>>,
}

impl Keys {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, cache: Arc::default() }
    }

    /// Who this key stands for; `None` when it is wrong or revoked.
    ///
    /// # Errors
    /// [`Error::Keys`] when the database does not answer.
    pub async fn verify(&self, key: &str) -> Result<Option<Principal>, Error> {
        if !key.starts_with("nx_") || key.len() > 128 {
            return Ok(None);
        }
        let hash: [u8; 32] = Sha256::digest(key).into();
        if let Some(verdict) = self.remembered(&hash) {
            return Ok(verdict);
        }
        let row = sqlx::query(
            "UPDATE system.api_keys SET last_used = now() WHERE key_hash = $1 AND NOT is_revoked
             RETURNING id, tenant_id, user_id",
        )
        .bind(hash.as_slice())
        .fetch_optional(self.store.pool())
        .await
        .map_err(|source| Error::Keys { doing: "checking an API key", source })?;
        let verdict = row.map(|row| Principal {
            tenant: TenantId(row.get("tenant_id")),
            user: row.get("user_id"),
            key: row.get("id"),
        });
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(hash, (verdict.clone(), Instant::now()));
        Ok(verdict)
    }

    fn remembered(&self, hash: &[u8; 32]) -> Option<Option<Principal>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (verdict, at) = cache.get(hash)?;
        (at.elapsed() < REMEMBER).then(|| verdict.clone())
    }

    /// Makes a key and returns it: it is shown once and stored as a hash.
    ///
    /// # Errors
    /// [`Error::Keys`] when the database does not take it.
    pub async fn create(
        &self,
        tenant: TenantId,
        user: &str,
        label: &str,
        now: Timestamp,
    ) -> Result<(Uuid, String), Error> {
        let key = format!("nx_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO system.api_keys (key_hash, id, tenant_id, user_id, label, created_at)
             VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz)",
        )
        .bind(Sha256::digest(&key).as_slice())
        .bind(id)
        .bind(tenant.0)
        .bind(user)
        .bind(label)
        .bind(now.to_string())
        .execute(self.store.pool())
        .await
        .map_err(|source| Error::Keys { doing: "storing an API key", source })?;
        Ok((id, key))
    }

    /// Revokes a key; `false` when there is none with this id.
    ///
    /// # Errors
    /// [`Error::Keys`] when the database does not answer.
    pub async fn revoke(&self, id: Uuid) -> Result<bool, Error> {
        let done = sqlx::query("UPDATE system.api_keys SET is_revoked = true WHERE id = $1")
            .bind(id)
            .execute(self.store.pool())
            .await
            .map_err(|source| Error::Keys { doing: "revoking an API key", source })?;
        Ok(done.rows_affected() > 0)
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// [`Error::Keys`] when the database does not answer.
    pub async fn list(&self) -> Result<Vec<KeyRow>, Error> {
        let rows = sqlx::query(
            "SELECT id, tenant_id, user_id, label, is_revoked,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS created_at
             FROM system.api_keys ORDER BY created_at",
        )
        .fetch_all(self.store.pool())
        .await
        .map_err(|source| Error::Keys { doing: "listing API keys", source })?;
        let row = |row: &sqlx::postgres::PgRow| KeyRow {
            id: row.get("id"),
            tenant: row.get("tenant_id"),
            user: row.get("user_id"),
            label: row.get("label"),
            created_at: row.get("created_at"),
            revoked: row.get("is_revoked"),
        };
        Ok(rows.iter().map(row).collect())
    }
}
