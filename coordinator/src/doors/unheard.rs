//! Connections that never came to speak, for the log. Whoever reaches the port can make them, as many as they like: of
//! each kind one line a minute is said, with how many there were before it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::SAID_EVERY;

/// Why a connection never came to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unheard {
    /// It does not speak TLS, and must.
    Plaintext,
    /// The client trusts another CA, or knows this coordinator by another name.
    Distrusted,
    /// What came is no handshake.
    Handshake,
}

/// What was said of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    at: Option<Instant>,
    unsaid: u64,
}

/// Shared by the connections of a door.
#[derive(Debug, Default)]
pub(super) struct Unheards(Mutex<[Said; 3]>);

impl Unheards {
    pub(super) fn say(&self, what: Unheard, peer: SocketAddr, error: &io::Error) {
        let Some(unsaid) = self.note(what, Instant::now()) else { return };
        let peer = peer.ip().to_canonical();
        match what {
            Unheard::Plaintext => tracing::warn!(
                %peer,
                unsaid,
                "a connection without TLS is refused: an agent needs coordinator = \"https://…\" and the CA's ca_file"
            ),
            Unheard::Distrusted => tracing::warn!(
                %peer,
                unsaid,
                problem = %error,
                "a client refuses this coordinator's certificate: is its ca_file this coordinator's ca.pem, and the host it \
                 connects to among grpc.tls.names?"
            ),
            Unheard::Handshake => tracing::warn!(%peer, unsaid, problem = %error, "a TLS handshake failed"),
        }
    }

    /// Whether to say it now: how many were not said since the last.
    fn note(&self, what: Unheard, now: Instant) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = &mut all[what as usize];
        if said.at.is_some_and(|at| now.duration_since(at) < SAID_EVERY) {
            said.unsaid += 1;
            return None;
        }
        said.at = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_a_minute_with_the_number_of_the_others() {
        let unheards = Unheards::default();
        let now = Instant::now();
        assert_eq!(unheards.note(Unheard::Handshake, now), Some(0));
        assert!((0..500).all(|_| unheards.note(Unheard::Handshake, now).is_none()));
        assert_eq!(unheards.note(Unheard::Plaintext, now), Some(0));
        assert_eq!(unheards.note(Unheard::Handshake, now + SAID_EVERY), Some(500));
        assert_eq!(unheards.note(Unheard::Distrusted, now + SAID_EVERY), Some(0));
    }
}
