//! The faults: each is repeated at the rate that the seed drew until all faults stop. Owns what each does and when it
//! ends.

mod heal;
mod instances;

use spillway_brain::Ec2State;

use crate::agenda::{C, Ev, N};
use crate::bull::Rate;
use crate::clock::{HOUR, MINUTE, NEVER, SECOND};
use crate::cloud::{Stranger, TAKEN_BACK};
use crate::counts::Occurrence;
use crate::ledger::{self, Kept};
use crate::say;
use crate::world::World;

pub use heal::Heal;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Notice,
    NoNotice,
    Rebalance,
    ScheduledEvent,
    Vanish,
    TerminateByOther,
    StopByOther,
    Protect,
    Unmanaged,
    Neighbor,
    OldVersion,
    Retag,
    Unlist,
    EmptyLists,
    Hide,
    HostHangs,
    Reboot,
    AgentCrash,
    AgentDies,
    AgentLies,
    FalselyReady,
    OldWord,
    OtherQueue,
    WorkerCrash,
    WorkerHangs,
    CoordinatorCrash,
    CoordinatorFreezes,
    ClockStep,
    HostClockStep,
    CutEc2,
    CutLedger,
    CutSession,
    CutWorker,
    RedisDown,
    DeleteLedger,
    ForgeLedger,
    RestoreLedger,
    Reconfigure,
    Slow,
    Throttle,
    NoCapacity,
    Quota,
    Permission,
    Configuration,
    Strange,
    TakesBack,
    NoTermination,
    BadImage,
    Pause,
    Limit,
    RateLimit,
    EndsItsInstance,
    Hold,
    OperatorDrain,
    OperatorCancel,
    Rehearse,
    Drill,
    NewImage,
    Obliterate,
    Unreadable,
}

impl Fault {
    pub const ALL: &[Fault] = &[
        Fault::Notice,
        Fault::NoNotice,
        Fault::Rebalance,
        Fault::ScheduledEvent,
        Fault::Vanish,
        Fault::TerminateByOther,
        Fault::StopByOther,
        Fault::Protect,
        Fault::Unmanaged,
        Fault::Neighbor,
        Fault::OldVersion,
        Fault::Retag,
        Fault::Unlist,
        Fault::EmptyLists,
        Fault::Hide,
        Fault::HostHangs,
        Fault::Reboot,
        Fault::AgentCrash,
        Fault::AgentDies,
        Fault::AgentLies,
        Fault::FalselyReady,
        Fault::OldWord,
        Fault::OtherQueue,
        Fault::WorkerCrash,
        Fault::WorkerHangs,
        Fault::CoordinatorCrash,
        Fault::CoordinatorFreezes,
        Fault::ClockStep,
        Fault::HostClockStep,
        Fault::CutEc2,
        Fault::CutLedger,
        Fault::CutSession,
        Fault::CutWorker,
        Fault::RedisDown,
        Fault::DeleteLedger,
        Fault::ForgeLedger,
        Fault::RestoreLedger,
        Fault::Reconfigure,
        Fault::Slow,
        Fault::Throttle,
        Fault::NoCapacity,
        Fault::Quota,
        Fault::Permission,
        Fault::Configuration,
        Fault::Strange,
        Fault::TakesBack,
        Fault::NoTermination,
        Fault::BadImage,
        Fault::Pause,
        Fault::Limit,
        Fault::RateLimit,
        Fault::EndsItsInstance,
        Fault::Hold,
        Fault::OperatorDrain,
        Fault::OperatorCancel,
        Fault::Rehearse,
        Fault::Drill,
        Fault::NewImage,
        Fault::Obliterate,
        Fault::Unreadable,
    ];
}

impl World {
    pub fn fault_is_due(&mut self, fault: Fault) {
        let every = self.setup.every.iter().find(|(it, _)| *it == fault).map_or(NEVER, |(_, every)| *every);
        if every != NEVER {
            let at = self.now + every / 2 + self.rng.below(every);
            self.agenda.put(at, Ev::Fault(fault));
        }
    }

