//! One connection, which ends when it must make room, or when no request comes in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected as ConnectedOfAxum;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::guests::Session;
use super::{Door, Pass};

/// A connection that may stay.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    pass: Pass,
    /// Ends when the connection must make room.
    gone: oneshot::Receiver<()>,
    /// Until the first request must have come; None once it has.
    first_request: Option<Pin<Box<Sleep>>>,
}

/// Who is connected, for the services and for [`super::WatchedLayer`].
#[derive(Clone, Debug)]
pub struct Peer {
    pub(super) address: TcpConnectInfo,
    pub(super) pass: Pass,
}

impl Peer {
    /// Whether the connection keeps an agent's session from now on; see [`Session`].
    pub fn holds_session(&self) -> Session {
        self.pass.holds_session()
    }
}

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        pass: Pass,
        gone: oneshot::Receiver<()>,
        first_request: Duration,
    ) -> Self {
        // Only how soon small answers leave depends on it.
        let _ = stream.set_nodelay(true);
        Self { stream, peer, pass, gone, first_request: Some(Box::pin(tokio::time::sleep(first_request))) }
    }

    fn peer(&self) -> Peer {
        let address = TcpConnectInfo { local_addr: self.stream.local_addr().ok(), remote_addr: Some(self.peer) };
        Peer { address, pass: self.pass.clone() }
    }

    /// Why the connection must end now; wakes the task when it must.
    fn must_end(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if Pin::new(&mut self.gone).poll(cx).is_ready() {
            return Some(io::Error::new(io::ErrorKind::ConnectionAborted, "made room for another connection"));
        }
        let sleep = self.first_request.as_mut()?;
        if sleep.as_mut().poll(cx).is_pending() {
            return None;
        }
        self.first_request = None;
        (!self.pass.has_asked()).then(|| io::Error::new(io::ErrorKind::TimedOut, "no request came"))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.must_end(cx) {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer()
    }
}

impl ConnectedOfAxum<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().peer()
    }
}
