//! What happens to one instance, and what people ask of the leader.

use spillway_brain::{Ec2State, Event};

use super::{Fault, Heal};
use crate::agenda::{C, CloudEv, CoordinatorEv, Ev, N};
use crate::clock::{HOUR, MINUTE, SECOND};
use crate::counts::Met;
use crate::say;
use crate::world::World;

impl World {
    pub(super) fn instance_fault(&mut self, fault: Fault, n: N, until: u64) {
        let now = self.now;
        match fault {
            Fault::Notice => self.ec2_gives_notice(n),
            Fault::NoNotice => {
                self.met(Met::NoNotice);
                self.hosts[n].disturbed_at = now;
                self.ec2_shuts_down(n, "Server.SpotInstanceTermination");
            }
            Fault::Rebalance => {
                self.met(Met::Rebalance);
                say!(self, "ec2 recommends to rebalance i-{n}");
                self.cloud.machines[n].rebalance_at = Some(now);
                self.imds_shows(n);
            }
            Fault::Vanish => {
                self.met(Met::Vanished);
                say!(self, "i-{n} vanishes");
                self.ec2_vanishes(n);
            }
            Fault::EndBehind => {
                self.met(Met::EndedBehind);
                self.hosts[n].disturbed_at = now;
                self.ec2_shuts_down(n, "Client.UserInitiatedShutdown");
            }
            Fault::StopBehind => {
                self.met(Met::StoppedBehind);
                self.hosts[n].disturbed_at = now;
                self.ec2_enter(n, Ec2State::Stopping, Some("Client.UserInitiatedShutdown"));
                let off_at = now + self.rng.between(1, 25) * SECOND;
                self.agenda.put(off_at, Ev::Cloud(CloudEv::Off(n)));
            }
            Fault::Hide => {
                let span = self.rng.between(5, 60) * SECOND;
                self.hides(n, span);
            }
            Fault::HostHangs => self.host_hangs(n),
            Fault::Reboot => {
                self.met(Met::Rebooted);
                say!(self, "i-{n} reboots");
                let after = self.rng.between(10, 60) * SECOND;
                self.host_reboots(n, now + after);
                self.agenda.put(now + after, Ev::Cloud(CloudEv::Reboots(n)));
            }
            Fault::AgentCrash => self.agent_crashes(n, false),
            Fault::AgentDies => self.agent_crashes(n, true),
            Fault::WorkerCrash | Fault::WorkerHangs => {
                let index = self.rng.below(self.hosts[n].procs.len() as u64) as usize;
                if fault == Fault::WorkerCrash {
                    self.process_crashes(n, index);
                } else {
                    let until = now + self.rng.octaves(5 * SECOND, 180 * SECOND);
                    self.process_hangs(n, index, until);
                }
            }
            Fault::CutSession => {
                self.met(Met::CutSession);
                say!(self, "i-{n} cannot reach the coordinators for {} s", (until - now) / SECOND);
                // From all of them, or from one.
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
            _ => {
                self.met(Met::CutWorker);
                say!(self, "i-{n} cannot reach Redis for {} s", (until - now) / SECOND);
                self.net.worker[n].cut(now, until);
                self.hosts[n].disturbed_at = until;
                let runs: Vec<usize> = self.hosts[n].procs.iter().flat_map(|it| it.runs.iter().copied()).collect();
                runs.into_iter().for_each(|run| self.stops_renewing(run));
                self.agenda.put(until, Ev::Heal(Heal::Worker(n)));
            }
        }
    }

    /// People ask the leader.
    pub(super) fn operator(&mut self, fault: Fault) {
        let Some(c) = (0..self.coordinators.len()).find(|c| self.coordinators[*c].leads()) else { return };
        let (reason, instance) = ("a drill".to_owned(), self.some_instance());
        let id = instance.map(|n| self.cloud.machines[n].id.clone());
        let event = match (fault, id) {
            (Fault::Hold, _) => {
                self.met(Met::Hold);
                let at = self.now + self.rng.octaves(MINUTE, HOUR);
                self.agenda.put(at, Ev::Heal(Heal::Resume));
                Event::OperatorHold { reason }
            }
            (Fault::OperatorDrain, Some(id)) => {
                self.met(Met::OperatorDrain);
                Event::OperatorDrain { id, reason }
            }
            (Fault::OperatorCancel, _) => {
                let state = self.coordinators[c].controller.state();
                let Some(id) = state.instances().find(|it| it.drain_can_be_cancelled()).and_then(|it| it.id.clone())
                else {
                    return;
                };
                self.met(Met::OperatorCancel);
                Event::OperatorCancelDrain { id }
            }
            (Fault::Rehearse, Some(_)) => return self.rehearses(c, instance),
            _ => return,
        };
        self.put_coordinator(c, self.now, CoordinatorEv::Answer(Box::new(event)));
    }

    fn rehearses(&mut self, c: C, instance: Option<N>) {
        let Some(n) = instance else { return };
        let state = self.coordinators[c].controller.state();
        let can_be =
            |it: &spillway_brain::Instance| it.ec2.interrupted_at.is_none() && it.phase_kind().can_be_drained();
        if state.instance(&self.cloud.machines[n].id).is_some_and(can_be) {
            self.met(Met::Rehearsal);
            let deadline = spillway_machine::Timestamp(self.local(c).0 + 2 * MINUTE);
            self.command(c, n, spillway_machine::Command::Rehearse { deadline });
        }
    }
}
