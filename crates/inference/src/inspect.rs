//! What there is to know of providers for whoever runs an installation.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use nexus_contracts::KeyOwner;
use secrecy::SecretString;
use serde::Serialize;

use crate::credential::Credential;
use crate::http::Clients;
use crate::providers::Providers;
use crate::settings::{Endpoint, Patience, ProviderSettings};
use crate::{Error, Secrets, http};

/// A provider, as far as it can be seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderStatus {
    pub name: String,
    /// Its protocol, as in the settings.
    pub kind: &'static str,
    /// Host and port, or what stands for them.
    pub place: String,
    /// On this machine.
    pub local: bool,
    pub key: KeyStatus,
    #[serde(flatten)]
    pub answer: Answer,
    /// The models that its settings offer, the usual one first.
    pub offered: Vec<String>,
}

/// Whether the operator's key is there. Says nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    NotNeeded,
    /// Name of the secret.
    Set(String),
    /// Name of the secret.
    Missing(String),
}

/// What came of asking it for its models, which costs nothing and shows whether a key is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    Listed {
        models: Vec<String>,
        /// Offered by the settings, and not in its list.
        not_listed: Vec<String>,
    },
    Failed {
        /// Bounded, for example `transport`.
        class: &'static str,
        message: String,
    },
    /// There is no key to ask it with.
    NotAsked,
    /// It cannot be asked at all, by these settings.
    Misconfigured { reason: String },
}

/// Asks all of these providers for their models, at once.
///
/// # Errors
/// [`Error::Client`] when there can be no HTTP client.
pub async fn inspect(
    providers: &BTreeMap<String, ProviderSettings>,
    secrets: &Secrets,
) -> Result<Vec<ProviderStatus>, Error> {
    let clients = http::clients().map_err(Error::Client)?;
    let all = providers.iter().map(|(name, settings)| look(&clients, name, settings, secrets));
    Ok(join_all(all).await)
}

async fn look(
    clients: &Clients,
    name: &str,
    settings: &ProviderSettings,
    secrets: &Secrets,
) -> ProviderStatus {
    let endpoint = settings.endpoint();
    let (key, secret) = match endpoint.and_then(|endpoint| endpoint.api_key_env.clone()) {
        None => (KeyStatus::NotNeeded, None),
        Some(env) => match secrets(&env) {
            Some(secret) => (KeyStatus::Set(env), Some(secret)),
            None => (KeyStatus::Missing(env), None),
        },
    };
    let offered = match settings {
        ProviderSettings::Demo(demo) => demo.models.clone(),
        _ => endpoint.map(|endpoint| endpoint.models.clone()).unwrap_or_default(),
    };
    let address = endpoint.map(Endpoint::address);
    let (place, answer) = match (address, Providers::build(clients, name, settings)) {
        (Some(Err(reason)), _) => (String::new(), Answer::Misconfigured { reason }),
        (_, None) => {
            let reason = "its settings cannot be used".to_owned();
            (String::new(), Answer::Misconfigured { reason })
        }
        (_, Some(entry)) => {
            let asked = !matches!(key, KeyStatus::Missing(_));
            let answer = match settings {
                // It lists nothing of its own.
                ProviderSettings::Demo(_) => {
                    Answer::Listed { models: offered.clone(), not_listed: Vec::new() }
                }
                _ if asked => ask(entry.provider.as_ref(), name, secret, &offered).await,
                _ => Answer::NotAsked,
            };
            (entry.provider.place().to_owned(), answer)
        }
    };
    let local = endpoint.is_none_or(Endpoint::is_local);
    let (name, kind) = (name.to_owned(), settings.kind());
    ProviderStatus { name, kind, place, local, key, answer, offered }
}

async fn ask(
    provider: &dyn crate::call::Provider,
    name: &str,
    secret: Option<SecretString>,
    offered: &[String],
) -> Answer {
    let owner = secret.as_ref().map(|_| KeyOwner::Operator);
    let credential =
        Credential { secret, owner, id: format!("operator.{name}"), ..Credential::default() };
    // Where a key is tested, it is not a server on this machine that is looked for.
    let patience = if owner.is_some() { Patience::FOR_A_KEY } else { Patience::FOR_FINDING };
    match provider.discover(&credential, patience).await {
        Ok(models) => {
            let missing = |model: &&String| !models.contains(*model);
            let not_listed = offered.iter().filter(missing).cloned().collect();
            Answer::Listed { models, not_listed }
        }
        Err(error) => Answer::Failed { class: error.class.as_str(), message: error.message },
    }
}
