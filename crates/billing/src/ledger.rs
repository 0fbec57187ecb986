//! The table `billing.usage_records`.

use std::collections::HashMap;

use nexus_contracts::{TenantId, Timestamp};
use nexus_store::{Store, TenantTransaction};
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Error;
use crate::record::UsageRecord;

/// What model calls used, as it is recorded. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
}

impl Ledger {
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) async fn tenant(&self, tenant: TenantId) -> Result<TenantTransaction, Error> {
        Ok(self.store.tenant(tenant.0).await?)
    }

    /// Writes records of one tenant; those that are known stay as they are.
    ///
    /// # Errors
    /// [`Error::Query`] when the database does not take one of them: none is written then.
    pub async fn write(&self, tenant: TenantId, records: &[&UsageRecord]) -> Result<(), Error> {
        let rows = once(records);
        let responses: Vec<Uuid> = rows.iter().map(|record| record.response).collect();
        let rows = serde_json::to_string(&rows).map_err(Error::Record)?;
        let mut tx = self.tenant(tenant).await?;
        // An event that is stored twice, as after the stream has forgotten its id, counts once: as
        // it was first stored, whichever delivery comes first.
        sqlx::query(
            "INSERT INTO billing.usage_records AS known
               (id, response, tenant_id, user_id, at, sequence, operation, channel, conversation, run, agent_id,
                provider, model, key_owner, input_tokens, output_tokens, cache_read_tokens,
                cache_write_tokens, reasoning_tokens, is_estimated, cost_microusd, price, attempts,
                lost_attempts, outcome)
             SELECT id, response, tenant_id, user_id, at, sequence, operation, channel, conversation, run, agent_id,
                provider, model, key_owner, input_tokens, output_tokens, cache_read_tokens,
                cache_write_tokens, reasoning_tokens, is_estimated, cost_microusd, price, attempts,
                lost_attempts, outcome
             FROM json_populate_recordset(NULL::billing.usage_records, $1::text::json)
             ORDER BY response, id <> response
             ON CONFLICT (tenant_id, id) DO UPDATE SET
               response = EXCLUDED.response, user_id = EXCLUDED.user_id, at = EXCLUDED.at, sequence = EXCLUDED.sequence,
               operation = EXCLUDED.operation, channel = EXCLUDED.channel,
               conversation = EXCLUDED.conversation, run = EXCLUDED.run, agent_id = EXCLUDED.agent_id,
               provider = EXCLUDED.provider, model = EXCLUDED.model, key_owner = EXCLUDED.key_owner,
               input_tokens = EXCLUDED.input_tokens, output_tokens = EXCLUDED.output_tokens,
               cache_read_tokens = EXCLUDED.cache_read_tokens,
               cache_write_tokens = EXCLUDED.cache_write_tokens,
               reasoning_tokens = EXCLUDED.reasoning_tokens, is_estimated = EXCLUDED.is_estimated,
               cost_microusd = EXCLUDED.cost_microusd, price = EXCLUDED.price,
               attempts = EXCLUDED.attempts, lost_attempts = EXCLUDED.lost_attempts,
               outcome = EXCLUDED.outcome
             WHERE EXCLUDED.sequence < known.sequence",
        )
        .bind(rows)
        .execute(&mut *tx)
        .await
        .map_err(Error::query("recording usage"))?;
        // What was stored later may name other attempts. Whoever writes of the same call meanwhile
        // waits at the row by which it is counted, so that one of both sees all rows.
        sqlx::query(
            "DELETE FROM billing.usage_records AS later USING billing.usage_records AS known
             WHERE later.tenant_id = $1 AND later.response = ANY($2) AND later.id <> later.response
               AND known.tenant_id = $1 AND known.id = later.response
               AND known.sequence < later.sequence",
        )
        .bind(tenant.0)
        .bind(responses)
        .execute(&mut *tx)
        .await
        .map_err(Error::query("recording usage"))?;
        tx.commit().await.map_err(Error::query("committing usage"))
    }

    /// A tenant's records of events with these sequences, both included.
    pub(crate) async fn stored_between(
        &self,
        tenant: TenantId,
        first: u64,
        last: u64,
    ) -> Result<Vec<UsageRecord>, Error> {
        let mut tx = self.tenant(tenant).await?;
        let rows = sqlx::query(
            "SELECT row_to_json(r)::text FROM billing.usage_records r
             WHERE tenant_id = $1 AND sequence BETWEEN $2 AND $3",
        );
        let rows = rows.bind(tenant.0).bind(signed(first)).bind(signed(last));
        let rows = rows.fetch_all(&mut *tx).await.map_err(Error::query("reading usage records"))?;
        rows.iter().map(record).collect()
    }

    /// A tenant's records that name later events than the last one, or earlier ones than the first
    /// although they are not as old as this moment.
    pub(crate) async fn stored_outside(
        &self,
        tenant: TenantId,
        since: Timestamp,
        first: u64,
        last: u64,
    ) -> Result<Vec<UsageRecord>, Error> {
        let mut tx = self.tenant(tenant).await?;
        let rows = sqlx::query(
            "SELECT row_to_json(r)::text FROM billing.usage_records r
             WHERE tenant_id = $1
               AND (sequence > $4 OR sequence < $3 AND at >= $2::text::timestamptz)",
        );
        let rows = rows.bind(tenant.0).bind(readable(since)).bind(signed(first)).bind(signed(last));
        let rows = rows.fetch_all(&mut *tx).await.map_err(Error::query("reading usage records"))?;
        rows.iter().map(record).collect()
    }

    /// A tenant's records with these ids.
    pub(crate) async fn named(
        &self,
        tenant: TenantId,
        ids: &[Uuid],
    ) -> Result<Vec<UsageRecord>, Error> {
        let mut tx = self.tenant(tenant).await?;
        let rows = sqlx::query(
            "SELECT row_to_json(r)::text FROM billing.usage_records r
             WHERE tenant_id = $1 AND id = ANY($2)",
        );
        let rows = rows.bind(tenant.0).bind(ids).fetch_all(&mut *tx).await;
        rows.map_err(Error::query("reading usage records"))?.iter().map(record).collect()
    }
}

/// No row twice, which one statement must not write, and of an event that was stored twice those
/// of the first.
fn once<'r>(records: &[&'r UsageRecord]) -> Vec<&'r UsageRecord> {
    let mut first: HashMap<Uuid, u64> = HashMap::with_capacity(records.len());
    for record in records {
        let sequence = first.entry(record.response).or_insert(record.sequence);
        *sequence = record.sequence.min(*sequence);
    }
    let mut rows: HashMap<Uuid, &UsageRecord> = HashMap::with_capacity(records.len());
    for record in records {
        if first.get(&record.response) == Some(&record.sequence) {
            rows.entry(record.id).or_insert(record);
        }
    }
    rows.into_values().collect()
}

fn record(row: &PgRow) -> Result<UsageRecord, Error> {
    serde_json::from_str(row.get(0)).map_err(Error::Record)
}

/// 0001-01-01T00:00:00Z in microseconds: what is before it PostgreSQL writes in another way.
const YEAR_ONE: i64 = -62_135_596_800_000_000;

/// A moment as PostgreSQL reads it.
pub(crate) fn readable(at: Timestamp) -> String {
    at.max(Timestamp::from_micros(YEAR_ONE)).to_string()
}

fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
