//! What agents reported last, and their sessions. For operators and for commands; decisions are made from the brain's
//! events, never from here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spillway_brain::{InstanceId, Timestamp};
use spillway_proto::v1;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::ledger::Grant;
use crate::wire_time;

/// Boot steps kept for each instance: limits the memory that one agent can use.
const STEPS_KEPT: usize = 64;
const NOTICES_KEPT: usize = 16;

/// Queue of commands to one agent. In boxes: a queue keeps room for 32 of whatever is in it.
pub type Commands = mpsc::Sender<Box<v1::SessionResponse>>;

/// What is known about one agent beyond what decisions need.
#[derive(Clone, Debug, Default)]
pub struct AgentRecord {
    /// From the registration.
    pub identity: v1::Identity,
    /// From the registration: the agent's own word, for operators alone.
    pub version: String,
    pub heartbeat: Option<v1::Heartbeat>,
    pub last_heartbeat: Option<Timestamp>,
    /// The last report on each step, by index.
    pub boot_steps: BTreeMap<u32, v1::BootStep>,
    pub notices: Vec<v1::Notice>,
    /// With the epoch that it was given or read in: another leader may have given another since.
    grant: (Grant, u64),
    /// When this process gave it.
    granted_at: Option<Instant>,
    /// None while the agent is not connected.
    session: Option<Session>,
    /// While a session is open: somebody else has proved to be the instance.
    rival: Option<Rival>,
}

/// A second registration of an instance whose session is open.
#[derive(Clone, Copy, Debug)]
struct Rival {
    since: Instant,
    /// The open session has beaten since: there are two agents.
    is_one_of_two: bool,
    is_told: bool,
}

/// Whether a proven registration may take the place of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Free,
    /// A session is open. Whether its agent lives shows with its next heartbeat, or with none.
    BeingTried,
    /// An agent lives there.
    Taken,
}

/// An open session: the newest of its instance, until a newer one or another registration replaces it.
#[derive(Clone, Debug)]
struct Session {
    number: u64,
    commands: Commands,
    replaced: Arc<Notify>,
}

impl AgentRecord {
    pub fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    pub fn beat(&mut self, now: Timestamp, heartbeat: v1::Heartbeat) {
        self.heartbeat = Some(heartbeat);
        self.last_heartbeat = Some(now);
        self.rival.iter_mut().for_each(|rival| rival.is_one_of_two = true);
    }

    /// True once, when it has shown that the instance has two agents.
    pub fn shows_two_agents(&mut self) -> bool {
        let rival = self.rival.as_mut().filter(|rival| rival.is_one_of_two);
        rival.is_some_and(|rival| !std::mem::replace(&mut rival.is_told, true))
    }

    pub fn step(&mut self, step: v1::BootStep) {
        if self.boot_steps.len() < STEPS_KEPT || self.boot_steps.contains_key(&step.index) {
            self.boot_steps.insert(step.index, step);
        }
    }

    /// True if the notice is new: agents repeat their notices when they reconnect.
    pub fn notice(&mut self, notice: v1::Notice) -> bool {
        let known = self.notices.iter().any(|known| known.kind == notice.kind && known.at == notice.at);
        if !known {
            self.notices.truncate(NOTICES_KEPT - 1);
            self.notices.push(notice);
        }
        !known
    }

    /// What EC2 has scheduled, as its agent reads it now: kept as notices, in the place of what was scheduled before.
    /// True if an event is new.
    pub fn scheduled(&mut self, events: &[v1::ScheduledEvent], seen_at: Timestamp) -> bool {
        let kind = v1::NoticeKind::Maintenance;
        let (before, others): (Vec<_>, Vec<_>) = self.notices.drain(..).partition(|it| it.kind() == kind);
        self.notices = others;
        let mut is_news = false;
        for event in events.iter().take(NOTICES_KEPT) {
            let known = before.iter().find(|it| it.action == event.code && it.at == event.not_before);
            is_news |= known.is_none();
            let seen_at = Some(wire_time::timestamp(seen_at));
            let (action, at) = (event.code.clone(), event.not_before);
            let notice = v1::Notice { kind: kind.into(), action, at, seen_at, ..v1::Notice::default() };
            self.notices.push(known.cloned().unwrap_or(notice));
        }
        is_news
    }

    fn place(&mut self, now: Instant, silent_after: Duration) -> Place {
        if self.session.is_none() {
            return Place::Free;
        }
        let rival = self.rival.get_or_insert(Rival { since: now, is_one_of_two: false, is_told: false });
        match rival.is_one_of_two {
            true => Place::Taken,
            false if now.duration_since(rival.since) > silent_after => Place::Free,
            false => Place::BeingTried,
        }
    }

    fn replace_session(&mut self, session: Option<Session>) {
        self.rival = None;
        if let Some(before) = std::mem::replace(&mut self.session, session) {
            before.replaced.notify_one();
        }
    }
}

/// All agents, shared between the gRPC services and the pools.
#[derive(Clone, Debug, Default)]
pub struct Agents {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<InstanceId, AgentRecord>,
    sessions: u64,
}

