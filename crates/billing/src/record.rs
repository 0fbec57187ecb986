//! What one model call used: follows from its event alone. Pure.

use nexus_contracts::{
    Attempt, Cost, EmbedOutcome, EmbedResponse, Event, InferenceOutcome, InferenceResponse,
    KeyOwner, Metadata, TenantId, Timestamp, Usage,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Class of the attempts of workers that were killed.
const LOST: &str = "lost";

/// What one model call used and cost: a row of `billing.usage_records`, field by column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Of the `inference.response` or `inference.embedded`.
    pub id: Uuid,
    #[serde(rename = "tenant_id")]
    pub tenant: TenantId,
    /// Who asked, as the channel names them.
    #[serde(rename = "user_id")]
    pub user: Option<String>,
    /// The event's own time.
    pub at: Timestamp,
    /// Of the event in EVENTS.
    pub sequence: u64,
    pub operation: Operation,
    pub channel: String,
    pub conversation: String,
    /// The correlation id.
    pub run: Uuid,
    #[serde(rename = "agent_id")]
    pub agent: Option<String>,
    /// `None` when nobody was asked.
    pub provider: Option<String>,
    /// The provider's own name of the model; as it was asked for where no provider was asked.
    pub model: String,
    /// Whose key paid; `None` where no key is needed.
    pub key_owner: Option<KeyOwner>,
    /// Tokens of all attempts, cached ones included.
    pub input_tokens: u64,
    /// Tokens of all attempts, reasoning included.
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
    /// A provider did not say all of it.
    pub is_estimated: bool,
    /// Millionths of a US dollar, as the response says, all attempts included; `None` when nobody
    /// knows the price.
    pub cost_microusd: Option<u64>,
    /// Row of the price table, for example `openai/gpt-5.6@2026-07-01`.
    pub price: Option<String>,
    pub attempts: u32,
    /// Attempts of workers that were killed; their tokens and their cost are included.
    pub lost_attempts: u32,
    pub outcome: Outcome,
}

/// What a model was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Chat,
    Embeddings,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

/// What the two kinds of answers have in common.
struct Said<'a> {
    operation: Operation,
    outcome: Outcome,
    model: &'a str,
    /// Whether a provider was asked, as far as the event tells.
    was_asked: bool,
    key: Option<KeyOwner>,
    usage: Usage,
    cost: Option<&'a Cost>,
    attempts: &'a [Attempt],
}

impl UsageRecord {
    /// What a model call used.
    #[must_use]
    pub fn of_response(event: &Event<InferenceResponse>, sequence: u64) -> Self {
        let response = &event.payload;
        let (outcome, answered) = match &response.outcome {
            InferenceOutcome::Completed { usage, .. } => (Outcome::Completed, *usage),
            InferenceOutcome::Failed(_) => (Outcome::Failed, Usage::default()),
            InferenceOutcome::Cancelled => (Outcome::Cancelled, Usage::default()),
        };
        // Attempts say more than the answer: what failed, was lost, or was only a sample.
        let tried = response.attempts.iter().filter_map(|attempt| attempt.usage);
        let said = Said {
            operation: Operation::Chat,
            outcome,
            model: &response.model,
            was_asked: outcome != Outcome::Failed || !response.attempts.is_empty(),
            key: response.key,
            usage: tried.reduce(Usage::plus).unwrap_or(answered),
            cost: response.cost.as_ref(),
            attempts: &response.attempts,
        };
        Self::of(event.id, &event.metadata, event.timestamp, event.correlation_id, sequence, &said)
    }

    /// What an embedding call used.
    #[must_use]
    pub fn of_embedded(event: &Event<EmbedResponse>, sequence: u64) -> Self {
        let response = &event.payload;
        let (outcome, usage) = match &response.outcome {
            EmbedOutcome::Completed { usage, .. } => (Outcome::Completed, *usage),
            EmbedOutcome::Failed(_) => (Outcome::Failed, Usage::default()),
        };
        let said = Said {
            operation: Operation::Embeddings,
            outcome,
            model: &response.model,
            // A failed call names no attempts; a key or a cost is the sign of one.
            was_asked: outcome == Outcome::Completed
                || response.cost.is_some()
                || response.key.is_some(),
            key: response.key,
            usage,
            cost: response.cost.as_ref(),
            attempts: &[],
        };
        Self::of(event.id, &event.metadata, event.timestamp, event.correlation_id, sequence, &said)
    }

    fn of(
        id: Uuid,
        place: &Metadata,
        at: Timestamp,
        run: Uuid,
        sequence: u64,
        said: &Said<'_>,
    ) -> Self {
        let (provider, model) = match said.model.split_once('/') {
            Some((provider, model)) if said.was_asked => (Some(provider), model),
            _ => (None, said.model),
        };
        let lost = |attempt: &&Attempt| attempt.failure.as_deref() == Some(LOST);
        let asked = usize::from(said.was_asked).max(said.attempts.len());
        Self {
            id,
            tenant: place.tenant,
            user: place.user.as_deref().map(storable),
            at,
            sequence: countable(sequence),
            operation: said.operation,
            channel: place.channel.to_string(),
            conversation: place.conversation.to_string(),
            run,
            agent: place.agent.as_deref().map(storable),
            provider: provider.map(storable),
            model: storable(model),
            key_owner: said.key,
            input_tokens: countable(said.usage.input_tokens),
            output_tokens: countable(said.usage.output_tokens),
            cache_read_tokens: countable(said.usage.cache_read_tokens),
            cache_write_tokens: countable(said.usage.cache_write_tokens),
            reasoning_tokens: countable(said.usage.reasoning_tokens),
            is_estimated: said.usage.estimated,
            cost_microusd: said.cost.map(|cost| countable(cost.microusd)),
            price: said.cost.map(|cost| storable(&cost.price)),
            attempts: number(asked),
            lost_attempts: number(said.attempts.iter().filter(lost).count()),
            outcome: said.outcome,
        }
    }

    /// Columns in which this record and another one of the same event differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut found = Vec::new();
        macro_rules! compare {
            ($($field:ident => $column:literal),* $(,)?) => {
                $(if self.$field != other.$field { found.push($column); })*
            };
        }
        compare!(
            id => "id", tenant => "tenant_id", user => "user_id", at => "at",
            sequence => "sequence", operation => "operation", channel => "channel",
            conversation => "conversation", run => "run", agent => "agent_id",
            provider => "provider", model => "model", key_owner => "key_owner",
            input_tokens => "input_tokens", output_tokens => "output_tokens",
            cache_read_tokens => "cache_read_tokens", cache_write_tokens => "cache_write_tokens",
            reasoning_tokens => "reasoning_tokens", is_estimated => "is_estimated",
            cost_microusd => "cost_microusd", price => "price", attempts => "attempts",
            lost_attempts => "lost_attempts", outcome => "outcome",
        );
        found
    }
}

/// PostgreSQL takes every character in a text but NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The largest number that a `bigint` holds, at most.
fn countable(count: u64) -> u64 {
    count.min(i64::MAX.unsigned_abs())
}

/// The largest number that an `integer` holds, at most.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests;
