//! Makes the real Redis unreachable, wherever a program of the application has its address from: by rules of policy
//! routing, which also hold for what another user runs. Owns those rules; never touches another one.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::environment::Place;

/// Between the table of local addresses and all others: before those of VPNs and of EC2's own network scripts.
const PRIORITY: &str = "100";
/// For a name to be resolved, and for a connection that nobody refuses.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses that are unreachable for as long as it lives.
#[derive(Debug, Default)]
pub struct Guard {
    blocked: Vec<SocketAddr>,
}

impl Guard {
    /// Blocks every address of these places. A place on loopback cannot be blocked: nobody may listen there.
    ///
    /// # Errors
    /// In words, where one of them would stay reachable: then none is blocked.
    pub async fn raise(places: &[Place]) -> Result<Self, String> {
        let mut addresses = BTreeSet::new();
        for place in places {
            addresses.extend(resolved(place).await?);
        }
        let mut guard = Self::default();
        for address in addresses {
            if is_own(address.ip()) {
                match connects(address).await {
                    Ok(()) => {
                        return Err(format!(
                            "a Redis answers at {address}, on this machine itself, where it cannot be made unreachable: stop it, or \
                         run this on an instance that was launched from the image"
                        ));
                    }
                    Err(_) => continue,
                }
            }
            guard.block(address).await?;
        }
        Ok(guard)
    }

    /// What is blocked.
    pub fn addresses(&self) -> String {
        self.blocked.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
    }

    async fn block(&mut self, address: SocketAddr) -> Result<(), String> {
        let added = rule("add", address);
        // Of a check that was killed: its rule is ours to remove.
        let is_there = added.as_ref().is_err_and(|problem| problem.contains("File exists"));
        if added.is_ok() || is_there {
            self.blocked.push(address);
        }
        // Asked of the kernel: a rule of somebody else's may come before it, and the address may be this machine's.
        let found = connects(address).await;
        let is_blocked = match &found {
            Ok(()) => false,
            Err(error) => match error.kind() {
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => added.is_ok() || is_there,
                // IPv6 where the kernel has none.
                _ => is_without(error),
            },
        };
        match (is_blocked, added) {
            (true, _) => Ok(()),
            (false, Err(problem)) if !is_there => {
                Err(format!("cannot make the real Redis at {address} unreachable: {problem}"))
            }
            (false, _) => Err(format!(
                "the real Redis at {address} is reachable in spite of the rule: another one comes before it, or it is this machine's own \
                 address (ip rule, ip route get {})",
                address.ip()
            )),
        }
    }

    /// Removes the rules.
    ///
    /// # Errors
    /// Those that are left, in words.
    pub fn remove(&mut self) -> Result<(), String> {
        let left: Vec<String> = self.blocked.drain(..).filter_map(|address| rule("del", address).err()).collect();
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(problem) = self.remove() {
            tracing::warn!(problem, "cannot remove a rule: the real Redis stays unreachable from here");
        }
    }
}

async fn resolved(place: &Place) -> Result<Vec<SocketAddr>, String> {
    let Place { host, port } = place;
    let remedy = "what must be unreachable is unknown";
    match timeout(TIMEOUT, lookup_host((host.as_str(), *port))).await {
        Ok(Ok(found)) => {
            // ::ffff:10.0.0.5 is reached by IPv4.
            let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let found: Vec<SocketAddr> = found.map(plain).collect();
            if found.is_empty() { Err(format!("{host} has no address: {remedy}")) } else { Ok(found) }
        }
        Ok(Err(error)) => Err(format!("{host} cannot be resolved ({error}): {remedy}")),
        Err(_) => Err(format!("{host} was not resolved in time: {remedy}")),
    }
}

fn is_own(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

async fn connects(address: SocketAddr) -> std::io::Result<()> {
    timeout(TIMEOUT, TcpStream::connect(address))
        .await
        .map_or_else(|_| Err(ErrorKind::TimedOut.into()), |it| it.map(drop))
}

/// No program here could connect to any address of the kind.
fn is_without(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// Not `async`: rules are removed where nothing can be awaited, and `ip` takes a millisecond.
fn rule(verb: &str, address: SocketAddr) -> Result<(), String> {
    let family = if address.is_ipv6() { "-6" } else { "-4" };
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new("ip");
    command.args([
        family,
        "rule",
        verb,
        "priority",
        PRIORITY,
        "to",
        &ip,
        "ipproto",
        // TCP by its number: /etc/protocols, which has the names, is missing on minimal servers.
        "6",
        "dport",
        &port,
        "unreachable",
    ]);
    let path = std::env::var("PATH").unwrap_or_default();
    match command.env("PATH", format!("{path}:/usr/sbin:/sbin")).output() {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr).trim().replace('\n', " ");
            let hint = match nix::unistd::Uid::effective().is_root() {
                true => "",
                false => ": run this as root",
            };
            Err(format!("ip rule {verb}: {said}{hint}"))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err("ip: command not found: install iproute2 in the image".to_owned())
        }
        Err(error) => Err(format!("ip rule {verb}: {error}")),
    }
}
