//! The queue of future events by time; events of the same time happen in the order in which they were added.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use spillway_brain as brain;
use spillway_machine as machine;
use spillway_pool::{Attempt, Input};

use crate::faults::{Fault, Heal};

/// An instance's number: EC2's and its host's.
pub type N = usize;
/// A coordinator's number.
pub type C = usize;

/// Something that happens in the world.
#[derive(Debug)]
pub enum Ev {
    Load(Load),
    /// A run of a job comes to its end.
    RunEnds(usize),
    /// The job of a run takes its instance down.
    EndsInstance(usize),
    /// A delayed job is due.
    Due(usize),
    StallCheck,
    Coordinator {
        c: C,
        generation: u32,
        ev: CoordinatorEv,
    },
    StartCoordinator(C),
    Agent {
        n: N,
        generation: u32,
        ev: AgentEv,
    },
    Host {
        n: N,
        ev: HostEv,
    },
    Cloud(CloudEv),
    Fault(Fault),
    Heal(Heal),
}

/// What the load does.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    Arrive,
    Burst,
    TopUp,
}

/// An event of a coordinator process.
#[derive(Debug)]
pub enum CoordinatorEv {
    /// Poll the pool, unless it was woken since.
    Wake(u64),
    /// An input of the pool.
    Input(Box<Input>),
    /// EC2's answer to a launch or a termination.
    Answer(Box<Input>),
    /// The renewal with this number, unless a newer one is scheduled.
    Renew(u64),
    /// A plan was saved before the coordinator was frozen, under a lease until then, of the monotonic clock.
    Saved {
        until: Duration,
    },
    /// A hand-back attempt that arrives at Redis.
    HandBack(Box<Attempt>),
    /// An agent's message, of the session with this number.
    Message {
        n: N,
        session: u32,
        message: Box<Message>,
    },
    Register {
        n: N,
        agent: u32,
    },
    Connect {
        n: N,
        agent: u32,
        session: u32,
    },
}

/// An agent's message in its session.
#[derive(Clone, Debug)]
pub enum Message {
    Beat(brain::Report),
    /// When EC2 reclaims it, by the instance's wall clock, and how long that is off.
    Interruption {
        at: u64,
        left: Duration,
        is_rehearsal: bool,
    },
    Rebalance(u64),
    Drained {
        left: Option<u32>,
        handed_back: u32,
    },
}

/// An event of an agent's process.
#[derive(Debug)]
pub enum AgentEv {
    Machine(machine::Event),
    Wake(u64),
    Beat,
    Check(u64),
    StepEnds {
        index: usize,
        attempt: u32,
        number: u64,
    },
    /// The metadata service shows a notice.
    Imds,
    ImdsRebalance,
    /// The metadata service shows what EC2 has scheduled, or that there is nothing.
    ImdsSchedule,
    Fenced(bool),
    HandBack {
        pid: u32,
    },
    HandBackOutside,
    Kill,
    Start(u64),
    Welcome {
        session: u32,
        epoch: u64,
    },
    Command {
        session: u32,
        epoch: u64,
        id: u64,
        command: machine::Command,
        /// How long its deadline is off.
        left: Duration,
    },
    Lost {
        session: u32,
        token_refused: bool,
    },
    NotRegistered,
    Registered,
    /// A registration, or the opening of a session, timed out.
    TimesOut {
        asking: Option<u64>,
        session: Option<u32>,
    },
}

/// An event on an instance that does not depend on its agent.
#[derive(Debug)]
pub enum HostEv {
    AgentStarts,
    ProcUp { pid: u32, number: u64 },
    ProcExits { pid: u32, number: u64, killed: bool },
    Unhang { pid: u32, number: u64 },
}

/// What happens at EC2.
#[derive(Debug)]
pub enum CloudEv {
    Launch {
        c: C,
        generation: u32,
        token: brain::LaunchToken,
        parameters: u32,
        answer_at: u64,
        saved_at: u64,
    },
    Terminate {
        c: C,
        generation: u32,
        n: N,
        answer_at: u64,
    },
    Runs(N),
    Reboots(N),
    /// EC2 reclaims it, as its notice said.
    Reclaims(N),
    /// An event that was scheduled begins, unless it was cancelled.
    EventBegins(N),
    /// The operating system is off.
    Off(N),
    Unlist(N),
}

#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    ev: Ev,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// The agenda. Periodic rounds and outside events are kept apart: if there is nothing else, idle time can be skipped.
#[derive(Debug, Default)]
pub struct Agenda {
    /// The coordinators' periodic rounds.
    rounds: BinaryHeap<Entry>,
    /// Load, faults and their ends.
    outside: BinaryHeap<Entry>,
    /// Everything else.
    inside: BinaryHeap<Entry>,
    number: u64,
}

impl Agenda {
    pub fn put(&mut self, at: u64, ev: Ev) {
        use CoordinatorEv::{Renew, Wake};
        self.number += 1;
        let heap = match ev {
            Ev::Coordinator { ev: Wake(_) | Renew(_), .. } => &mut self.rounds,
            Ev::Load(_) | Ev::Fault(_) | Ev::Heal(_) | Ev::Due(_) | Ev::StartCoordinator(_) => &mut self.outside,
            Ev::Cloud(CloudEv::Unlist(_)) => &mut self.outside,
            _ => &mut self.inside,
        };
        heap.push(Entry { at, number: self.number, ev });
    }

    fn first(&mut self) -> &mut BinaryHeap<Entry> {
        let key = |heap: &BinaryHeap<Entry>| heap.peek().map_or((u64::MAX, u64::MAX), |entry| (entry.at, entry.number));
        let (rounds, outside, inside) = (key(&self.rounds), key(&self.outside), key(&self.inside));
        if rounds < outside && rounds < inside {
            &mut self.rounds
        } else if outside < inside {
            &mut self.outside
        } else {
            &mut self.inside
        }
    }

    /// The first event that is due by `until`.
    pub fn next(&mut self, until: u64) -> Option<(u64, Ev)> {
        let first = self.first();
        if first.peek()?.at > until {
            return None;
        }
        first.pop().map(|entry| (entry.at, entry.ev))
    }

    /// If nothing but rounds is under way: when the next outside event is due.
    pub fn quiet_until(&self) -> Option<u64> {
        self.inside.is_empty().then(|| self.outside.peek().map_or(u64::MAX, |entry| entry.at))
    }

    /// All rounds come so much later.
    pub fn put_off_rounds(&mut self, by: u64) {
        let later = |entry: Entry| Entry { at: entry.at + by, ..entry };
        self.rounds = std::mem::take(&mut self.rounds).into_iter().map(later).collect();
    }
}
