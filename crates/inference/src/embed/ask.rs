//! Asking a provider for vectors, batch by batch.

use std::time::Duration;

use nexus_contracts::Usage;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::gate::Gate;
use super::retry::Tried;
use crate::call::{CallError, Class, EmbedCall, Embedding, Provider};
use crate::failure::Cause;

/// Most texts that a provider is sent at once; some take no more.
const BATCH: usize = 256;
/// Bytes of a token, about, where a provider does not count.
const BYTES_OF_A_TOKEN: usize = 4;

/// Texts for one model of one provider.
pub(super) struct Ask<'a> {
    pub(super) provider: &'a dyn Provider,
    /// The provider's own name of the model.
    pub(super) model: &'a str,
    pub(super) inputs: &'a [String],
    pub(super) dimensions: Option<u32>,
    /// What each request passes.
    pub(super) gate: Gate<'a>,
    /// Spreads the retries of requests that failed together.
    pub(super) id: Uuid,
}

/// What has been used, also where it failed or was cut off.
#[derive(Debug, Default)]
pub(super) struct Spent {
    done: Usage,
    /// Of the request that is being made; the provider may charge for it whatever becomes of it.
    hand: Usage,
}

impl Spent {
    /// All together.
    pub(super) fn total(&self) -> Usage {
        self.done.plus(self.hand)
    }

    /// The request in hand has ended, and this is what it used.
    fn ended(&mut self, used: Usage) {
        self.hand = Usage::default();
        self.done = self.done.plus(used);
    }
}

impl Ask<'_> {
    /// Asks for all texts. May be dropped: what was used by then is in `spent`.
    pub(super) async fn run(&self, spent: &mut Spent) -> Result<Vec<Vec<f32>>, Cause> {
        let mut vectors = Vec::with_capacity(self.inputs.len());
        let mut tried = Tried::default();
        for inputs in self.inputs.chunks(BATCH) {
            vectors.extend(self.batch(inputs, &mut tried, spent).await?);
            check(&vectors).map_err(Cause::Call)?;
        }
        Ok(vectors)
    }

    /// One batch, tried as often as makes sense.
    async fn batch(
        &self,
        inputs: &[String],
        tried: &mut Tried,
        spent: &mut Spent,
    ) -> Result<Vec<Vec<f32>>, Cause> {
        let expected = estimate(inputs);
        let mut said = None;
        loop {
            let pass = match self.gate.enter(expected.input_tokens, self.jitter()).await {
                Ok(pass) => pass,
                // What the provider said says more than why it was not asked again.
                Err(cause) => return Err(said.map_or(cause, Cause::Call)),
            };
            spent.hand = expected;
            let error = match self.once(inputs).await {
                Ok(made) => {
                    let used = made.usage.unwrap_or(expected);
                    spent.ended(used);
                    self.gate.works(pass, used);
                    return Ok(made.vectors);
                }
                Err(error) => error,
            };
            spent.ended(error.usage.unwrap_or_default());
            self.gate.failed(pass, &error).await;
            let pause = tried.pause(&error, self.jitter());
            let in_time = |pause: &Duration| Instant::now() + *pause < self.gate.deadline;
            let Some(pause) = pause.filter(in_time) else {
                return Err(Cause::Call(error));
            };
            let class = error.class.as_str();
            tracing::warn!(class, error = %error.message, pause_ms = pause.as_millis(), "embedding call failed, trying again");
            said = Some(error);
            sleep(pause).await;
        }
    }

    /// One request, with as many vectors as texts.
    async fn once(&self, inputs: &[String]) -> Result<Embedding, CallError> {
        let (model, dimensions) = (self.model, self.dimensions);
        let Gate { credential, patience, deadline, .. } = self.gate;
        let call = EmbedCall { model, inputs, dimensions, credential, patience };
        let made = timeout_at(deadline, self.provider.embed(call)).await;
        let made = made.unwrap_or_else(|_| {
            Err(CallError::new(Class::Timeout, "not all vectors were made in time"))
        })?;
        if made.vectors.len() == inputs.len() {
            return Ok(made);
        }
        let (count, wanted) = (made.vectors.len(), inputs.len());
        let message = format!("it sent {count} vectors for {wanted} texts");
        let usage = Some(made.usage.unwrap_or_else(|| estimate(inputs)));
        Err(CallError { usage, ..CallError::new(Class::Truncated, &message) })
    }

    /// From 0.5 to 1.5, the same for the same request.
    fn jitter(&self) -> f64 {
        0.5 + f64::from(self.id.as_bytes()[15]) / 255.0
    }
}

/// What a batch uses when its provider does not say.
fn estimate(inputs: &[String]) -> Usage {
    let tokens = inputs.iter().map(|text| text.len().div_ceil(BYTES_OF_A_TOKEN)).sum::<usize>();
    Usage { estimated: true, ..Usage::of(u64::try_from(tokens).unwrap_or(u64::MAX), 0) }
}

/// All of one length, and numbers that can be compared.
fn check(vectors: &[Vec<f32>]) -> Result<(), CallError> {
    let length = vectors.first().map_or(0, Vec::len);
    let wrong = |message: &str| Err(CallError::new(Class::Truncated, message));
    if length == 0 || vectors.iter().any(|vector| vector.len() != length) {
        return wrong("its vectors are empty or not all of one length");
    }
    if vectors.iter().flatten().any(|number| !number.is_finite()) {
        return wrong("its vectors hold what is no number");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
