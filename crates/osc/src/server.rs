//! The UDP loop: the one task that owns all sessions. What waits runs beside it and reports back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nexus_bus::Bus;
use nexus_contracts::{TenantId, Timestamp, Token};
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ask::Published;
use crate::config::Config;
use crate::deliver::{Deliveries, Delivery};
use crate::error::Error;
use crate::guard::Guard;
use crate::protocol::Hello;
use crate::session::Table;

mod calls;
mod results;

/// The adapter's name on the bus.
const CHANNEL: &str = "osc";
/// Token messages of one request are gathered for so long.
const FLUSH: Duration = Duration::from_nanos(1_000_000_000 / 30);
/// How long stored questions may take to be told so when the adapter stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Keys that are looked up at once, and events that are published at once.
const VERIFYING: usize = 8;
const PUBLISHING: usize = 256;
/// Largest UDP payload.
const MAX_RECEIVED: usize = 65_536;

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    pub tenant: TenantId,
    pub user: String,
}

/// Looks an API key up; `None` when it opens nothing.
pub type Verify = Arc<dyn Fn(String) -> BoxFuture<'static, Option<Speaker>> + Send + Sync>;

/// The adapter, listening.
pub struct Osc {
    /// `None` when it is switched off.
    edges: Option<Edges>,
    server: Server,
    work: mpsc::Receiver<Work>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Osc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Osc").field("edges", &self.edges).finish_non_exhaustive()
    }
}

/// Where things come in.
#[derive(Debug)]
struct Edges {
    socket: UdpSocket,
    deliveries: Deliveries,
}

/// What a task beside the loop has done.
#[derive(Debug)]
enum Work {
    Verified { source: SocketAddr, size: usize, hello: Hello, speaker: Option<Speaker> },
    Published { run: uuid::Uuid, published: Published },
    NotCancelled { run: uuid::Uuid, code: &'static str, message: String },
}

/// Everything that the loop owns.
struct Server {
    bus: Bus,
    channel: Token,
    verify: Verify,
    now: fn() -> Timestamp,
    table: Table,
    guard: Guard,
    report: mpsc::Sender<Work>,
    tasks: TaskTracker,
    verifying: Arc<Semaphore>,
    publishing: Arc<Semaphore>,
    /// Datagrams that go out after this turn.
    out: Vec<(SocketAddr, Vec<u8>)>,
}

impl Osc {
    /// Binds the port and begins to listen for answers.
    ///
    /// # Errors
    /// [`Error::Bind`] when the port is taken, [`Error::Follow`] when the bus cannot be read.
    pub async fn open(
        bus: &Bus,
        config: Config,
        verify: Verify,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let channel = Token::parse(CHANNEL)?;
        let edges = match config.listen {
            Some(address) => {
                let bound = UdpSocket::bind(address).await;
                let socket = bound.map_err(|source| Error::Bind { address, source })?;
                Some(Edges { socket, deliveries: Deliveries::open(bus, &channel).await? })
            }
            None => None,
        };
        let (report, work) = mpsc::channel(1024);
        let lease_ms = u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX);
        let server = Server {
            bus: bus.clone(),
            channel,
            verify,
            now,
            table: Table::new(lease_ms, config.max_sessions.get()),
            guard: Guard::default(),
            report,
            tasks: TaskTracker::new(),
            verifying: Arc::new(Semaphore::new(VERIFYING)),
            publishing: Arc::new(Semaphore::new(PUBLISHING)),
            out: Vec::new(),
        };
        Ok(Self { edges, server, work, stop })
    }

    /// Where it listens, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.edges.as_ref().and_then(|edges| edges.socket.local_addr().ok())
    }

    /// Serves until `stop`; questions that are being stored then are still accepted.
    ///
    /// # Errors
    /// None today: what goes wrong with one datagram is no reason to end.
    pub async fn run(self) -> Result<(), Error> {
        let Self { edges, mut server, mut work, stop } = self;
        let Some(Edges { socket, deliveries }) = edges else {
            stop.cancelled().await;
            return Ok(());
        };
        let (to, mut delivered) = mpsc::channel(1024);
        // Boxed, so that whoever starts several workers needs no large stack.
        let following = Box::pin(deliveries.run(to));
        let serving = Box::pin(server.serve(&socket, &mut work, &mut delivered, &stop));
        tokio::select! {
            () = following => {}
            () = serving => {}
        }
        server.drain(&socket, &mut work).await;
        Ok(())
    }
}

impl Server {
    async fn serve(
        &mut self,
        socket: &UdpSocket,
        work: &mut mpsc::Receiver<Work>,
        delivered: &mut mpsc::Receiver<Delivery>,
        stop: &CancellationToken,
    ) {
        let mut buffer = vec![0; MAX_RECEIVED];
        let mut flush_at = Instant::now();
        let mut sweep = tokio::time::interval(Duration::from_secs(1));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = socket.recv_from(&mut buffer) => self.received(received, &buffer).await,
                Some(done) = work.recv() => self.done(done),
                Some(delivery) = delivered.recv() => self.deliver(delivery),
                () = tokio::time::sleep_until(flush_at), if self.table.has_due() => {
                    flush_at = Instant::now() + FLUSH;
                    self.out.extend(self.table.take_due());
                }
                _ = sweep.tick() => self.sweep(),
            }
            self.send(socket).await;
        }
    }

    async fn received(&mut self, received: io::Result<(usize, SocketAddr)>, buffer: &[u8]) {
        match received {
            Ok((size, source)) => self.datagram(buffer.get(..size).unwrap_or_default(), source),
            Err(error) => {
                tracing::warn!(%error, "receiving a datagram failed");
                // An error that stays must not keep a core busy.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Chunk(event) => {
                self.table.chunk(event.metadata.tenant, event.correlation_id, &event.payload);
            }
            Delivery::Final(event) => {
                let processed = &event.payload;
                if !self.table.end(
                    event.metadata.tenant,
                    processed.request,
                    &processed.outcome,
                    (self.now)(),
                ) {
                    metrics::counter!("nexus_osc_undelivered_total").increment(1);
                }
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    fn sweep(&mut self) {
        self.table.expire((self.now)());
        let (sessions, requests) = self.table.sizes();
        metrics::gauge!("nexus_osc_sessions").set(sessions as f64);
        metrics::gauge!("nexus_osc_requests_kept").set(requests as f64);
    }

    async fn send(&mut self, socket: &UdpSocket) {
        for (to, datagram) in self.out.drain(..) {
            if let Err(error) = socket.send_to(&datagram, to).await {
                metrics::counter!("nexus_osc_send_failed_total").increment(1);
                tracing::debug!(%error, %to, "a datagram could not be sent");
            }
        }
    }

    /// Waits for what is being stored, and says so.
    async fn drain(&mut self, socket: &UdpSocket, work: &mut mpsc::Receiver<Work>) {
        self.tasks.close();
        let end = Instant::now() + DRAIN;
        loop {
            let idle = tokio::select! {
                Some(done) = work.recv() => { self.done(done); false }
                () = self.tasks.wait() => true,
                () = tokio::time::sleep_until(end) => return,
            };
            while let Ok(done) = work.try_recv() {
                self.done(done);
            }
            self.out.extend(self.table.take_due());
            self.send(socket).await;
            if idle {
                return;
            }
        }
    }
}