/// The agent has no session, or its queue of commands is full.
#[derive(Debug, thiserror::Error)]
#[error("the agent of {id} is not connected, or does not read its commands")]
pub struct NotConnected {
    pub id: InstanceId,
}

impl Agents {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        // Nothing panics while it holds the lock; a poisoned one still has consistent records.
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces an earlier registration and its session: an agent that restarts registers anew. `tell` runs before any
    /// message of a later session is received.
    pub fn registered(&self, id: &InstanceId, identity: v1::Identity, grant: (Grant, u64), tell: impl FnOnce()) {
        self.with(|inner| {
            let record = inner.records.entry(id.clone()).or_default();
            (record.identity, record.version) = (identity, grant.0.agent_version.clone());
            record.grant = grant;
            record.granted_at = Some(Instant::now());
            record.replace_session(None);
            tell();
        });
    }

    /// What another leader granted, by the ledger. A session that is open here stays open.
    pub fn restored(&self, id: &InstanceId, grant: (Grant, u64)) {
        self.with(|inner| {
            let record = inner.records.entry(id.clone()).or_default();
            record.version.clone_from(&grant.0.agent_version);
            record.grant = grant;
        });
    }

    /// The ledger has a grant of this process' for the instance: a challenge from before it is answered too late.
    pub fn granted(&self, id: &InstanceId) {
        self.with(|inner| inner.records.entry(id.clone()).or_default().granted_at = Some(Instant::now()));
    }

    /// Whether another registration of the instance was granted since then.
    pub fn is_granted_since(&self, id: &InstanceId, then: Instant) -> bool {
        let granted_at = self.with(|inner| inner.records.get(id).and_then(|record| record.granted_at));
        granted_at.is_some_and(|at| at >= then)
    }

    /// Open sessions of other instances.
    pub fn open_sessions_beside(&self, id: &InstanceId) -> usize {
        self.with(|inner| inner.records.iter().filter(|(other, record)| *other != id && record.is_connected()).count())
    }

    /// Whether a proven registration of this instance may take the place of its session: not of one whose agent beats
    /// on within `silent_after`.
    pub fn place(&self, id: &InstanceId, now: Instant, silent_after: Duration) -> Place {
        self.with(|inner| inner.records.get_mut(id).map_or(Place::Free, |record| record.place(now, silent_after)))
    }

    /// What the instance's newest registration in this epoch was granted; None where it has none that is known here.
    pub fn grant(&self, id: &InstanceId, epoch: u64) -> Option<Grant> {
        self.with(|inner| inner.records.get(id).filter(|it| it.grant.1 == epoch).map(|it| it.grant.0.clone()))
    }

    /// Opens a session, which replaces an earlier one. The number is for `receive` and `closed`; the other value is
    /// notified when this session is replaced in turn.
    ///
    /// None if the instance has registered again since: the grant belongs to an older registration.
    pub fn opened(&self, id: &InstanceId, grant: &Grant, commands: Commands) -> Option<(u64, Arc<Notify>)> {
        self.with(|inner| {
            let record = inner.records.get_mut(id).filter(|record| record.grant.0 == *grant)?;
            inner.sessions += 1;
            let (number, replaced) = (inner.sessions, Arc::new(Notify::new()));
            record.replace_session(Some(Session { number, commands, replaced: replaced.clone() }));
            Some((number, replaced))
        })
    }

    /// Runs `receive` on a session's message. None, and the message is dropped, if the session is no longer the
    /// instance's newest. Holds the lock, so that messages and registrations keep their order: `receive` must not
    /// block.
    pub fn receive<T>(&self, id: &InstanceId, number: u64, receive: impl FnOnce(&mut AgentRecord) -> T) -> Option<T> {
        self.with(|inner| {
            let is_newest = |record: &&mut AgentRecord| record.session.as_ref().is_some_and(|it| it.number == number);
            inner.records.get_mut(id).filter(is_newest).map(receive)
        })
    }

    pub fn closed(&self, id: &InstanceId, number: u64) {
        self.with(|inner| {
            if let Some(record) = inner.records.get_mut(id)
                && record.session.take_if(|open| open.number == number).is_some()
            {
                record.rival = None;
            }
        });
    }

    pub fn record(&self, id: &InstanceId) -> Option<AgentRecord> {
        self.with(|inner| inner.records.get(id).cloned())
    }

    /// Queues a command for the agent. Whether it was carried out shows in the agent's next reports.
    pub fn send(&self, id: &InstanceId, message: v1::SessionResponse) -> Result<(), NotConnected> {
        let session = self.with(|inner| inner.records.get(id).and_then(|record| record.session.clone()));
        let sent = session.is_some_and(|session| session.commands.try_send(Box::new(message)).is_ok());
        if sent { Ok(()) } else { Err(NotConnected { id: id.clone() }) }
    }

