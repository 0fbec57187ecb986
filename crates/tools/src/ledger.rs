//! What became of calls with effects: the first recorded outcome of a call stays.

use nexus_contracts::{Attachment, Timestamp, ToolOutcome};
use nexus_store::{Store, TenantTransaction};
use sqlx::types::Json;
use uuid::Uuid;

use crate::error::Error;

/// A call in the ledger.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) tenant: Uuid,
    pub(crate) call: Uuid,
    pub(crate) tool: &'a str,
    /// Of the delivery, for the pause before the next.
    pub(crate) attempt: u64,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) outcome: ToolOutcome,
    /// Files for the speaker; a later delivery of the call answers with the same.
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) duration_ms: u64,
}

impl Ended {
    /// An end without a beginning.
    pub(crate) fn at_once(outcome: ToolOutcome) -> Self {
        Self { outcome, attachments: Vec::new(), duration_ms: 0 }
    }
}

/// What the ledger says to somebody who wants to begin a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    New,
    /// An earlier delivery has begun it, and has not said how it ended.
    Begun,
    Ended(Ended),
}

type Row = (Option<Json<ToolOutcome>>, Option<Json<Vec<Attachment>>>, Option<i64>);

#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    store: Store,
    now: fn() -> Timestamp,
}

impl Key<'_> {
    fn broke(self) -> impl Fn(sqlx::Error) -> Error {
        let attempt = self.attempt;
        move |source| match source {
            sqlx::Error::ColumnDecode { .. } => Error::Unreadable { attempt },
            source => Error::Ledger { attempt, source },
        }
    }
}

impl Ledger {
    pub(crate) fn new(store: Store, now: fn() -> Timestamp) -> Self {
        Self { store, now }
    }

    /// A transaction of the call's tenant.
    pub(crate) async fn begin(&self, key: Key<'_>) -> Result<TenantTransaction, Error> {
        let attempt = key.attempt;
        self.store.tenant(key.tenant).await.map_err(|source| Error::Store { attempt, source })
    }

    /// Claims a call, durably.
    pub(crate) async fn claim(&self, key: Key<'_>) -> Result<Claim, Error> {
        let mut tx = self.begin(key).await?;
        let inserted = sqlx::query(
            "INSERT INTO tools.calls (tenant_id, call_id, tool, state, attempt, claimed_at)
             VALUES ($1, $2, $3, 'claimed', 1, $4::text::timestamptz) ON CONFLICT DO NOTHING",
        )
        .bind(key.tenant)
        .bind(key.call)
        .bind(key.tool)
        .bind((self.now)().to_string())
        .execute(&mut *tx)
        .await
        .map_err(key.broke())?;
        let claim = if inserted.rows_affected() == 1 {
            Claim::New
        } else {
            let row: Row = sqlx::query_as(
                "UPDATE tools.calls SET attempt = attempt + (state = 'claimed')::int
                 WHERE tenant_id = $1 AND call_id = $2 RETURNING outcome, attachments, duration_ms",
            )
            .bind(key.tenant)
            .bind(key.call)
            .fetch_one(&mut *tx)
            .await
            .map_err(key.broke())?;
            ended(row).map_or(Claim::Begun, Claim::Ended)
        };
        tx.commit().await.map_err(key.broke())?;
        Ok(claim)
    }

    /// Locks a claimed call for the length of a transaction, which the database ends after `limit_ms`.
    pub(crate) async fn lock(
        &self,
        key: Key<'_>,
        tx: &mut TenantTransaction,
        limit_ms: u64,
    ) -> Result<Option<Ended>, Error> {
        type Locked =
            (Option<Json<ToolOutcome>>, Option<Json<Vec<Attachment>>>, Option<i64>, String);
        let (outcome, attachments, duration_ms, _): Locked = sqlx::query_as(
            "SELECT outcome, attachments, duration_ms, set_config('statement_timeout', $3, true)
             FROM tools.calls WHERE tenant_id = $1 AND call_id = $2 FOR UPDATE",
        )
        .bind(key.tenant)
        .bind(key.call)
        .bind(limit_ms.clamp(1, 3_600_000).to_string())
        .fetch_one(&mut **tx)
        .await
        .map_err(key.broke())?;
        Ok(ended((outcome, attachments, duration_ms)))
    }

