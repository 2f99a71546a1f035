//! What reaches the agent, given to its machine.

use std::time::Duration;

use spillway_machine::{Command, Event, Refusal, StepOutcome, Timestamp, agreed, when_reclaimed};

use super::STEPS;
use crate::agenda::{AgentEv, Message, N};
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::invariants::Invariant;
use crate::say;
use crate::world::World;

const BEAT: u64 = 5 * SECOND;
/// A machine that is woken more often in a row without an action is in a busy loop.
const IDLE_WAKES: u32 = 200;

impl World {
    pub fn agent_happens(&mut self, n: N, generation: u32, ev: AgentEv) {
        let host = &mut self.hosts[n];
        if host.agent_generation != generation || !host.is_on {
            return;
        }
        let Some(agent) = &mut host.agent else { return };
        match ev {
            AgentEv::Machine(event) => self.agent_feed(n, event),
            AgentEv::Wake(at) => self.machine_timer(n, at),
            AgentEv::Beat => {
                self.put_agent(n, self.now + BEAT, AgentEv::Beat);
                self.beat(n);
            }
            AgentEv::Check(number) => self.agent_checks(n, number),
            AgentEv::StepEnds { index, attempt, number } => self.step_ends(n, index, attempt, number),
            AgentEv::Imds => self.sees_notice(n),
            AgentEv::ImdsRebalance => self.sees_rebalance(n),
            AgentEv::ImdsSchedule => agent.schedule = Some(self.cloud.machines[n].event),
            AgentEv::Fenced(on) => self.fenced(n, on),
            AgentEv::HandBack { pid } => self.hands_back_inside(n, pid),
            AgentEv::HandBackOutside => self.hands_back_outside(n),
            AgentEv::Kill => self.kills_worker(n),
            AgentEv::Start(number) => {
                if agent.starting.take_if(|starting| *starting == number).is_some() {
                    self.starts_worker(n);
                }
            }
            AgentEv::Welcome { session, epoch } => self.welcome(n, session, epoch),
            AgentEv::Command { session, epoch, id, command, left } => {
                self.commanded(n, session, (epoch, id), command, left)
            }
            AgentEv::Lost { session, token_refused } => {
                if agent.session.take_if(|open| open.number == session).is_some() {
                    self.count(Occurrence::SessionLost);
                    self.agent_feed(n, Event::Disconnected { token_refused });
                }
            }
            AgentEv::NotRegistered => {
                if agent.asking.take().is_some() {
                    self.agent_feed(n, Event::RegistrationFailed(Refusal::Unavailable));
                }
            }
            AgentEv::Registered => {
                if agent.asking.take().is_some() {
                    self.hosts[n].has_ticket = true;
                    self.agent_feed(n, Event::Registered);
                }
            }
            AgentEv::TimesOut { asking, session } => self.times_out(n, asking, session),
        }
    }