    pub fn fault_happens(&mut self, fault: Fault) {
        if self.is_calm {
            return;
        }
        self.fault_is_due(fault);
        self.trace.mix(fault as u64);
        let until = self.now + self.rng.octaves(5 * SECOND, 20 * MINUTE);
        match fault {
            Fault::CoordinatorCrash
            | Fault::CoordinatorFreezes
            | Fault::ClockStep
            | Fault::CutEc2
            | Fault::CutLedger => {
                let c = self.rng.below(self.coordinators.len() as u64) as usize;
                self.coordinator_fault(fault, c, until);
            }
            Fault::Reconfigure => self.reconfigures(),
            Fault::NewImage => self.image_is_published(),
            Fault::EndsItsInstance => self.dangerous_job_arrives(),
            Fault::Hold | Fault::OperatorDrain | Fault::OperatorCancel | Fault::Rehearse | Fault::Drill => {
                self.operator(fault);
            }
            Fault::RedisDown
            | Fault::DeleteLedger
            | Fault::ForgeLedger
            | Fault::RestoreLedger
            | Fault::Pause
            | Fault::Limit
            | Fault::RateLimit
            | Fault::Obliterate
            | Fault::Unreadable => self.redis_fault(fault, until),
            Fault::Unmanaged
            | Fault::Neighbor
            | Fault::OldVersion
            | Fault::EmptyLists
            | Fault::Slow
            | Fault::Throttle
            | Fault::NoCapacity
            | Fault::Quota
            | Fault::Permission
            | Fault::Configuration
            | Fault::Strange
            | Fault::TakesBack
            | Fault::NoTermination
            | Fault::BadImage
            | Fault::OtherQueue => self.region_fault(fault, until),
            _ => {
                if let Some(n) = self.some_instance() {
                    self.instance_fault(fault, n, until);
                }
            }
        }
    }

    fn some_instance(&mut self) -> Option<N> {
        let is_ours = |n: &&N| {
            let machine = &self.cloud.machines[**n];
            machine.token.is_some() && machine.state() == Ec2State::Running
        };
        let running: Vec<N> = self.cloud.listed.iter().filter(is_ours).copied().collect();
        if running.is_empty() { None } else { Some(self.rng.pick(&running)) }
    }

    fn coordinator_fault(&mut self, fault: Fault, c: C, until: u64) {
        match fault {
            Fault::CoordinatorCrash => self.coordinator_crashes(c, Occurrence::CrashAnytime),
            Fault::CoordinatorFreezes => {
                self.renews_no_longer(c);
                let until = self.now + self.rng.between(2, 60) * SECOND;
                // Never shorter than it already is: what it was about to hear first would come last.
                let frozen_until = &mut self.coordinators[c].frozen_until;
                *frozen_until = until.max(*frozen_until);
                say!(self, "{} is frozen", crate::coordinator::name(c));
                self.count(Occurrence::Frozen);
            }
            Fault::ClockStep => {
                let by = self.draws_step();
                say!(self, "the clock of {} is set by {} s", crate::coordinator::name(c), by / SECOND as i64);
                self.count(Occurrence::ClockStep);
                self.stepped[c] += by;
                let back_at = self.now + self.rng.octaves(MINUTE, 4 * HOUR);
                self.agenda.put(back_at, Ev::Heal(Heal::Clock(c)));
            }
            Fault::CutEc2 => {
                // A partial outage: before and after it, listings do not show an instance that exists.
                if self.rng.one_in(3)
                    && let Some(n) = self.some_instance()
                    && self.hides(n, 30 * SECOND)
                {
                    self.agenda.put(self.now + 29 * SECOND, Ev::Heal(Heal::CutBegins(c, until + MINUTE)));
                    self.agenda.put(until + MINUTE, Ev::Heal(Heal::HiddenOnce(n)));
                    return;
                }
                self.net.ec2[c].cut(self.now, until);
                say!(self, "{} cannot reach EC2 for {} s", crate::coordinator::name(c), (until - self.now) / SECOND);
                self.count(Occurrence::CutEc2);
            }
            _ => {
                self.renews_no_longer(c);
                self.net.redis[c].cut(self.now, until);
                say!(self, "{} cannot reach Redis for {} s", crate::coordinator::name(c), (until - self.now) / SECOND);
                self.count(Occurrence::CutLedger);
            }
        }
    }

    /// By how many milliseconds a wall clock is set: seconds to hours, either way.
    pub(super) fn draws_step(&mut self) -> i64 {
        let by = self.rng.octaves(2 * SECOND, 4 * HOUR) as i64;
        if self.rng.one_in(2) { by } else { -by }
    }

