//! OSC over TCP: connections in, packets out to one queue, and replies back with the framing that
//! the client began with.
//!
//! Nobody waits for a slow reader: who does not take its replies is cut off, and asks for the rest
//! with `resend` when it is back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nexus_osc_codec::framing::{Detect, FrameError, Framing};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Allowed;
use crate::oscquery;

/// Largest packet, as over UDP.
const MAX_PACKET: usize = 65_536;
/// Replies that wait for one reader, about 300 KB: a second of the fastest answer.
const QUEUE: usize = 256;
/// What the kernel keeps of them besides, in bytes.
const SEND_BUFFER: u32 = 64 * 1024;
/// How long one reply may take to leave.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const BACKLOG: u32 = 128;

/// What connections have to say.
#[derive(Debug)]
pub(crate) enum Heard {
    Opened { connection: u64, replies: Replies },
    Packet { connection: u64, host: IpAddr, packet: Vec<u8> },
    Broken { connection: u64, host: IpAddr, error: FrameError },
    Closed { connection: u64 },
}

/// The way back to one client.
#[derive(Debug)]
pub(crate) struct Replies {
    queue: mpsc::Sender<Vec<u8>>,
    cut: CancellationToken,
}

impl Replies {
    /// Hands a reply over; `false` when the client is cut off because too many wait.
    pub(crate) fn send(&self, packet: Vec<u8>) -> bool {
        let taken = self.queue.try_send(packet).is_ok();
        if !taken {
            self.cut.cancel();
        }
        taken
    }
}

/// Listens on an address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections in.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) allowed: Allowed,
    pub(crate) idle: Duration,
    pub(crate) max_connections: usize,
    /// Where OSC over UDP is heard, for the description over HTTP.
    pub(crate) udp: SocketAddr,
}

impl Door {
    /// Accepts until it is dropped or nobody listens.
    pub(crate) async fn run(self, heard: mpsc::Sender<Heard>, connections: TaskTracker) {
        let places = Arc::new(Semaphore::new(self.max_connections));
        for connection in 0.. {
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting an OSC connection failed");
                    // An error that stays, such as too many open files, must not keep a core busy.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if !self.allowed.hears(from.ip()) {
                metrics::counter!("nexus_osc_not_allowed_total").increment(1);
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                metrics::counter!("nexus_osc_connections_refused_total").increment(1);
                continue;
            };
            let host = from.ip();
            let (idle, heard, udp) = (self.idle, heard.clone(), self.udp);
            let served = Connection { connection, host, idle, heard };
            connections.spawn(async move {
                match served.first_byte(&stream).await {
                    Some(first) if oscquery::is_http(first) => oscquery::serve(stream, udp).await,
                    Some(_) => served.run(stream).await,
                    None => {}
                }
                drop(place);
            });
        }
    }
}

struct Connection {
    connection: u64,
    host: IpAddr,
    idle: Duration,
    heard: mpsc::Sender<Heard>,
}

impl Connection {
    /// What the client begins with, left unread; `None` when it says nothing.
    async fn first_byte(&self, stream: &TcpStream) -> Option<u8> {
        let mut first = [0];
        let peeked = tokio::select! {
            () = self.heard.closed() => return None,
            peeked = timeout(self.idle, stream.peek(&mut first)) => peeked,
        };
        matches!(peeked, Ok(Ok(1))).then_some(first[0])
    }

    async fn run(self, stream: TcpStream) {
        // Tokens are small and wait for nothing.
        let _ = stream.set_nodelay(true);
        let (reading, writing) = stream.into_split();
        let (queue, replies) = mpsc::channel(QUEUE);
        let (began, framing) = watch::channel(None);
        let cut = CancellationToken::new();
        let connection = self.connection;
        let opened = Heard::Opened { connection, replies: Replies { queue, cut: cut.clone() } };
        if self.heard.send(opened).await.is_err() {
            return;
        }
        let written = tokio::select! {
            biased;
            () = cut.cancelled() => false,
            written = write(writing, replies, framing) => written,
            () = self.read(reading, began) => true,
        };
        if !written {
            metrics::counter!("nexus_osc_slow_readers_total").increment(1);
            tracing::debug!(connection, "a client that does not read its replies was cut off");
        }
        let _ = self.heard.send(Heard::Closed { connection }).await;
    }

    /// Reads until the client ends, breaks the framing or is silent for too long.
    async fn read(&self, mut stream: OwnedReadHalf, began: watch::Sender<Option<Framing>>) {
        let (connection, host) = (self.connection, self.host);
        let (mut packets, mut buffer) = (Detect::new(MAX_PACKET), vec![0; 8192]);
        loop {
            let read = timeout(self.idle, stream.read(&mut buffer)).await;
            let Ok(Ok(size @ 1..)) = read else { return };
            let read = packets.push(buffer.get(..size).unwrap_or_default());
            began.send_replace(packets.framing());
            for packet in read {
                let heard = match packet {
                    Ok(packet) => Heard::Packet { connection, host, packet },
                    Err(error) => Heard::Broken { connection, host, error },
                };
                if self.heard.send(heard).await.is_err() {
                    return;
                }
            }
            if packets.is_broken() {
                // Once nobody answers any more, what is left is written and the connection ends.
                let _ = self.heard.send(Heard::Closed { connection }).await;
                return std::future::pending().await;
            }
        }
    }
}

/// Writes replies until there are no more; `false` when the client does not take them.
async fn write(
    mut stream: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Vec<u8>>,
    mut framing: watch::Receiver<Option<Framing>>,
) -> bool {
    while let Some(packet) = replies.recv().await {
        // Nobody is answered before the first byte, so this waits only in theory.
        let framing = match framing.wait_for(Option::is_some).await {
            Ok(framing) => framing.unwrap_or(Framing::LengthPrefixed),
            Err(_) => return true,
        };
        let Ok(bytes) = framing.encode(&packet) else { continue };
        match timeout(WRITE_TIMEOUT, stream.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return true,
            Err(_) => return false,
        }
    }
    let _ = stream.shutdown().await;
    true
}
