//! From Telegram to the stream, by webhook: Telegram calls us, and 200 means that it is stored.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::post;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use nexus_bus::Chain;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::accept::Accept;
use crate::backoff::Backoff;
use crate::bot::Bot;
use crate::error::Error;
use crate::intake::set_menu;

/// Most bytes of one call; an update has a few KiB.
const MOST_BODY: usize = 1024 * 1024;

/// Receives updates of all bots; every process listens, the one that holds the lease takes.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    doors: Arc<Doors>,
    url: String,
}

#[derive(Debug)]
struct Doors {
    bots: HashMap<i64, Arc<Bot>>,
    /// While this process serves.
    accept: RwLock<HashMap<i64, Accept>>,
}

impl Listener {
    pub(crate) async fn bind(
        url: &str,
        address: SocketAddr,
        bots: &[Arc<Bot>],
    ) -> Result<Self, Error> {
        let url = url.trim_end_matches('/').to_owned();
        let is_https = url.starts_with("https://");
        // Telegram itself calls HTTPS only; a Bot API server of one's own may call this machine.
        let is_local = url.starts_with("http://127.0.0.1") || url.starts_with("http://localhost");
        if !is_https && !is_local {
            return Err(Error::Config {
                what: format!("telegram.webhook.url is {url:?}"),
                hint: "Telegram calls addresses that begin with https://",
            });
        }
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let bots = bots.iter().map(|bot| (bot.id, Arc::clone(bot))).collect();
        let doors = Arc::new(Doors { bots, accept: RwLock::default() });
        Ok(Self { listener, doors, url })
    }

    /// Listens until stopped; takes updates only during [`Gate::hold`].
    pub(crate) fn start(self, stop: CancellationToken) -> Gate {
        let app = Router::new()
            .route("/{*path}", post(take))
            .layer(DefaultBodyLimit::max(MOST_BODY))
            .with_state(Arc::clone(&self.doors));
        let (listener, doors) = (self.listener, self.doors);
        tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the webhook's listener broke");
            }
        });
        Gate { doors, url: self.url }
    }
}

/// Opens and closes the listener's doors.
#[derive(Debug)]
pub(crate) struct Gate {
    doors: Arc<Doors>,
    url: String,
}

impl Gate {
    /// Tells Telegram to call us, and takes what it says until `over`.
    pub(crate) async fn hold(&self, accept: Vec<Accept>, over: CancellationToken) {
        self.doors.set(accept);
        let announced = self.doors.bots.values().map(|bot| {
            let url = format!("{}/{}", self.url, bot.id);
            announce(Arc::clone(bot), url, over.clone()).boxed()
        });
        let announced: Vec<BoxFuture<'static, ()>> = announced.collect();
        futures_util::future::join_all(announced).await;
        over.cancelled().await;
        self.doors.set(Vec::new());
    }
}

impl Doors {
    fn set(&self, accept: Vec<Accept>) {
        let accept = accept.into_iter().map(|accept| (accept.bot.id, accept)).collect();
        *self.accept.write().unwrap_or_else(PoisonError::into_inner) = accept;
    }

    fn get(&self, bot: i64) -> Option<Accept> {
        self.accept.read().unwrap_or_else(PoisonError::into_inner).get(&bot).cloned()
    }
}

/// Sets the webhook; whatever fails is tried again.
async fn announce(bot: Arc<Bot>, url: String, over: CancellationToken) {
    let mut backoff = Backoff::default();
    while !over.is_cancelled() {
        let set = async {
            bot.introduce(Duration::from_secs(10)).await?;
            bot.client.set_webhook(&url, bot.secret.expose_secret()).await
        };
        match set.await {
            Ok(()) => {
                set_menu(&bot).await;
                return;
            }
            Err(error) => {
                let pause = error.retry_after().unwrap_or_else(|| backoff.next());
                tracing::warn!(bot = bot.id, error = %Chain(&error), ?pause, "the webhook is not set, trying again");
                over.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }
}

async fn take(
    State(doors): State<Arc<Doors>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    // A proxy may keep what stands before the bot's id.
    let bot = path.rsplit('/').next().and_then(|bot| bot.parse().ok());
    let bot = bot.and_then(|bot: i64| doors.bots.get(&bot));
    let shown = headers.get("x-telegram-bot-api-secret-token");
    let shown = shown.map(HeaderValue::as_bytes).unwrap_or_default();
    let Some(bot) = bot.filter(|bot| is_secret(bot, shown)) else {
        metrics::counter!("nexus_telegram_webhook_refused_total").increment(1);
        return StatusCode::UNAUTHORIZED;
    };
    let Some(accept) = doors.get(bot.id).filter(|accept| accept.bot.is_introduced()) else {
        // Another process takes them, or this one will soon: Telegram comes again.
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    let Ok(raw) = std::str::from_utf8(&body) else { return StatusCode::BAD_REQUEST };
    // Telegram gives up after a minute and comes again; what was begun must not end half-way.
    let raw = raw.to_owned();
    let stored = tokio::spawn(async move {
        let prepared = accept.prepare(&raw).await;
        accept.store(prepared).await
    });
    match stored.await {
        Ok(Ok(())) => StatusCode::OK,
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "an update could not be stored, Telegram gives it again");
            StatusCode::SERVICE_UNAVAILABLE
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Compares hashes: how long it takes says nothing about the secret.
fn is_secret(bot: &Bot, shown: &[u8]) -> bool {
    Sha256::digest(shown) == Sha256::digest(bot.secret.expose_secret().as_bytes())
}
