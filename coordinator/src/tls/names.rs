//! The names and addresses of this coordinator, for its certificate: whatever an agent may have been told to connect
//! to.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustls::pki_types::ServerName;

/// Addresses in one certificate: a machine with many containers has many more.
const MOST_ADDRESSES: usize = 64;

/// Of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub(super) hosts: BTreeSet<String>,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl Names {
    /// Loopback, where it listens (each address of the machine, if everywhere), the machine's host name, the advertised
    /// host, and what the setting `grpc.tls.names` adds.
    pub fn of_this_machine(listen: SocketAddr, advertise: Option<&str>, further: &[String]) -> Self {
        let mut names = Self::default();
        names.add("localhost");
        names.addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
        let set = further.iter().map(String::as_str).chain(advertise.map(host_of));
        set.for_each(|name| names.add(name));
        names.add(&rustix::system::uname().nodename().to_string_lossy());
        if listen.ip().is_unspecified() {
            // Not by netlink, which the unit's RestrictAddressFamilies forbids; not below /proc/net, which its
            // ProcSubset=pid hides.
            let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
            let local = local_ipv4(&read("/proc/self/net/fib_trie"));
            let local = local.into_iter().map(IpAddr::from);
            let local = local.chain(local_ipv6(&read("/proc/self/net/if_inet6")).into_iter().map(IpAddr::from));
            names.addresses.extend(local.take(MOST_ADDRESSES));
        } else {
            names.addresses.insert(listen.ip().to_canonical());
        }
        names
    }

    /// A name or an address; what is neither is left out.
    fn add(&mut self, text: &str) {
        match text.parse::<IpAddr>() {
            Ok(address) => _ = self.addresses.insert(address),
            Err(_) if is_host(text) => _ = self.hosts.insert(text.to_ascii_lowercase()),
            Err(_) => {}
        }
    }
}

/// Whether a certificate can name it: a host name or an address.
pub(crate) fn is_name(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_host(text)
}

fn is_host(text: &str) -> bool {
    matches!(ServerName::try_from(text), Ok(ServerName::DnsName(_)))
}

/// The host of `HOST:PORT`, without the brackets of an IPv6 address.
fn host_of(advertise: &str) -> &str {
    let host = advertise.rsplit_once(':').map_or(advertise, |(host, _)| host);
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// This machine's addresses, by the kernel's routing tables: an address stands on the line before `/32 host LOCAL`.
fn local_ipv4(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut lines = fib_trie.lines().map(str::trim);
    let mut found = BTreeSet::new();
    let mut before = "";
    for line in &mut lines {
        if line == "/32 host LOCAL" {
            found.extend(before.strip_prefix("|-- ").and_then(|address| address.parse::<Ipv4Addr>().ok()));
        }
        before = line;
    }
    found.retain(|address| !address.is_loopback());
    found
}

/// The same of IPv6, without link-local addresses, which are none without an interface.
fn local_ipv6(if_inet6: &str) -> BTreeSet<Ipv6Addr> {
    let address = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok().map(Ipv6Addr::from);
    let all = if_inet6.lines().filter_map(address);
    all.filter(|address| !address.is_loopback() && !address.is_unicast_link_local()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIB_TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
        |-- 10.0.0.5
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
";

    #[test]
    fn the_kernel_tells_this_machines_addresses() {
        assert_eq!(local_ipv4(FIB_TRIE), BTreeSet::from([Ipv4Addr::new(10, 0, 0, 5)]));
        let interfaces = "00000000000000000000000000000001 01 80 10 80       lo\n\
                          fd000000000000000000000000000002 02 40 00 80     eth0\n\
                          fe80000000000000021634fffe123456 02 40 20 80     eth0\n";
        assert_eq!(local_ipv6(interfaces), BTreeSet::from(["fd00::2".parse().expect("an address")]));
        assert!(local_ipv4("").is_empty() && local_ipv6("no address\n").is_empty());
    }

    #[test]
    fn a_certificate_names_whatever_agents_may_be_told_to_connect_to() {
        let of = |listen: &str, advertise, further: &[&str]| {
            let further: Vec<String> = further.iter().map(|name| (*name).to_owned()).collect();
            Names::of_this_machine(listen.parse().expect("an address"), advertise, &further)
        };
        let has = |names: &Names, address: &str| names.addresses.contains(&address.parse::<IpAddr>().expect("one"));
        let one = of("10.9.8.7:7443", None, &[]);
        assert!(has(&one, "10.9.8.7") && has(&one, "127.0.0.1") && has(&one, "::1") && one.hosts.contains("localhost"));
        let named = of("10.9.8.7:1", Some("Primary.example:7443"), &["nat.example", "203.0.113.9", "not a name"]);
        assert!(named.hosts.contains("primary.example") && named.hosts.contains("nat.example"));
        assert!(has(&named, "203.0.113.9") && !named.hosts.contains("not a name"));
        assert!(has(&of("127.0.0.1:1", Some("[fd00::5]:7443"), &[]), "fd00::5"));
        let own = std::fs::read_to_string("/proc/self/net/fib_trie").expect("it is read");
        let everywhere = of("0.0.0.0:7443", None, &[]);
        assert!(local_ipv4(&own).into_iter().all(|address| everywhere.addresses.contains(&address.into())));
        assert!(!everywhere.addresses.contains(&IpAddr::from([0, 0, 0, 0])));
    }
}
