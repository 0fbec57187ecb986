use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use nexus_bus::{Bucket, Bus, CHUNKS, Catalog, Chain, EVENTS, Filter, Reader, Start};
use nexus_contracts::{
    AgentDefinition, Event, InferenceChunk, Pattern, TenantId, Timestamp, Token,
};
use nexus_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::completions::{self, Follow};
use crate::config::Config;
use crate::cursor::Cursor;
use crate::error::Error;
use crate::feed::Feed;
use crate::health::{self, Readiness};
use crate::hub::Hub;
use crate::keys::{Keys, Principal};
use crate::{assets, socket};

/// Largest body of an HTTP request.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// What all requests share.
pub(crate) struct App {
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) hub: Hub,
    pub(crate) channel: Token,
    pub(crate) config: Config,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) stop: CancellationToken,
    agents: Catalog<AgentDefinition>,
    models: Catalog<Vec<String>>,
}

/// Why somebody is not let in.
pub(crate) enum Unauthorized {
    Key,
    Unavailable,
}

/// The HTTP server.
pub struct Gateway {
    listener: TcpListener,
    app: Arc<App>,
}

impl Gateway {
    /// Binds the address and begins to read the channel.
    ///
    /// # Errors
    /// [`Error::Listen`] when the port is taken; [`Error::Bus`] when the bus has not been set up.
    pub async fn open(
        bus: &Bus,
        config: Config,
        store: Store,
        readiness: Readiness,
        metrics: PrometheusHandle,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let address = config.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let channel = Token::encode("web").map_err(|error| nexus_bus::Error::Request {
            doing: "naming the channel".to_owned(),
            source: error.into(),
        })?;
        let app = App {
            bus: bus.clone(),
            keys: Keys::new(store.clone()),
            store,
            hub: Hub::start(bus, &channel, stop.clone()).await?,
            agents: Catalog::follow(bus, Bucket::Config, "agent", stop.clone()).await?,
            models: Catalog::follow(bus, Bucket::Tools, "model", stop.clone()).await?,
            channel,
            config,
            now,
            readiness,
            metrics,
            stop,
        };
        Ok(Self { listener, app: Arc::new(app) })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// [`Error::Serve`] when the system does not say.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::Serve)
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// [`Error::Serve`] when the listener breaks.
    pub async fn run(self) -> Result<(), Error> {
        let stop = self.app.stop.clone();
        let router = Router::new()
            .route("/", get(assets::page))
            .route("/assets/{name}", get(assets::asset))
            .route("/v1/ws", get(socket::upgrade))
            .route("/v1/chat/completions", post(completions::chat))
            .route("/v1/models", get(completions::models))
            .route("/healthz", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(health::metrics))
            .with_state(self.app);
        use axum::serve::ListenerExt as _;
        let listener = self.listener.tap_io(|stream| {
            // Small frames go out at once: with Nagle's algorithm they would wait for 40 ms.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY not set");
            }
        });
        let serve = axum::serve(listener, router)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let patience = async {
            stop.cancelled().await;
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        };
        tokio::select! {
            served = serve => served.map_err(Error::Serve),
            () = patience => Ok(()),
        }
    }
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
        own || self.config.allowed_origins.iter().any(|allowed| allowed == origin)
    }

    pub(crate) fn agents(&self) -> Vec<String> {
        self.agents.entries().keys().cloned().collect()
    }

    /// What `/v1/models` lists: agents first.
    pub(crate) fn models(&self) -> Vec<String> {
        let agents = self.agents().into_iter().map(|name| format!("nexus/{name}"));
        agents.chain(self.models.entries().values().flatten().cloned()).collect()
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
        let known = self.models.entries().values().flatten().any(|model| {
            model == name || model.split_once('/').is_some_and(|(_, bare)| bare == name)
        });
        known.then(|| (Some(self.config.default_agent.clone()), Some(name.to_owned())))
    }

    /// Follows a conversation from a cursor: the frames of what is stored are ready at once.
    pub(crate) async fn follow(
        &self,
        tenant: TenantId,
        conversation: &Token,
        cursor: Cursor,
        timeline: bool,
    ) -> Result<Follow, nexus_bus::Error> {
        // First the subscription, then the log: what is stored in between comes twice, not never.
        let subscription = self.hub.subscribe(tenant, conversation);
        let mut feed = Feed::after(conversation.decode().into_owned(), cursor, timeline);
        let pattern = Pattern::conversation(tenant, &self.channel, conversation);
        let start = Start::At(cursor.sequence + u64::from(!cursor.owes_done));
        let mut reader =
            Reader::open(&self.bus, EVENTS, Filter::Patterns(vec![pattern]), start).await?;
        let mut ready = Vec::new();
        for message in reader.read_to_end().await? {
            ready.extend(feed.event(&message));
        }
        if feed.is_thinking() {
            let filter = Filter::Chunks(tenant, self.channel.clone(), conversation.clone());
            let mut reader = Reader::open(&self.bus, CHUNKS, filter, Start::First).await?;
            for message in reader.read_to_end().await? {
                if let Ok(chunk) = Event::<InferenceChunk>::decode(&message.bytes) {
                    ready.extend(feed.chunk(&chunk));
                }
            }
        }
        Ok(Follow { feed, subscription, ready })
    }
}
