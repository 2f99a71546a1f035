//! A coordinator process around the real `Pool`: it performs the pool's effects in the world, with latency, faults,
//! crashes and freezes as they are drawn, and loses everything but the ledger when it crashes. Decides nothing.

mod act;
pub mod effects;
mod hand_back;
mod lease;
mod save;
mod sessions;

use std::time::Duration;

use spillway_brain::{InstanceId, State, Timestamp};
use spillway_pool::lease::{Hold, LEASE, LeaseAnswer};
use spillway_pool::{Input, Now, Pool};

use crate::agenda::{C, CoordinatorEv, Ev, N};
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::invariants::{Obligations, Shadow};
use crate::say;
use crate::world::World;

pub use sessions::Sessions;

/// A coordinator process, and what it knows.
#[derive(Debug)]
pub struct Coordinator {
    pub is_up: bool,
    /// Number of this process: what was under way for an earlier one is dropped.
    pub generation: u32,
    /// Of the configuration that it has.
    pub parameters: u32,
    pub frozen_until: u64,
    pub pool: Pool,
    pub shadow: Shadow,
    /// While a save is under way: what is known if it is undone. It is told what comes in meanwhile, too.
    pub before_save: Option<Shadow>,
    /// The shadow that was saved with the state last read from the ledger, until the pool continues from that state.
    loaded: Option<Shadow>,
    pub obligations: Obligations,
    hold: Hold,
    /// When the lease was last taken or renewed; renewals that change nothing are computed, not simulated.
    renewed_at: u64,
    renewal: u64,
    /// It was the leader when this was last checked.
    led: bool,
    /// When it last ceased to lead, or started.
    pub lost_at: u64,
    wakes_at: Option<u64>,
    /// When it last looked at the jobs one by one.
    pub looked_at: u64,
    pub sessions: Sessions,
}

impl Coordinator {
    pub fn new(now: Now, config: spillway_brain::Config, nonce: String) -> Self {
        Coordinator {
            is_up: false,
            generation: 0,
            parameters: 0,
            frozen_until: 0,
            pool: Pool::new(now, config, nonce),
            shadow: Shadow::default(),
            before_save: None,
            loaded: None,
            obligations: Obligations::default(),
            hold: Hold::default(),
            renewed_at: 0,
            renewal: 0,
            led: false,
            lost_at: 0,
            wakes_at: None,
            looked_at: 0,
            sessions: Sessions::default(),
        }
    }

    /// Time was skipped, with nothing but renewals of the lease in it.
    pub fn put_off(&mut self, now: u64, by: u64) {
        self.renewed_at += by;
        if let Some((until, epoch)) = self.hold.held() {
            let asked_at = until + Duration::from_millis(by) - LEASE;
            self.hold.answered(asked_at, Duration::from_millis(now), LeaseAnswer::Ours { epoch });
        }
        self.wakes_at = self.wakes_at.map(|at| at + by);
    }

    pub fn leads(&self) -> bool {
        self.is_up && self.pool.is_leader()
    }

    pub fn state(&self) -> &State {
        self.pool.state()
    }
}

/// A steady clock, when the world's shows `at`.
pub fn up(at: u64) -> Duration {
    Duration::from_millis(at)
}

/// The number in an instance's id.
pub fn number(id: &InstanceId) -> N {
    id.0.strip_prefix("i-").and_then(|number| number.parse().ok()).unwrap_or(N::MAX)
}

pub fn name(c: C) -> &'static str {
    ["coordinator-a", "coordinator-b"][c]
}

