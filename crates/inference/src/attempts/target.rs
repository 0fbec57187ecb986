//! A model that a call may be put to, ready to be asked.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use nexus_contracts::{AttemptLimits, Effort, Event, InferenceRequest};

use crate::breaker::Line;
use crate::choice::Choice;
use crate::credential::Credential;
use crate::failure::Cause;
use crate::files::Files;
use crate::fit;
use crate::models::Facts;
use crate::providers::{Entry, Providers};
use crate::settings::Patience;

/// Output that is expected where nobody limits it, in tokens.
const USUAL_OUTPUT: u64 = 1000;
/// A model that is to think hard may be silent so many times as long.
const THINKING: u32 = 6;

/// A model with all that it takes to ask it.
pub(crate) struct Target<'r> {
    pub(crate) full_name: String,
    pub(crate) choice: Choice,
    pub(crate) entry: Entry,
    pub(crate) facts: Arc<Facts>,
    pub(crate) credential: Credential,
    pub(crate) line: Line,
    /// As this model takes it.
    pub(crate) request: Cow<'r, InferenceRequest>,
}

/// How long one attempt may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waits {
    pub(crate) patience: Patience,
    /// Until the first piece of the answer, whatever else comes before it.
    pub(crate) first_token: Option<Duration>,
    /// Whether the request is less patient than the settings: what it does not wait for is not
    /// the provider's failure.
    pub(crate) hurried: bool,
}

impl<'r> Target<'r> {
    /// Finds what it takes to ask a model.
    pub(crate) async fn ready(
        providers: &Providers,
        event: &'r Event<InferenceRequest>,
        files: &Files,
        choice: &Choice,
    ) -> Result<Self, Cause> {
        let entry = providers.entry(&choice.provider).ok_or(Cause::Gone)?;
        let facts = providers.facts(&entry, choice);
        let request = fit::fit(&event.payload, files, &facts).map_err(Cause::Unfit)?;
        let credential = match entry.endpoint() {
            Some(endpoint) => {
                let wallet = providers.wallet();
                let found = wallet.credential(&event.metadata, &choice.provider, endpoint).await;
                found.map_err(Cause::Call)?
            }
            None => Credential::default(),
        };
        let own = credential.base_url.as_ref().map(|url| url.as_str().to_owned());
        let base_url = own.or_else(|| entry.endpoint().map(|endpoint| endpoint.base_url.clone()));
        let (provider, model) = (choice.provider.clone(), choice.model.clone());
        let line = Line { provider, base_url: base_url.unwrap_or_default(), model };
        let (full_name, choice) = (choice.full_name(), choice.clone());
        Ok(Self { full_name, choice, entry, facts, credential, line, request })
    }

    /// The provider's name in the table of models.
    pub(crate) fn vendor(&self) -> &str {
        self.entry.vendor(&self.choice.provider)
    }

    /// Tokens that an answer may have.
    pub(crate) fn expected_output(&self) -> u64 {
        self.request.sampling.max_output_tokens.map_or(USUAL_OUTPUT, |most| most.get().into())
    }

    /// How long it may be silent. `others`: whether somebody else could answer instead, who is
    /// asked after `first_token` then, where the provider's settings do not say otherwise.
    pub(crate) fn waits(&self, others: bool, first_token: Duration) -> Waits {
        let explicit = self.entry.endpoint().and_then(|endpoint| endpoint.first_byte_timeout);
        let thinks = matches!(self.request.sampling.reasoning, Some(Effort::Medium | Effort::High));
        let times = if thinks && explicit.is_none() { THINKING } else { 1 };
        let own = others.then(|| explicit.unwrap_or(first_token));
        waits(self.request.limits, self.entry.patience(), own, times)
    }
}

/// Pure part of [`Target::waits`]; `own` is the settings' limit for the first token. The model may
/// think so many `times` as long as the settings say.
fn waits(limits: AttemptLimits, settings: Patience, own: Option<Duration>, times: u32) -> Waits {
    let settings = Patience { first_byte: settings.first_byte * times, ..settings };
    let own = own.map(|own| own * times);
    let asked = limits.first_token_ms.map(Duration::from_millis);
    let idle = limits.idle_ms.map(Duration::from_millis);
    let first_token = match (asked, own) {
        (Some(asked), Some(own)) => Some(asked.min(own)),
        (asked, own) => asked.or(own),
    };
    let patience = Patience {
        first_byte: first_token.map_or(settings.first_byte, |first| first.min(settings.first_byte)),
        idle: idle.map_or(settings.idle, |idle| idle.min(settings.idle)),
    };
    let hurried = asked.is_some_and(|asked| asked < own.unwrap_or(settings.first_byte))
        || idle.is_some_and(|idle| idle < settings.idle);
    Waits { patience, first_token, hurried }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const SETTINGS: Patience = Patience { first_byte: s(15), idle: s(20) };

    #[test]
    fn requests_limits_shorten_and_never_lengthen() {
        let none = AttemptLimits::default();
        let usual = Waits { patience: SETTINGS, first_token: None, hurried: false };
        assert_eq!(waits(none, SETTINGS, None, 1), usual);

        let failover = Waits {
            patience: Patience { first_byte: s(10), idle: s(20) },
            first_token: Some(s(10)),
            hurried: false,
        };
        assert_eq!(waits(none, SETTINGS, Some(s(10)), 1), failover);

        let hasty = AttemptLimits { first_token_ms: Some(3000), idle_ms: Some(2000), ..none };
        let hurried = Waits {
            patience: Patience { first_byte: s(3), idle: s(2) },
            first_token: Some(s(3)),
            hurried: true,
        };
        assert_eq!(waits(hasty, SETTINGS, Some(s(10)), 1), hurried);
        assert_eq!(waits(hasty, SETTINGS, Some(s(10)), THINKING), hurried);

        let slow = AttemptLimits { first_token_ms: Some(60_000), idle_ms: Some(60_000), ..none };
        assert_eq!(
            waits(slow, SETTINGS, None, 1),
            Waits { patience: SETTINGS, first_token: Some(s(60)), hurried: false }
        );
    }

    #[test]
    fn model_that_thinks_may_be_silent_for_longer_before_its_answer_and_no_longer_within() {
        let none = AttemptLimits::default();
        let alone = Waits {
            patience: Patience { first_byte: s(90), idle: s(20) },
            first_token: None,
            hurried: false,
        };
        assert_eq!(waits(none, SETTINGS, None, THINKING), alone);
        let failover = Waits {
            patience: Patience { first_byte: s(60), idle: s(20) },
            first_token: Some(s(60)),
            hurried: false,
        };
        assert_eq!(waits(none, SETTINGS, Some(s(10)), THINKING), failover);
    }
}
