//! Faults of one instance, and operators' commands to the leader.

use std::time::Duration;

use spillway_brain::Ec2State;
use spillway_pool::{Input, Wish};

use super::{Fault, Heal};
use crate::agenda::{C, CloudEv, CoordinatorEv, Ev, N};
use crate::clock::{HOUR, MINUTE, SECOND};
use crate::cloud::BY_A_CALL;
use crate::counts::Occurrence;
use crate::say;
use crate::world::World;

impl World {
    pub(super) fn instance_fault(&mut self, fault: Fault, n: N, until: u64) {
        match fault {
            Fault::HostHangs => self.host_hangs(n),
            Fault::AgentCrash => self.agent_crashes(n, false),
            Fault::AgentDies => self.agent_crashes(n, true),
            Fault::AgentLies => {
                let until = self.now + self.rng.octaves(10 * MINUTE, 4 * HOUR);
                self.hosts[n].lies_until = until;
                self.hosts[n].disturb(until);
                self.count(Occurrence::Lies);
                say!(self, "the agent of i-{n} lies from now on");
            }
            Fault::FalselyReady => self.is_falsely_ready(n),
            Fault::OldWord => self.repeats_old_word(n),
            Fault::WorkerCrash | Fault::WorkerHangs => {
                let index = self.rng.below(self.hosts[n].procs.len() as u64) as usize;
                if fault == Fault::WorkerCrash {
                    self.process_crashes(n, index);
                } else {
                    let until = self.now + self.rng.octaves(5 * SECOND, 180 * SECOND);
                    self.process_hangs(n, index, until);
                }
            }
            Fault::HostClockStep => {
                let by = self.draws_step();
                say!(self, "the clock of i-{n} is set by {} s", by / SECOND as i64);
                self.count(Occurrence::HostClockStep);
                self.hosts[n].skew += by;
                let back_at = self.now + self.rng.octaves(MINUTE, 4 * HOUR);
                self.agenda.put(back_at, Ev::Heal(Heal::HostClock(n)));
            }
            Fault::CutSession => self.cut_session(n, until),
            Fault::CutWorker => self.cut_worker(n, until),
            _ => self.ec2_fault(fault, n),
        }
    }

    /// What EC2, or another of its clients, does to the instance.
    fn ec2_fault(&mut self, fault: Fault, n: N) {
        let now = self.now;
        match fault {
            Fault::Notice => self.ec2_gives_notice(n),
            Fault::NoNotice => {
                self.count(Occurrence::NoNotice);
                self.hosts[n].disturb(now);
                self.ec2_ends_suddenly(n, "Server.SpotInstanceTermination");
            }
            Fault::Retag | Fault::Unlist if self.only_listings_tell(n) => {}
            Fault::Retag => {
                let until = now + self.rng.octaves(5 * MINUTE, 4 * HOUR);
                // While no ledger knows its id, whose it is rests on that tag.
                self.cloud.machines[n].is_claimed = n.is_multiple_of(2) && self.ledger_knows(n);
                self.cloud.machines[n].retagged.cut(now, until);
                self.count(Occurrence::Retagged);
                say!(self, "somebody changes the tags of i-{n} for {} s", (until - now) / SECOND);
            }
            // What was launched a moment ago is not known to anybody yet.
            Fault::Unlist if self.cloud.machines[n].is_settled(now) => {
                let until = now + self.rng.octaves(3 * MINUTE, 40 * MINUTE);
                self.cloud.machines[n].unlisted.cut(now, until);
                self.count(Occurrence::Unlisted);
                say!(self, "no listing shows i-{n} for {} s", (until - now) / SECOND);
            }
            Fault::Unlist => {}
            Fault::Rebalance => {
                self.count(Occurrence::Rebalance);
                say!(self, "ec2 sends a rebalance recommendation for i-{n}");
                self.cloud.machines[n].rebalance_at = Some(now);
                self.imds_shows(n);
            }
            Fault::ScheduledEvent => self.ec2_schedules(n),
            Fault::Vanish => {
                self.count(Occurrence::Vanished);
                say!(self, "i-{n} vanishes");
                self.ec2_vanishes(n);
            }
            Fault::TerminateByOther => {
                self.count(Occurrence::TerminatedByOther);
                self.hosts[n].disturb(now);
                self.ec2_ends_suddenly(n, BY_A_CALL);
            }
            Fault::StopByOther => {
                self.count(Occurrence::StoppedByOther);
                self.hosts[n].disturb(now);
                self.ec2_enter(n, Ec2State::Stopping, Some(BY_A_CALL));
                let off_at = now + self.rng.between(1, 25) * SECOND;
                self.agenda.put(off_at, Ev::Cloud(CloudEv::Off(n)));
            }
            Fault::Protect => {
                self.count(Occurrence::Protected);
                say!(self, "another client protects i-{n} against termination");
                self.cloud.machines[n].is_protected = true;
                if self.rng.one_in(2) {
                    let at = now + self.rng.octaves(5 * MINUTE, 4 * HOUR);
                    self.agenda.put(at, Ev::Heal(Heal::Unprotect(n)));
                }
            }
            Fault::Hide => {
                let span = self.rng.between(5, 60) * SECOND;
                self.hides(n, span);
            }
            _ => self.ec2_reboots(n),
        }
    }

