//! A coordinator's shell, thin: it feeds its real Controller, saves before it executes, and loses everything but the ledger
//! when it crashes. Owns the order of things; decides nothing.

mod execute;
mod hand_back;
mod journal;
mod lease;
mod observe;
mod sessions;
mod tick;

use std::collections::{BTreeMap, BTreeSet};

use spillway_brain::{Controller, Event, InstanceId, Timestamp};

use crate::agenda::{C, CoordinatorEv, Ev, N};
use crate::clock::{SECOND, ms};
use crate::counts::Met;
use crate::say;
use crate::watch::Shadow;
use crate::world::World;

pub use hand_back::{Attempt, Looks};
pub use observe::{ListAnswer, Seen};
pub use sessions::Sessions;
pub use tick::SavedPlan;

/// A coordinator process, and what it knows.
#[derive(Debug)]
pub struct Coordinator {
    pub is_up: bool,
    /// Counts its processes: what was under way for an earlier one reaches nobody.
    pub generation: u32,
    pub stands_still_until: u64,
    pub controller: Controller,
    pub shadow: Shadow,
    journal: journal::Journal,
    epoch: u64,
    loaded_epoch: Option<u64>,
    /// Until when by its own clock, and in which epoch.
    lease: Option<(u64, u64)>,
    /// When it was last taken or renewed; renewals that change nothing are counted rather than made.
    renewed_at: u64,
    renewal: u64,
    is_observing: bool,
    is_listing: bool,
    listing_number: u64,
    failed_listings: u32,
    next_interruptions: u64,
    ticked: u64,
    tick_due: bool,
    due: Option<u64>,
    pub sessions: Sessions,
    /// Notices that it was told: agents repeat them.
    notices: BTreeSet<(N, bool, u64)>,
    looks: BTreeMap<N, (bool, Looks)>,
}

impl Coordinator {
    pub fn new(config: spillway_brain::Config, nonce: String) -> Self {
        Coordinator {
            is_up: false,
            generation: 0,
            stands_still_until: 0,
            controller: Controller::new(config, nonce),
            shadow: Shadow::default(),
            journal: journal::Journal::default(),
            epoch: 0,
            loaded_epoch: None,
            lease: None,
            renewed_at: 0,
            renewal: 0,
            is_observing: false,
            is_listing: false,
            listing_number: 0,
            failed_listings: 0,
            next_interruptions: 0,
            ticked: 0,
            tick_due: false,
            due: None,
            sessions: Sessions::default(),
            notices: BTreeSet::new(),
            looks: BTreeMap::new(),
        }
    }

    /// Time was skipped.
    pub fn put_off(&mut self, by: u64) {
        self.ticked += by;
        self.renewed_at += by;
        self.next_interruptions += by;
        if let Some((until, _)) = &mut self.lease {
            *until += by;
        }
    }

    pub fn is_looking(&self) -> bool {
        self.is_observing || self.is_listing
    }

    pub fn leads(&self) -> bool {
        self.is_up && self.controller.state().is_leader()
    }
}

/// The number in an instance's id.
pub fn number(id: &InstanceId) -> N {
    id.0.strip_prefix("i-").and_then(|number| number.parse().ok()).unwrap_or(N::MAX)
}

pub fn name(c: C) -> &'static str {
    ["coordinator-a", "coordinator-b"][c]
}

