//! Challenges that wait for their answer: each is good once, for a minute, over the connection that asked for it and
//! for the instance that it was asked for. Bounded in all and for each address: who asks for more loses its oldest.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use spillway_brain::InstanceId;
use spillway_proto::sts::NONCE;
use tokio::time::Instant;

/// From the challenge to its answer.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Of one address: an agent has one connection.
const MOST_OF_ADDRESS: usize = 8;
const MOST: usize = 4096;

#[derive(Debug)]
struct Outstanding {
    id: InstanceId,
    nonce: [u8; NONCE],
    made: Instant,
    number: u64,
}

/// By the connection's other end.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    outstanding: BTreeMap<SocketAddr, Outstanding>,
    made: u64,
}

impl Nonces {
    /// A new challenge, which takes the place of the connection's last.
    pub(super) fn make(&mut self, peer: SocketAddr, id: &InstanceId, now: Instant) -> [u8; NONCE] {
        let peer = canonical(peer);
        self.outstanding.remove(&peer);
        let of_address = SocketAddr::new(peer.ip(), 0)..=SocketAddr::new(peer.ip(), u16::MAX);
        if self.outstanding.range(of_address.clone()).count() >= MOST_OF_ADDRESS {
            let oldest = self.outstanding.range(of_address).min_by_key(|(_, it)| it.number).map(|(peer, _)| *peer);
            oldest.map(|peer| self.outstanding.remove(&peer));
        }
        if self.outstanding.len() >= MOST {
            self.outstanding.retain(|_, it| now.duration_since(it.made) < GOOD_FOR);
            if self.outstanding.len() >= MOST {
                let oldest = self.outstanding.iter().min_by_key(|(_, it)| it.number).map(|(peer, _)| *peer);
                oldest.map(|peer| self.outstanding.remove(&peer));
            }
        }
        self.made += 1;
        let nonce = random();
        self.outstanding.insert(peer, Outstanding { id: id.clone(), nonce, made: now, number: self.made });
        nonce
    }

    /// The connection's challenge and when it was made; it is used up by this whatever comes of it. None where there is
    /// none, it is too old, or it was for another instance.
    pub(super) fn take(&mut self, peer: SocketAddr, id: &InstanceId, now: Instant) -> Option<([u8; NONCE], Instant)> {
        let found = self.outstanding.remove(&canonical(peer))?;
        (found.id == *id && now.duration_since(found.made) < GOOD_FOR).then_some((found.nonce, found.made))
    }
}

/// An IPv4 address that comes mapped into IPv6 is one.
fn canonical(peer: SocketAddr) -> SocketAddr {
    let ip: IpAddr = peer.ip().to_canonical();
    SocketAddr::new(ip, peer.port())
}

/// By the system's random generator, as `uuid` takes it: 16 bytes of which 122 bits are random, three times, so that
/// the fixed bits do not stay.
pub(super) fn random() -> [u8; NONCE] {
    let parts: [[u8; 16]; 3] = [(); 3].map(|()| uuid::Uuid::new_v4().into_bytes());
    let mut bytes = [0; NONCE];
    for (at, byte) in bytes.iter_mut().enumerate() {
        // The version and the variant stand in the bytes 6 and 8 of each.
        let place = [0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 15];
        let (part, at) = (at / place.len(), place[at % place.len()]);
        *byte = parts[part.min(2)][at];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn peer(address: u32, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::from(address.to_be_bytes()), port)
    }

    #[test]
    fn a_challenge_is_good_once_for_its_connection_and_its_instance_within_a_minute() {
        let (mut nonces, now) = (Nonces::default(), Instant::now());
        let (one, other) = (InstanceId("i-1".to_owned()), InstanceId("i-2".to_owned()));
        let nonce = nonces.make(peer(1, 1), &one, now);
        assert_eq!(nonces.take(peer(1, 2), &one, now), None, "another connection");
        assert_eq!(nonces.take(peer(1, 1), &one, now), Some((nonce, now)));
        assert_eq!(nonces.take(peer(1, 1), &one, now), None, "once");
        nonces.make(peer(1, 1), &one, now);
        assert_eq!(nonces.take(peer(1, 1), &other, now), None, "another instance");
        assert_eq!(nonces.take(peer(1, 1), &one, now), None, "used up by that");
        nonces.make(peer(1, 1), &one, now);
        assert_eq!(nonces.take(peer(1, 1), &one, now + GOOD_FOR), None, "too late");
        let first = nonces.make(peer(1, 1), &one, now);
        let second = nonces.make(peer(1, 1), &one, now);
        assert_ne!(first, second);
        assert_eq!(nonces.take(peer(1, 1), &one, now), Some((second, now)), "the newest");
        let mapped = "[::ffff:0.0.0.1]:1".parse().expect("an address");
        let nonce = nonces.make(mapped, &one, now);
        assert_eq!(nonces.take(peer(1, 1), &one, now), Some((nonce, now)));
    }

    #[test]
    fn they_are_bounded_and_who_asks_for_many_takes_nobody_elses() {
        let (mut nonces, now, id) = (Nonces::default(), Instant::now(), InstanceId("i-1".to_owned()));
        let honest = nonces.make(peer(7, 7), &id, now);
        for port in 1..=u16::MAX {
            nonces.make(peer(1, port), &id, now);
        }
        assert_eq!(nonces.outstanding.len(), MOST_OF_ADDRESS + 1);
        assert_eq!(nonces.take(peer(7, 7), &id, now), Some((honest, now)));
        for address in 0..20_000 {
            nonces.make(peer(address, 1), &id, now);
        }
        assert_eq!(nonces.outstanding.len(), MOST);
    }

    #[test]
    fn every_bit_of_a_nonce_is_random() {
        let (mut ones, mut seen) = ([[false; 8]; NONCE], BTreeSet::new());
        let mut zeros = ones;
        for _ in 0..200 {
            let nonce = random();
            assert!(seen.insert(nonce));
            for (byte, value) in nonce.iter().enumerate() {
                for bit in 0..8 {
                    let is_one = value >> bit & 1 == 1;
                    ones[byte][bit] |= is_one;
                    zeros[byte][bit] |= !is_one;
                }
            }
        }
        assert!(ones.iter().chain(&zeros).flatten().all(|seen| *seen));
    }
}
