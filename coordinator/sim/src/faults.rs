//! The faults: each comes again and again, at the pace that the seed drew, until they stop. Owns what each does at once and
//! when it heals.

mod heal;
mod instances;

use spillway_brain::Ec2State;

use crate::agenda::{C, Ev, N};
use crate::clock::{HOUR, MINUTE, NEVER, SECOND};
use crate::counts::Met;
use crate::say;
use crate::world::World;

pub use heal::Heal;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Notice,
    NoNotice,
    Rebalance,
    Vanish,
    EndBehind,
    StopBehind,
    Foreign,
    Hide,
    HostHangs,
    Reboot,
    AgentCrash,
    AgentDies,
    WorkerCrash,
    WorkerHangs,
    CoordinatorCrash,
    CoordinatorStalls,
    CutEc2,
    CutLedger,
    CutSession,
    CutWorker,
    RedisDown,
    Wipe,
    Slow,
    Throttle,
    NoCapacity,
    Quota,
    Fatal,
    BadImage,
    Pause,
    Limit,
    Hold,
    OperatorDrain,
    OperatorCancel,
    Rehearse,
}

impl Fault {
    pub const ALL: &[Fault] = &[
        Fault::Notice,
        Fault::NoNotice,
        Fault::Rebalance,
        Fault::Vanish,
        Fault::EndBehind,
        Fault::StopBehind,
        Fault::Foreign,
        Fault::Hide,
        Fault::HostHangs,
        Fault::Reboot,
        Fault::AgentCrash,
        Fault::AgentDies,
        Fault::WorkerCrash,
        Fault::WorkerHangs,
        Fault::CoordinatorCrash,
        Fault::CoordinatorStalls,
        Fault::CutEc2,
        Fault::CutLedger,
        Fault::CutSession,
        Fault::CutWorker,
        Fault::RedisDown,
        Fault::Wipe,
        Fault::Slow,
        Fault::Throttle,
        Fault::NoCapacity,
        Fault::Quota,
        Fault::Fatal,
        Fault::BadImage,
        Fault::Pause,
        Fault::Limit,
        Fault::Hold,
        Fault::OperatorDrain,
        Fault::OperatorCancel,
        Fault::Rehearse,
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
            Fault::CoordinatorCrash | Fault::CoordinatorStalls | Fault::CutEc2 | Fault::CutLedger => {
                let c = self.rng.below(self.coordinators.len() as u64) as usize;
                self.coordinator_fault(fault, c, until);
            }
            Fault::Hold | Fault::OperatorDrain | Fault::OperatorCancel | Fault::Rehearse => self.operator(fault),
            Fault::RedisDown | Fault::Wipe | Fault::Pause | Fault::Limit => self.redis_fault(fault, until),
            Fault::Foreign
            | Fault::Slow
            | Fault::Throttle
            | Fault::NoCapacity
            | Fault::Quota
            | Fault::Fatal
            | Fault::BadImage => self.region_fault(fault, until),
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
            Fault::CoordinatorCrash => self.coordinator_crashes(c, Met::CrashAnytime),
            Fault::CoordinatorStalls => {
                self.renews_no_longer(c);
                let until = self.now + self.rng.between(2, 60) * SECOND;
                self.coordinators[c].stands_still_until = until;
                say!(self, "{} stands still", crate::coordinator::name(c));
                self.met(Met::Stalls);
            }
            Fault::CutEc2 => {
                // A region that is not well: before and after, its lists do not show what is there.
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
                self.met(Met::CutEc2);
            }
            _ => {
                self.renews_no_longer(c);
                self.net.redis[c].cut(self.now, until);
                say!(self, "{} cannot reach Redis for {} s", crate::coordinator::name(c), (until - self.now) / SECOND);
                self.met(Met::CutLedger);
            }
        }
    }

    fn redis_fault(&mut self, fault: Fault, until: u64) {
        let seconds = (until - self.now) / SECOND;
        match fault {
            Fault::RedisDown => {
                say!(self, "Redis is unreachable for {seconds} s");
                self.met(Met::RedisDown);
                (0..self.coordinators.len()).for_each(|c| self.renews_no_longer(c));
                self.net.redis_down.cut(self.now, until);
                let mut runs = self.bull.primary.clone();
                for n in self.live_hosts.clone() {
                    self.hosts[n].disturbed_at = until;
                    runs.extend(self.hosts[n].procs.iter().flat_map(|process| &process.runs));
                }
                runs.into_iter().for_each(|run| self.stops_renewing(run));
                self.agenda.put(until, Ev::Heal(Heal::Redis));
            }
            Fault::Wipe => {
                say!(self, "the ledger is wiped");
                self.met(Met::Wiped);
                self.ledger_is_wiped();
            }
            Fault::Pause => {
                self.bull.paused = true;
                self.met(Met::Paused);
                self.agenda.put(until, Ev::Heal(Heal::Unpause));
            }
            _ => {
                self.bull.limit = Some(self.rng.between(1, 3));
                self.met(Met::Limited);
                self.agenda.put(until, Ev::Heal(Heal::Unlimit));
            }
        }
    }

    fn region_fault(&mut self, fault: Fault, until: u64) {
        let now = self.now;
        match fault {
            Fault::Foreign => {
                let n = self.ec2_create(None);
                self.met(Met::Foreign);
                say!(self, "somebody launches i-{n} with the pool's tag, without a token");
                let at = now + self.rng.octaves(5 * MINUTE, 2 * HOUR);
                self.agenda.put(at, Ev::Heal(Heal::ForeignEnds(n)));
            }
            Fault::Slow => {
                self.net.slow.cut(now, until);
                self.met(Met::Slow);
            }
            Fault::Throttle => {
                say!(self, "ec2 throttles for {} s", (until - now) / SECOND);
                self.cloud.throttles.cut(now, until);
            }
            Fault::NoCapacity => {
                say!(self, "ec2 has no capacity for {} s", (until - now) / SECOND);
                self.cloud.without_capacity.cut(now, until);
            }
            Fault::Quota => {
                say!(self, "the quota is used up for {} s", (until - now) / SECOND);
                self.cloud.over_quota.cut(now, until);
            }
            Fault::Fatal => {
                let until = now + self.rng.octaves(5 * MINUTE, HOUR);
                say!(self, "launching is not authorized for {} s", (until - now) / SECOND);
                self.cloud.unauthorized.cut(now, until);
                // A person mends it, and says so.
                self.agenda.put(until + MINUTE, Ev::Heal(Heal::Resume));
            }
            _ => self.cloud.bad_image.cut(now, now + self.rng.octaves(10 * MINUTE, 2 * HOUR)),
        }
    }

    /// Somebody flushes the ledger's keys. What was under way and cannot be listed yet is forgotten by whoever comes next.
    fn ledger_is_wiped(&mut self) {
        (0..self.coordinators.len()).for_each(|c| self.renews_no_longer(c));
        self.ledger.wipe();
        self.wiped_at = self.now;
        let unseen = self.now.saturating_sub(3 * MINUTE);
        for n in 0..self.cloud.machines.len() {
            let machine = &mut self.cloud.machines[n];
            if machine.is_live() && machine.launched_at >= unseen {
                machine.forgotten = true;
            }
        }
        self.cloud.forgotten = self.issued.clone();
    }
}
