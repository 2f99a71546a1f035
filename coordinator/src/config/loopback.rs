//! The loopback address on which operators reach a coordinator.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The further address to listen on, so that operators reach a coordinator that is bound to `bound`: None where that is
/// loopback or every address.
pub fn beside_for_operators(bound: SocketAddr) -> Option<SocketAddr> {
    let operators = for_operators(bound);
    (!bound.ip().is_unspecified() && operators != bound).then_some(operators)
}

/// The loopback address on which a coordinator that listens at `listen` answers operators.
pub fn for_operators(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}
