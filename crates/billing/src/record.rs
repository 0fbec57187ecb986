//! What one model call used, and from whom: follows from its event alone. Pure.

use nexus_contracts::{
    Attempt, EmbedOutcome, EmbedResponse, Event, InferenceOutcome, InferenceResponse, KeyOwner,
    Metadata, TenantId, Timestamp, Usage, derived_id,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Class of the attempts of workers that were killed.
const LOST: &str = "lost";

/// What one model call used and cost at one price of one model with one key: a row of
/// `billing.usage_records`, field by column. A call has one of them, and more where other models,
/// keys or prices were tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// [`Self::response`] in the record of what answered, or was asked last; derived from it in the
    /// call's other records.
    pub id: Uuid,
    /// Of the `inference.response` or `inference.embedded`.
    pub response: Uuid,
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
    /// Tokens of all these attempts, cached ones included.
    pub input_tokens: u64,
    /// Tokens of all these attempts, reasoning included.
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub reasoning_tokens: u64,
    /// A provider did not say all of it.
    pub is_estimated: bool,
    /// Millionths of a US dollar, as the response says, all these attempts included; `None` when
    /// nobody knows the price.
    pub cost_microusd: Option<u64>,
    /// Row of the price table, for example `openai/gpt-5.6@2026-07-01`.
    pub price: Option<String>,
    /// Requests to the provider.
    pub attempts: u32,
    /// Of the attempts: of workers that were killed; their tokens and their cost are included.
    pub lost_attempts: u32,
    /// Of the call.
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

/// What the records of a call have in common.
struct Call<'a> {
    id: Uuid,
    place: &'a Metadata,
    at: Timestamp,
    run: Uuid,
    sequence: u64,
    operation: Operation,
    outcome: Outcome,
}

impl<'a> Call<'a> {
    fn of<P>(event: &'a Event<P>, sequence: u64, operation: Operation, outcome: Outcome) -> Self {
        Self {
            id: event.id,
            place: &event.metadata,
            at: event.timestamp,
            run: event.correlation_id,
            sequence,
            operation,
            outcome,
        }
    }
}

/// What was used at one price of one model with one key.
#[derive(Default)]
struct Share<'a> {
    /// `provider/model`.
    model: &'a str,
    /// Whether a provider was asked, as far as the event tells.
    was_asked: bool,
    key: Option<KeyOwner>,
    usage: Option<Usage>,
    cost: Option<u64>,
    price: Option<&'a str>,
    attempts: usize,
    lost: usize,
}

impl<'a> Share<'a> {
    /// Whether an attempt used something at this price, or nothing and so at any.
    fn takes(&self, attempt: &Attempt) -> bool {
        let price = attempt.cost.as_ref().map(|cost| cost.price.as_str());
        self.model == attempt.model
            && self.key == attempt.key
            && (attempt.usage.is_none() && price.is_none() || self.price == price)
    }

    fn of(attempt: &'a Attempt) -> Self {
        let price = attempt.cost.as_ref().map(|cost| cost.price.as_str());
        let (model, key) = (attempt.model.as_str(), attempt.key);
        Self { model, was_asked: true, key, price, ..Self::default() }
    }

    fn add(&mut self, attempt: &Attempt) {
        let both = |sum: Option<Usage>, more| sum.map_or(more, |sum| sum.plus(more));
        self.usage = attempt.usage.map(|usage| both(self.usage, usage)).or(self.usage);
        let cost = attempt.cost.as_ref().map(|cost| cost.microusd);
        self.cost = cost.map(|cost| self.cost.unwrap_or(0).saturating_add(cost)).or(self.cost);
        self.attempts += 1;
        self.lost += usize::from(attempt.failure.as_deref() == Some(LOST));
    }

    /// Id of its record beside that of what answered.
    fn id(&self, call: Uuid) -> Uuid {
        let key = self.key.map_or("none", KeyOwner::as_str);
        let price = self.price.map_or_else(|| "none".to_owned(), |price| format!("row {price}"));
        derived_id(derived_id(derived_id(call, self.model), key), &price)
    }
}

/// The shares of a call's attempts; that of what answered, or was asked last, is the first.
fn shares(response: &InferenceResponse) -> Vec<Share<'_>> {
    let asked = || response.attempts.iter().filter(|attempt| attempt.asked);
    let (used, unused): (Vec<_>, Vec<_>) =
        asked().partition(|attempt| attempt.usage.is_some() || attempt.cost.is_some());
    let mut shares: Vec<Share<'_>> = Vec::new();
    for attempt in used.into_iter().chain(unused) {
        match shares.iter_mut().find(|share| share.takes(attempt)) {
            Some(share) => share.add(attempt),
            None => {
                let mut share = Share::of(attempt);
                share.add(attempt);
                shares.push(share);
            }
        }
    }
    let said = |attempt: &&Attempt| attempt.model == response.model;
    let last = asked()
        .rfind(|attempt| attempt.failure.is_none() && said(attempt))
        .or_else(|| asked().rfind(said))
        .or_else(|| asked().next_back());
    let first = last.and_then(|last| shares.iter().position(|share| share.takes(last)));
    if let Some(found) = shares.get_mut(..=first.unwrap_or(0)) {
        found.rotate_right(1);
    }
    shares
}

