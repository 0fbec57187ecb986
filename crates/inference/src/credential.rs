//! Whose key a provider is asked with.

use nexus_contracts::{KeyOwner, Metadata};
use secrecy::SecretString;

use crate::Secrets;
use crate::call::{CallError, Class};
use crate::settings::Endpoint;

/// What a provider is asked with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credential {
    pub(crate) secret: Option<SecretString>,
    /// `None` where no key is needed.
    pub(crate) owner: Option<KeyOwner>,
    /// Tells credentials apart, for limits and cool-downs; says nothing about the secret.
    pub(crate) id: String,
    /// Asked there instead of the provider's own address.
    pub(crate) base_url: Option<url::Url>,
}

/// Finds the key for a call.
#[derive(Clone)]
pub(crate) struct Wallet {
    secrets: Secrets,
}

impl Wallet {
    pub(crate) fn new(secrets: Secrets) -> Self {
        Self { secrets }
    }

    /// The key with which the speaker of this event may ask a provider.
    pub(crate) async fn credential(
        &self,
        _speaker: &Metadata,
        provider: &str,
        endpoint: &Endpoint,
    ) -> Result<Credential, CallError> {
        self.operators(provider, endpoint)
    }

    /// The key of whoever runs this installation.
    pub(crate) fn operators(
        &self,
        provider: &str,
        endpoint: &Endpoint,
    ) -> Result<Credential, CallError> {
        let id = format!("operator.{provider}");
        let Some(name) = &endpoint.api_key_env else {
            return Ok(Credential { id, ..Credential::default() });
        };
        let missing =
            || CallError::new(Class::NoKey, &format!("there is no key: {name} is not set"));
        let secret = (self.secrets)(name).ok_or_else(missing)?;
        Ok(Credential { secret: Some(secret), owner: Some(KeyOwner::Operator), id, base_url: None })
    }
}
