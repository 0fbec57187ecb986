//! From a configuration to open sockets, and from there to the loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use nexus_bus::Bus;
use nexus_contracts::{Timestamp, Token};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{DRAIN, Queues, Server, Work};
use crate::config::{Config, Tcp};
use crate::deliver::Deliveries;
use crate::error::Error;
use crate::guard::{Guard, Strangers};
use crate::history::History;
use crate::recording;
use crate::schedule::Schedule;
use crate::session::Table;
use crate::speaker::Verify;
use crate::tcp::{self, Door};

/// The adapter's name on the bus.
const CHANNEL: &str = "osc";
/// Keys that are looked up at once, of strangers and of those who are known, and events that are
/// published at once.
const VERIFYING: usize = 8;
const PUBLISHING: usize = 256;
/// Things that wait for the loop, of each kind.
const QUEUE: usize = 1024;
/// Tries to find a port that is free for UDP and for TCP.
const PORT_TRIES: usize = 16;

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
    door: Option<Door>,
    deliveries: Deliveries,
}

impl Osc {
    /// Binds the ports and begins to listen for answers.
    ///
    /// # Errors
    /// [`Error::Exposed`] when strangers could reach it, [`Error::Bind`] when a port is taken,
    /// [`Error::Follow`] when the bus cannot be read.
    pub async fn open(
        bus: &Bus,
        config: Config,
        verify: Verify,
        now: fn() -> Timestamp,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        config.check()?;
        let channel = Token::parse(CHANNEL)?;
        let edges = match config.listen {
            Some(address) => {
                let (socket, listener) = bind(address, &config).await?;
                let udp = socket.local_addr().unwrap_or(address);
                let door = listener.map(|listener| Door {
                    listener,
                    allowed: config.allowed(),
                    idle: config.lease,
                    max_connections: config.max_connections.get(),
                    udp,
                });
                let deliveries = Deliveries::open(bus, &channel).await?;
                Some(Edges { socket, door, deliveries })
            }
            None => None,
        };
        let (report, work) = mpsc::channel(QUEUE);
        let (recorder, recorded) = mpsc::channel(QUEUE);
        let tasks = TaskTracker::new();
        let failed = report.clone();
        tasks.spawn(recording::run(bus.clone(), recorded, async move |not| {
            let _ = failed.send(Work::NotRecorded(not)).await;
        }));
        let lease_ms = u64::try_from(config.lease.as_millis()).unwrap_or(u64::MAX);
        let server = Server {
            bus: bus.clone(),
            channel,
            verify,
            now,
            allowed: config.allowed(),
            table: Table::new(lease_ms, config.max_sessions.get()),
            schedule: Schedule::default(),
            history: History::default(),
            guard: Guard::default(),
            strangers: Strangers::default(),
            report,
            recorder: Some(recorder),
            tasks,
            verifying: Arc::new(Semaphore::new(VERIFYING)),
            rechecking: Arc::new(Semaphore::new(VERIFYING)),
            publishing: Arc::new(Semaphore::new(PUBLISHING)),
            connections: std::collections::HashMap::new(),
            out: Vec::new(),
        };
        Ok(Self { edges, server, work, stop })
    }

    /// Where it listens over UDP, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.edges.as_ref().and_then(|edges| edges.socket.local_addr().ok())
    }

    /// Where it listens over TCP.
    #[must_use]
    pub fn local_tcp_addr(&self) -> Option<SocketAddr> {
        self.edges.as_ref()?.door.as_ref()?.listener.local_addr().ok()
    }

    /// Serves until `stop`; questions that are being stored then are still accepted.
    ///
    /// # Errors
    /// None today: what goes wrong with one packet is no reason to end.
    pub async fn run(self) -> Result<(), Error> {
        let Self { edges, mut server, work, stop } = self;
        let Some(Edges { socket, door, deliveries }) = edges else {
            stop.cancelled().await;
            return Ok(());
        };
        let (to, delivered) = mpsc::channel(QUEUE);
        let (told, heard) = mpsc::channel(QUEUE);
        let mut queues = Queues { work, delivered, heard };
        let connections = TaskTracker::new();
        // Boxed, so that whoever starts several workers needs no large stack.
        let following = Box::pin(deliveries.run(to));
        let accepting = Box::pin(accept(door, told, connections.clone()));
        let serving = Box::pin(server.serve(&socket, &mut queues, &stop));
        tokio::select! {
            () = following => {}
            () = accepting => {}
            () = serving => {}
        }
        server.drain(&socket, &mut queues.work).await;
        // Without a way back and without ears, connections say what is left and end.
        drop((server, queues));
        connections.close();
        let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
        Ok(())
    }
}

async fn accept(door: Option<Door>, told: mpsc::Sender<tcp::Heard>, connections: TaskTracker) {
    match door {
        Some(door) => door.run(told, connections).await,
        None => std::future::pending().await,
    }
}

/// Opens both sockets, on one port when the configuration says so.
async fn bind(
    address: SocketAddr,
    config: &Config,
) -> Result<(UdpSocket, Option<TcpListener>), Error> {
    let shared = config.tcp == Tcp::Same && address.port() == 0;
    let mut tries = if shared { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let failed = |transport, address| {
            move |source: io::Error| Error::Bind { transport, address, source }
        };
        let socket = UdpSocket::bind(address).await.map_err(failed("UDP", address))?;
        let tcp = match (config.tcp(), socket.local_addr()) {
            (Some(_), Ok(local)) if config.tcp == Tcp::Same => Some(local),
            (tcp, _) => tcp,
        };
        match tcp.map(|tcp| tcp::bind(tcp).map_err(failed("TCP", tcp))).transpose() {
            Ok(listener) => return Ok((socket, listener)),
            Err(error) if tries == 0 => return Err(error),
            // The system chose a UDP port that is taken for TCP.
            Err(_) => {}
        }
    }
}
