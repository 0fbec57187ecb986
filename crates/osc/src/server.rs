//! The loop that owns all sessions. What waits runs beside it and reports back.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nexus_bus::Bus;
use nexus_contracts::{Timestamp, Token};
use nexus_osc_codec::Limits;
use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ask::Published;
use crate::config::Allowed;
use crate::deliver::Delivery;
use crate::guard::{Guard, Strangers};
use crate::history::History;
use crate::peer::Peer;
use crate::protocol::{Hello, Key};
use crate::recording::{NotRecorded, Recorded};
use crate::schedule::Schedule;
use crate::session::{GATHER_MS, Table};
use crate::speaker::{Verdict, Verify};
use crate::tcp::{Heard, Replies};

mod calls;
mod hello;
mod intake;
mod open;
mod results;

pub use open::Osc;

/// How long stored questions may take to be told so when the adapter stops.
const DRAIN: Duration = Duration::from_secs(5);
/// Largest UDP payload.
const MAX_RECEIVED: usize = 65_536;
/// Datagrams taken from the socket before anything else gets its turn.
const BATCH: usize = 64;
const LIMITS: Limits = Limits { depth: 16, arguments: 256, messages: 256 };

/// What a task beside the loop has done.
#[derive(Debug)]
enum Work {
    Verified { source: Peer, size: usize, hello: Hello, verdict: Verdict },
    Rechecked { session: uuid::Uuid, key: Key, verdict: Verdict },
    Published { run: uuid::Uuid, published: Published },
    NotCancelled { run: uuid::Uuid, code: &'static str, message: String },
    NotRecorded(NotRecorded),
}

/// Everything that the loop owns.
struct Server {
    bus: Bus,
    channel: Token,
    verify: Verify,
    now: fn() -> Timestamp,
    allowed: Allowed,
    table: Table,
    schedule: Schedule,
    history: History,
    guard: Guard,
    strangers: Strangers,
    report: mpsc::Sender<Work>,
    /// Taken away when the adapter stops.
    recorder: Option<mpsc::Sender<Recorded>>,
    tasks: TaskTracker,
    verifying: Arc<Semaphore>,
    /// For those who are known already, so that a flood of others does not hold them up.
    rechecking: Arc<Semaphore>,
    publishing: Arc<Semaphore>,
    connections: HashMap<u64, Replies>,
    /// Packets that go out after this turn.
    out: Vec<(Peer, Vec<u8>)>,
}

/// Where things come in from.
struct Queues {
    work: mpsc::Receiver<Work>,
    delivered: mpsc::Receiver<Delivery>,
    heard: mpsc::Receiver<Heard>,
}

impl Server {
    async fn serve(&mut self, socket: &UdpSocket, queues: &mut Queues, stop: &CancellationToken) {
        let mut buffer = vec![0; MAX_RECEIVED];
        let mut sweep = tokio::time::interval(Duration::from_secs(1));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let held_at = self.schedule.next_due().map(|at| self.instant_of(at));
            let due_at = self.table.next_due().map(|at| self.instant_of(at));
            tokio::select! {
                () = stop.cancelled() => return,
                received = socket.recv_from(&mut buffer) => {
                    self.received(received, &buffer).await;
                    self.received_too(socket, &mut buffer).await;
                }
                Some(heard) = queues.heard.recv() => self.heard(heard),
                Some(done) = queues.work.recv() => self.done(done),
                Some(delivery) = queues.delivered.recv() => self.deliver(delivery),
                () = until(due_at) => self.out.extend(self.table.take_due((self.now)())),
                () = until(held_at) => self.take_held(),
                _ = sweep.tick() => self.sweep(),
            }
            self.send(socket).await;
        }
    }

    /// The runtime's clock at a moment of ours.
    fn instant_of(&self, at: Timestamp) -> Instant {
        let micros = at.as_micros() - (self.now)().as_micros();
        Instant::now() + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    async fn received(&mut self, received: io::Result<(usize, SocketAddr)>, buffer: &[u8]) {
        match received {
            Ok((_, source)) if !self.allowed.hears(source.ip()) => {
                metrics::counter!("nexus_osc_not_allowed_total").increment(1);
            }
            Ok((size, source)) => {
                self.packet(buffer.get(..size).unwrap_or_default(), Peer::Udp(source));
            }
            Err(error) => {
                tracing::warn!(%error, "receiving a datagram failed");
                // An error that stays must not keep a core busy.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// What else is there already: a turn of the loop costs more than a datagram.
    async fn received_too(&mut self, socket: &UdpSocket, buffer: &mut [u8]) {
        for _ in 1..BATCH {
            match socket.try_recv_from(buffer) {
                Ok(received) => self.received(Ok(received), buffer).await,
                Err(_) => return,
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Opened { connection, replies } => {
                self.connections.insert(connection, replies);
            }
            Heard::Packet { connection, host, packet } => {
                self.packet(&packet, Peer::Tcp { connection, host });
            }
            Heard::Broken { connection, host, error } => {
                self.broken(Peer::Tcp { connection, host }, error);
            }
            Heard::Closed { connection } => {
                self.connections.remove(&connection);
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
        metrics::gauge!("nexus_osc_held_messages").set(self.schedule.len() as f64);
        metrics::gauge!("nexus_osc_connections").set(self.connections.len() as f64);
    }

    async fn send(&mut self, socket: &UdpSocket) {
        for (to, packet) in self.out.drain(..) {
            match to {
                Peer::Udp(to) => {
                    if let Err(error) = socket.send_to(&packet, to).await {
                        metrics::counter!("nexus_osc_send_failed_total").increment(1);
                        tracing::debug!(%error, %to, "a datagram could not be sent");
                    }
                }
                Peer::Tcp { connection, .. } => {
                    let sent =
                        self.connections.get(&connection).map(|replies| replies.send(packet));
                    if sent != Some(true) {
                        metrics::counter!("nexus_osc_send_failed_total").increment(1);
                    }
                    if sent == Some(false) {
                        self.connections.remove(&connection);
                    }
                }
            }
        }
    }

    /// Waits for what is being stored, and says so.
    async fn drain(&mut self, socket: &UdpSocket, work: &mut mpsc::Receiver<Work>) {
        self.recorder = None;
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
            let soon = (self.now)().plus_millis(GATHER_MS);
            self.out.extend(self.table.take_due(soon));
            self.send(socket).await;
            if idle {
                return;
            }
        }
    }
}

/// Waits for a moment; for ever when there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
