//! What a connection speaks: TLS or plaintext, which its first byte tells.
//!
//! The handshake is made as the connection is first read or written, by the task that serves it: nobody waits for it in
//! order to be accepted.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::unheard::Unheard;

/// The first byte of every TLS connection: a record of the handshake.
const TLS_BEGINS: u8 = 0x16;

/// A connection from its first byte on.
pub(super) enum Stream {
    /// Nothing has come yet.
    Waiting(TcpStream, TlsAcceptor),
    Handshake(Box<Accept<TcpStream>>),
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// It never came to speak.
    Ended,
}

impl Stream {
    /// With TLS where there is an acceptor.
    pub(super) fn new(stream: TcpStream, tls: Option<TlsAcceptor>) -> Self {
        match tls {
            Some(acceptor) => Self::Waiting(stream, acceptor),
            None => Self::Plain(stream),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Plain(_) | Self::Tls(_))
    }

    /// Makes the handshake. An error says why the connection ends; it comes once.
    pub(super) fn poll_open(
        &mut self,
        peer: SocketAddr,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), (Option<Unheard>, io::Error)>> {
        loop {
            match self {
                Self::Plain(_) | Self::Tls(_) => return Poll::Ready(Ok(())),
                Self::Ended => return Poll::Ready(Err((None, io::ErrorKind::NotConnected.into()))),
                Self::Waiting(stream, _) => {
                    let mut byte = [0];
                    let mut first = ReadBuf::new(&mut byte);
                    let length = ready!(stream.poll_peek(cx, &mut first));
                    let is_tls = byte[0] == TLS_BEGINS;
                    match length {
                        Ok(0) => return self.end(None, io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) if is_tls => self.shake_hands(),
                        Ok(_) if peer.ip().to_canonical().is_loopback() => self.speak_plainly(),
                        Ok(_) => {
                            let error = io::Error::new(io::ErrorKind::InvalidData, "plaintext, where TLS is needed");
                            return self.end(Some(Unheard::Plaintext), error);
                        }
                        Err(error) => return self.end(None, error),
                    }
                }
                Self::Handshake(accept) => match ready!(Pin::new(accept).poll(cx)) {
                    Ok(stream) => *self = Self::Tls(Box::new(stream)),
                    Err(error) => return self.end(why(&error), error),
                },
            }
        }
    }

    fn shake_hands(&mut self) {
        if let Self::Waiting(stream, acceptor) = std::mem::replace(self, Self::Ended) {
            *self = Self::Handshake(Box::new(acceptor.accept(stream)));
        }
    }

    fn speak_plainly(&mut self) {
        if let Self::Waiting(stream, _) = std::mem::replace(self, Self::Ended) {
            *self = Self::Plain(stream);
        }
    }

    fn end(&mut self, why: Option<Unheard>, error: io::Error) -> Poll<Result<(), (Option<Unheard>, io::Error)>> {
        *self = Self::Ended;
        Poll::Ready(Err((why, error)))
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            // Nothing was written.
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) | Self::Waiting(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Handshake(_) | Self::Ended => {
                *self = Self::Ended;
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// None: the client went away.
fn why(error: &io::Error) -> Option<Unheard> {
    use rustls::AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(UnknownCA | BadCertificate | CertificateUnknown | CertificateExpired)) => {
            Some(Unheard::Distrusted)
        }
        Some(_) => Some(Unheard::Handshake),
        None => None,
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting(..) => "Waiting",
            Self::Handshake(_) => "Handshake",
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
            Self::Ended => "Ended",
        })
    }
}
