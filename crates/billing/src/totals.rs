//! Sums over the records, by query: there are no tables of sums that could be wrong.

use nexus_contracts::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::Error;
use crate::ledger::{Ledger, readable};

/// What sums are made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// `provider/model`.
    Model,
    Provider,
    User,
    Tenant,
    /// In UTC, for example `2026-11-20`.
    Day,
    /// In UTC, for example `2026-11`.
    Month,
    /// Whose key paid: `user`, `tenant`, `operator`, `none`.
    Key,
}

impl By {
    /// The name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Provider => "provider",
            Self::User => "user",
            Self::Tenant => "tenant",
            Self::Day => "day",
            Self::Month => "month",
            Self::Key => "key",
        }
    }
}

/// Which records, and how they are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The earliest moment.
    pub since: Timestamp,
    /// The first moment that does not belong to it any more.
    pub until: Option<Timestamp>,
    pub by: By,
    /// One user's records only, and of these channels, whose users are the same people.
    pub user: Option<(String, Vec<String>)>,
}

/// A sum over records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Each counts once, where it ended: at the model that answered or was asked last. Of what
    /// others used in vain there are the tokens and the cost.
    pub calls: u64,
    /// Of the calls: without an answer, failed or cancelled.
    pub unanswered: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
    /// Millionths of a US dollar, as far as prices are known.
    pub cost_microusd: u64,
    /// Calls that used tokens whose price nobody knows; in each sum in which they did.
    pub unpriced_calls: u64,
}

/// The records that have something in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    #[serde(flatten)]
    pub totals: Totals,
}

impl Totals {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            unanswered: self.unanswered.saturating_add(other.unanswered),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_read_tokens: self.cache_read_tokens.saturating_add(other.cache_read_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
            unpriced_calls: self.unpriced_calls.saturating_add(other.unpriced_calls),
        }
    }

    /// The cost in US dollars, exact: six digits after the point.
    #[must_use]
    pub fn dollars(&self) -> String {
        format!("{}.{:06}", self.cost_microusd / 1_000_000, self.cost_microusd % 1_000_000)
    }
}

impl Ledger {
    /// Sums over a tenant's records, by name.
    ///
    /// # Errors
    /// [`Error::Query`] when the database does not answer.
    pub async fn totals(&self, tenant: TenantId, asked: &Question) -> Result<Vec<Group>, Error> {
        let mut tx = self.tenant(tenant).await?;
        let (user, channels) = asked.user.as_ref().map_or((None, None), |(user, channels)| {
            (Some(user.as_str()), Some(channels.as_slice()))
        });
        // A sum of numbers that somebody made up must not break the query.
        let rows = sqlx::query(
            "SELECT name, count(*) FILTER (WHERE id = response) AS calls,
               count(*) FILTER (WHERE id = response AND outcome <> 'completed') AS unanswered,
               least(sum(input_tokens), 9223372036854775807)::bigint AS input_tokens,
               least(sum(output_tokens), 9223372036854775807)::bigint AS output_tokens,
               least(sum(cache_read_tokens), 9223372036854775807)::bigint AS cache_read_tokens,
               least(sum(cache_write_tokens), 9223372036854775807)::bigint AS cache_write_tokens,
               least(sum(reasoning_tokens), 9223372036854775807)::bigint AS reasoning_tokens,
               coalesce(least(sum(cost_microusd), 9223372036854775807), 0)::bigint AS cost_microusd,
               count(DISTINCT response)
                 FILTER (WHERE cost_microusd IS NULL AND input_tokens + output_tokens::numeric > 0)
                 AS unpriced_calls
             FROM (SELECT *, CASE $1
                 WHEN 'model' THEN concat_ws('/', provider, model)
                 WHEN 'provider' THEN coalesce(provider, 'none')
                 WHEN 'user' THEN coalesce(user_id, 'nobody')
                 WHEN 'tenant' THEN tenant_id::text
                 WHEN 'day' THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
                 WHEN 'month' THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM')
                 ELSE coalesce(key_owner, 'none') END AS name
               FROM billing.usage_records
               WHERE tenant_id = $2 AND at >= $3::text::timestamptz
                 AND ($4::text IS NULL OR at < $4::text::timestamptz)
                 AND ($5::text IS NULL OR user_id = $5 AND channel = ANY($6::text[]))) AS records
             GROUP BY name ORDER BY name",
        )
        .bind(asked.by.as_str())
        .bind(tenant.0)
        .bind(readable(asked.since))
        .bind(asked.until.map(readable))
        .bind(user)
        .bind(channels)
        .fetch_all(&mut *tx)
        .await
        .map_err(Error::query("summing usage"))?;
        Ok(rows.iter().map(group).collect())
    }
}

fn group(row: &PgRow) -> Group {
    let count = |name: &str| u64::try_from(row.get::<i64, _>(name)).unwrap_or(0);
    Group {
        name: row.get("name"),
        totals: Totals {
            calls: count("calls"),
            unanswered: count("unanswered"),
            input_tokens: count("input_tokens"),
            output_tokens: count("output_tokens"),
            cache_read_tokens: count("cache_read_tokens"),
            cache_write_tokens: count("cache_write_tokens"),
            reasoning_tokens: count("reasoning_tokens"),
            cost_microusd: count("cost_microusd"),
            unpriced_calls: count("unpriced_calls"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_have_six_digits_and_no_rounding() {
        for (cost_microusd, dollars) in
            [(0, "0.000000"), (1, "0.000001"), (1_000_000, "1.000000"), (12_345_678, "12.345678")]
        {
            assert_eq!(Totals { cost_microusd, ..Totals::default() }.dollars(), dollars);
        }
    }
}
