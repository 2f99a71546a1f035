//! The open connections, and which one gives way where room is needed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Kept for Redis, EC2, the state and the libraries: never taken by connections.
const KEPT_FOR_OTHERS: usize = 128;
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Longer than between two scrapes of a monitor, or two commands of an operator's program.
const IDLE: Duration = Duration::from_secs(300);
const LEAST: usize = 16;
const MOST: usize = 8192;
/// Closed where the process has no descriptor left.
const ROOM_AT_ONCE: usize = 16;
const FEWER_FOR: Duration = Duration::from_secs(60);
/// A pool has at most 1000 instances, and all of them may be behind one address.
const MOST_OF_PEER: usize = 1024;

/// How many connections may be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub all: usize,
    /// From one address.
    pub of_peer: usize,
    /// A connection that has not sent its first request by then is closed: a client that wants something sends it at
    /// once.
    pub first_request: Duration,
    /// A connection that has had no open request for so long is closed.
    pub idle: Duration,
}

impl Limits {
    /// For a process that may open that many files. One address never has more than half of the connections.
    pub fn of_files(files: Option<u64>) -> Self {
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        // With very few files it is not worth running; some connections are needed all the same.
        let all = files.saturating_sub(KEPT_FOR_OTHERS).clamp(LEAST, MOST);
        Self { all, of_peer: (all / 2).min(MOST_OF_PEER), first_request: FIRST_REQUEST, idle: IDLE }
    }
}

/// What a connection is good for: the lowest gives way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It has never asked anything.
    Silent,
    Idle,
    Asking,
    /// An agent's session is open: it never gives way.
    Session,
}

#[derive(Debug)]
struct Guest {
    peer: IpAddr,
    has_asked: bool,
    requests: usize,
    sessions: usize,
    /// Since it stands as it does.
    since: Instant,
    /// Dropped to close the connection.
    _stay: oneshot::Sender<()>,
}

impl Guest {
    fn standing(&self) -> Standing {
        match (self.sessions, self.requests, self.has_asked) {
            (1.., ..) => Standing::Session,
            (0, 1.., _) => Standing::Asking,
            (0, 0, true) => Standing::Idle,
            (0, 0, false) => Standing::Silent,
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    guests: BTreeMap<u64, Guest>,
    of_peer: BTreeMap<IpAddr, usize>,
    /// So many are kept until then, since the process had no descriptor left.
    fewer: Option<(usize, Instant)>,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Guests {
    limits: Limits,
    table: Mutex<Table>,
}

impl Guests {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, table: Mutex::default() }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes a connection in, for which another may have to go; None where there is no room. The receiver ends when it
    /// must go.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr, now: Instant) -> Option<(Pass, oneshot::Receiver<()>)> {
        let peer = peer.to_canonical();
        let mut table = self.table();
        if table.of_peer.get(&peer).copied().unwrap_or(0) >= self.limits.of_peer && !table.make_room(Some(peer)) {
            return None;
        }
        if table.guests.len() >= table.most(self.limits, now) && !table.make_room(None) {
            return None;
        }
        let number = table.next;
        table.next += 1;
        let (stay, gone) = oneshot::channel();
        let guest = Guest { peer, has_asked: false, requests: 0, sessions: 0, since: now, _stay: stay };
        table.guests.insert(number, guest);
        *table.of_peer.entry(peer).or_default() += 1;
        drop(table);
        Some((Pass(Arc::new(Place { guests: Arc::clone(self), number })), gone))
    }

    /// The process has no descriptor left: fewer connections than now are kept for a while, and those that are least
    /// useful are closed for it. Returns how many.
    pub(super) fn make_room(&self, now: Instant) -> usize {
        let mut table = self.table();
        let kept = table.guests.len().saturating_sub(ROOM_AT_ONCE).max(LEAST);
        table.fewer = Some((kept, now + FEWER_FOR));
        let mut closed = 0;
        while table.guests.len() > kept && table.make_room(None) {
            closed += 1;
        }
        closed
    }

    /// Closes the connections that are idle for too long; returns how many.
    pub(super) fn close_idle(&self, now: Instant) -> usize {
        let mut table = self.table();
        let is_idle = |guest: &Guest| {
            guest.standing() == Standing::Idle && now.saturating_duration_since(guest.since) >= self.limits.idle
        };
        let idle: Vec<u64> = table.guests.iter().filter(|(_, it)| is_idle(it)).map(|(number, _)| *number).collect();
        idle.iter().for_each(|number| table.remove(*number));
        idle.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn most(&self, limits: Limits, now: Instant) -> usize {
        self.fewer.filter(|(_, until)| now < *until).map_or(limits.all, |(kept, _)| kept.min(limits.all))
    }

    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let of_it = self.guests.iter().filter(|(_, guest)| of.is_none_or(|peer| guest.peer == peer));
        let least = of_it.min_by_key(|(_, guest)| (guest.standing(), guest.since));
        match least.map(|(number, guest)| (*number, guest.standing())) {
            Some((number, standing)) if standing < Standing::Session => {
                self.remove(number);
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(guest) = self.guests.remove(&number) else { return };
        if let Some(count) = self.of_peer.get_mut(&guest.peer) {
            *count -= 1;
            if *count == 0 {
                self.of_peer.remove(&guest.peer);
            }
        }
    }
}

/// A connection's place among the guests; it is free again when the last of its copies is dropped.
#[derive(Clone, Debug)]
pub struct Pass(Arc<Place>);

#[derive(Debug)]
struct Place {
    guests: Arc<Guests>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.table().remove(self.number);
    }
}

impl Pass {
    /// A request begins; it ends when what is returned is dropped.
    pub(super) fn asks(&self, now: Instant) -> Asking {
        self.change(now, |guest| {
            guest.has_asked = true;
            guest.requests += 1;
        });
        Asking(self.clone())
    }

    /// An agent has proved itself and opened its session, which lasts until what is returned is dropped.
    pub fn holds_session(&self) -> Session {
        self.change(Instant::now(), |guest| guest.sessions += 1);
        Session(self.clone())
    }

    /// Whether a request has ever come.
    pub(super) fn has_asked(&self) -> bool {
        self.0.guests.table().guests.get(&self.0.number).is_some_and(|guest| guest.has_asked)
    }

    fn change(&self, now: Instant, how: impl FnOnce(&mut Guest)) {
        if let Some(guest) = self.0.guests.table().guests.get_mut(&self.0.number) {
            let before = guest.standing();
            how(guest);
            if guest.standing() != before {
                guest.since = now;
            }
        }
    }
}

/// An open request.
#[derive(Debug)]
pub(super) struct Asking(Pass);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.change(Instant::now(), |guest| guest.requests -= 1);
    }
}

/// An open session of an agent.
#[derive(Debug)]
pub struct Session(Pass);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.change(Instant::now(), |guest| guest.sessions -= 1);
    }
}
