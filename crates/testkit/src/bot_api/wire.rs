//! Connections that can be reset on order.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A listener whose connections carry a [`Reset`].
#[derive(Debug)]
pub(super) struct Resettable(pub(super) TcpListener);

/// Resets the connection that a request came on.
#[derive(Debug, Clone)]
pub(super) struct Reset(CancellationToken);

impl Reset {
    /// The peer sees "connection reset by peer"; what is not sent yet is lost.
    pub(super) fn now(&self) {
        self.0.cancel();
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    reset: CancellationToken,
    broken: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Listener for Resettable {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let reset = CancellationToken::new();
        let broken = Box::pin(reset.clone().cancelled_owned());
        (Connection { stream, reset, broken }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Resettable>> for Reset {
    fn connect_info(stream: IncomingStream<'_, Resettable>) -> Self {
        Self(stream.io().reset.clone())
    }
}

impl Connection {
    /// Fails once the connection is to be reset; else wakes the task when that comes.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.reset.is_cancelled() || self.broken.as_mut().poll(context).is_ready() {
            // With no time to linger, closing sends RST.
            let _ = self.stream.set_zero_linger();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
