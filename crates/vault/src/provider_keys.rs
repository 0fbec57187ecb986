//! What people do with the keys of model providers: add, test, list, remove.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nexus_bus::{Bucket, Bus, Catalog, Chain};
use nexus_contracts::{KeyOwner, TenantId, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::check::{Answer, Question, SUBJECT};
use crate::error::Error;
use crate::owner::Owner;
use crate::rows::{Summary, TestResult};
use crate::vault::{NewCredential, Vault};

/// What the services of model providers begin with.
const LLM: &str = "llm_";
/// End of the service under which a key lies while it is tested; the one in use stays meanwhile.
const CANDIDATE: &str = ".candidate";
/// A candidate that somebody forgot is void after this time, in microseconds.
const CANDIDATE_MICROS: i64 = 5 * 60 * 1_000_000;
/// Longest wait for a provider's word.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most bytes of a key: those of all providers are far shorter.
const MAX_KEY: usize = 4096;

/// The service under which a provider's key lies.
#[must_use]
pub fn llm_service(provider: &str) -> String {
    format!("{LLM}{provider}")
}

/// What is read here of a provider's settings; the rest is of no concern.
#[derive(Debug, Clone, Deserialize)]
struct Known {
    /// Without one, it is asked without a key.
    #[serde(default)]
    api_key_env: Option<String>,
    #[serde(default)]
    key_prefix: Option<String>,
}

/// A key that somebody gives.
pub struct NewKey<'a> {
    pub secret: SecretString,
    /// The owner's own endpoint, where it is another than the provider's.
    pub base_url: Option<&'a str>,
    /// Whether it is taken without the provider having seen it.
    pub untested: bool,
}

impl fmt::Debug for NewKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// A provider's key as people see it: never the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    pub provider: String,
    #[serde(flatten)]
    pub key: Summary,
}

