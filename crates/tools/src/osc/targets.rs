//! The declared targets, live, and the tools that exist because of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nexus_bus::{Bucket, Bus, Catalog, Chain};
use nexus_contracts::{Effect, LOCAL_TENANT, TenantId, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::declared::{Declared, GENERIC};
use super::link::Link;
use super::profile::Profile;
use super::{query, send, table};
use crate::error::Error;
use crate::registry::Registry;
use crate::tool::{Tool, ToolError};

/// Key in the bucket of tools: the tools that were advertised because of targets.
const ADVERTISED: &str = "osc.advertised";
/// A target that could not be opened is tried again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps links to the declared targets.
#[derive(Debug)]
pub(crate) struct Targets {
    bus: Bus,
    declared: Catalog<Declared>,
    profiles: Catalog<Profile>,
    registry: Arc<Registry>,
    /// Whether tools with effects can work.
    has_store: bool,
    now: fn() -> Timestamp,
    links: Links,
    listening: BTreeMap<String, Listening>,
}

/// The links, as the tools see them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links(Arc<RwLock<BTreeMap<String, Arc<Link>>>>);

/// A link's tasks; they end with it.
#[derive(Debug)]
struct Listening(Vec<JoinHandle<()>>);

impl Drop for Listening {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Targets {
    /// Reads what is declared and makes its tools known.
    ///
    /// # Errors
    /// [`Error::Bus`] when the bus cannot be reached.
    pub(crate) async fn open(
        bus: &Bus,
        registry: Arc<Registry>,
        has_store: bool,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let mut targets = Self {
            bus: bus.clone(),
            declared: Catalog::follow(bus, Bucket::Config, "osc", stop.clone()).await?,
            profiles: Catalog::follow(bus, Bucket::Config, "osc-profile", stop).await?,
            registry,
            has_store,
            now,
            links: Links::default(),
            listening: BTreeMap::new(),
        };
        targets.reconcile().await?;
        Ok(targets)
    }

    /// Follows what is declared, for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let declared = self.declared();
            let unopened = declared.keys().any(|name| !self.listening.contains_key(name));
            tokio::select! {
                () = self.declared.changed() => {}
                () = self.profiles.changed() => {}
                () = tokio::time::sleep(AGAIN), if unopened => {}
            }
            if let Err(error) = self.reconcile().await {
                tracing::warn!(error = %Chain(&error), "advertising osc tools failed, trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// Opens what is new, closes what is gone, and advertises accordingly.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let (declared, profiles) = (self.declared(), self.profiles.entries());
        let mut links = self.links.all();
        links.retain(|name, link| {
            let stays = declared.get(name) == Some(&link.declared)
                && self.profile_of(&profiles, &link.declared).as_ref() == Some(&*link.profile);
            if !stays {
                self.listening.remove(name);
            }
            stays
        });
        self.links.replace(links.clone());
        for (name, declared) in &declared {
            if links.contains_key(name) {
                continue;
            }
            match self.open_link(name, declared, &profiles).await {
                Ok(link) => {
                    tracing::info!(target_name = %name, address = %declared.address, "osc target opened");
                    links.insert(name.clone(), link);
                }
                Err(reason) => {
                    tracing::error!(target_name = %name, reason, "osc target cannot be used");
                }
            }
        }
        self.links.replace(links);
        self.advertise().await
    }

    fn declared(&self) -> BTreeMap<String, Declared> {
        let mut declared = BTreeMap::clone(&self.declared.entries());
        declared.retain(|_, target| target.enabled);
        declared
    }

    fn profile_of(
        &self,
        profiles: &BTreeMap<String, Profile>,
        declared: &Declared,
    ) -> Option<Profile> {
        let generic = || (declared.profile == GENERIC).then(Profile::default);
        profiles.get(&declared.profile).cloned().or_else(generic)
    }

    async fn open_link(
        &mut self,
        name: &str,
        declared: &Declared,
        profiles: &BTreeMap<String, Profile>,
    ) -> Result<Arc<Link>, String> {
        let profile = self.profile_of(profiles, declared).ok_or_else(|| {
            let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
            let (wanted, known) = (&declared.profile, known.join(", "));
            format!("there is no profile {wanted:?}; there are {GENERIC}, {known}")
        })?;
        let opened = Link::open(name, declared.clone(), Arc::new(profile), &self.bus, self.now);
        let (link, recorder, recording) = opened.await?;
        let link = Arc::new(link);
        let listening = Arc::clone(&link);
        let tasks = vec![
            tokio::spawn(async move { listening.listen(recording).await }),
            tokio::spawn(recorder.run()),
        ];
        self.listening.insert(name.to_owned(), Listening(tasks));
        Ok(link)
    }

    async fn advertise(&self) -> Result<(), Error> {
        let mut specs = self.registry.replace_live(self.tools());
        specs.retain(|spec| self.has_store || spec.effect == Effect::Read);
        let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
        let before: Option<Vec<String>> = self.bus.setting(Bucket::Tools, ADVERTISED).await?;
        let mut before = before.unwrap_or_default();
        before.retain(|name| !names.contains(name));
        // Written first, so that a crash leaves nothing advertised that nobody remembers.
        let both = [&names[..], &before[..]].concat();
        if !both.is_empty() {
            self.bus.put_setting(Bucket::Tools, ADVERTISED, &both).await?;
        }
        for spec in specs {
            self.bus.put_setting(Bucket::Tools, &format!("tool.{}", spec.name), &spec).await?;
        }
        for name in &before {
            self.bus.remove_setting(Bucket::Tools, &format!("tool.{name}")).await?;
        }
        if !before.is_empty() {
            self.bus.put_setting(Bucket::Tools, ADVERTISED, &names).await?;
        }
        Ok(())
    }

    /// The tools that the links that there are give rise to.
    fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let links = self.links.all();
        if links.is_empty() {
            return Vec::new();
        }
        let mut tools: Vec<Arc<dyn Tool>> = vec![
            Arc::new(send::OscSend::new(self.links.clone())),
            Arc::new(query::OscQuery::new(self.links.clone())),
        ];
        let mut profiles: BTreeMap<&str, &Arc<Profile>> = BTreeMap::new();
        for link in links.values() {
            profiles.insert(&link.declared.profile, &link.profile);
        }
        for (name, profile) in profiles {
            tools.extend(table::tools(name, profile, &self.links));
        }
        tools
    }
}

impl Links {
    fn all(&self) -> BTreeMap<String, Arc<Link>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, links: BTreeMap<String, Arc<Link>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = links;
    }

    /// The names that may be told to everybody: a tool is advertised once for all tenants.
    pub(crate) fn names(&self, profile: Option<&str>) -> Vec<String> {
        let all = self.all();
        let of = |link: &&Arc<Link>| profile.is_none_or(|name| link.declared.profile == name);
        let local = all.values().filter(of).filter(|link| link.serves(LOCAL_TENANT));
        local.map(|link| link.name.clone()).collect()
    }

    /// The target that a call names, or the only one.
    ///
    /// # Errors
    /// For the model: which ones there are for its tenant.
    pub(crate) fn find(
        &self,
        name: Option<&str>,
        profile: Option<&str>,
        tenant: TenantId,
    ) -> Result<Arc<Link>, ToolError> {
        let mut all = self.all();
        all.retain(|_, link| {
            link.serves(tenant) && profile.is_none_or(|name| link.declared.profile == name)
        });
        let found = match name {
            Some(name) => all.get(name),
            None if all.len() == 1 => all.values().next(),
            None => None,
        };
        if let Some(link) = found {
            return Ok(Arc::clone(link));
        }
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        Err(match (name, names.is_empty()) {
            (_, true) => ToolError::failed(
                "no_target",
                "no target is declared; whoever runs Nexus declares one in bus-config/osc/",
            ),
            (Some(name), false) => ToolError::failed(
                "unknown_target",
                format!("there is no target {name:?}; there are {}", names.join(", ")),
            ),
            (None, false) => {
                ToolError::failed("which_target", format!("say which target: {}", names.join(", ")))
            }
        })
    }
}
