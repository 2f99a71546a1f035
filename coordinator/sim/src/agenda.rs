//! What is to happen, in the order of its time; what is due at the same time happens in the order in which it was put down.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use spillway_brain as brain;
use spillway_machine as machine;
use spillway_pool::{Attempt, Input};

use crate::coordinator::LateSave;
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

/// What comes to a coordinator's loop.
#[derive(Debug)]
pub enum CoordinatorEv {
    /// The pool has something to do at this time, unless it woke since.
    Wake(u64),
    /// What the pool is told.
    Told(Box<Input>),
    /// EC2's answer to a launch or a termination.
    Answer(Box<Input>),
    /// The renewal that was set down with this number, unless another was since.
    Renew(u64),
    /// A plan that was saved before the coordinator stood still.
    Saved(Box<LateSave>),
    /// An attempt that arrives at Redis.
    HandBack(Box<Attempt>),
    /// An agent's message, of the session with this number.
    Said {
        n: N,
        session: u32,
        said: Box<Said>,
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

/// What an agent says in its session.
#[derive(Clone, Debug)]
pub enum Said {
    Beat(brain::Report),
    /// EC2's wall clock says when.
    Interruption(u64),
    Rebalance(u64),
    Drained {
        left: Option<u32>,
        handed_back: u32,
    },
}

/// What comes to an agent's loop.
#[derive(Debug)]
pub enum AgentEv {
    Machine(machine::Event),
    Wake(u64),
    Beat,
    Look(u64),
    StepEnds {
        index: usize,
        attempt: u32,
        number: u64,
    },
    /// The metadata service shows a notice.
    Imds,
    ImdsRebalance,
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
    },
    Lost {
        session: u32,
        token_refused: bool,
    },
    NotRegistered,
    Registered,
    /// No answer came to a registration, or to a session's beginning.
    GivesUp {
        asking: Option<u64>,
        session: Option<u32>,
    },
}

/// What happens on an instance whatever its agent does.
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
    /// EC2 takes it, as its notice said.
    Takes(N),
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

/// The agenda. What only comes round, and what comes from outside, are kept apart: where there is nothing else, time skips.
#[derive(Debug, Default)]
pub struct Agenda {
    /// The coordinators' rounds.
    rounds: BinaryHeap<Entry>,
    /// Load, faults, and what ends by itself.
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

    /// What is due by `until`, the first of it.
    pub fn next(&mut self, until: u64) -> Option<(u64, Ev)> {
        let first = self.first();
        if first.peek()?.at > until {
            return None;
        }
        first.pop().map(|entry| (entry.at, entry.ev))
    }

    /// Where nothing but rounds is under way: when something comes from outside.
    pub fn quiet_until(&self) -> Option<u64> {
        self.inside.is_empty().then(|| self.outside.peek().map_or(u64::MAX, |entry| entry.at))
    }

    /// All rounds come so much later.
    pub fn put_off_rounds(&mut self, by: u64) {
        let later = |entry: Entry| Entry { at: entry.at + by, ..entry };
        self.rounds = std::mem::take(&mut self.rounds).into_iter().map(later).collect();
    }
}
