//! `vault.credentials` in PostgreSQL.

use nexus_contracts::{KeyOwner, Timestamp};
use nexus_store::TenantTransaction;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Error;
use crate::owner::Owner;
use crate::seal::Sealed;

/// A credential as people see it: never the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Another one whenever the secret is another one.
    pub id: Uuid,
    pub owner: KeyOwner,
    /// `None` for the whole tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub service: String,
    /// For example `sk-...abcd`.
    pub hint: String,
    /// Of the master key that it is encrypted under.
    pub key_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// RFC 3339, as all times here.
    pub created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// When the service was last asked whether it takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested_at: Option<String>,
    /// `ok`, or the class of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_result: Option<String>,
}

/// What a service said about a credential: `ok`, or a bounded name of the failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult(pub String);

/// A row with what is needed to decrypt it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) summary: Summary,
    pub(crate) sealed: Sealed,
    pub(crate) revision: i64,
}

/// What is written.
#[derive(Debug)]
pub(crate) struct New<'a> {
    pub(crate) id: Uuid,
    pub(crate) owner: &'a Owner,
    pub(crate) service: &'a str,
    pub(crate) hint: &'a str,
    pub(crate) key_id: &'a str,
    pub(crate) sealed: &'a Sealed,
    pub(crate) base_url: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

/// All columns, with times as text.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, user_id, service, hint, key_id, nonce, ciphertext, base_url, scopes, revision, test_result,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS created_at,
               to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS expires_at,
               to_char(tested_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS tested_at
             FROM vault.credentials ",
            $rest
        )
    };
}

fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| Error::Rows { doing, source }
}

fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    let user: Option<String> = row.try_get("user_id")?;
    let nonce: Vec<u8> = row.try_get("nonce")?;
    let nonce = nonce.try_into().map_err(|_| sqlx::Error::ColumnDecode {
        index: "nonce".to_owned(),
        source: "it has another length than 12".into(),
    })?;
    Ok(Stored {
        summary: Summary {
            id: row.try_get("id")?,
            owner: if user.is_some() { KeyOwner::User } else { KeyOwner::Tenant },
            user,
            service: row.try_get("service")?,
            hint: row.try_get("hint")?,
            key_id: row.try_get("key_id")?,
            base_url: row.try_get("base_url")?,
            scopes: row.try_get("scopes")?,
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
            tested_at: row.try_get("tested_at")?,
            test_result: row.try_get("test_result")?,
        },
        sealed: Sealed { nonce, ciphertext: row.try_get("ciphertext")? },
        revision: row.try_get("revision")?,
    })
}

/// What a user has for a service: the user's own and the tenant's, the own one first.
pub(crate) async fn find(
    tx: &mut TenantTransaction,
    user: Option<&str>,
    service: &str,
) -> Result<Vec<Stored>, Error> {
    let doing = "reading a credential";
    let rows = sqlx::query(select!(
        "WHERE service = $1 AND (user_id IS NULL OR user_id = $2) ORDER BY user_id NULLS LAST"
    ))
    .bind(service)
    .bind(user)
    .fetch_all(&mut **tx)
    .await;
    let rows = rows.map_err(failed(doing))?;
    rows.iter().map(stored).collect::<Result<_, _>>().map_err(failed(doing))
}

/// All of a tenant, or with `user` those of this user and of the tenant itself.
pub(crate) async fn list(
    tx: &mut TenantTransaction,
    user: Option<&str>,
) -> Result<Vec<Stored>, Error> {
    let doing = "listing credentials";
    let rows = sqlx::query(select!(
        "WHERE $1::text IS NULL OR user_id IS NULL OR user_id = $1
         ORDER BY service, user_id NULLS FIRST"
    ))
    .bind(user)
    .fetch_all(&mut **tx)
    .await;
    let rows = rows.map_err(failed(doing))?;
    rows.iter().map(stored).collect::<Result<_, _>>().map_err(failed(doing))
}

/// Whether a tenant has any.
pub(crate) async fn any(tx: &mut TenantTransaction) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM vault.credentials)")
        .fetch_one(&mut **tx)
        .await
        .map_err(failed("looking for credentials"))
}

/// Writes a credential, over the one that the owner has for the service.
pub(crate) async fn put(tx: &mut TenantTransaction, new: New<'_>) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO vault.credentials AS mine (tenant_id, id, user_id, service, hint, key_id,
           nonce, ciphertext, base_url, scopes, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
           $11::text::timestamptz, $12::text::timestamptz)
         ON CONFLICT (tenant_id, user_id, service) DO UPDATE SET id = excluded.id,
           hint = excluded.hint, key_id = excluded.key_id, nonce = excluded.nonce,
           ciphertext = excluded.ciphertext, base_url = excluded.base_url,
           scopes = excluded.scopes, created_at = excluded.created_at,
           expires_at = excluded.expires_at, tested_at = NULL, test_result = NULL,
           revision = mine.revision + 1",
    )
    .bind(new.owner.tenant.0)
    .bind(new.id)
    .bind(new.owner.user.as_deref())
    .bind(new.service)
    .bind(new.hint)
    .bind(new.key_id)
    .bind(new.sealed.nonce.as_slice())
    .bind(new.sealed.ciphertext.as_slice())
    .bind(new.base_url)
    .bind(new.scopes)
    .bind(new.created_at.to_string())
    .bind(new.expires_at.map(|at| at.to_string()))
    .execute(&mut **tx)
    .await
    .map(|_| ())
    .map_err(failed("storing a credential"))
}

/// Takes a credential away; `false` when there is none.
pub(crate) async fn remove(
    tx: &mut TenantTransaction,
    owner: &Owner,
    service: &str,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "DELETE FROM vault.credentials WHERE service = $1 AND user_id IS NOT DISTINCT FROM $2",
    )
    .bind(service)
    .bind(owner.user.as_deref())
    .execute(&mut **tx)
    .await;
    Ok(done.map_err(failed("removing a credential"))?.rows_affected() > 0)
}

/// Takes away what has expired before this time, of services whose names end so.
pub(crate) async fn remove_expired(
    tx: &mut TenantTransaction,
    ending: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM vault.credentials
         WHERE right(service, length($1)) = $1 AND expires_at < $2::text::timestamptz",
    )
    .bind(ending)
    .bind(now.to_string())
    .execute(&mut **tx)
    .await
    .map(|_| ())
    .map_err(failed("removing expired credentials"))
}

/// Writes the same secret, encrypted anew; `false` when the row has changed meanwhile.
pub(crate) async fn reseal(
    tx: &mut TenantTransaction,
    before: &Stored,
    key_id: &str,
    sealed: &Sealed,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE vault.credentials
         SET key_id = $3, nonce = $4, ciphertext = $5, revision = revision + 1
         WHERE id = $1 AND revision = $2",
    )
    .bind(before.summary.id)
    .bind(before.revision)
    .bind(key_id)
    .bind(sealed.nonce.as_slice())
    .bind(sealed.ciphertext.as_slice())
    .execute(&mut **tx)
    .await;
    Ok(done.map_err(failed("encrypting a credential anew"))?.rows_affected() > 0)
}

/// Notes what a test said, if the secret is still the one that was tested.
pub(crate) async fn tested(
    tx: &mut TenantTransaction,
    id: Uuid,
    result: &TestResult,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE vault.credentials
         SET tested_at = $2::text::timestamptz, test_result = $3 WHERE id = $1",
    )
    .bind(id)
    .bind(now.to_string())
    .bind(&result.0)
    .execute(&mut **tx)
    .await
    .map(|_| ())
    .map_err(failed("noting a test of a credential"))
}