    /// A timer of the machine.
    fn machine_timer(&mut self, n: N, at: u64) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        if agent.wake == Some(at) {
            agent.wake = None;
            agent.idle_wakes = if self.now > agent.woken_at + 20 { 0 } else { agent.idle_wakes + 1 };
            agent.woken_at = self.now;
            if agent.idle_wakes > IDLE_WAKES {
                self.violate(
                    Invariant::Converges,
                    format!("the machine of i-{n} is woken again and again without an action"),
                );
            }
            self.agent_polls(n);
        }
    }

    /// The instance metadata shows an interruption notice.
    fn sees_notice(&mut self, n: N) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        if let Some(at) = self.cloud.machines[n].reclaims_at.filter(|_| agent.notice.is_none()) {
            let host = &mut self.hosts[n];
            let ends_at = when_reclaimed(host.machine_time(self.now), host.of_wall(at));
            if let Some(agent) = &mut host.agent {
                agent.notice = Some((at, ends_at));
            }
            say!(self, "i-{n}: the agent sees the notice");
            self.tells_notice(n, (at, ends_at));
            self.agent_feed(n, Event::Interruption { at: ends_at });
        }
    }

    fn tells_notice(&mut self, n: N, (at, ends_at): (u64, Timestamp)) {
        let left = ends_at.since(self.hosts[n].machine_time(self.now));
        self.send(n, Message::Interruption { at, left, is_rehearsal: false });
    }

    /// The instance metadata shows a rebalance recommendation.
    fn sees_rebalance(&mut self, n: N) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        if let Some(at) = self.cloud.machines[n].rebalance_at.filter(|at| agent.rebalance != Some(*at)) {
            agent.rebalance = Some(at);
            self.send(n, Message::Rebalance(at));
        }
    }

    /// A registration, or the opening of a session, got no answer.
    fn times_out(&mut self, n: N, asking: Option<u64>, session: Option<u32>) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        if asking.is_some() && agent.asking == asking {
            agent.asking = None;
            self.agent_feed(n, Event::RegistrationFailed(Refusal::Unavailable));
        } else if agent.session.take_if(|open| Some(open.number) == session && !open.is_welcome).is_some() {
            self.agent_feed(n, Event::Disconnected { token_refused: false });
        }
    }

    fn welcome(&mut self, n: N, session: u32, epoch: u64) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let Some(open) = agent.session.as_mut().filter(|open| open.number == session) else { return };
        open.is_welcome = true;
        let (notice, rebalance) = (agent.notice, agent.rebalance);
        // The coordinator may have missed them.
        notice.into_iter().for_each(|notice| self.tells_notice(n, notice));
        rebalance.into_iter().for_each(|at| self.send(n, Message::Rebalance(at)));
        self.hosts[n].epoch = self.hosts[n].epoch.max(epoch);
        self.agent_feed(n, Event::Connected { epoch });
    }

    fn commanded(&mut self, n: N, session: u32, (epoch, id): (u64, u64), command: Command, left: Duration) {
        let host = &mut self.hosts[n];
        let now = host.machine_time(self.now);
        let of_wall = |at: Timestamp| agreed(now, host.of_wall(at.0), Some(left));
        let command = match command {
            Command::Drain { deadline } => {
                let taken = of_wall(deadline);
                self.check_deadline(n, taken, left);
                Command::Drain { deadline: taken }
            }
            Command::Rehearse { deadline } => Command::Rehearse { deadline: of_wall(deadline) },
            Command::CancelDrain => Command::CancelDrain,
            Command::PowerOff => Command::PowerOff,
        };
        let host = &mut self.hosts[n];
        let Some(agent) = &mut host.agent else { return };
        if agent.session.is_none_or(|open| open.number != session) {
            return self.count(Occurrence::MessageLost);
        }
        agent.must_refuse = (epoch < host.epoch).then_some(id);
        host.epoch = host.epoch.max(epoch);
        say!(self, "i-{n}: the agent receives {command:?} (epoch {epoch})");
        self.agent_feed(n, Event::Command { epoch, id: id.to_string(), command });
    }

    fn step_ends(&mut self, n: N, index: usize, attempt: u32, number: u64) {
        let calls = self.setup.calls;
        let host = &mut self.hosts[n];
        let Some(agent) = &mut host.agent else { return };
        if agent.step.take_if(|step| *step == number).is_none() {
            return;
        }
        let fails = host.bad_step == Some(index) || (!self.is_calm && self.rng.per_mille(calls.step_fails));
        if fails {
            say!(self, "i-{n}: boot step {index} fails (attempt {attempt})");
            self.count(Occurrence::StepFailed);
            return self.agent_feed(n, Event::StepFinished { index, outcome: StepOutcome::Failed });
        }
        host.steps_done = host.steps_done.max(index + 1);
        if index + 1 == STEPS {
            self.starts_processes(n);
        }
        self.agent_feed(n, Event::StepFinished { index, outcome: StepOutcome::Succeeded });
    }
}