/// Why a key is not taken, or not tested.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    #[error("there is no provider {provider:?}; there are: {known}")]
    UnknownProvider { provider: String, known: String },
    #[error("{provider} takes no keys; it can be asked without one")]
    TakesNone { provider: String },
    #[error("a key of the wrong shape: {reason}")]
    Shape { reason: String },
    #[error("the address cannot be used: {0}")]
    Address(String),
    #[error("{provider} does not take this key ({said}); {then}")]
    NotAccepted { provider: String, said: String, then: &'static str },
    #[error("the key could not be tested ({why}); {then}")]
    Untestable { why: String, then: &'static str },
    #[error("there is no key for {provider} here")]
    None { provider: String },
    #[error(transparent)]
    Vault(#[from] Error),
}

/// The keys of model providers that people bring. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProviderKeys {
    vault: Vault,
    bus: Bus,
    providers: Catalog<Known>,
    now: fn() -> Timestamp,
}

impl ProviderKeys {
    /// Follows the providers' settings until `stop`.
    ///
    /// # Errors
    /// [`Error::Bus`] when the bus has not been set up.
    pub async fn open(
        bus: &Bus,
        vault: Vault,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let providers = Catalog::follow(bus, Bucket::Config, "provider", stop).await;
        let providers = providers.map_err(Error::Bus)?;
        Ok(Self { vault, bus: bus.clone(), providers, now })
    }

    /// Takes a key: checks its shape and address, has its provider asked, and puts it in the place
    /// of the one before, which stays in use until then.
    ///
    /// # Errors
    /// [`KeyRefused`]; nothing is changed then, but with [`Error::Untold`].
    pub async fn add(
        &self,
        owner: &Owner,
        provider: &str,
        key: NewKey<'_>,
    ) -> Result<Status, KeyRefused> {
        let known = self.known(provider)?;
        check_shape(provider, key.secret.expose_secret(), &known)?;
        let base_url = match key.base_url {
            Some(text) => Some(self.address(text).await?),
            None => None,
        };
        let mut new =
            NewCredential { secret: key.secret, base_url, scopes: Vec::new(), expires_at: None };
        let service = llm_service(provider);
        let accepted =
            if key.untested { None } else { Some(self.try_out(owner, provider, &mut new).await?) };
        let stored = self.vault.put(owner, &service, &new).await?;
        if let Some(result) = accepted {
            self.vault.tested(owner.tenant, stored.id, &result).await?;
        }
        let listed = self.list(owner).await?;
        let key = listed.into_iter().find(|status| status.key.id == stored.id);
        Ok(key.unwrap_or_else(|| Status { provider: provider.to_owned(), key: stored }))
    }

    /// Has the provider asked whether it takes the key that lies here, and notes what it said.
    ///
    /// # Errors
    /// [`KeyRefused::NotAccepted`], [`KeyRefused::Untestable`], [`KeyRefused::None`].
    pub async fn test(&self, owner: &Owner, provider: &str) -> Result<Status, KeyRefused> {
        self.known(provider)?;
        let none = || KeyRefused::None { provider: provider.to_owned() };
        let before = self.status(owner, provider).await?.ok_or_else(none)?;
        let answer = self.ask(owner, provider, llm_service(provider)).await;
        let result = match &answer {
            Ok(Answer::Accepted { .. }) => "ok",
            Ok(Answer::Failed { class, .. }) => class,
            Err(_) => "unavailable",
        };
        let result = TestResult(result.to_owned());
        self.vault.tested(owner.tenant, before.key.id, &result).await?;
        judge(provider, answer, &STAYS)?;
        self.status(owner, provider).await?.ok_or_else(none)
    }

    /// The keys that are used for an owner: the tenant's own, or a user's and the tenant's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list(&self, owner: &Owner) -> Result<Vec<Status>, Error> {
        let all = self.vault.list(owner.tenant, owner.user.as_deref()).await?;
        let shown =
            all.into_iter().filter(|key| owner.user.is_some() || key.owner == KeyOwner::Tenant);
        Ok(shown.filter_map(of_provider).collect())
    }

    /// All keys of a tenant and its users.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list_all(&self, tenant: TenantId) -> Result<Vec<Status>, Error> {
        Ok(self.vault.list(tenant, None).await?.into_iter().filter_map(of_provider).collect())
    }

    /// One owner's own key for a provider.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn status(&self, owner: &Owner, provider: &str) -> Result<Option<Status>, Error> {
        let listed = self.list(owner).await?;
        let own = |status: &Status| status.provider == provider && status.key.user == owner.user;
        Ok(listed.into_iter().find(own))
    }

    /// Takes a key away; the next call of any worker is made without it.
    ///
    /// # Errors
    /// [`KeyRefused::None`] when there is none.
    pub async fn remove(&self, owner: &Owner, provider: &str) -> Result<(), KeyRefused> {
        let removed = self.vault.remove(owner, &llm_service(provider)).await?;
        removed.then_some(()).ok_or_else(|| KeyRefused::None { provider: provider.to_owned() })
    }

    /// Puts a key aside, has it tested there, and takes it away again.
    async fn try_out(
        &self,
        owner: &Owner,
        provider: &str,
        new: &mut NewCredential,
    ) -> Result<TestResult, KeyRefused> {
        self.vault.remove_expired(owner.tenant, CANDIDATE).await?;
        let service = self.candidate(provider)?;
        let until = (self.now)().as_micros().saturating_add(CANDIDATE_MICROS);
        new.expires_at = Some(Timestamp::from_micros(until));
        self.vault.put(owner, &service, new).await?;
        new.expires_at = None;
        let answer = self.ask(owner, provider, service.clone()).await;
        if let Err(error) = self.vault.remove(owner, &service).await {
            tracing::warn!(error = %Chain(&error), "a tested key stays aside until it expires");
        }
        judge(provider, answer, &UNCHANGED)?;
        Ok(TestResult("ok".to_owned()))
    }

    /// A name that nobody else has: who adds a key at the same time must not test this one.
    fn candidate(&self, provider: &str) -> Result<String, Error> {
        let mut apart = [0; 8];
        (self.vault.inner.sources.fill)(&mut apart)?;
        let apart = u64::from_be_bytes(apart);
        Ok(format!("{}.{apart:016x}{CANDIDATE}", llm_service(provider)))
    }

    /// Asks the inference worker: it alone speaks to providers, and finds the key in the vault.
    async fn ask(
        &self,
        owner: &Owner,
        provider: &str,
        service: String,
    ) -> Result<Answer, nexus_bus::Error> {
        let question = Question { owner: owner.clone(), service, provider: provider.to_owned() };
        self.bus.ask(SUBJECT, &question, PATIENCE).await
    }

    async fn address(&self, text: &str) -> Result<Url, KeyRefused> {
        let url = Url::parse(text)
            .map_err(|error| KeyRefused::Address(format!("it is no whole address: {error}")))?;
        let checked = self.vault.guard().check_now(&url).await;
        checked.map_err(|refused| KeyRefused::Address(refused.to_string()))?;
        Ok(url)
    }

    fn known(&self, provider: &str) -> Result<Known, KeyRefused> {
        let entries = self.providers.entries();
        let Some(known) = entries.get(provider) else {
            return Err(KeyRefused::UnknownProvider {
                provider: provider.chars().take(64).collect(),
                known: names(&entries),
            });
        };
        if known.api_key_env.is_none() {
            return Err(KeyRefused::TakesNone { provider: provider.to_owned() });
        }
        Ok(known.clone())
    }
}

