//! The table `memory.interactions`.

use nexus_bus::Delivery;
use nexus_contracts::{
    Event, IncomingRequest, Outcome, ProcessedRequest, RecalledTurn, Timestamp, Token,
};
use nexus_store::TenantTransaction;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::error::Error;
use crate::group::Statement;

/// What an event says about an interaction.
#[derive(Debug)]
pub(crate) enum Row {
    /// What was asked.
    Request(Box<Event<IncomingRequest>>, Delivery),
    /// What was answered, also when the request has not been recorded yet.
    Reply(Box<Event<ProcessedRequest>>, Delivery),
}

impl Statement for Row {
    type Output = ();

    /// Writes it; does nothing when it is known.
    async fn run(&self, tenant: Uuid, tx: &mut TenantTransaction) -> Result<(), Error> {
        match self {
            Self::Request(event, delivery) => record(tenant, event, *delivery, tx).await,
            Self::Reply(event, delivery) => learn(tenant, event, *delivery, tx).await,
        }
    }
}

async fn record(
    tenant: Uuid,
    event: &Event<IncomingRequest>,
    delivery: Delivery,
    tx: &mut TenantTransaction,
) -> Result<(), Error> {
    let place = &event.metadata;
    sqlx::query(
        "INSERT INTO memory.interactions
           (id, tenant_id, agent_id, user_id, channel, conversation, input_text, \"timestamp\", request_sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::timestamptz, $9)
         ON CONFLICT (tenant_id, id) DO UPDATE SET
           user_id = EXCLUDED.user_id, input_text = EXCLUDED.input_text,
           \"timestamp\" = EXCLUDED.\"timestamp\", request_sequence = EXCLUDED.request_sequence
         WHERE memory.interactions.request_sequence IS NULL",
    )
    .bind(event.id)
    .bind(tenant)
    .bind(&place.agent)
    .bind(&place.user)
    .bind(place.channel.as_str())
    .bind(place.conversation.as_str())
    .bind(storable(&event.payload.text))
    .bind(event.timestamp.to_string())
    .bind(signed(delivery.sequence))
    .execute(&mut **tx)
    .await
    .map_err(Error::query("recording a request"))?;
    Ok(())
}

async fn learn(
    tenant: Uuid,
    event: &Event<ProcessedRequest>,
    delivery: Delivery,
    tx: &mut TenantTransaction,
) -> Result<(), Error> {
    let place = &event.metadata;
    let output = match &event.payload.outcome {
        Outcome::Answered { text } => Some(storable(text)),
        Outcome::Failed { .. } | Outcome::Cancelled { .. } | Outcome::Steered { .. } => None,
    };
    sqlx::query(
        "INSERT INTO memory.interactions
           (id, tenant_id, agent_id, channel, conversation, output_text, model_version, outcome, \"timestamp\", reply_sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::timestamptz, $10)
         ON CONFLICT (tenant_id, id) DO UPDATE SET
           agent_id = EXCLUDED.agent_id, output_text = EXCLUDED.output_text,
           model_version = EXCLUDED.model_version, outcome = EXCLUDED.outcome,
           reply_sequence = EXCLUDED.reply_sequence
         WHERE memory.interactions.reply_sequence IS NULL",
    )
    .bind(event.payload.request)
    .bind(tenant)
    .bind(&place.agent)
    .bind(place.channel.as_str())
    .bind(place.conversation.as_str())
    .bind(output)
    .bind(&event.payload.model)
    .bind(event.payload.outcome.status())
    .bind(event.timestamp.to_string())
    .bind(signed(delivery.sequence))
    .execute(&mut **tx)
    .await
    .map_err(Error::query("recording a reply"))?;
    Ok(())
}

/// Asks for the last turns of a conversation.
#[derive(Debug)]
pub(crate) struct Recent {
    pub(crate) channel: Token,
    pub(crate) conversation: Token,
    pub(crate) turns: u32,
}

/// The last turns, oldest first, and the sequence of the newest reply that is known.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) turns: Vec<RecalledTurn>,
    pub(crate) newest: u64,
}

impl Statement for Recent {
    type Output = Known;

    async fn run(&self, tenant: Uuid, tx: &mut TenantTransaction) -> Result<Known, Error> {
        // All replies count for how new this is; only answered ones are turns.
        let rows = sqlx::query(
            "SELECT id, input_text, output_text, reply_sequence,
                    (extract(epoch FROM \"timestamp\") * 1000000)::bigint AS micros
             FROM memory.interactions
             WHERE tenant_id = $1 AND channel = $2 AND conversation = $3 AND reply_sequence IS NOT NULL
             ORDER BY reply_sequence DESC LIMIT $4",
        )
        .bind(tenant)
        .bind(self.channel.as_str())
        .bind(self.conversation.as_str())
        .bind(i64::from(self.turns))
        .fetch_all(&mut **tx)
        .await
        .map_err(Error::query("reading recent turns"))?;
        let newest = rows.first().map_or(0, |row| row.get::<i64, _>("reply_sequence"));
        let turns = rows.iter().rev().filter_map(turn).collect();
        Ok(Known { turns, newest: u64::try_from(newest).unwrap_or(0) })
    }
}

fn turn(row: &PgRow) -> Option<RecalledTurn> {
    Some(RecalledTurn {
        request: row.get::<Uuid, _>("id"),
        input: row.get::<Option<String>, _>("input_text")?,
        output: row.get::<Option<String>, _>("output_text")?,
        at: Timestamp::from_micros(row.get("micros")),
    })
}

/// PostgreSQL takes every character in a text but NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
