//! What all requests share: who asks, and what there is to ask.

use axum::http::{HeaderMap, header};
use metrics_exporter_prometheus::PrometheusHandle;
use nexus_blobs::Blobs;
use nexus_bus::{Bus, Catalog, Chain};
use nexus_contracts::{AgentDefinition, Timestamp, Token};
use nexus_store::Store;
use nexus_vault::ProviderKeys;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::hub::Hub;
use crate::keys::{Keys, Principal};
use crate::names;
use crate::origin;
use crate::readiness::Readiness;
use crate::socket::Clients;
use crate::threads::Threads;

/// Largest body of an HTTP request.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
/// The same where files come within: two of the largest images in base64, and the text.
pub(crate) const MAX_BODY_WITH_FILES: usize = 16 * 1024 * 1024;

/// Conversations whose log is read at once.
pub(crate) const READS: usize = 32;

/// What all requests share.
pub(crate) struct App {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) keys: Keys,
    pub(crate) provider_keys: ProviderKeys,
    pub(crate) hub: Hub,
    pub(crate) threads: Threads,
    pub(crate) clients: Clients,
    /// Turns at reading the log.
    pub(crate) reads: Semaphore,
    pub(crate) channel: Token,
    pub(crate) config: Config,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) stop: CancellationToken,
    pub(crate) agents: Catalog<AgentDefinition>,
    pub(crate) models: Catalog<Vec<String>>,
}

/// Why somebody is not let in.
pub(crate) enum Unauthorized {
    Key,
    Unavailable,
}

impl App {
    /// Who sends this request.
    pub(crate) async fn authorize(&self, headers: &HeaderMap) -> Result<Principal, Unauthorized> {
        let text = |name| {
            headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok())
        };
        let bearer =
            text(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        let key = bearer.or_else(|| text("x-api-key")).ok_or(Unauthorized::Key)?;
        match self.keys.verify(key.trim()).await {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => {
                metrics::counter!("nexus_gateway_unauthorized_total").increment(1);
                Err(Unauthorized::Key)
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "API keys cannot be checked");
                Err(Unauthorized::Unavailable)
            }
        }
    }

    /// Whether a browser page of this origin may connect: our own, or one that is configured.
    pub(crate) fn is_allowed_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let (Ok(origin), host) = (origin.to_str(), headers.get(header::HOST)) else { return false };
        let own = host
            .and_then(|host| host.to_str().ok())
            .is_some_and(|host| origin.split_once("://").is_some_and(|(_, place)| place == host));
        own || self.config.allowed_origins.iter().any(|allowed| origin::matches(allowed, origin))
    }

    pub(crate) fn agents(&self) -> Vec<String> {
        self.agents.entries().keys().cloned().collect()
    }

    /// What `/v1/models` lists: agents first, then models, `auto` and the aliases.
    pub(crate) fn models(&self) -> Vec<String> {
        let agents = self.agents().into_iter().map(|name| format!("nexus/{name}"));
        agents.chain(names::shown(&self.models.entries()).cloned()).collect()
    }

    /// The agent and the model that a model name asks for.
    pub(crate) fn resolve(&self, name: &str) -> Option<(Option<String>, Option<String>)> {
        let agent = name.strip_prefix("nexus/").unwrap_or(name);
        if agent == "default" || agent == "nexus" {
            return Some((Some(self.config.default_agent.clone()), None));
        }
        if self.agents.entries().contains_key(agent) {
            return Some((Some(agent.to_owned()), None));
        }
        names::is_known(&self.models.entries(), name)
            .then(|| (Some(self.config.default_agent.clone()), Some(name.to_owned())))
    }
}