    /// Records how a claimed call ended, in the transaction that holds its effect.
    pub(crate) async fn end_in(
        &self,
        key: Key<'_>,
        tx: &mut TenantTransaction,
        end: &Ended,
    ) -> Result<bool, Error> {
        let state = match end.outcome {
            ToolOutcome::Unknown { .. } => "unknown",
            ToolOutcome::Completed { .. }
            | ToolOutcome::Failed { .. }
            | ToolOutcome::Expired
            | ToolOutcome::Cancelled => "done",
        };
        let updated = sqlx::query(
            "UPDATE tools.calls SET state = $3, outcome = $4, attachments = $5, duration_ms = $6, ended_at = $7::text::timestamptz
             WHERE tenant_id = $1 AND call_id = $2 AND state = 'claimed'",
        )
        .bind(key.tenant)
        .bind(key.call)
        .bind(state)
        .bind(Json(&end.outcome))
        .bind((!end.attachments.is_empty()).then_some(Json(&end.attachments)))
        .bind(i64::try_from(end.duration_ms).unwrap_or(i64::MAX))
        .bind((self.now)().to_string())
        .execute(&mut **tx)
        .await
        .map_err(key.broke())?;
        Ok(updated.rows_affected() == 1)
    }

    /// Records how a claimed call ended; gives what stands in the ledger then.
    pub(crate) async fn end(&self, key: Key<'_>, end: Ended) -> Result<Ended, Error> {
        let mut tx = self.begin(key).await?;
        let stands = if self.end_in(key, &mut tx, &end).await? {
            end
        } else {
            self.read(key, &mut tx).await?
        };
        tx.commit().await.map_err(key.broke())?;
        Ok(stands)
    }

    /// Ends a call that is not begun now: with `fresh` when nobody has begun it, else with `begun`.
    pub(crate) async fn refuse(
        &self,
        key: Key<'_>,
        fresh: ToolOutcome,
        begun: ToolOutcome,
    ) -> Result<Ended, Error> {
        let mut tx = self.begin(key).await?;
        let inserted = sqlx::query(
            "INSERT INTO tools.calls (tenant_id, call_id, tool, state, attempt, outcome, duration_ms, claimed_at, ended_at)
             VALUES ($1, $2, $3, 'done', 0, $4, 0, $5::text::timestamptz, $5::text::timestamptz) ON CONFLICT DO NOTHING",
        )
        .bind(key.tenant)
        .bind(key.call)
        .bind(key.tool)
        .bind(Json(&fresh))
        .bind((self.now)().to_string())
        .execute(&mut *tx)
        .await
        .map_err(key.broke())?;
        let begun = Ended::at_once(begun);
        let stands = if inserted.rows_affected() == 1 {
            Ended::at_once(fresh)
        } else if self.end_in(key, &mut tx, &begun).await? {
            begun
        } else {
            self.read(key, &mut tx).await?
        };
        tx.commit().await.map_err(key.broke())?;
        Ok(stands)
    }

    async fn read(&self, key: Key<'_>, tx: &mut TenantTransaction) -> Result<Ended, Error> {
        let row: Row = sqlx::query_as(
            "SELECT outcome, attachments, duration_ms FROM tools.calls WHERE tenant_id = $1 AND call_id = $2",
        )
        .bind(key.tenant)
        .bind(key.call)
        .fetch_one(&mut **tx)
        .await
        .map_err(key.broke())?;
        ended(row).ok_or(Error::Unreadable { attempt: key.attempt })
    }
}

fn ended((outcome, attachments, duration_ms): Row) -> Option<Ended> {
    let duration_ms = duration_ms.and_then(|millis| u64::try_from(millis).ok()).unwrap_or(0);
    let attachments = attachments.map_or_else(Vec::new, |Json(attachments)| attachments);
    outcome.map(|Json(outcome)| Ended { outcome, attachments, duration_ms })
}
