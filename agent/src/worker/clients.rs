//! Redis's list of clients, read for worker connections. Owns BullMQ's naming of them; never calls Redis itself.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use spillway_proto::ToldBy;

/// A connection that has polled for a job within this time works: with BullMQ's defaults a blocked one polls again each
/// 5 to 10 s. With a long `drainDelay` it waits for longer, and works no less.
const FRESH_SECONDS: u64 = 10;

/// Who this instance is, among connections.
#[derive(Clone, Debug)]
pub struct WorkerIdentity {
    /// The name that its workers carry.
    pub instance_id: String,
    /// Its address, as Redis sees it. `None` where an address proves nothing.
    pub address: Option<IpAddr>,
}

impl WorkerIdentity {
    /// On loopback every process has the same address.
    pub fn new(instance_id: &str, private_ip: &str) -> Self {
        let address = private_ip.parse().ok().filter(|ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified());
        Self { instance_id: instance_id.to_owned(), address }
    }
}

/// This instance's worker connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// How many there are.
    pub count: u32,
    /// One of them is blocked waiting for a job.
    pub fetching: bool,
    /// One of these polled for it lately.
    pub fresh: bool,
    /// How they were identified as this instance's; `None` where there are none.
    pub by: Option<ToldBy>,
    /// Queues that have none.
    pub without: Vec<String>,
}

/// Finds this instance's worker connections to these queues. Where any carries its name, only names count: an address
/// is taken for proof only of connections without a name (BullMQ before 5.3 has no names). Redis lists the clients of
/// all its databases: those of another one than `db` are none of this queue's.
pub fn connections(list: &str, db: i64, prefix: &str, queues: &[String], who: &WorkerIdentity) -> Connections {
    let mut named = Connections::default();
    let mut near = Connections::default();
    for queue in queues {
        let base = format!("{prefix}:{}", STANDARD.encode(queue));
        let full = format!("{base}:w:{}", who.instance_id);
        let (before_named, before_near) = (named.count, near.count);
        for client in list.lines().filter_map(Client::parse).filter(|client| client.db == db) {
            if client.name == full {
                named.add(&client, ToldBy::Name);
            } else if client.name == base && who.address.is_some() && client.address == who.address {
                near.add(&client, ToldBy::Address);
            }
        }
        if named.count == before_named {
            named.without.push(queue.clone());
        }
        if near.count == before_near {
            near.without.push(queue.clone());
        }
    }
    if named.count > 0 || near.count == 0 { named } else { near }
}

impl Connections {
    fn add(&mut self, client: &Client<'_>, by: ToldBy) {
        self.by = Some(by);
        self.count += 1;
        self.fetching |= client.blocked;
        self.fresh |= client.blocked && client.idle <= FRESH_SECONDS;
    }
}

struct Client<'a> {
    name: &'a str,
    address: Option<IpAddr>,
    blocked: bool,
    idle: u64,
    db: i64,
}

impl<'a> Client<'a> {
    /// `None` for the many that carry no name.
    fn parse(line: &'a str) -> Option<Self> {
        let field = |name: &str| {
            line.split(' ')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                .filter(|value| !value.is_empty())
        };
        let name = field("name")?;
        let host = field("addr")?.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']));
        Some(Self {
            name,
            address: host.and_then(|host| host.parse().ok()),
            blocked: field("flags").is_some_and(|flags| flags.contains('b')),
            db: field("db").and_then(|db| db.parse().ok()).unwrap_or(0),
            idle: field("idle").and_then(|idle| idle.parse().ok()).unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, addr: &str, flags: &str, idle: u64) -> String {
        format!(
            "id=17 addr={addr} laddr=127.0.0.1:6379 fd=22 name={name} age=9 idle={idle} flags={flags} db=0 cmd=bzpopmin"
        )
    }

    fn found(lines: &[String], queues: &[&str], who: &WorkerIdentity) -> Connections {
        let queues: Vec<String> = queues.iter().map(|queue| (*queue).to_owned()).collect();
        connections(&lines.join("\n"), 0, "bull", &queues, who)
    }

    #[test]
    fn a_name_proves_and_an_address_only_where_there_is_no_name() {
        // "q" in base64 is cQ==, "ü/1" is w7wvMQ==.
        let who = WorkerIdentity::new("i-1", "10.0.0.9");
        let ours = line("bull:cQ==:w:i-1", "10.0.0.9:1", "b", 10);
        let theirs = line("bull:cQ==:w:i-11", "10.0.0.8:1", "b", 1);
        let near = line("bull:cQ==", "10.0.0.9:1", "b", 1);
        let far = line("bull:cQ==", "10.0.0.7:1", "b", 1);
        let busy = line("bull:cQ==:w:i-1", "10.0.0.9:1", "N", 30);
        let long = line("bull:cQ==:w:i-1", "10.0.0.9:1", "b", 240);
        let unnamed = line("", "10.0.0.9:1", "b", 0);
        let (name, address) = (Some(ToldBy::Name), Some(ToldBy::Address));
        type Expect = (u32, bool, bool, Option<ToldBy>);
        let table: &[(&[&String], Expect)] = &[
            (&[&ours, &theirs], (1, true, true, name)),
            (&[&theirs, &far, &unnamed], (0, false, false, None)),
            (&[&near, &far], (1, true, true, address)),
            (&[&near, &ours], (1, true, true, name)),
            (&[&busy], (1, false, false, name)),
            (&[&long], (1, true, false, name)),
            (&[&busy, &ours], (2, true, true, name)),
        ];
        for (lines, (count, fetching, fresh, by)) in table {
            let lines: Vec<String> = lines.iter().map(|line| (*line).clone()).collect();
            let found = found(&lines, &["q"], &who);
            let is = (found.count, found.fetching, found.fresh, found.by);
            assert_eq!(is, (*count, *fetching, *fresh, *by), "{lines:#?}");
        }
    }

    #[test]
    fn a_connection_to_another_database_is_another_queues() {
        let who = WorkerIdentity::new("i-1", "");
        let other = line("bull:cQ==:w:i-1", "10.0.0.9:1", "b", 1).replace("db=0", "db=1");
        assert_eq!(found(&[other], &["q"], &who).count, 0);
    }

    #[test]
    fn a_loopback_address_proves_nothing() {
        for ip in ["127.0.0.1", "::1", "0.0.0.0", "", "localhost"] {
            let near = line("bull:cQ==", "127.0.0.1:1", "b", 1);
            assert_eq!(found(&[near], &["q"], &WorkerIdentity::new("i-1", ip)).count, 0, "{ip}");
        }
        let six = line("bull:cQ==", "[fd00::1]:4", "b", 1);
        assert_eq!(found(&[six], &["q"], &WorkerIdentity::new("i-1", "fd00::1")).count, 1);
    }

    #[test]
    fn the_queue_without_a_connection_is_named() {
        let ours = line("bull:w7wvMQ==:w:i-1", "10.0.0.9:1", "b", 1);
        assert_eq!(found(&[ours], &["ü/1", "q"], &WorkerIdentity::new("i-1", "")).without, ["q"]);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(list in "[ =:a-z0-9\\[\\]\né]{0,120}") {
            connections(&list, 0, "bull", &["q".to_owned()], &WorkerIdentity::new("i-1", "10.0.0.9"));
        }
    }
}
