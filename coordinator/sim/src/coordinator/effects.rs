//! The pool's reads: observations, listings, the ledger. A failed one is answered as failed.

use spillway_brain::{InstanceId, LaunchAnswer, RefusalClass};
use spillway_pool::{Effect, Happening, Input, Observation, Refused, SavedState};

use super::{name, up};
use crate::agenda::{C, CoordinatorEv};
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::ledger::{self, Kept};
use crate::say;
use crate::world::World;

/// The most by which a listing is out of date: with a late request, less than the brain's consistency grace.
const OUT_OF_DATE_MOST: u64 = 50 * SECOND;
/// One of so many listings takes long while the network is slow.
const SLOW_LISTINGS: u64 = 4;
/// The longest that it takes: more than what makes a listing stale at any drawn interval.
const LATE_MOST: u64 = 180 * SECOND;
/// The pool does not care for less between two clocks.
pub const TOLERATED: i64 = 1000;
/// One in so many looks at the jobs one by one tells nothing.
const UNREAD: u64 = 30;
/// One in so many reads of the ledger fails right after the lease was gained.
const LOADS_FAIL: u64 = 6;

impl World {
    pub(super) fn perform(&mut self, c: C, effect: Effect) {
        match effect {
            Effect::Observe { with_jobs } => self.observe(c, with_jobs),
            Effect::List => self.list(c),
            Effect::ListInterruptions => self.list_interruptions(c),
            Effect::Load { epoch } => self.load_ledger(c, epoch),
            Effect::Save(save) => self.save(c, &save),
            Effect::Happened(happening) => self.happened(c, &happening),
            Effect::Reply { answer, .. } => self.operator_hears(c, answer),
            effect => self.carry_out(c, effect),
        }
    }

    fn observe(&mut self, c: C, with_jobs: bool) {
        if self.setup.has_floors {
            let now = self.pool_time(c);
            let floors = self.setup.floors.iter().filter(|floor| floor.until > now).copied().collect();
            self.feed(c, Input::Floors(floors));
        }
        let answers_at = self.now + self.net.latency(self.now, &mut self.rng);
        if !self.net.coordinator_redis(c, self.now) {
            let at = answers_at + self.rng.between(100, 5000);
            let answer = Input::Observed(Err("Redis does not answer".to_owned()));
            return self.put_coordinator(c, at, CoordinatorEv::Input(Box::new(answer)));
        }
        if self.net.unreadable.is_down(self.now) {
            return self.feed(c, Input::Observed(Err("bull:video:wait: WRONGTYPE".to_owned())));
        }
        let jobs = with_jobs.then(|| (up(self.now), self.jobs_by_instance()));
        let backlog = spillway_brain::Backlog { queues: vec![self.bull.backlog(self.now)] };
        // Not where there are too many to read them, which changes with each look here.
        let predicts = self.coordinators[c].pool.controller().config().wait.is_some();
        let work = (predicts && !self.rng.one_in(UNREAD)).then(|| self.work(c));
        let answer = Input::Observed(Ok(Observation { backlog, jobs, work }));
        if self.net.slow.is_down(self.now) {
            return self.put_coordinator(c, answers_at, CoordinatorEv::Input(Box::new(answer)));
        }
        // It takes a few milliseconds: delivered at once.
        self.feed(c, answer);
    }

    fn list(&mut self, c: C) {
        self.check_listing(c);
        self.asks_for_image(c);
        let asked_at = up(self.now);
        let answers_at = self.now + 2 * self.net.latency(self.now, &mut self.rng) + self.rng.between(20, 300);
        let throttled = self.cloud.throttles.is_down(self.now);
        if throttled || self.net.ec2[c].is_down(self.now) {
            let at = answers_at + if throttled { 0 } else { self.rng.between(100, 5000) };
            let answer = Input::Listed { asked_at, answer: Err(no_answer()) };
            return self.put_coordinator(c, at, CoordinatorEv::Input(Box::new(answer)));
        }
        let mut as_of = self.now;
        if !self.is_calm && self.rng.per_mille(self.setup.calls.stale_list) {
            as_of -= self.rng.between(1, OUT_OF_DATE_MOST);
            self.count(Occurrence::OutOfDateListing);
        }
        let answer = Input::Listed { asked_at, answer: Ok(self.ec2_list(as_of, self.coordinators[c].state())) };
        let is_slow = self.net.slow.is_down(self.now);
        if is_slow || self.rng.one_in(4) {
            // A page that EC2 answers after minutes is no failure, and what is known grows old meanwhile.
            let late = if is_slow && self.rng.one_in(SLOW_LISTINGS) { self.rng.between(1, LATE_MOST) } else { 0 };
            if late > 0 {
                self.count(Occurrence::SlowListing);
            }
            return self.put_coordinator(c, answers_at + late, CoordinatorEv::Input(Box::new(answer)));
        }
        self.feed(c, answer);
    }

