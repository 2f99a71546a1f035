//! Who makes an operator's request, for the log. Requests come over loopback, so the kernel knows whose socket the
//! other end is: that is not the caller's own word. Behind root the command line names whom sudo ran it for, which is.

use std::net::{IpAddr, SocketAddr};

use tonic::Request;

/// Longer names are cut.
const LONGEST_NAME: usize = 32;

/// The account at the other end, as `NAME (uid N)`; its address where the kernel does not tell.
pub(super) fn of<T>(request: &Request<T>) -> String {
    let Some(peer) = request.remote_addr() else { return "unknown".to_owned() };
    let Some(uid) = uid_of(peer) else { return peer.to_string() };
    let account = account(uid);
    let agent = request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok());
    match agent.and_then(sudo_user).filter(|_| uid == 0) {
        Some(user) => format!("{account}, sudo by {user}"),
        None => account,
    }
}

/// The account at the other end of a connection over loopback, as `NAME (uid N)`; its address where the kernel does not
/// tell.
pub(crate) fn of_peer(peer: SocketAddr) -> String {
    uid_of(peer).map_or_else(|| peer.to_string(), account)
}

fn uid_of(peer: SocketAddr) -> Option<u32> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    // Not below /proc/net, which the unit's ProcSubset=pid hides.
    let file = if peer.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    owner(&std::fs::read_to_string(file).unwrap_or_default(), peer)
}

/// An account as the log names it: `NAME (uid N)`.
pub(super) fn account(uid: u32) -> String {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match name(&accounts, uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

/// The uid of the socket whose own address is `peer`, from `/proc/self/net/tcp` or `tcp6`.
fn owner(sockets: &str, peer: SocketAddr) -> Option<u32> {
    let local = in_hex(peer);
    let fields = sockets.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let mut own = fields.filter(|fields| fields.get(1).is_some_and(|address| *address == local));
    own.find_map(|fields| fields.get(7)?.parse().ok())
}

/// As the kernel writes it: words of 32 bits in the host's byte order, then the port.
fn in_hex(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    let words: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{words}:{:04X}", address.port())
}

fn name(accounts: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    let mut entries = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    entries.find(|entry| entry.get(2) == Some(&uid.as_str()))?.first().copied()
}

/// The command line says `sudo=NAME` in its user agent.
fn sudo_user(agent: &str) -> Option<String> {
    let (_, rest) = agent.split_once("sudo=")?;
    let is_part = |it: &char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-' | '@');
    let user: String = rest.chars().take_while(is_part).take(LONGEST_NAME).collect();
    (!user.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_whose_socket_the_other_end_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").expect("it is read");
        let me = std::fs::metadata("/proc/self").expect("this process");
        let uid = std::os::unix::fs::MetadataExt::uid(&me);
        assert_eq!(owner(&sockets, client.local_addr().expect("an address")), Some(uid));
        assert_eq!(owner("", client.local_addr().expect("an address")), None);
    }

    #[test]
    fn accounts_have_names_and_sudo_names_whom_it_runs_for() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n";
        assert_eq!((name(accounts, 1000), name(accounts, 7)), (Some("ubuntu"), None));
        assert_eq!(sudo_user("spillway/0.1.0 (sudo=alice) tonic/0.14"), Some("alice".to_owned()));
        assert_eq!(sudo_user("spillway/0.1.0 tonic/0.14"), None);
        assert_eq!(sudo_user("sudo=\x1b[31m"), None);
    }
}
