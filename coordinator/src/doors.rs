//! The ports: who may stay connected, and how much of the process one who does not speak can take.
//!
//! A connection costs a descriptor and memory before anything is known of who made it, and Redis and EC2 need
//! descriptors too. So their number is limited, of each address and in all; a connection that sends no request in time
//! is closed, and where room is needed the least useful gives way: one that never asked anything before one that is
//! idle, that one before one with an open request. An agent's session never does.
//!
//! - `guests`: the open connections, and which one gives way
//! - `connection`: one of them, closed when it must go
//! - `stream`: what it speaks, TLS or plaintext
//! - `unheard`: those that never came to speak, for the log
//! - `watched`: learns from the requests how useful a connection is
//! - `descriptors`: how many files the process may open

mod connection;
mod descriptors;
mod guests;
mod stream;
mod unheard;
mod watched;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub use connection::{Connection, Peer};
pub use guests::{Limits, Pass, Session};
pub use watched::WatchedLayer;

use guests::Guests;
use unheard::Unheards;

/// Pause after a failed accept, for example without free descriptors, rather than a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);
/// Idle connections are looked for so often, or as often as one may be idle.
const SWEPT_EVERY: Duration = Duration::from_secs(15);
/// What goes on for long is said once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// All doors of a process: they share the descriptors, and so the limits.
#[derive(Clone, Debug)]
pub struct Doors {
    guests: Arc<Guests>,
}

/// One port.
pub struct Door {
    listener: TcpListener,
    guests: Arc<Guests>,
    /// None: plaintext for everybody.
    tls: Option<TlsAcceptor>,
    unheards: Arc<Unheards>,
    /// What is asked here, for the log.
    name: &'static str,
    swept: Instant,
    said: Option<Instant>,
}

impl Doors {
    /// Raises the process' limit of open files as far as it may, and takes the limits of connections from it.
    pub fn new() -> Self {
        Self::with(Limits::of_files(descriptors::raised()))
    }

    pub fn with(limits: Limits) -> Self {
        Self { guests: Arc::new(Guests::new(limits)) }
    }

    pub fn door(&self, listener: TcpListener, name: &'static str) -> Door {
        let (guests, unheards) = (Arc::clone(&self.guests), Arc::default());
        Door { listener, guests, tls: None, unheards, name, swept: Instant::now(), said: None }
    }
}

impl Default for Doors {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("name", &self.name).field("guests", &self.guests).finish_non_exhaustive()
    }
}

impl Door {
    /// With TLS, which whoever is not on this host must speak; plaintext where there is none.
    pub fn with_tls(self, tls: Option<TlsAcceptor>) -> Self {
        Self { tls, ..self }
    }

    /// The next connection that may stay.
    pub async fn next(&mut self) -> (Connection, SocketAddr) {
        loop {
            let sweep = self.swept + SWEPT_EVERY.min(self.guests.limits().idle);
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = tokio::time::sleep_until(sweep) => {
                    self.swept = Instant::now();
                    let closed = self.guests.close_idle(self.swept);
                    tracing::debug!(closed, door = self.name, "closed idle connections");
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => match self.guests.admit(peer.ip(), Instant::now()) {
                    Some(place) => return (self.connection((stream, peer), place), peer),
                    None => self.say(|limits, name| {
                        tracing::warn!(
                            %peer,
                            "a connection to {name} is closed at once: there are {} from its address, or {} in all, and each is in \
                             use. Said once a minute",
                            limits.of_peer,
                            limits.all
                        );
                    }),
                },
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Whoever is connected for nothing makes room for who waits.
                    let closed = self.guests.make_room(Instant::now());
                    self.say(|limits, name| {
                        tracing::error!(
                            problem = %error,
                            closed,
                            "cannot accept connections to {name}: where the process has too many open files, raise LimitNOFILE \
                             of its unit (at most {} connections are kept). Said once a minute",
                            limits.all
                        );
                    });
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn connection(&self, of: (TcpStream, SocketAddr), place: (Pass, oneshot::Receiver<()>)) -> Connection {
        let first_request = self.guests.limits().first_request;
        Connection::new(of, self.tls.clone(), place, first_request, Arc::clone(&self.unheards))
    }

    /// As tonic takes connections.
    pub fn incoming(self) -> BoxStream<'static, Result<Connection, Infallible>> {
        unfold(self, |mut door| async move {
            let (connection, _) = door.next().await;
            Some((Ok(connection), door))
        })
        .boxed()
    }

    fn say(&mut self, what: impl FnOnce(Limits, &str)) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAID_EVERY) {
            self.said = Some(now);
            what(self.guests.limits(), self.name);
        }
    }
}

/// As axum takes connections.
impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The client went away before it was accepted.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests;