    fn list_interruptions(&mut self, c: C) {
        let answers_at = self.now + 2 * self.net.latency(self.now, &mut self.rng) + self.rng.between(20, 300);
        if self.net.ec2[c].is_down(self.now) {
            return;
        }
        let marked = self
            .cloud
            .listed
            .iter()
            .map(|n| &self.cloud.machines[*n])
            .filter(|machine| machine.reclaims_at.is_some() && machine.is_live() && machine.token.is_some());
        let marked: Vec<InstanceId> = marked.map(|machine| machine.id.clone()).collect();
        self.put_coordinator(c, answers_at, CoordinatorEv::Input(Box::new(Input::Interruptions(marked))));
    }

    /// EC2's answer to a launch or a termination; dropped while EC2 cannot be reached.
    pub(super) fn answered(&mut self, c: C, answer: Input) {
        let answer = if self.net.ec2[c].is_down(self.now) { lost(answer) } else { answer };
        if let Input::LaunchAnswered { token, answer } = &answer {
            let words = match answer {
                LaunchAnswer::Accepted { id } => format!("accepted as {id}"),
                LaunchAnswer::Refused { code, class: RefusalClass::Retry, .. } => format!("unanswered: {code}"),
                LaunchAnswer::Refused { code, .. } => format!("refused: {code}"),
            };
            say!(self, "launch {token} {words}");
        }
        self.feed(c, answer);
    }

    /// Nothing is decided before the ledger is read.
    fn load_ledger(&mut self, c: C, epoch: u64) {
        let is_lost = !self.is_calm && self.rng.one_in(LOADS_FAIL);
        if is_lost || !self.net.coordinator_redis(c, self.now) {
            self.count(Occurrence::LoadFailed);
            return self.feed(c, Input::NotLoaded { epoch, problem: "Redis does not answer".to_owned() });
        }
        self.settle_ledger();
        let saved = self.ledger.saved.clone();
        let Some(ledger::Saved { kept: Kept::State(state), epoch: saved_by, clock, mut shadow }) = saved else {
            return self.feed(c, Input::Loaded { epoch, saved: None, plans: Vec::new() });
        };
        // In Redis the state is JSON.
        let state = if self.rng.one_in(8) {
            let text = serde_json::to_string(&state).expect("a state can be written");
            Box::new(serde_json::from_str(&text).expect("what was written can be read"))
        } else {
            state
        };
        // By Redis' clock, as both have seen it.
        let ahead_ms = self.setup.skew[c] + self.stepped[c] - clock.off;
        if ahead_ms.abs() > TOLERATED {
            shadow.step(self.setup.skew[c] - clock.skew);
            self.count(Occurrence::AnothersClock);
        }
        self.coordinators[c].loaded = Some(shadow);
        let saved = Some(SavedState { state, epoch: saved_by, ahead_ms });
        self.feed(c, Input::Loaded { epoch, saved, plans: Vec::new() });
    }

    fn happened(&mut self, c: C, happening: &Happening) {
        match happening {
            Happening::LedgerRead { .. } => {
                let coordinator = &mut self.coordinators[c];
                if let Some(shadow) = coordinator.loaded.take() {
                    coordinator.shadow = shadow;
                    coordinator.shadow.started();
                }
            }
            Happening::Leads { epoch } => {
                if self.led_by.is_some_and(|before| before != c) {
                    self.count(Occurrence::Failover);
                }
                self.led_by = Some(c);
                let now = self.local(c);
                // In one step it lost the lease and has it again.
                if self.coordinators[c].led {
                    self.coordinators[c].lost_at = self.now;
                }
                self.coordinators[c].shadow.leads(now);
                say!(self, "{} leads in epoch {epoch}", name(c));
            }
            _ => {}
        }
    }
}

fn no_answer() -> Refused {
    Refused { class: RefusalClass::Retry, code: "NoAnswer".to_owned(), detail: "EC2 does not answer".to_owned() }
}

/// The same call, unanswered.
fn lost(answer: Input) -> Input {
    match answer {
        Input::LaunchAnswered { token, .. } => {
            let Refused { class, code, detail } = no_answer();
            Input::LaunchAnswered { token, answer: LaunchAnswer::Refused { class, code, message: detail } }
        }
        Input::TerminateAnswered { id, .. } => Input::TerminateAnswered { id, answer: Err(no_answer()) },
        other => other,
    }
}
