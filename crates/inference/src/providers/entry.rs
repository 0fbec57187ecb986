use std::sync::Arc;

use crate::call::{CallError, Provider};
use crate::choice::Offer;
use crate::credential::{Credential, Wallet};
use crate::settings::{Endpoint, Patience, ProviderSettings};

/// One provider. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(super) settings: Arc<ProviderSettings>,
    pub(crate) provider: Arc<dyn Provider>,
    /// Its own models, and then what it said it has.
    models: Arc<Vec<String>>,
    /// Whether it has said what it has, and answers.
    pub(super) found: bool,
}

impl Entry {
    pub(super) fn new(settings: &ProviderSettings, provider: Arc<dyn Provider>) -> Self {
        let models = Arc::new(own_models(settings).to_vec());
        Self { settings: Arc::new(settings.clone()), provider, models, found: false }
    }

    /// Takes in what it said it has; `None` when it does not answer.
    pub(super) fn take(&mut self, found: Option<Vec<String>>) {
        self.found = found.is_some();
        let mut models = own_models(&self.settings).to_vec();
        for model in found.into_iter().flatten() {
            if !models.contains(&model) {
                models.push(model);
            }
        }
        self.models = Arc::new(models);
    }

    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.settings.endpoint()
    }

    /// How long it may be silent.
    pub(crate) fn patience(&self) -> Patience {
        let known = self.endpoint().and_then(|endpoint| Some((endpoint, endpoint.address().ok()?)));
        known.map_or(Patience::OF_THE_DEMO, |(endpoint, address)| endpoint.patience(&address))
    }

    /// Its name in the table of models.
    pub(crate) fn vendor<'e>(&'e self, name: &'e str) -> &'e str {
        self.endpoint().and_then(|endpoint| endpoint.vendor.as_deref()).unwrap_or(name)
    }

    /// Whether it lists this model.
    pub(crate) fn offers(&self, model: &str) -> bool {
        self.models.iter().any(|known| known == model)
    }

    /// Whether what it is asked stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.endpoint().is_none_or(Endpoint::is_local)
    }

    /// Whether nobody charges for it: on this machine, and no key to charge by.
    pub(super) fn is_free(&self) -> bool {
        self.is_local() && self.endpoint().is_none_or(|endpoint| endpoint.api_key_env.is_none())
    }

    pub(super) fn discovers(&self) -> bool {
        self.endpoint().is_some_and(|endpoint| endpoint.discover)
    }

    pub(super) fn operators_key(
        &self,
        name: &str,
        wallet: &Wallet,
    ) -> Result<Credential, CallError> {
        self.endpoint()
            .map_or_else(|| Ok(Credential::default()), |endpoint| wallet.operators(name, endpoint))
    }

    pub(super) fn offer(&self, name: &str, wallet: &Wallet) -> Offer {
        let reachable = self.found || !self.discovers();
        Offer {
            provider: name.to_owned(),
            vendor: self.vendor(name).to_owned(),
            available: reachable && self.operators_key(name, wallet).is_ok(),
            reachable,
            local: self.is_local(),
            searches_web: self.endpoint().is_some_and(|endpoint| endpoint.searches_web),
            only_these: !self.discovers() && !self.models.is_empty(),
            demo: matches!(*self.settings, ProviderSettings::Demo(_)),
            models: self.models.to_vec(),
        }
    }
}

fn own_models(settings: &ProviderSettings) -> &[String] {
    match settings {
        ProviderSettings::OpenaiChat(endpoint)
        | ProviderSettings::OpenaiResponses(endpoint)
        | ProviderSettings::AnthropicMessages(endpoint)
        | ProviderSettings::Gemini(endpoint) => &endpoint.models,
        ProviderSettings::Demo(demo) => &demo.models,
    }
}