    pub(crate) fn ec2_reboots(&mut self, n: N) {
        self.count(Occurrence::Rebooted);
        say!(self, "i-{n} reboots");
        let back_at = self.now + self.rng.between(10, 60) * SECOND;
        self.host_reboots(n, back_at);
        self.agenda.put(back_at, Ev::Cloud(CloudEv::Reboots(n)));
    }

    /// The agent cannot reach the coordinators: all of them, or one.
    fn cut_session(&mut self, n: N, until: u64) {
        let now = self.now;
        self.count(Occurrence::CutSession);
        say!(self, "i-{n} cannot reach the coordinators for {} s", (until - now) / SECOND);
        let of = self.coordinators.len();
        let only = (of > 1 && self.rng.one_in(2)).then(|| self.rng.below(of as u64) as usize);
        for c in (0..of).filter(|c| only.is_none_or(|only| only == *c)) {
            self.net.session[n][c].cut(now, until);
        }
        let is_cut = |c: &C| only.is_none_or(|only| only == *c);
        let broken = self.hosts[n].session().filter(|(c, _)| is_cut(c) && until > now + 12 * SECOND);
        if let Some((_, session)) = broken {
            self.session_breaks(n, session, 15 * SECOND);
        }
    }

    /// The worker cannot reach Redis.
    fn cut_worker(&mut self, n: N, until: u64) {
        let now = self.now;
        self.count(Occurrence::CutWorker);
        say!(self, "i-{n} cannot reach Redis for {} s", (until - now) / SECOND);
        self.net.worker[n].cut(now, until);
        self.hosts[n].disturb(until);
        let runs: Vec<usize> = self.hosts[n].procs.iter().flat_map(|it| it.runs.iter().copied()).collect();
        runs.into_iter().for_each(|run| self.stops_renewing(run));
        self.agenda.put(until, Ev::Heal(Heal::Worker(n)));
    }

    /// An operator gives the leader a command.
    pub(super) fn operator(&mut self, fault: Fault) {
        let Some(c) = (0..self.coordinators.len()).find(|c| self.coordinators[*c].leads()) else { return };
        let (reason, instance) = ("a drill".to_owned(), self.some_instance());
        let id = instance.map(|n| self.cloud.machines[n].id.clone());
        let wish = match (fault, id) {
            (Fault::Hold, _) => {
                let at = self.now + self.rng.octaves(MINUTE, HOUR);
                self.agenda.put(at, Ev::Heal(Heal::Resume));
                Wish::Hold { reason }
            }
            (Fault::OperatorDrain, Some(id)) => {
                if self.rng.one_in(2) {
                    let at = self.now + self.rng.between(1, 30) * SECOND;
                    self.agenda.put(at, Ev::Heal(Heal::CancelDrain));
                }
                Wish::Drain { id, reason }
            }
            (Fault::OperatorCancel, _) => {
                let state = self.coordinators[c].state();
                let Some(id) = state.instances().find(|it| it.drain_can_be_cancelled()).and_then(|it| it.id.clone())
                else {
                    return;
                };
                Wish::CancelDrain { id, by: String::new() }
            }
            (Fault::Drill, _) => Wish::Drill { instances: self.rng.between(1, 2) as u32, by: String::new(), reason },
            (Fault::Rehearse, Some(id)) => Wish::Rehearse { id, notice: Duration::from_secs(120) },
            _ => return,
        };
        self.asks_operator(c, wish);
    }

    pub(super) fn asks_operator(&mut self, c: C, wish: Wish) {
        self.put_coordinator(c, self.now, CoordinatorEv::Input(Box::new(Input::Operator(0, wish))));
    }
}