    fn redis_fault(&mut self, fault: Fault, until: u64) {
        let seconds = (until - self.now) / SECOND;
        match fault {
            Fault::RedisDown => {
                say!(self, "Redis is unreachable for {seconds} s");
                self.count(Occurrence::RedisDown);
                (0..self.coordinators.len()).for_each(|c| self.renews_no_longer(c));
                self.net.redis_down.cut(self.now, until);
                let mut runs = self.bull.primary.clone();
                for n in self.live_hosts.clone() {
                    self.hosts[n].disturb(until);
                    runs.extend(self.hosts[n].procs.iter().flat_map(|process| &process.runs));
                }
                runs.into_iter().for_each(|run| self.stops_renewing(run));
                self.agenda.put(until, Ev::Heal(Heal::Redis));
            }
            Fault::DeleteLedger => {
                say!(self, "the ledger is deleted");
                self.count(Occurrence::LedgerDeleted);
                self.delete_ledger();
            }
            Fault::ForgeLedger => self.forge_ledger(),
            Fault::RestoreLedger => self.copy_or_restore_ledger(),
            Fault::Obliterate => {
                if self.bull.obliterate() {
                    say!(self, "somebody obliterates the queue");
                    self.count(Occurrence::Obliterated);
                    // FLUSHALL, with the ledger in the same Redis; and nobody is left who knows that the queue was
                    // there.
                    if self.rng.one_in(3) {
                        say!(self, "and the ledger with it");
                        self.count(Occurrence::LedgerDeleted);
                        self.delete_ledger();
                        (0..self.coordinators.len())
                            .for_each(|c| self.coordinator_crashes(c, Occurrence::CrashAnytime));
                    }
                }
            }
            Fault::Unreadable => {
                let until = self.now + self.rng.octaves(5 * MINUTE, 3 * HOUR);
                say!(self, "the queue cannot be read for {} s", (until - self.now) / SECOND);
                self.count(Occurrence::Unreadable);
                self.net.unreadable.cut(self.now, until);
            }
            Fault::RateLimit => {
                let (max, duration) = (self.rng.between(1, 6), self.rng.octaves(10 * SECOND, 10 * MINUTE));
                say!(self, "the queue lets {max} jobs start in {} s", duration / SECOND);
                self.bull.rate = Some(Rate::new(max, duration, self.bull.rate));
                self.count(Occurrence::RateLimited);
                let until = self.now + self.rng.octaves(10 * MINUTE, 3 * HOUR);
                self.agenda.put(until, Ev::Heal(Heal::Unrate));
            }
            Fault::Pause => {
                self.bull.paused = true;
                self.count(Occurrence::Paused);
                self.agenda.put(until, Ev::Heal(Heal::Unpause));
            }
            _ => {
                self.bull.limit = Some(self.rng.between(1, 3));
                self.count(Occurrence::Limited);
                self.agenda.put(until, Ev::Heal(Heal::Unlimit));
            }
        }
    }

    fn region_fault(&mut self, fault: Fault, until: u64) {
        let now = self.now;
        match fault {
            Fault::Unmanaged => {
                let n = self.ec2_create(None, 0);
                self.count(Occurrence::Unmanaged);
                say!(self, "another client launches i-{n} with the pool's tag and without a launch token");
                let at = now + self.rng.octaves(5 * MINUTE, 2 * HOUR);
                self.agenda.put(at, Ev::Heal(Heal::UnmanagedEnds(n)));
            }
            Fault::Neighbor => (0..self.rng.between(1, 3)).for_each(|_| self.stranger_launches(Stranger::Another)),
            Fault::OldVersion => self.stranger_launches(Stranger::Unknown),
            Fault::EmptyLists => self.lists_nothing(),
            Fault::Slow => {
                self.net.slow.cut(now, until);
                self.count(Occurrence::Slow);
            }
            Fault::Throttle => {
                say!(self, "ec2 throttles for {} s", (until - now) / SECOND);
                self.cloud.throttles.cut(now, until);
            }
            Fault::NoCapacity => {
                say!(self, "ec2 has insufficient capacity for {} s", (until - now) / SECOND);
                self.cloud.without_capacity.cut(now, until);
            }
            Fault::Quota => {
                say!(self, "the quota is used up for {} s", (until - now) / SECOND);
                self.cloud.over_quota.cut(now, until);
            }
            Fault::Permission | Fault::Configuration | Fault::Strange => {
                let until = now + self.rng.octaves(5 * MINUTE, HOUR);
                say!(self, "launches are refused for {} s: {fault:?}", (until - now) / SECOND);
                match fault {
                    Fault::Permission => self.cloud.unauthorized.cut(now, until),
                    Fault::Configuration => self.cloud.misconfigured.cut(now, until),
                    _ => self.cloud.strange.cut(now, until),
                }
                // An operator fixes it, and resumes; or it was transient, and nobody does.
                if self.rng.one_in(2) {
                    self.agenda.put(until + MINUTE, Ev::Heal(Heal::Resume));
                }
            }
            Fault::TakesBack => {
                let until = now + self.rng.octaves(5 * MINUTE, HOUR);
                let (code, _) = self.rng.pick(&TAKEN_BACK);
                say!(self, "ec2 takes back what it launches for {} s: {code}", (until - now) / SECOND);
                self.cloud.takes_back_with = code;
                self.cloud.takes_back.cut(now, until);
            }
            Fault::NoTermination => {
                let until = now + self.rng.octaves(MINUTE, HOUR);
                say!(self, "terminations are refused for {} s", (until - now) / SECOND);
                self.cloud.no_termination.cut(now, until);
            }
            Fault::OtherQueue => self.cloud.other_queue.cut(now, now + self.rng.octaves(10 * MINUTE, 2 * HOUR)),
            _ => self.cloud.bad_image.cut(now, now + self.rng.octaves(10 * MINUTE, 2 * HOUR)),
        }
    }