impl World {
    /// A coordinator's clock.
    pub fn local(&self, c: C) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.setup.skew[c]))
    }

    pub(crate) fn put_coordinator(&mut self, c: C, at: u64, ev: CoordinatorEv) {
        let generation = self.coordinators[c].generation;
        self.agenda.put(at, Ev::Coordinator { c, generation, ev });
    }

    pub fn coordinator_starts(&mut self, c: C) {
        if self.coordinators[c].is_up {
            return;
        }
        let generation = self.coordinators[c].generation + 1;
        let nonce = format!("s{}{}{generation}", self.setup.seed, ["a", "b"][c]);
        self.coordinators[c] = Coordinator {
            is_up: true,
            generation,
            next_interruptions: self.now + 30 * SECOND,
            ..Coordinator::new(self.setup.config.clone(), nonce)
        };
        say!(self, "{} starts", name(c));
        self.put_coordinator(c, self.now, CoordinatorEv::Observe);
        self.put_coordinator(c, self.now, CoordinatorEv::List(0));
        let renews = self.now + self.rng.between(1, 50);
        self.renew_at(c, renews);
    }

    /// Its process is gone, with all that is not in the ledger; systemd starts it again.
    pub fn coordinator_crashes(&mut self, c: C, met: Met) {
        if !self.coordinators[c].is_up {
            return;
        }
        say!(self, "{} crashes: {}", name(c), met.words());
        self.met(met);
        self.settle_ledger();
        self.renews_no_longer(c);
        self.coordinators[c].is_up = false;
        // At once, or by the keep-alive where the whole machine is gone.
        self.sessions_end_with(c, &[100, 15 * SECOND]);
        let after = if self.rng.one_in(4) { self.rng.octaves(5 * SECOND, 1200 * SECOND) } else { 5 * SECOND };
        self.agenda.put(self.now + after, Ev::StartCoordinator(c));
    }

    pub fn coordinator_happens(&mut self, c: C, generation: u32, ev: CoordinatorEv) {
        let coordinator = &self.coordinators[c];
        if !coordinator.is_up || coordinator.generation != generation {
            return;
        }
        if self.now < coordinator.stands_still_until {
            let again = coordinator.stands_still_until;
            return self.agenda.put(again, Ev::Coordinator { c, generation, ev });
        }
        match ev {
            CoordinatorEv::Observe => self.observe(c),
            CoordinatorEv::Observed(seen) => self.observed(c, seen),
            CoordinatorEv::List(number) => self.list(c, number),
            CoordinatorEv::Listed(answer) => self.listed(c, *answer),
            CoordinatorEv::Interruptions(taken) => self.interruptions_listed(c, &taken),
            CoordinatorEv::Renew(number) => self.renew(c, number),
            CoordinatorEv::Lead(epoch) => self.lead(c, epoch),
            CoordinatorEv::Due(at) => {
                if self.coordinators[c].due == Some(at) {
                    self.coordinators[c].due = None;
                    self.coordinators[c].tick_due = true;
                }
            }
            CoordinatorEv::Execute(saved) => self.executes_late(c, *saved),
            CoordinatorEv::Answer(event) => self.answered(c, *event),
            CoordinatorEv::HandBack { n, certain } => self.hand_back_now(c, n, certain),
            CoordinatorEv::HandedBack(attempt) => self.handed_back(c, *attempt),
            CoordinatorEv::Said { n, session, said } => self.heard(c, n, session, &said),
            CoordinatorEv::Register { n, agent } => self.register(c, n, agent),
            CoordinatorEv::Connect { n, agent, session } => self.connect(c, n, agent, session),
        }
        if std::mem::take(&mut self.coordinators[c].tick_due) {
            self.tick(c);
        }
        self.brain_due(c);
    }

    /// What happened, to the brain and to what watches it.
    pub(crate) fn tell(&mut self, c: C, event: Event) {
        let now = self.local(c);
        let coordinator = &mut self.coordinators[c];
        coordinator.tick_due |= is_news(&coordinator.controller, &event);
        coordinator.shadow.feed(now, &event);
        if coordinator.controller.state().is_leader() {
            coordinator.journal.told(now, &event);
        }
        self.note_told(c, &event);
        self.coordinators[c].controller.handle(now, event);
    }

    /// When the brain wants a tick although nothing happens.
    fn brain_due(&mut self, c: C) {
        let coordinator = &self.coordinators[c];
        if !coordinator.leads() {
            return;
        }
        let Some(due_at) = coordinator.controller.due_at() else { return };
        let wait = ms(self.local(c).until(due_at));
        let at = (self.now + wait).max(coordinator.ticked + SECOND);
        if coordinator.due.is_none_or(|due| due > at || due < self.now) {
            self.coordinators[c].due = Some(at);
            self.put_coordinator(c, at, CoordinatorEv::Due(at));
        }
    }
}

/// A heartbeat that says what the last one said waits for the next observation's tick.
fn is_news(controller: &Controller, event: &Event) -> bool {
    let Event::AgentReported(report) = event else { return true };
    controller.state().instance(&report.id).is_some_and(|known| {
        known.agent.phase != Some(report.phase)
            || known.agent.proven != report.proven
            || (report.active_jobs == Some(0) && known.agent.active_jobs != Some(0))
    })
}
