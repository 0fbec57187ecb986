//! Asking a provider for vectors, batch by batch.

use nexus_contracts::Usage;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::retry::Tried;
use crate::call::{CallError, Class, EmbedCall, Embedding, Provider};
use crate::credential::Credential;
use crate::settings::Patience;

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
    pub(super) credential: &'a Credential,
    pub(super) patience: Patience,
    pub(super) deadline: Instant,
    /// Spreads the retries of requests that failed together.
    pub(super) id: Uuid,
}

/// What came of it; what was used counts also where it failed.
pub(super) struct Asked {
    pub(super) vectors: Result<Vec<Vec<f32>>, CallError>,
    pub(super) usage: Usage,
}

impl Ask<'_> {
    /// Asks for all texts.
    pub(super) async fn run(&self) -> Asked {
        let (mut vectors, mut usage) = (Vec::with_capacity(self.inputs.len()), Usage::default());
        let mut tried = Tried::default();
        for inputs in self.inputs.chunks(BATCH) {
            let made = match self.batch(inputs, &mut tried, &mut usage).await {
                Ok(made) => made,
                Err(error) => return Asked { vectors: Err(error), usage },
            };
            usage = usage.plus(made.usage.unwrap_or_else(|| estimate(inputs)));
            vectors.extend(made.vectors);
            if let Err(error) = check(&vectors) {
                return Asked { vectors: Err(error), usage };
            }
        }
        Asked { vectors: Ok(vectors), usage }
    }

    /// One batch, tried as often as makes sense.
    async fn batch(
        &self,
        inputs: &[String],
        tried: &mut Tried,
        usage: &mut Usage,
    ) -> Result<Embedding, CallError> {
        let (model, dimensions, credential) = (self.model, self.dimensions, self.credential);
        let call = EmbedCall { model, inputs, dimensions, credential, patience: self.patience };
        loop {
            let made = timeout_at(self.deadline, self.provider.embed(call)).await;
            let made = made.unwrap_or_else(|_| {
                Err(CallError::new(Class::Timeout, "not all vectors were made in time"))
            });
            let error = match made {
                Ok(made) if made.vectors.len() == inputs.len() => return Ok(made),
                Ok(made) => {
                    let (count, wanted) = (made.vectors.len(), inputs.len());
                    let message = format!("it sent {count} vectors for {wanted} texts");
                    let used = Some(made.usage.unwrap_or_else(|| estimate(inputs)));
                    CallError { usage: used, ..CallError::new(Class::Truncated, &message) }
                }
                Err(error) => error,
            };
            *usage = usage.plus(error.usage.unwrap_or_default());
            let pause = tried.pause(&error, self.jitter());
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < self.deadline) else {
                return Err(error);
            };
            let class = error.class.as_str();
            tracing::warn!(class, error = %error.message, pause_ms = pause.as_millis(), "embedding call failed, trying again");
            sleep(pause).await;
        }
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
