//! Gets leave for requests from the windows on the bus.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_bus::{Bus, Chain, Records, Shelf};
use nexus_contracts::{Timestamp, Token, sha256_hex};
use tokio::sync::{Mutex as Queue, MutexGuard as Turn, Notify, OnceCell};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{Full, Window, Wish};
use crate::settings::RateLimits;

/// How often a worker says that it still holds its slots.
const BEAT: Duration = Duration::from_secs(3);
/// How often somebody who waits for a slot of another worker looks.
const LOOK: Duration = Duration::from_millis(100);
/// News come in bursts: one write tells them all.
const GATHER: Duration = Duration::from_millis(20);
/// Pause after the bus did not answer.
const AGAIN: Duration = Duration::from_millis(250);
/// Pools that are kept.
const MAX_POOLS: usize = 4096;

/// The keys with limits that this worker uses.
pub(crate) struct Pools {
    bus: Bus,
    worker: Uuid,
    now: fn() -> Timestamp,
    records: OnceCell<Records<Window>>,
    pools: Mutex<HashMap<String, Arc<Pool>>>,
    /// There is something to tell the bus.
    news: Arc<Notify>,
}

/// One key.
struct Pool {
    key: String,
    /// Whose turn it is to ask, in order of arrival; with the window as last seen.
    queue: Queue<Seen>,
    local: Mutex<Local>,
    /// A slot of this worker was given back.
    freed: Notify,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    window: Window,
    revision: Option<u64>,
}

#[derive(Default)]
struct Local {
    in_flight: u64,
    corrections: Vec<Correction>,
    /// What was in the way last time.
    full: Option<Wait>,
}

/// What the window does not know yet of a request that it counts under this second.
#[derive(Clone, Copy)]
struct Correction {
    second: i64,
    /// Tokens that it was taken to use.
    taken: u64,
    /// Tokens that it used; `None` when it was never made.
    used: Option<u64>,
}

/// There is no room for so many tokens under these limits before this moment.
#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    limits: RateLimits,
    tokens: u64,
}

/// Leave for one request, until this is dropped.
#[derive(Default)]
pub(crate) struct Grant(Option<Granted>);

struct Granted {
    pool: Arc<Pool>,
    second: i64,
    tokens: u64,
    slots: bool,
}

impl Grant {
    /// Counts what the request really used, input and output together.
    pub(crate) fn settle(&self, used: u64) {
        if let Some(granted) = &self.0
            && granted.tokens != used
        {
            granted.correct(Some(used));
        }
    }

    /// Takes the request back, which is not made after all.
    pub(crate) fn give_back(self) {
        if let Some(granted) = &self.0 {
            granted.correct(None);
        }
    }
}

impl Granted {
    fn correct(&self, used: Option<u64>) {
        let correction = Correction { second: self.second, taken: self.tokens, used };
        let mut local = self.pool.local();
        local.corrections.push(correction);
        if used.is_none() {
            // There is room again, perhaps before that moment.
            local.full = None;
        }
        drop(local);
        self.pool.news.notify_one();
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(granted) = &self.0 {
            let mut local = granted.pool.local();
            local.in_flight = local.in_flight.saturating_sub(1);
            drop(local);
            if granted.slots {
                granted.pool.freed.notify_one();
                granted.pool.news.notify_one();
            }
        }
    }
}

impl Pools {
    pub(crate) fn new(bus: &Bus, worker: Uuid, now: fn() -> Timestamp) -> Self {
        let (records, news) = (OnceCell::new(), Arc::new(Notify::new()));
        Self { bus: bus.clone(), worker, now, records, pools: Mutex::default(), news }
    }

    /// Leave for a request of about so many tokens; how long it would have to wait at least, when
    /// that is longer than `patience`.
    pub(crate) async fn admit(
        &self,
        id: &str,
        limits: RateLimits,
        tokens: u64,
        patience: Duration,
    ) -> Result<Grant, Duration> {
        if limits == RateLimits::default() {
            return Ok(Grant(None));
        }
        let pool = self.pool(id);
        let until = Instant::now() + patience;
        let known = || {
            let holds = |full: &Wait| full.limits == limits && full.tokens <= tokens;
            let full = pool.local().full.filter(holds)?;
            Some(full.until.saturating_duration_since(Instant::now()))
        };
        if let Some(wait) = known().filter(|wait| *wait > patience) {
            return Err(wait);
        }
        match timeout_at(until, self.enter(&pool, limits, tokens, until)).await {
            Ok(entered) => entered,
            Err(_) => Err(known().unwrap_or_default().max(Duration::from_secs(1))),
        }
    }

    /// Tells the bus what was given back and what is still held, for ever.
    pub(crate) async fn keep(&self) {
        loop {
            tokio::select! {
                () = self.news.notified() => sleep(GATHER).await,
                () = sleep(BEAT) => {}
            }
            let pools: Vec<_> = self.lock().values().cloned().collect();
            for pool in pools {
                // Whoever has the turn tells it by itself.
                if let Ok(mut seen) = pool.queue.try_lock() {
                    self.tell(&pool, &mut seen).await;
                }
            }
        }
    }