    /// Forgets disconnected agents, except of instances for which `is_known` is true.
    pub fn keep_only(&self, is_known: impl Fn(&InstanceId) -> bool) {
        self.with(|inner| inner.records.retain(|id, record| record.is_connected() || is_known(id)));
    }
}

/// Compares secrets in a time that does not depend on where they differ.
pub fn equal_in_constant_time(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::digest;

    fn granted(token: &str) -> Grant {
        Grant { token_sha256: digest(token), ..Grant::default() }
    }

    fn registered(agents: &Agents, id: &InstanceId, token: &str) {
        agents.registered(id, Default::default(), (granted(token), 1), || ());
    }

    #[test]
    fn an_old_sessions_end_does_not_close_the_new_one() {
        let agents = Agents::default();
        let id = InstanceId("i-1".to_owned());
        registered(&agents, &id, "secret");
        assert_eq!(agents.grant(&id, 1), Some(granted("secret")));
        assert_eq!(agents.grant(&id, 2), None, "another leader may have granted something else since");
        let (first, _first_end) = mpsc::channel(1);
        let (second, mut second_end) = mpsc::channel(1);
        let (old, _) = agents.opened(&id, &granted("secret"), first).expect("opened");
        agents.opened(&id, &granted("secret"), second).expect("opened");
        agents.closed(&id, old);
        assert!(agents.send(&id, v1::SessionResponse::default()).is_ok());
        assert!(second_end.try_recv().is_ok());
    }

    #[tokio::test]
    async fn messages_of_a_session_that_is_not_the_newest_are_dropped() {
        let agents = Agents::default();
        let id = InstanceId("i-1".to_owned());
        registered(&agents, &id, "first");
        let (old, replaced) = agents.opened(&id, &granted("first"), mpsc::channel(1).0).expect("opened");
        assert_eq!(agents.receive(&id, old, |_| "received"), Some("received"));
        // The agent reconnects: messages that the old stream still holds are dropped.
        let (new, replaced_too) = agents.opened(&id, &granted("first"), mpsc::channel(1).0).expect("opened");
        replaced.notified().await;
        assert_eq!(agents.receive(&id, old, |_| "received"), None);
        assert_eq!(agents.receive(&id, new, |_| "received"), Some("received"));
        // Another registration, of a restarted agent or an impostor, ends the session before it opens one of its own.
        registered(&agents, &id, "second");
        replaced_too.notified().await;
        assert_eq!(agents.receive(&id, new, |_| "received"), None);
        assert!(agents.send(&id, v1::SessionResponse::default()).is_err());
        assert!(agents.opened(&id, &granted("first"), mpsc::channel(1).0).is_none(), "the older registration's token");
    }

    #[test]
    fn a_living_agent_keeps_its_place_and_a_dead_one_loses_it() {
        let (agents, id) = (Agents::default(), InstanceId("i-1".to_owned()));
        let silent_after = Duration::from_secs(10);
        let began = Instant::now();
        let place_after = |after| agents.place(&id, began + after, silent_after);
        let place = || place_after(Duration::ZERO);
        assert_eq!(place(), Place::Free);
        registered(&agents, &id, "first");
        assert_eq!(place(), Place::Free, "no session is open");
        let (open, _) = agents.opened(&id, &granted("first"), mpsc::channel(1).0).expect("opened");
        let beat = || {
            agents.receive(&id, open, |record| {
                record.beat(Timestamp(1), v1::Heartbeat::default());
                record.shows_two_agents()
            })
        };
        assert_eq!(beat(), Some(false), "it is the only one");
        assert_eq!((place(), place()), (Place::BeingTried, Place::BeingTried));
        assert_eq!((beat(), beat()), (Some(true), Some(false)), "told once");
        assert_eq!(place_after(silent_after * 2), Place::Taken, "it has beaten since");
        agents.closed(&id, open);
        assert_eq!(place(), Place::Free);
        // A connection that is open, and nobody behind it.
        agents.opened(&id, &granted("first"), mpsc::channel(1).0).expect("opened");
        assert_eq!(place(), Place::BeingTried);
        assert_eq!(place_after(silent_after), Place::BeingTried);
        assert_eq!(place_after(silent_after + Duration::from_millis(1)), Place::Free);
    }

    #[test]
    fn a_repeated_notice_is_not_new() {
        let mut record = AgentRecord::default();
        assert!(record.notice(v1::Notice::default()));
        assert!(!record.notice(v1::Notice::default()));
        let event = v1::ScheduledEvent { code: "instance-stop".to_owned(), ..v1::ScheduledEvent::default() };
        assert!(record.scheduled(std::slice::from_ref(&event), Timestamp(1)));
        assert!(!record.scheduled(std::slice::from_ref(&event), Timestamp(2)));
        let kept = record.notices.iter().map(|it| (it.action.as_str(), it.seen_at.map(|at| at.nanos)));
        assert_eq!(kept.collect::<Vec<_>>(), [("", None), ("instance-stop", Some(1_000_000))]);
        assert!(!record.scheduled(&[], Timestamp(3)), "it was cancelled");
        assert_eq!(record.notices.len(), 1);
    }
}
