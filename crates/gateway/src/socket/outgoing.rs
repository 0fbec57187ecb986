//! What waits to be written to a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as WsMessage, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::stream::SplitSink;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Frames that wait for a client before its conversations wait too.
const MOST_FRAMES: usize = 256;
/// Bytes that wait for a client before its conversations wait too.
const MOST_BYTES: usize = 1024 * 1024;

/// The frames of one client that are not written yet. Cheap to clone.
///
/// Whoever adds looks for room first: a client that takes nothing holds up its own conversations,
/// which are then cut off with "resume", and nobody else.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    queue: mpsc::UnboundedSender<Out>,
    load: Arc<Load>,
}

#[derive(Debug, Default)]
struct Load {
    frames: AtomicUsize,
    bytes: AtomicUsize,
    freed: Notify,
}

#[derive(Debug)]
enum Out {
    Text(String),
    Ping,
    Close(u16),
}

/// The other end, for [`Writer::write`].
pub(super) struct Writer {
    queue: mpsc::UnboundedReceiver<Out>,
    load: Arc<Load>,
}

pub(super) fn outgoing() -> (Outgoing, Writer) {
    let (sender, queue) = mpsc::unbounded_channel();
    let load = Arc::<Load>::default();
    (Outgoing { queue: sender, load: Arc::clone(&load) }, Writer { queue, load })
}

impl Outgoing {
    pub(super) fn send(&self, text: String) {
        self.load.frames.fetch_add(1, Ordering::Relaxed);
        self.load.bytes.fetch_add(text.len(), Ordering::Relaxed);
        let _ = self.queue.send(Out::Text(text));
    }

    /// The WebSocket's own ping, which libraries answer by themselves.
    pub(super) fn ping(&self) {
        let _ = self.queue.send(Out::Ping);
    }

    /// What was sent before is written, nothing after it.
    pub(super) fn close(&self, code: u16) {
        let _ = self.queue.send(Out::Close(code));
    }

    pub(super) fn has_room(&self) -> bool {
        self.load.frames.load(Ordering::Relaxed) < MOST_FRAMES
            && self.load.bytes.load(Ordering::Relaxed) < MOST_BYTES
    }

    /// Waits until something was written.
    pub(super) async fn freed(&self) {
        self.load.freed.notified().await;
    }
}

impl Writer {
    /// Writes until there is nothing more to come, or the client takes nothing for `patience`.
    pub(super) async fn write(
        mut self,
        mut sink: SplitSink<WebSocket, WsMessage>,
        patience: Duration,
        gone: CancellationToken,
    ) {
        let mut code = None;
        while let Some(out) = self.queue.recv().await {
            let (message, bytes) = match out {
                Out::Text(text) => {
                    let bytes = text.len();
                    (WsMessage::Text(text.into()), Some(bytes))
                }
                Out::Ping => (WsMessage::Ping(Bytes::new()), None),
                Out::Close(close) => {
                    code = Some(close);
                    break;
                }
            };
            // A client that takes nothing for this long is gone.
            if !matches!(tokio::time::timeout(patience, sink.send(message)).await, Ok(Ok(()))) {
                break;
            }
            if let Some(bytes) = bytes {
                self.load.frames.fetch_sub(1, Ordering::Relaxed);
                self.load.bytes.fetch_sub(bytes, Ordering::Relaxed);
                self.load.freed.notify_one();
            }
        }
        gone.cancel();
        let frame = code.map(|code| CloseFrame { code, reason: super::reason(code).into() });
        let close = sink.send(WsMessage::Close(frame));
        let _ = tokio::time::timeout(Duration::from_secs(1), close).await;
    }
}
