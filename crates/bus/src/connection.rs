use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectOptions, Event as ClientEvent};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// How long the bus waits for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// One confirmation of a publish.
    pub confirm: Duration,
    /// One request to the JetStream API.
    pub request: Duration,
    /// A publish with all its repeats.
    pub publish: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            confirm: Duration::from_secs(2),
            request: Duration::from_secs(5),
            publish: Duration::from_secs(10),
        }
    }
}

/// What the connection has seen.
#[derive(Debug)]
pub struct Health {
    disconnects: watch::Sender<u64>,
    slow_consumers: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self { disconnects: watch::Sender::new(0), slow_consumers: AtomicU64::new(0) }
    }
}

impl Health {
    #[must_use]
    pub fn disconnects(&self) -> u64 {
        *self.disconnects.borrow()
    }

    /// Changes with each lost connection.
    pub(crate) fn watch_disconnects(&self) -> watch::Receiver<u64> {
        self.disconnects.subscribe()
    }

    /// Live messages that were dropped because somebody read too slowly.
    #[must_use]
    pub fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }
}

/// A connection to the bus. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) js: jetstream::Context,
    pub(crate) timeouts: Timeouts,
    health: Arc<Health>,
}

impl Bus {
    /// Connects and stays connected: a lost connection is made again for as long as this lives.
    ///
    /// `url` is `nats://[TOKEN@]HOST:PORT`; `name` is shown to operators of the server.
    ///
    /// # Errors
    /// [`Error::Connect`] when the server cannot be reached now.
    pub async fn connect(url: &str, name: &str) -> Result<Self, Error> {
        Self::open(url, name, None).await
    }

    /// Connects for a fenced publisher: the first disconnect cancels `lost`, and the connection is over.
    ///
    /// # Errors
    /// [`Error::Connect`] when the server cannot be reached now.
    pub async fn connect_once(
        url: &str,
        name: &str,
        lost: CancellationToken,
    ) -> Result<Self, Error> {
        Self::open(url, name, Some(lost)).await
    }

    async fn open(url: &str, name: &str, lost: Option<CancellationToken>) -> Result<Self, Error> {
        let health = Arc::new(Health::default());
        let (seen, once) = (Arc::clone(&health), lost.is_some());
        let options = ConnectOptions::new()
            .name(name)
            .custom_inbox_prefix("_INBOX.nexus")
            .client_capacity(4096)
            .subscription_capacity(16 * 1024)
            .ping_interval(Duration::from_secs(10))
            .connection_timeout(Duration::from_secs(3))
            .max_reconnects(once.then_some(1))
            .reconnect_delay_callback(|attempt| {
                Duration::from_millis(50 * u64::try_from(attempt.min(20)).unwrap_or(20))
            })
            .event_callback(move |event| {
                let (seen, lost) = (Arc::clone(&seen), lost.clone());
                async move { observe(&event, &seen, lost.as_ref()) }
            });
        let source = |source: async_nats::ConnectError| Error::Connect {
            url: without_secret(url),
            source: source.into(),
        };
        let (address, token) = token_of(url);
        let options = match token {
            Some(token) => options.token(token),
            None => options,
        };
        let client = options.connect(address.as_str()).await.map_err(source)?;
        let timeouts = Timeouts::default();
        let js = ContextBuilder::new()
            .timeout(timeouts.request)
            .ack_timeout(timeouts.confirm)
            .backpressure_on_inflight(true)
            .build(client.clone());
        Ok(Self { client, js, timeouts, health })
    }

    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Whether the server is reachable now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is buffered and closes.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "draining the connection failed");
        }
    }
}

fn observe(event: &ClientEvent, health: &Health, lost: Option<&CancellationToken>) {
    match event {
        ClientEvent::Disconnected | ClientEvent::Closed => {
            health.disconnects.send_modify(|count| *count += 1);
            if let Some(lost) = lost {
                lost.cancel();
            }
            tracing::warn!("connection to NATS lost");
        }
        ClientEvent::SlowConsumer(_) => {
            health.slow_consumers.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("nexus_bus_slow_consumer_total").increment(1);
        }
        ClientEvent::Connected => tracing::info!("connected to NATS"),
        other => tracing::warn!(event = %other, "NATS reports"),
    }
}

/// Splits `nats://TOKEN@HOST` into `nats://HOST` and the token; the client takes it for a user name.
fn token_of(url: &str) -> (String, Option<String>) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let (secret, host) = rest.rsplit_once('@')?;
        (!secret.contains(':')).then(|| (format!("{scheme}://{host}"), secret.to_owned()))
    });
    parts.map_or_else(|| (url.to_owned(), None), |(address, token)| (address, Some(token)))
}

/// The address without token or password, for messages.
fn without_secret(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}
