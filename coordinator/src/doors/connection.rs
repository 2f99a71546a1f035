//! One connection, which ends when it must make room, or when no request comes in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected as ConnectedOfAxum;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::guests::Session;
use super::stream::Stream;
use super::unheard::Unheards;
use super::{Door, Pass};

/// A connection that may stay.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: SocketAddr,
    local: Option<SocketAddr>,
    pass: Pass,
    unheards: Arc<Unheards>,
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
    /// Where it connects from; None where the kernel does not tell.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address.remote_addr()
    }

    /// Whether the connection keeps an agent's session from now on; see [`Session`].
    pub fn holds_session(&self) -> Session {
        self.pass.holds_session()
    }
}

impl Connection {
    pub(super) fn new(
        (stream, peer): (TcpStream, SocketAddr),
        tls: Option<TlsAcceptor>,
        (pass, gone): (Pass, oneshot::Receiver<()>),
        first_request: Duration,
        unheards: Arc<Unheards>,
    ) -> Self {
        // Only how soon small answers leave depends on it.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().ok();
        let first_request = Some(Box::pin(tokio::time::sleep(first_request)));
        Self { stream: Stream::new(stream, tls), peer, local, pass, unheards, gone, first_request }
    }

    fn peer(&self) -> Peer {
        let address = TcpConnectInfo { local_addr: self.local, remote_addr: Some(self.peer) };
        Peer { address, pass: self.pass.clone() }
    }

    /// Until it may be read and written. Whoever does not come to speak in time, or must make room, is closed here too.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.stream.is_open() {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = self.must_end(cx) {
            return Poll::Ready(Err(error));
        }
        ready!(self.stream.poll_open(self.peer, cx)).map_or_else(
            |(why, error)| {
                if let Some(why) = why {
                    self.unheards.say(why, self.peer, &error);
                }
                Poll::Ready(Err(error))
            },
            |()| Poll::Ready(Ok(())),
        )
    }

    /// Why the connection must end now; wakes the task when it must.
    fn must_end(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        if Pin::new(&mut self.gone).poll(cx).is_ready() {
            return Some(io::Error::new(io::ErrorKind::ConnectionAborted, "idle, or made room for another connection"));
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
        ready!(self.poll_open(cx))?;
        match self.must_end(cx) {
            Some(error) => Poll::Ready(Err(error)),
            None => self.stream.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?;
        self.stream.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
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