impl World {
    /// A coordinator's time, if its wall clock is never set: what the invariant checks count by.
    pub fn local(&self, c: C) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.setup.skew[c]))
    }

    pub(crate) fn both_clocks(&self, c: C) -> Now {
        Now { wall: self.local(c).stepped(self.stepped[c]), up: up(self.now) }
    }

    /// Its pool's time.
    pub(crate) fn pool_time(&self, c: C) -> Timestamp {
        self.coordinators[c].pool.time(self.both_clocks(c))
    }

    /// A time that its brain was told, as the invariant checks count it.
    pub(crate) fn told_as_local(&self, c: C, at: Timestamp) -> Timestamp {
        at.stepped(self.local(c).offset_from(self.pool_time(c)))
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
        let now = self.both_clocks(c);
        self.coordinators[c] = Coordinator {
            is_up: true,
            generation,
            parameters: self.cloud.parameters,
            lost_at: self.now,
            ..Coordinator::new(now, self.setup.config.clone(), nonce)
        };
        say!(self, "{} starts", name(c));
        self.wakes(c, self.now);
        let renews = self.now + self.rng.between(1, 50);
        self.renew_at(c, renews);
    }

    /// Its process ends and loses all that is not in the ledger; systemd starts it again.
    pub fn coordinator_crashes(&mut self, c: C, occurrence: Occurrence) {
        if !self.coordinators[c].is_up {
            return;
        }
        say!(self, "{} crashes: {}", name(c), occurrence.words());
        self.count(occurrence);
        self.settle_ledger();
        self.renews_no_longer(c);
        self.coordinators[c].is_up = false;
        // At once, or by the keep-alive if the whole host is gone.
        self.sessions_end_with(c, &[100, 15 * SECOND]);
        let after = if self.rng.one_in(4) { self.rng.octaves(5 * SECOND, 1200 * SECOND) } else { 5 * SECOND };
        self.agenda.put(self.now + after, Ev::StartCoordinator(c));
    }

    pub fn coordinator_happens(&mut self, c: C, generation: u32, ev: CoordinatorEv) {
        let coordinator = &self.coordinators[c];
        if !coordinator.is_up || coordinator.generation != generation {
            return;
        }
        if self.now < coordinator.frozen_until {
            let again = coordinator.frozen_until;
            return self.agenda.put(again, Ev::Coordinator { c, generation, ev });
        }
        match ev {
            CoordinatorEv::Wake(at) => {
                if self.coordinators[c].wakes_at != Some(at) {
                    return;
                }
                self.coordinators[c].wakes_at = None;
                self.check_standby(c);
            }
            CoordinatorEv::Input(input) => self.feed(c, *input),
            CoordinatorEv::Answer(answer) => self.answered(c, *answer),
            CoordinatorEv::Renew(number) => self.renew(c, number),
            CoordinatorEv::Saved { until } => self.saved_late(c, until),
            CoordinatorEv::HandBack(attempt) => self.hand_back_now(c, *attempt),
            CoordinatorEv::Message { n, session, message } => self.heard(c, n, session, &message),
            CoordinatorEv::Register { n, agent } => self.register(c, n, agent),
            CoordinatorEv::Connect { n, agent, session } => self.connect(c, n, agent, session),
        }
        self.polls(c);
    }

    /// Gives an input to the pool, and to the invariant checks.
    pub(crate) fn feed(&mut self, c: C, input: Input) {
        let now = self.both_clocks(c);
        self.check_input(c, &input);
        let is_list = matches!(input, Input::Listed { .. });
        self.coordinators[c].pool.handle(now, input);
        // A standby saves nothing, and may lead on from what it knows.
        if is_list && !self.coordinators[c].pool.is_leader() {
            self.forgets_gone(c);
        }
    }

    /// Performs the pool's effects until it has no more, or the process crashes in between.
    fn polls(&mut self, c: C) {
        let generation = self.coordinators[c].generation;
        let now = self.both_clocks(c);
        while self.coordinators[c].is_up
            && self.coordinators[c].generation == generation
            && let Some(effect) = self.coordinators[c].pool.poll(now)
        {
            self.perform(c, effect);
        }
        if !self.coordinators[c].is_up {
            return;
        }
        self.check_at_once(c, now);
        let leads = self.coordinators[c].leads();
        if std::mem::replace(&mut self.coordinators[c].led, leads) && !leads {
            say!(self, "{} no longer leads", name(c));
            self.coordinators[c].lost_at = self.now;
            // The agents must connect to the new leader.
            self.sessions_end_with(c, &[500]);
        }
        let deadline = self.coordinators[c].pool.next_deadline(now);
        let at = self.now + u64::try_from(deadline.saturating_sub(now.up).as_millis()).unwrap_or(u64::MAX);
        self.wakes(c, at.max(self.now + 1));
    }

    /// Polls the pool at `at` at the latest.
    fn wakes(&mut self, c: C, at: u64) {
        if self.coordinators[c].wakes_at.is_none_or(|known| at < known) {
            self.coordinators[c].wakes_at = Some(at);
            self.put_coordinator(c, at, CoordinatorEv::Wake(at));
        }
    }
}
