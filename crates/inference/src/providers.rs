//! The providers that the settings name, kept up to date with the settings and with themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use nexus_bus::{Bucket, Bus, Chain};
use nexus_contracts::{InferenceRequest, Metadata};
use tokio::sync::Notify;

use crate::call::{Class, Provider};
use crate::catalogs::Catalogs;
use crate::choice::{Choice, Offer, Preference, available, others};
use crate::config::Config;
use crate::credential::Wallet;
use crate::demo::Demo;
use crate::embed::first_embedder;
use crate::http::{Clients, HttpProvider};
use crate::models::{Facts, Models};
use crate::routing::{self, Asker, Plan, Refusal, Sticky, World};
use crate::settings::{Patience, ProviderSettings};
use crate::{Error, http, wire};

mod entry;

pub(crate) use entry::Entry;

/// Setting with the models that can be asked, for whoever shows a choice.
const MODEL_LIST: &str = "model.list";
/// Setting with the names that are no model's: `auto`, and the aliases.
const MODEL_ROUTES: &str = "model.routes";
/// Setting with what else may be named; see [`others`].
const MODEL_OTHERS: &str = "model.others";

/// Pause between a reason to look at the providers and the look.
const SETTLE: Duration = Duration::from_millis(200);

/// All providers.
pub(crate) struct Providers {
    bus: Bus,
    config: Config,
    clients: Clients,
    wallet: Wallet,
    catalogs: Catalogs,
    sticky: Sticky,
    models: RwLock<Models>,
    entries: RwLock<Arc<BTreeMap<String, Entry>>>,
    /// There is a reason to look at the providers again.
    look: Notify,
}

impl Providers {
    /// Builds the providers, asks those that want it for their models, and publishes the list.
    pub(crate) async fn open(
        bus: &Bus,
        config: Config,
        wallet: Wallet,
        catalogs: Catalogs,
    ) -> Result<Self, Error> {
        let clients = http::clients().map_err(Error::Client)?;
        let sticky = Sticky::open(bus).await?;
        let models = RwLock::new(Models::of(&catalogs.models.entries()));
        let (bus, entries, look) = (bus.clone(), RwLock::default(), Notify::new());
        let this = Self { bus, config, clients, wallet, catalogs, sticky, models, entries, look };
        this.reload();
        this.discover().await;
        this.publish().await;
        Ok(this)
    }

    /// Follows the settings and the providers, for ever.
    pub(crate) async fn follow(&self) {
        tokio::join!(
            self.follow_settings(),
            self.follow_models(),
            self.follow_routes(),
            self.follow_providers()
        );
    }

    /// New settings hold at once, however long a provider takes to say what it has.
    async fn follow_settings(&self) {
        let mut catalog = self.catalogs.providers.clone();
        loop {
            catalog.changed().await;
            self.reload();
            self.look.notify_one();
        }
    }

    async fn follow_models(&self) {
        let mut catalog = self.catalogs.models.clone();
        loop {
            catalog.changed().await;
            let models = Models::of(&catalog.entries());
            *self.models.write().unwrap_or_else(PoisonError::into_inner) = models;
        }
    }

    async fn follow_routes(&self) {
        let mut catalog = self.catalogs.routes.clone();
        loop {
            catalog.changed().await;
            self.look.notify_one();
        }
    }

    async fn follow_providers(&self) {
        loop {
            tokio::select! {
                // Reasons to look come in bursts: one look serves them all.
                () = self.look.notified() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(self.config.discover_every) => {}
            }
            self.publish().await;
            self.discover().await;
            self.publish().await;
        }
    }

    /// What is asked for a request, best first. `auto` remembers its tier for the conversation.
    pub(crate) async fn plan(
        &self,
        place: &Metadata,
        request: &InferenceRequest,
    ) -> Result<Plan, Refusal> {
        let auto = routing::is_auto(&request.model, self.preference());
        let sticky = if auto { self.sticky.load(place).await } else { None };
        let closed = self.closed(place);
        let own_keys = self.wallet.own_keys(place, &closed).await;
        let local_models_only = self.wallet.local_models_only(place.tenant);
        let asker = Asker { local_models_only, closed: &closed, own_keys: &own_keys, sticky };
        let plan = self.routed(|world| routing::plan(request, world, asker))?;
        if let Some(tier) = plan.remember {
            self.sticky.store(place, sticky, tier).await;
        }
        Ok(plan)
    }

    /// What is known of a provider's model.
    pub(crate) fn facts(&self, entry: &Entry, choice: &Choice) -> Arc<Facts> {
        let facts = self.models().facts(entry.vendor(&choice.provider), &choice.model);
        if entry.is_free() { Arc::new(facts.on_this_machine()) } else { facts }
    }

