//! The world: all parts, and the loop that handles one event after another.

use std::collections::{BTreeMap, BTreeSet};

use spillway_brain::{LaunchToken, Timestamp};
use spillway_pool::Now;

use crate::agenda::{Agenda, Ev, N};
use crate::agent::Host;
use crate::bull::Bull;
use crate::clock::START;
use crate::cloud::Cloud;
use crate::coordinator::{Coordinator, up};
use crate::counts::Counts;
use crate::faults::Fault;
use crate::invariants::Violation;
use crate::ledger::Ledger;
use crate::net::Net;
use crate::rng::Rng;
use crate::setup::Setup;
use crate::trace::{Keep, Trace};

/// All parts of one run.
#[derive(Debug)]
pub struct World {
    pub now: u64,
    pub agenda: Agenda,
    pub rng: Rng,
    pub setup: Setup,
    pub counts: Counts,
    pub trace: Trace,
    pub net: Net,
    pub cloud: Cloud,
    pub bull: Bull,
    pub ledger: Ledger,
    pub coordinators: Vec<Coordinator>,
    /// By how much the wall clock of each coordinator's host was set, in milliseconds.
    pub stepped: [i64; 2],
    pub hosts: Vec<Host>,
    /// Those that are on.
    pub live_hosts: Vec<N>,
    /// No fault happens any more.
    pub is_calm: bool,
    /// The steady load is on.
    pub is_steady: bool,
    pub violation: Option<Violation>,
    /// Tokens that went to EC2, and how often each was decided.
    pub issued: BTreeSet<LaunchToken>,
    pub asks: BTreeMap<LaunchToken, u32>,
    pub commands: u64,
    pub led_by: Option<usize>,
    pub ledger_deleted_at: u64,
    /// When coordinators' clocks were last set right.
    pub clock_right_at: [u64; 2],
    /// What an earlier, larger `max_instances` allowed, and until when what was asked for under it may still take
    /// effect.
    pub larger_cap: (usize, u64),
    /// A copy of the ledger that somebody keeps, until it is put back.
    pub ledger_copy: Option<crate::ledger::Saved>,
    pub forgotten_up_to: usize,
    /// Workers that could take a job: a buffer that is used again.
    pub free: Vec<Option<(N, usize)>>,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub seed: u64,
    pub hash: u64,
    pub events: u64,
    /// Virtual milliseconds that passed.
    pub virtual_ms: u64,
    pub counts: Counts,
    pub violation: Option<Violation>,
    /// The end of the timeline, if it was kept.
    pub timeline: Vec<String>,
}

/// The lines of a timeline that a failure shows.
const LAST_LINES: usize = 40;

impl World {
    pub fn new(seed: u64, keep: Keep) -> Self {
        let mut rng = Rng::new(seed);
        let setup = Setup::draw(seed, &mut rng);
        let coordinators = (0..setup.coordinators)
            .map(|c| {
                Coordinator::new(
                    Now { wall: Timestamp(START), up: up(START) },
                    setup.config.clone(),
                    format!("never-{c}"),
                )
            })
            .collect();
        World {
            now: START,
            agenda: Agenda::default(),
            rng,
            counts: Counts::default(),
            trace: Trace::new(keep),
            net: Net::default(),
            cloud: Cloud::default(),
            bull: Bull::default(),
            ledger: Ledger::default(),
            coordinators,
            stepped: [0; 2],
            hosts: Vec::new(),
            live_hosts: Vec::new(),
            is_calm: false,
            is_steady: false,
            violation: None,
            issued: BTreeSet::new(),
            asks: BTreeMap::new(),
            commands: 0,
            led_by: None,
            ledger_deleted_at: 0,
            clock_right_at: [0; 2],
            larger_cap: (0, 0),
            ledger_copy: None,
            forgotten_up_to: 0,
            free: Vec::new(),
            setup,
        }
    }

    /// One run: faults for `fault_time` milliseconds, then none until everything has converged.
    pub fn run(mut self, fault_time: u64) -> Outcome {
        let begins = format!("{:?}", self.setup);
        crate::say!(self, "{begins}");
        for c in 0..self.coordinators.len() {
            self.coordinator_starts(c);
        }
        self.load_begins();
        for fault in Fault::ALL {
            self.fault_is_due(*fault);
        }
        self.run_until(START + fault_time);
        if self.violation.is_none() {
            self.ends();
        }
        Outcome {
            seed: self.setup.seed,
            hash: self.trace.hash(),
            events: self.trace.events,
            virtual_ms: self.now - START,
            counts: self.counts,
            violation: self.violation,
            timeline: self.trace.last(LAST_LINES).to_vec(),
        }
    }

    /// Handles every event that is due by then, unless an invariant is violated.
    pub fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            let Some((at, ev)) = self.agenda.next(until) else { break };
            self.now = at;
            self.trace.events += 1;
            self.trace.mix(at);
            self.happens(ev);
            // Invariant 1 after every event; the others where what they check changes.
            self.check_cap();
            self.skips(until);
        }
        self.now = self.now.max(until);
    }

    fn happens(&mut self, ev: Ev) {
        match ev {
            Ev::Load(load) => self.load_happens(load),
            Ev::RunEnds(run) => self.run_ends(run),
            Ev::EndsInstance(run) => self.run_ends_instance(run),
            Ev::Due(job) => self.job_is_due(job),
            Ev::StallCheck => self.stall_check(),
            Ev::Coordinator { c, generation, ev } => self.coordinator_happens(c, generation, ev),
            Ev::StartCoordinator(c) => self.coordinator_starts(c),
            Ev::Agent { n, generation, ev } => self.agent_happens(n, generation, ev),
            Ev::Host { n, ev } => self.host_happens(n, ev),
            Ev::Cloud(ev) => self.cloud_happens(ev),
            Ev::Fault(fault) => self.fault_happens(fault),
            Ev::Heal(heal) => self.heals(heal),
        }
    }
}