/// What follows from a test that went wrong.
struct Follows {
    not_accepted: &'static str,
    untestable: &'static str,
}

/// For a key that was to be added.
const UNCHANGED: Follows = Follows {
    not_accepted: "nothing was changed",
    untestable: "nothing was changed; try again, or add it without the test",
};
/// For a key that is kept.
const STAYS: Follows = Follows {
    not_accepted: "it stays until it is replaced or removed",
    untestable: "it stays as it is; try again",
};

fn judge(
    provider: &str,
    answer: Result<Answer, nexus_bus::Error>,
    follows: &Follows,
) -> Result<(), KeyRefused> {
    let untestable = |why| KeyRefused::Untestable { why, then: follows.untestable };
    match answer {
        Ok(Answer::Accepted { .. }) => Ok(()),
        Ok(Answer::Failed { class, message }) if class == "auth" => Err(KeyRefused::NotAccepted {
            provider: provider.to_owned(),
            said: message,
            then: follows.not_accepted,
        }),
        Ok(Answer::Failed { class, message }) => Err(untestable(format!("{class}: {message}"))),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "no inference worker tests keys");
            Err(untestable("no inference worker answers".to_owned()))
        }
    }
}

/// Providers that want a key.
fn names(entries: &BTreeMap<String, Known>) -> String {
    let wanting = entries.iter().filter(|(_, known)| known.api_key_env.is_some());
    wanting.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn of_provider(key: Summary) -> Option<Status> {
    let provider = key.service.strip_prefix(LLM)?;
    if provider.ends_with(CANDIDATE) {
        return None;
    }
    Some(Status { provider: provider.to_owned(), key })
}

/// Whether a key can be one at all; the reason never repeats it.
fn check_shape(provider: &str, key: &str, known: &Known) -> Result<(), KeyRefused> {
    let wrong = |reason: String| Err(KeyRefused::Shape { reason });
    if key.is_empty() {
        return wrong("it is empty".to_owned());
    }
    if key.len() > MAX_KEY {
        return wrong(format!("it is longer than {MAX_KEY} bytes"));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("it holds spaces or characters that no key has".to_owned());
    }
    match &known.key_prefix {
        Some(prefix) if !key.starts_with(prefix.as_str()) => {
            wrong(format!("keys of {provider} begin with {prefix}"))
        }
        Some(prefix) if key.len() == prefix.len() => wrong(format!("nothing follows {prefix}")),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(key: &str, prefix: Option<&str>) -> Option<String> {
        let known = Known { api_key_env: None, key_prefix: prefix.map(str::to_owned) };
        check_shape("anthropic", key, &known).err().map(|refused| refused.to_string())
    }

    #[test]
    fn a_key_of_the_wrong_shape_is_refused_without_being_repeated() {
        let wrong = |reason: &str| Some(format!("a key of the wrong shape: {reason}"));
        for (key, expected) in [
            ("sk-ant-0123", None),
            ("sk-proj-0123", wrong("keys of anthropic begin with sk-ant-")),
            ("sk-ant-", wrong("nothing follows sk-ant-")),
            ("", wrong("it is empty")),
            ("sk-ant-01 23", wrong("it holds spaces or characters that no key has")),
            ("sk-ant-01\n", wrong("it holds spaces or characters that no key has")),
            ("sk-ant-ü", wrong("it holds spaces or characters that no key has")),
        ] {
            assert_eq!(shape(key, Some("sk-ant-")), expected, "{key:?}");
        }
        assert_eq!(shape("anything", None), None);
        assert_eq!(shape(&"x".repeat(5000), None), wrong("it is longer than 4096 bytes"));
    }
}