    async fn enter(
        &self,
        pool: &Arc<Pool>,
        limits: RateLimits,
        tokens: u64,
        until: Instant,
    ) -> Result<Grant, Duration> {
        let mut seen = pool.queue.lock().await;
        loop {
            let (window, corrections) = self.fresh(pool, &seen);
            let in_flight = pool.local().in_flight;
            let mut wanted = window;
            let now = (self.now)().as_micros().div_euclid(1000);
            let wish = Wish { worker: self.worker, in_flight, tokens };
            match wanted.take(limits, wish, now) {
                Ok(second) => {
                    if !self.save(pool, &mut seen, wanted, corrections).await {
                        continue;
                    }
                    let mut local = pool.local();
                    local.in_flight += 1;
                    local.full = None;
                    let slots = limits.concurrency.is_some();
                    let pool = Arc::clone(pool);
                    return Ok(Grant(Some(Granted { pool, second, tokens, slots })));
                }
                Err(Full::Until(at)) => {
                    let wait = u64::try_from(at - now).map_or(LOOK, Duration::from_millis);
                    let free = Instant::now() + wait;
                    pool.local().full = Some(Wait { until: free, limits, tokens });
                    if free > until {
                        return Err(wait);
                    }
                    self.pause(pool, &mut seen, wait.min(BEAT)).await;
                }
                Err(Full::Slots) => self.pause(pool, &mut seen, LOOK).await,
            }
        }
    }

    /// Waits with the turn in hand; what there is to tell is told meanwhile.
    async fn pause(&self, pool: &Pool, seen: &mut Turn<'_, Seen>, wait: Duration) {
        tokio::select! {
            () = pool.freed.notified() => {}
            () = sleep(wait) => {}
        }
        self.tell(pool, seen).await;
        self.load(pool, seen).await;
    }

    /// The window as last seen, with what this worker knows better.
    fn fresh(&self, pool: &Pool, seen: &Seen) -> (Window, usize) {
        let mut window = seen.window.clone();
        let local = pool.local();
        for Correction { second, taken, used } in &local.corrections {
            match used {
                Some(used) => window.correct(*second, *taken, *used),
                None => window.uncount(*second, *taken),
            }
        }
        (window, local.corrections.len())
    }

    async fn tell(&self, pool: &Pool, seen: &mut Turn<'_, Seen>) {
        let (mut window, corrections) = self.fresh(pool, seen);
        // Slots are told again and again: that is what keeps them.
        let slots = window.holds(self.worker);
        if corrections == 0 && !slots {
            return;
        }
        if slots {
            let in_flight = pool.local().in_flight;
            window.hold(self.worker, in_flight, (self.now)().as_micros().div_euclid(1000));
        }
        self.save(pool, seen, window, corrections).await;
    }

    /// Writes a window; `false` when somebody else wrote meanwhile, whose window is taken over.
    async fn save(
        &self,
        pool: &Pool,
        seen: &mut Turn<'_, Seen>,
        window: Window,
        corrections: usize,
    ) -> bool {
        let saved = async {
            let records = self.records().await?;
            match seen.revision {
                Some(revision) => records.save(&pool.key, &window, revision).await,
                None => records.create(&pool.key, &window).await,
            }
        };
        match saved.await {
            Ok(Some(revision)) => {
                seen.window = window;
                seen.revision = Some(revision);
                pool.local().corrections.drain(..corrections);
                return true;
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "limits of a provider's key cannot be counted");
                sleep(AGAIN).await;
            }
        }
        self.load(pool, seen).await;
        false
    }

    async fn load(&self, pool: &Pool, seen: &mut Turn<'_, Seen>) {
        let loaded = async { self.records().await?.load(&pool.key).await };
        match loaded.await {
            Ok(Some((window, revision))) => {
                (seen.window, seen.revision) = (window, Some(revision));
            }
            Ok(None) => (seen.window, seen.revision) = (Window::default(), None),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "limits of a provider's key cannot be read");
                sleep(AGAIN).await;
            }
        }
    }

    async fn records(&self) -> Result<&Records<Window>, nexus_bus::Error> {
        self.records.get_or_try_init(|| Records::open(&self.bus, Shelf::Limits)).await
    }

    fn pool(&self, id: &str) -> Arc<Pool> {
        let mut pools = self.lock();
        if let Some(pool) = pools.get(id) {
            return Arc::clone(pool);
        }
        if pools.len() >= MAX_POOLS {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1 || pool.local().in_flight > 0);
        }
        let pool = Arc::new(Pool {
            key: format!("window.{}", key_of(id)),
            queue: Queue::default(),
            local: Mutex::default(),
            freed: Notify::new(),
            news: Arc::clone(&self.news),
        });
        pools.insert(id.to_owned(), Arc::clone(&pool));
        pool
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn local(&self) -> MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A credential's id as one token of a key.
pub(crate) fn key_of(id: &str) -> String {
    Token::encode(id).map_or_else(|_| sha256_hex(id.as_bytes()), |token| token.to_string())
}
