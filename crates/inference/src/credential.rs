//! Whose key a provider is asked with.

use std::time::Duration;

use nexus_bus::{Bucket, Bus, Catalog, Chain};
use nexus_contracts::{KeyOwner, Metadata, Tenant, TenantId};
use nexus_vault::{Owner, TestResult, Vault, llm_service};
use secrecy::SecretString;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::call::{CallError, Class, Special};
use crate::settings::Endpoint;
use crate::{Error, Secrets};

/// Longest that a call waits until it is noted that its key was refused.
const NOTING: Duration = Duration::from_secs(1);

/// What a provider is asked with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credential {
    pub(crate) secret: Option<SecretString>,
    /// `None` where no key is needed.
    pub(crate) owner: Option<KeyOwner>,
    /// Tells credentials apart, for limits and cool-downs; says nothing about the secret, and is
    /// another one when a user's or tenant's secret is.
    pub(crate) id: String,
    /// Asked there instead of the provider's own address.
    pub(crate) base_url: Option<url::Url>,
    /// Its id in the vault, where it lies there.
    pub(crate) kept: Option<Uuid>,
}

/// Finds the key for a call. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Wallet {
    secrets: Secrets,
    vault: Option<Vault>,
    tenants: Catalog<Tenant>,
}

impl Wallet {
    /// Follows what the settings say of tenants until `stop`.
    pub(crate) async fn open(
        bus: &Bus,
        secrets: Secrets,
        vault: Option<Vault>,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let tenants = Catalog::follow(bus, Bucket::Config, "tenant", stop).await?;
        Ok(Self { secrets, vault, tenants })
    }

    /// The key with which the speaker of this event may ask a provider: the user's own where it is
    /// a user of our API keys, the tenant's, the operator's where the tenant may use that.
    ///
    /// # Errors
    /// [`Class::NoKey`] when there is none. When it cannot be known whether there is an own one,
    /// that is an error too: nobody else's is used instead.
    pub(crate) async fn credential(
        &self,
        speaker: &Metadata,
        provider: &str,
        endpoint: &Endpoint,
    ) -> Result<Credential, CallError> {
        if endpoint.api_key_env.is_none() {
            return self.operators(provider, endpoint);
        }
        if let Some(own) = self.own(speaker, provider).await? {
            // Such addresses are public ones.
            if own.base_url.is_some() && self.local_models_only(speaker.tenant) {
                let message = "the key has an address of its own, and nothing outside this machine may be asked";
                return Err(CallError::new(Class::Invalid, message));
            }
            return Ok(own);
        }
        if !self.may_use_operators(speaker.tenant) {
            return Err(CallError {
                special: Some(Special::KeyNotGranted),
                ..CallError::new(
                    Class::NoKey,
                    "there is no own key, and the operator's is not granted",
                )
            });
        }
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
        let missing = || CallError::new(Class::NoKey, &format!("{name} is not set"));
        let secret = (self.secrets)(name).ok_or_else(missing)?;
        let (secret, owner) = (Some(secret), Some(KeyOwner::Operator));
        Ok(Credential { secret, owner, id, ..Credential::default() })
    }

    /// The credential that lies in the vault under this name, read anew: to test it.
    pub(crate) async fn kept(&self, owner: &Owner, service: &str) -> Result<Credential, CallError> {
        let none = || CallError::new(Class::NoKey, "there is no such key in the vault");
        let vault = self.vault.as_ref().ok_or_else(none)?;
        let found = vault.get(owner, service).await.map_err(|error| unreadable(&error))?;
        usable(vault, &found.ok_or_else(none)?)
    }

    /// Notes that a provider does not know a key, so that its owner sees it in the list of keys.
    pub(crate) async fn refused(&self, tenant: TenantId, credential: &Credential) {
        let (Some(vault), Some(id)) = (&self.vault, credential.kept) else { return };
        let result = TestResult(Class::Auth.as_str().to_owned());
        match timeout(NOTING, vault.tested(tenant, id, &result)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "it is not noted that a provider refuses a key");
            }
            Err(_) => tracing::warn!("it is not noted in time that a provider refuses a key"),
        }
    }

    /// Those of some providers for which the speaker or the tenant has brought a key.
    pub(crate) async fn own_keys(&self, speaker: &Metadata, providers: &[String]) -> Vec<String> {
        let mut own = Vec::new();
        let Some(vault) = self.vault.as_ref().filter(|_| !providers.is_empty()) else { return own };
        if !vault.may_hold(speaker.tenant).await {
            return own;
        }
        for provider in providers {
            // A key that cannot be read is found out, and told, when it is used.
            if !matches!(self.own(speaker, provider).await, Ok(None)) {
                own.push(provider.clone());
            }
        }
        own
    }

    async fn own(
        &self,
        speaker: &Metadata,
        provider: &str,
    ) -> Result<Option<Credential>, CallError> {
        let Some(vault) = &self.vault else { return Ok(None) };
        // Who is not one of our own users may have the name of one: that one's key is not spent.
        let found = vault.find(speaker.tenant, speaker.account(), &llm_service(provider)).await;
        let found = found.map_err(|error| unreadable(&error))?;
        found.map(|credential| usable(vault, &credential)).transpose()
    }

    /// Whether a provider wants a key, and the operator's does not open it for this tenant.
    pub(crate) fn is_closed(&self, tenant: TenantId, provider: &str, endpoint: &Endpoint) -> bool {
        endpoint.api_key_env.is_some()
            && (!self.may_use_operators(tenant) || self.operators(provider, endpoint).is_err())
    }

    fn may_use_operators(&self, tenant: TenantId) -> bool {
        self.is(tenant, |known| known.allow_operator_llm)
    }

    /// Whether nothing outside this machine may be asked for this tenant.
    pub(crate) fn local_models_only(&self, tenant: TenantId) -> bool {
        self.is(tenant, |known| known.local_models_only)
    }

    /// What the settings say of a tenant; no of one that they do not know.
    fn is(&self, tenant: TenantId, so: impl Fn(&Tenant) -> bool) -> bool {
        self.tenants.entries().values().any(|known| known.id == tenant && so(known))
    }
}

/// A credential as a provider is asked with it, if its address may be asked.
fn usable(vault: &Vault, found: &nexus_vault::Credential) -> Result<Credential, CallError> {
    let refused = |reason: nexus_egress::Refused| {
        let message = format!("the key's own address is not used: {reason}");
        CallError::new(Class::Invalid, &message)
    };
    vault.check_address(found).map_err(refused)?;
    Ok(Credential {
        secret: Some(found.secret.clone()),
        owner: Some(found.owner),
        id: format!("vault.{}", found.id),
        base_url: found.base_url.clone(),
        kept: Some(found.id),
    })
}

/// It is not known whether there is a key, or it does not decrypt.
fn unreadable(error: &nexus_vault::Error) -> CallError {
    if error.is_transient() {
        tracing::warn!(error = %Chain(error), "keys that people bring cannot be read");
        return CallError::new(Class::Overloaded, "its keys cannot be read at the moment");
    }
    tracing::error!(error = %Chain(error), "a key cannot be decrypted; see `nexus keys sweep`");
    CallError::new(Class::NoKey, "its key in the vault cannot be decrypted; add it anew")
}
