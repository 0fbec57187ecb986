//! What stands before each request for vectors, as before each attempt of a model call: whether
//! its key rests, whether the key's limits leave room, and whether the model is left alone.

use std::time::Duration;

use nexus_contracts::Usage;
use tokio::time::{Instant, sleep_until};

use crate::attempts::{Waits, verdict};
use crate::breaker::{Breakers, Line, Permit, Verdict};
use crate::call::{CallError, Class};
use crate::cooling::{Cooling, Shared};
use crate::credential::Credential;
use crate::failure::Cause;
use crate::limits::{Grant, Pools};
use crate::settings::{Patience, RateLimits};

/// The way to one model with one key.
pub(super) struct Gate<'a> {
    pub(super) line: Line,
    pub(super) credential: &'a Credential,
    pub(super) cooling: &'a Cooling,
    pub(super) breakers: &'a Breakers,
    /// `None` for the demo, which has no key.
    /// Its name in metrics.
    pub(super) label: String,
    pub(super) key: Option<Key<'a>>,
    pub(super) patience: Patience,
    pub(super) deadline: Instant,
}

/// What all workers share of a key.
pub(super) struct Key<'a> {
    pub(super) limits: RateLimits,
    pub(super) pools: &'a Pools,
    pub(super) others: &'a Shared,
}

/// Leave for one request.
pub(super) struct Pass<'a> {
    grant: Grant,
    permit: Permit<'a>,
}

impl Gate<'_> {
    /// Waits for leave for a request of about so many tokens. `jitter` is from 0.5 to 1.5.
    pub(super) async fn enter(&self, tokens: u64, jitter: f64) -> Result<Pass<'_>, Cause> {
        self.rested(jitter).await?;
        // Before a request is counted that would not be made.
        if let Some(again) = self.breakers.look(&self.line) {
            return Err(Cause::Open { again });
        }
        let grant = self.leave(tokens).await?;
        match self.breakers.admit(self.line.clone(), &self.label) {
            Ok(permit) => Ok(Pass { grant, permit }),
            Err(again) => {
                grant.give_back();
                Err(Cause::Open { again })
            }
        }
    }

    /// The request was answered.
    pub(super) fn works(&self, pass: Pass<'_>, used: Usage) {
        pass.permit.settle(Verdict::Works);
        pass.grant.settle(sum(used));
    }

    /// It was not: draws the consequences for those who come next.
    pub(super) async fn failed(&self, pass: Pass<'_>, error: &CallError) {
        let Pass { grant, permit } = pass;
        let waits = Waits { patience: self.patience, first_token: None, hurried: false };
        permit.settle(verdict(error, waits, self.deadline));
        if let Some(used) = error.usage {
            grant.settle(sum(used));
        }
        drop(grant);
        let rest = self.cooling.note(self.credential, &self.line.model, error);
        if let (Some(rest), Some(key)) = (rest, &self.key) {
            key.others.tell(&self.credential.id, rest).await;
        }
    }

    /// Waits while the key is limited; what takes longer than a pause is not waited for.
    async fn rested(&self, jitter: f64) -> Result<(), Cause> {
        while let Some(rest) = self.cooling.rest(self.credential, &self.line.model) {
            let again = rest.until.saturating_duration_since(Instant::now());
            let until = rest.until + Duration::from_millis(100).mul_f64(jitter);
            if rest.class != Class::RateLimited || until >= self.deadline {
                return Err(Cause::resting(&rest, again));
            }
            sleep_until(until).await;
        }
        Ok(())
    }

    async fn leave(&self, tokens: u64) -> Result<Grant, Cause> {
        let Some(key) = self.key.as_ref().filter(|key| key.limits != RateLimits::default()) else {
            return Ok(Grant::default());
        };
        let asked = Instant::now();
        let left = self.deadline.saturating_duration_since(asked);
        let granted = key.pools.admit(&self.credential.id, key.limits, tokens, left).await;
        let provider = self.line.provider.clone();
        metrics::histogram!("nexus_inference_ratelimit_wait_seconds", "provider" => provider)
            .record(asked.elapsed().as_secs_f64());
        granted.map_err(|again| {
            let message = "its limit in our own settings is used up".to_owned();
            Cause::Resting { class: Class::RateLimited, message, again }
        })
    }
}

fn sum(used: Usage) -> u64 {
    used.input_tokens.saturating_add(used.output_tokens)
}
