//! `aws.address`: whether agents reach the coordinator at a private address. By a public one, traffic leaves the VPC
//! by the internet gateway and comes back from somewhere else: no rule of a security group's id matches it, and an
//! agent, which is known by its private address, is not where it must be. Without an Elastic IP it is another one
//! after a stop and a start.

use std::net::IpAddr;
use std::time::Duration;

use super::Finding;

const ID: &str = "aws.address";
const RESOLVED_WITHIN: Duration = Duration::from_secs(3);

/// By `user_data` of the launch template, which tells it to agents; where that does not say, by `grpc.advertise`.
pub(super) async fn examine(user_data: &str, advertise: Option<&str>) -> Finding {
    let told = in_user_data(user_data);
    let found = told.map(|host| (host, "user data")).or_else(|| Some((host_of(advertise?), "grpc.advertise")));
    let Some((host, by)) = found else {
        return Finding::ok(ID, "neither user data nor grpc.advertise says by which address agents connect");
    };
    let host = spillway_words::shown::visible_line(host);
    match resolved(&host).await {
        Some(addresses) => judged(&host, by, &addresses),
        None => Finding::warn(
            ID,
            format!("agents connect to {host} (by {by}), which has no address here"),
            "have DNS of the VPC resolve it, or use the primary's private address: ami/README.md",
        ),
    }
}

fn judged(host: &str, by: &str, addresses: &[IpAddr]) -> Finding {
    match addresses.iter().find(|address| is_public(**address)) {
        None => Finding::ok(ID, format!("agents connect to {host} (by {by}), which is not public")),
        Some(address) => Finding::warn(
            ID,
            format!(
                "agents connect to {host} (by {by}), and {address} is public: that traffic leaves by the internet gateway, so a \
                 rule for the workers' security group does not match it, and agents do not come from their private \
                 addresses; without an Elastic IP it changes with a stop and a start"
            ),
            "use the primary's private address, which stays the same: coordinator= in the template's user data, or the \
             stack's PrimaryAddress (ami/README.md)",
        ),
    }
}

/// The host of the first URL in a line that sets the coordinator, as `ami/user-data.sh` and the agent's settings do.
fn in_user_data(user_data: &str) -> Option<&str> {
    let mut lines = user_data.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let (name, value) = line.split_once('=')?;
        let is_meant = ["coordinator", "SPILLWAY_COORDINATOR"].iter().any(|known| name.trim().ends_with(known));
        let value = value.trim().trim_start_matches(['"', '\'']);
        let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")).filter(|_| is_meant)?;
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'\\$;,".contains(c)).unwrap_or(rest.len());
        Some(host_of(&rest[..end])).filter(|host| !host.is_empty())
    })
}

/// Of `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
fn host_of(text: &str) -> &str {
    match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => text.rsplit_once(':').map_or(text, |(host, _)| host),
    }
}

/// None where it has no address, or nobody says in time.
async fn resolved(host: &str) -> Option<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Some(vec![address]);
    }
    let found = tokio::time::timeout(RESOLVED_WITHIN, tokio::net::lookup_host((host, 0))).await.ok()?.ok()?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip().to_canonical()).collect();
    (!addresses.is_empty()).then_some(addresses)
}

/// Addresses of IPv6 are an instance's own, whether they are public or not: inside of a VPC nothing translates them.
fn is_public(address: IpAddr) -> bool {
    let IpAddr::V4(v4) = address.to_canonical() else { return false };
    let is_shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_unspecified()
        || v4.is_broadcast()
        || v4.is_multicast()
        || is_shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_address_is_what_user_data_sets_and_not_what_stands_in_a_comment() {
        for (text, host) in [
            (include_str!("../../../ami/user-data.sh"), Some("10.0.0.5")),
            ("# coordinator=https://1.2.3.4:7443\ncoordinator=https://10.0.0.9:7443\n", Some("10.0.0.9")),
            ("coordinator = \"https://primary.internal:7443\"", Some("primary.internal")),
            ("export SPILLWAY_COORDINATOR='http://[fd00::5]:7443'", Some("fd00::5")),
            ("coordinator=https://10.0.0.7", Some("10.0.0.7")),
            ("coordinator=https://", None),
            ("coordinator=https://:7443", None),
            ("url=https://10.0.0.7:1", None),
            ("", None),
            ("coordinator=$1", None),
        ] {
            assert_eq!(in_user_data(text), host, "{text}");
        }
    }

    #[tokio::test]
    async fn a_public_address_is_a_warning_and_a_private_one_is_not() {
        for (host, level) in [
            ("10.0.0.5", Level::Ok),
            ("172.31.0.5", Level::Ok),
            ("192.168.1.5", Level::Ok),
            ("100.64.0.5", Level::Ok),
            ("127.0.0.1", Level::Ok),
            ("localhost", Level::Ok),
            ("[fd00::5]", Level::Ok),
            ("[2600:1f18::5]", Level::Ok),
            ("54.1.2.3", Level::Warn),
            ("172.32.0.5", Level::Warn),
            ("100.128.0.5", Level::Warn),
            ("[::ffff:54.1.2.3]", Level::Warn),
            ("primary.invalid", Level::Warn),
        ] {
            let found = examine(&format!("coordinator=https://{host}:7443"), Some("10.0.0.5:7443")).await;
            assert_eq!((found.id, found.level), (ID, level), "{host}: {found:?}");
            let found = examine("", Some(&format!("{host}:7443"))).await;
            assert_eq!(found.level, level, "advertised: {host}: {found:?}");
        }
        assert_eq!(examine("", None).await.level, Level::Ok);
    }
}
