//! Credentials that are not to be used for a while: limited, used up, or refused.

mod news;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::Instant;

pub(crate) use self::news::Shared;

use crate::call::{CallError, Class};
use crate::credential::Credential;

/// How long a limited credential is left alone where the provider does not say.
const LIMITED: Duration = Duration::from_secs(1);
/// How long an account that is used up is left alone.
const USED_UP: Duration = Duration::from_secs(5 * 60);
/// How long a refused key is left alone, unless another one comes in its place.
const REFUSED: Duration = Duration::from_secs(60);
/// Credentials that are kept in mind.
const MAX_KEPT: usize = 4096;

/// Why a credential rests, and until when.
#[derive(Debug, Clone)]
pub(crate) struct Rest {
    pub(crate) class: Class,
    /// What the provider said.
    pub(crate) message: String,
    pub(crate) until: Instant,
    /// Of the key that was refused: another one need not rest.
    key: Option<u64>,
}

/// The credentials that rest, in this process.
#[derive(Debug, Default)]
pub(crate) struct Cooling {
    /// By credential or by its model; of each key, and of all, the longest.
    resting: Mutex<HashMap<String, Vec<Rest>>>,
    /// Its secret never leaves this process, so a hash under it tells nothing about a key.
    hasher: RandomState,
}

impl Cooling {
    /// Lets a credential rest after this failure, where that helps; for how long, when others who
    /// use it have to rest as well.
    pub(crate) fn note(
        &self,
        credential: &Credential,
        model: &str,
        error: &CallError,
    ) -> Option<Duration> {
        let (id, rest) = match (error.class, error.retry_after) {
            (Class::RateLimited, hint) => (credential.id.clone(), hint.unwrap_or(LIMITED)),
            (Class::QuotaExhausted, _) => (credential.id.clone(), USED_UP),
            (Class::Auth, _) if error.refuses_the_key() => (credential.id.clone(), REFUSED),
            (Class::Auth, _) => (of_model(credential, model), REFUSED),
            (
                Class::Overloaded
                | Class::Timeout
                | Class::Transport
                | Class::Truncated
                | Class::NoKey
                | Class::Invalid
                | Class::ContextLength
                | Class::ContentFilter,
                _,
            ) => return None,
        };
        let key = (error.class == Class::Auth).then(|| self.fingerprint(credential)).flatten();
        let (message, until) = (error.message.clone(), Instant::now() + rest);
        self.put(id, Rest { class: error.class, message, until, key });
        (error.class == Class::RateLimited).then_some(rest)
    }

    /// Lets a credential rest that somebody else found to be limited.
    pub(crate) fn limited(&self, id: &str, rest: Duration) {
        let message = "another worker was told so".to_owned();
        let until = Instant::now() + rest;
        self.put(id.to_owned(), Rest { class: Class::RateLimited, message, until, key: None });
    }

    /// Why a credential may not be used for a model now.
    pub(crate) fn rest(&self, credential: &Credential, model: &str) -> Option<Rest> {
        let resting = self.lock();
        if resting.is_empty() {
            return None;
        }
        let now = Instant::now();
        let holds = |rest: &&Rest| {
            rest.until > now && (rest.key.is_none() || rest.key == self.fingerprint(credential))
        };
        let longest =
            |id: &str| resting.get(id)?.iter().filter(holds).max_by_key(|rest| rest.until).cloned();
        longest(&credential.id).or_else(|| longest(&of_model(credential, model)))
    }

    fn put(&self, id: String, rest: Rest) {
        let mut resting = self.lock();
        let now = Instant::now();
        if resting.len() >= MAX_KEPT {
            resting.retain(|_, rests| rests.iter().any(|rest| rest.until > now));
        }
        let rests = resting.entry(id).or_default();
        rests.retain(|known| known.until > now);
        match rests.iter_mut().find(|known| known.key == rest.key) {
            // An account that is used up stays so, whatever shorter news come after it.
            Some(known) if known.until >= rest.until => {}
            Some(known) => *known = rest,
            None => rests.push(rest),
        }
    }

    fn fingerprint(&self, credential: &Credential) -> Option<u64> {
        let secret = credential.secret.as_ref()?;
        Some(self.hasher.hash_one(secret.expose_secret()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Rest>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ids hold no line ends.
fn of_model(credential: &Credential, model: &str) -> String {
    format!("{}\n{model}", credential.id)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn credential(secret: &str) -> Credential {
        let secret = Some(SecretString::from(secret.to_owned()));
        Credential { secret, id: "operator.p".to_owned(), ..Credential::default() }
    }

    fn error(class: Class, status: u16) -> CallError {
        CallError { status: Some(status), ..CallError::new(class, "no") }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_key_rests_until_another_takes_its_place() {
        let (cooling, key) = (Cooling::default(), credential("sk-1"));
        cooling.note(&key, "m", &error(Class::Auth, 401));
        assert!(cooling.rest(&key, "other").is_some_and(|rest| rest.class == Class::Auth));
        assert!(cooling.rest(&credential("sk-2"), "m").is_none());
        tokio::time::advance(REFUSED).await;
        assert!(cooling.rest(&key, "m").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn shorter_rest_ends_no_longer_one() {
        let (cooling, key) = (Cooling::default(), credential("sk-1"));
        cooling.note(&key, "m", &error(Class::QuotaExhausted, 429));
        cooling.note(&key, "m", &error(Class::RateLimited, 429));
        cooling.limited(&key.id, Duration::from_secs(9));
        let rest = cooling.rest(&key, "m").map(|rest| (rest.class, rest.message, rest.until));
        let until = Instant::now() + USED_UP;
        assert_eq!(rest, Some((Class::QuotaExhausted, "no".to_owned(), until)));
        cooling.limited(&key.id, USED_UP * 2);
        assert!(cooling.rest(&key, "m").is_some_and(|rest| rest.class == Class::RateLimited));
    }

    #[tokio::test(start_paused = true)]
    async fn rest_of_a_refused_key_hides_no_other() {
        let (cooling, old, new) = (Cooling::default(), credential("sk-1"), credential("sk-2"));
        cooling.note(&old, "m", &error(Class::Auth, 401));
        cooling.note(&new, "m", &error(Class::RateLimited, 429));
        assert!(cooling.rest(&new, "m").is_some_and(|rest| rest.class == Class::RateLimited));
        assert!(cooling.rest(&old, "m").is_some_and(|rest| rest.class == Class::Auth));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_key_may_not_do_concerns_one_model() {
        let (cooling, key) = (Cooling::default(), credential("sk-1"));
        cooling.note(&key, "m", &error(Class::Auth, 403));
        assert!(cooling.rest(&key, "m").is_some() && cooling.rest(&key, "n").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn only_limits_quotas_and_refusals_make_a_key_rest() {
        let key = credential("sk-1");
        for (class, rests) in [
            (Class::RateLimited, true),
            (Class::QuotaExhausted, true),
            (Class::Auth, true),
            (Class::Overloaded, false),
            (Class::Timeout, false),
            (Class::Transport, false),
            (Class::Truncated, false),
            (Class::NoKey, false),
            (Class::Invalid, false),
            (Class::ContextLength, false),
            (Class::ContentFilter, false),
        ] {
            let cooling = Cooling::default();
            cooling.note(&key, "m", &error(class, 429));
            assert_eq!(cooling.rest(&key, "m").is_some(), rests, "{class:?}");
        }
    }
}