    fn models(&self) -> Models {
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn routed<T>(&self, route: impl FnOnce(World<'_>) -> T) -> T {
        let (offers, models) = (self.offers(&self.entries()), self.models());
        let (preference, routes) = (self.preference(), self.catalogs.routes.entries());
        route(World { offers: &offers, preference, routes: &routes, models: &models })
    }

    /// A provider with its settings, as they are now.
    pub(crate) fn entry(&self, provider: &str) -> Option<Entry> {
        self.entries().get(provider).cloned()
    }

    /// What a request for `default` would be answered by.
    pub(crate) fn default_choice(&self) -> Option<Choice> {
        self.routed(routing::default_choice)
    }

    /// `provider/model` that makes vectors for whoever speaks here, when nobody says which one.
    pub(crate) async fn embedder(&self, place: &Metadata) -> Option<String> {
        let own_keys = self.wallet.own_keys(place, &self.closed(place)).await;
        let mut offers = self.offers(&self.entries());
        let everywhere = !self.wallet.local_models_only(place.tenant);
        offers.retain(|offer| everywhere || offer.local);
        for offer in &mut offers {
            offer.available |= offer.reachable && own_keys.contains(&offer.provider);
        }
        first_embedder(&offers)
    }

    /// Providers that whoever speaks here can ask with a key of their own only.
    fn closed(&self, place: &Metadata) -> Vec<String> {
        let entries = self.entries();
        let closed = |(name, entry): &(&String, &Entry)| {
            entry.endpoint().is_some_and(|at| self.wallet.is_closed(place.tenant, name, at))
        };
        entries.iter().filter(closed).map(|(name, _)| name.clone()).collect()
    }

    pub(crate) fn wallet(&self) -> &Wallet {
        &self.wallet
    }

    /// `provider/model` of everything that can be asked now, preferred first.
    pub(crate) fn available(&self) -> Vec<String> {
        available(&self.offers(&self.entries()))
    }

    /// Looks again at a provider that could not be reached, so that `default` avoids it.
    pub(crate) fn doubt(&self) {
        self.look.notify_one();
    }

    fn preference(&self) -> Preference<'_> {
        Preference {
            default_model: self.config.default_model.as_deref(),
            order: &self.config.prefer,
        }
    }

    fn offers(&self, entries: &BTreeMap<String, Entry>) -> Vec<Offer> {
        let offer = |(name, entry): (&String, &Entry)| entry.offer(name, &self.wallet);
        let mut offers: Vec<_> = entries.iter().map(offer).collect();
        self.preference().sort(&mut offers);
        offers
    }

    fn entries(&self) -> Arc<BTreeMap<String, Entry>> {
        Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the entries as one step.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Entry>)) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut entries));
    }

    /// Takes the settings as they are now; providers whose settings are the same stay.
    fn reload(&self) {
        let settings = self.catalogs.providers.entries();
        self.change(|entries| {
            let before = std::mem::take(entries);
            entries.extend(settings.iter().filter_map(|(name, settings)| {
                let same = before.get(name).filter(|entry| *entry.settings == *settings);
                Some((
                    name.clone(),
                    same.cloned().or_else(|| Self::build(&self.clients, name, settings))?,
                ))
            }));
        });
    }

    /// A provider by its settings; `None`, with a word in the log, where these cannot be used.
    pub(crate) fn build(
        clients: &Clients,
        name: &str,
        settings: &ProviderSettings,
    ) -> Option<Entry> {
        let provider: Arc<dyn Provider> = match settings {
            ProviderSettings::Demo(_) => Arc::new(Demo),
            ProviderSettings::OpenaiChat(endpoint)
            | ProviderSettings::OpenaiResponses(endpoint)
            | ProviderSettings::AnthropicMessages(endpoint)
            | ProviderSettings::Gemini(endpoint) => match endpoint.address() {
                Ok(address) => {
                    let codec = wire::codec(settings, &address);
                    Arc::new(HttpProvider::new(clients.clone(), codec, &address))
                }
                Err(reason) => {
                    tracing::error!(
                        provider = name,
                        reason,
                        "provider left out: mend bus-config/providers and apply it"
                    );
                    return None;
                }
            },
        };
        Some(Entry::new(settings, provider))
    }

    /// Asks the providers that want it for their models, all at once.
    async fn discover(&self) {
        let entries = self.entries();
        let asked = entries.iter().filter(|(_, entry)| entry.discovers());
        let answers = join_all(asked.map(async |(name, entry)| {
            let found = match entry.operators_key(name, &self.wallet) {
                Ok(credential) => entry.provider.discover(&credential, Patience::FOR_FINDING).await,
                Err(error) => Err(error),
            };
            (name, entry, found)
        }))
        .await;
        for (name, asked, answer) in answers {
            let found = match answer {
                Ok(models) => Some(models),
                Err(error) => {
                    let class = error.class.as_str();
                    tracing::debug!(provider = name, class, error = %error.message, "provider does not say which models it has");
                    // Reachable without a list of models: its own settings stand.
                    (error.class == Class::Invalid).then(Vec::new)
                }
            };
            let reachable = found.is_some();
            if asked.found != reachable {
                tracing::info!(
                    provider = name,
                    reachable,
                    place = asked.provider.place(),
                    "model provider"
                );
            }
            self.change(|entries| {
                // Its settings may have changed while it was asked.
                if let Some(entry) = entries
                    .get_mut(name)
                    .filter(|entry| Arc::ptr_eq(&entry.provider, &asked.provider))
                {
                    entry.take(found);
                }
            });
        }
    }

    async fn publish(&self) {
        let offers = self.offers(&self.entries());
        let lists = [
            (MODEL_LIST, available(&offers)),
            (MODEL_ROUTES, self.routed(routing::names)),
            (MODEL_OTHERS, others(&offers)),
        ];
        for (key, names) in lists {
            if let Err(error) = self.bus.put_setting(Bucket::Tools, key, &names).await {
                tracing::warn!(error = %Chain(&error), key, "the list of models could not be published");
            }
        }
    }
}