impl UsageRecord {
    /// What a model call used; what answered, or was asked last, comes first.
    #[must_use]
    pub fn of_response(event: &Event<InferenceResponse>, sequence: u64) -> Vec<Self> {
        let response = &event.payload;
        let (outcome, answered) = match &response.outcome {
            InferenceOutcome::Completed { usage, .. } => (Outcome::Completed, Some(*usage)),
            InferenceOutcome::Failed(_) => (Outcome::Failed, None),
            InferenceOutcome::Cancelled => (Outcome::Cancelled, None),
        };
        let mut shares = shares(response);
        if shares.is_empty() {
            let (model, key) = (response.model.as_str(), response.key);
            let was_asked = outcome == Outcome::Completed;
            let attempts = usize::from(was_asked);
            shares.push(Share { model, was_asked, key, attempts, ..Share::default() });
        }
        // Attempts say more than the answer: what failed, was lost, or was only a sample.
        let is_said = (
            shares.iter().any(|share| share.usage.is_some()),
            shares.iter().any(|share| share.cost.is_some()),
        );
        if let Some(first) = shares.first_mut() {
            if !is_said.0 {
                first.usage = answered;
            }
            if let (false, Some(cost)) = (is_said.1, &response.cost) {
                (first.cost, first.price) = (Some(cost.microusd), Some(cost.price.as_str()));
            }
        }
        let call = Call::of(event, sequence, Operation::Chat, outcome);
        let records = shares.iter().enumerate().map(|(index, share)| {
            let id = if index == 0 { event.id } else { share.id(event.id) };
            Self::of(id, &call, share)
        });
        records.collect()
    }

    /// What an embedding call used.
    #[must_use]
    pub fn of_embedded(event: &Event<EmbedResponse>, sequence: u64) -> Self {
        let response = &event.payload;
        let (outcome, usage) = match &response.outcome {
            EmbedOutcome::Completed { usage, .. } => (Outcome::Completed, Some(*usage)),
            EmbedOutcome::Failed(_) => (Outcome::Failed, None),
        };
        // A failed call names no attempts; a key or a cost is the sign of one.
        let was_asked =
            outcome == Outcome::Completed || response.cost.is_some() || response.key.is_some();
        let share = Share {
            model: &response.model,
            was_asked,
            key: response.key,
            usage,
            cost: response.cost.as_ref().map(|cost| cost.microusd),
            price: response.cost.as_ref().map(|cost| cost.price.as_str()),
            attempts: usize::from(was_asked),
            lost: 0,
        };
        let call = Call::of(event, sequence, Operation::Embeddings, outcome);
        Self::of(event.id, &call, &share)
    }

    fn of(id: Uuid, call: &Call<'_>, share: &Share<'_>) -> Self {
        let (provider, model) = match share.model.split_once('/') {
            Some((provider, model)) if share.was_asked => (Some(provider), model),
            _ => (None, share.model),
        };
        let usage = share.usage.unwrap_or_default();
        Self {
            id,
            response: call.id,
            tenant: call.place.tenant,
            user: call.place.user.as_deref().map(storable),
            at: call.at,
            sequence: countable(call.sequence),
            operation: call.operation,
            channel: call.place.channel.to_string(),
            conversation: call.place.conversation.to_string(),
            run: call.run,
            agent: call.place.agent.as_deref().map(storable),
            provider: provider.map(storable),
            model: storable(model),
            key_owner: share.key,
            input_tokens: countable(usage.input_tokens),
            output_tokens: countable(usage.output_tokens),
            cache_read_tokens: countable(usage.cache_read_tokens),
            cache_write_tokens: countable(usage.cache_write_tokens),
            reasoning_tokens: countable(usage.reasoning_tokens),
            is_estimated: usage.estimated,
            cost_microusd: share.cost.map(countable),
            price: share.price.map(storable),
            attempts: number(share.attempts),
            lost_attempts: number(share.lost),
            outcome: call.outcome,
        }
    }

    /// Whether it is the record by which its call is counted.
    pub(crate) fn counts(&self) -> bool {
        self.id == self.response
    }

    /// Columns in which this record and another one of the same id differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let mut found = Vec::new();
        macro_rules! compare {
            ($($field:ident => $column:literal),* $(,)?) => {
                $(if self.$field != other.$field { found.push($column); })*
            };
        }
        compare!(
            id => "id", response => "response", tenant => "tenant_id", user => "user_id", at => "at",
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