    /// Lists show none of the instances that they showed, for longer than they may be late.
    fn lists_nothing(&mut self) {
        let shown = |n: &N| self.cloud.machines[*n].is_settled(self.now) && !self.only_listings_tell(*n);
        let shown: Vec<N> = self.cloud.listed.iter().copied().filter(shown).collect();
        if shown.is_empty() {
            return;
        }
        let until = self.now + self.rng.octaves(3 * MINUTE, 40 * MINUTE);
        say!(self, "lists are empty for {} s", (until - self.now) / SECOND);
        self.count(Occurrence::EmptyLists);
        for n in shown {
            self.cloud.machines[n].unlisted.cut(self.now, until);
        }
    }

    /// Another client deletes the ledger's keys. The next leader cannot know launches under way that no listing shows
    /// yet.
    fn delete_ledger(&mut self) {
        (0..self.coordinators.len()).for_each(|c| self.renews_no_longer(c));
        self.ledger.delete();
        self.ledger_deleted_at = self.now;
        let unseen = self.now.saturating_sub(3 * MINUTE);
        for n in 0..self.cloud.machines.len() {
            let machine = &mut self.cloud.machines[n];
            // Nor what no list shows by its tags: the ledger alone knew it.
            let hidden = [&machine.retagged, &machine.unlisted, &machine.hidden];
            let is_unseen = hidden.iter().any(|cut| cut.is_down(self.now));
            if machine.is_live() && (machine.launched_at >= unseen || is_unseen) {
                machine.forgotten = true;
            }
        }
        self.cloud.forgotten = self.issued.clone();
    }
    /// Somebody writes a ledger that has no instance, and says that EC2 was listed just now.
    fn forge_ledger(&mut self) {
        self.settle_ledger();
        let Some(saved) = self.ledger.saved.clone() else { return };
        let Kept::State(state) = saved.kept else { return };
        let mut forged = serde_json::to_value(&state).expect("a state can be written");
        forged["instances"] = serde_json::json!([]);
        forged["listed_at"] = serde_json::json!(self.now);
        let state = serde_json::from_value(forged).expect("what was written can be read");
        say!(self, "the ledger is replaced by one without instances");
        self.count(Occurrence::LedgerForged);
        self.delete_ledger();
        // What was said of instances went with them.
        let mut shadow = saved.shadow;
        shadow.forgets_instances();
        // The epoch of nobody who leads now.
        self.ledger.saved = Some(ledger::Saved { kept: Kept::State(Box::new(state)), epoch: 0, shadow, ..saved });
    }

    /// A backup of Redis: taken the first time, put back the second.
    fn copy_or_restore_ledger(&mut self) {
        self.settle_ledger();
        let Some(copy) = self.ledger_copy.take() else {
            self.ledger_copy = self.ledger.saved.clone();
            return;
        };
        say!(self, "the ledger is replaced by an older copy");
        self.count(Occurrence::LedgerRestored);
        self.delete_ledger();
        // The epoch of nobody who leads now.
        self.ledger.saved = Some(ledger::Saved { epoch: 0, ..copy });
    }

    /// A deploy: every coordinator starts again with other settings.
    fn reconfigures(&mut self) {
        let before =
            self.setup.config.max_instances as usize * if self.setup.config.interrupted_counts { 1 } else { 2 };
        self.larger_cap = (before.max(self.larger_cap.0), self.now + 20 * MINUTE);
        self.setup.config = crate::setup::reconfigured(&self.setup.config, &mut self.rng);
        say!(self, "the settings change: at most {} instances", self.setup.config.max_instances);
        for c in 0..self.coordinators.len() {
            if self.coordinators[c].is_up {
                self.coordinator_crashes(c, Occurrence::Reconfigured);
            }
        }
    }

    /// Another installation, or a version without the installation's tag, launches an instance with our pool's name.
    pub(crate) fn stranger_launches(&mut self, stranger: Stranger) {
        let n = self.ec2_create(None, 0);
        self.cloud.machines[n].stranger = Some(stranger);
        let (occurrence, who) = match stranger {
            Stranger::Another => (Occurrence::Neighbor, "another installation"),
            Stranger::Unknown => (Occurrence::OldVersion, "a version without the installation's tag"),
        };
        self.count(occurrence);
        say!(self, "{who} launches i-{n} with the pool's name and a token of its own");
        if self.is_calm {
            return;
        }
        let at = self.now + self.rng.octaves(5 * MINUTE, 2 * HOUR);
        self.agenda.put(at, Ev::Heal(Heal::UnmanagedEnds(n)));
    }
}
