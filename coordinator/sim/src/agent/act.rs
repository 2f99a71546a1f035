//! Performs the machine's actions: each has its latency, and its outcome comes back as an event.

use spillway_machine::{Action, Event, Phase, Report};

use super::Session;
use crate::agenda::{AgentEv, CoordinatorEv, Ev, Message, N};
use crate::clock::{NEVER, SECOND};
use crate::counts::Occurrence;
use crate::invariants::Invariant;
use crate::say;
use crate::world::World;

impl World {
    pub(super) fn agent_feed(&mut self, n: N, event: Event) {
        let host = &mut self.hosts[n];
        let now = host.machine_time(self.now);
        if let Some(agent) = &mut host.agent {
            agent.machine.handle(now, event);
            self.agent_polls(n);
        }
    }

    pub(super) fn agent_polls(&mut self, n: N) {
        let host = &mut self.hosts[n];
        let (now, zero) = (host.machine_time(self.now), host.zero);
        let Some(agent) = &mut host.agent else { return };
        let actions = agent.machine.poll(now);
        if !actions.is_empty() {
            agent.idle_wakes = 0;
        }
        for action in actions {
            self.act(n, action);
        }
        self.keep_pace(n);
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let Some(at) = agent.machine.next_deadline(now) else { return };
        let at = (at.0 + zero).max(self.now + 1);
        if agent.wake.is_none_or(|wake| wake > at) {
            agent.wake = Some(at);
            self.put_agent(n, at, AgentEv::Wake(at));
        }
    }

    /// How often the agent checks its worker, by the phase.
    fn keep_pace(&mut self, n: N) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let pace = match agent.machine.phase() {
            Phase::Identifying | Phase::Booting { .. } | Phase::Drained(_) | Phase::Failed(_) => NEVER,
            Phase::Proving => 2 * SECOND,
            Phase::Ready { .. } => 5 * SECOND,
            Phase::Draining(_) => SECOND,
        };
        if std::mem::replace(&mut agent.pace, pace) == pace {
            return;
        }
        agent.check += 1;
        let check = agent.check;
        let drains = matches!(agent.machine.phase(), Phase::Draining(_));
        self.hosts[n].draining_since = if drains { self.now } else { NEVER };
        if pace != NEVER {
            let at = self.now + self.rng.between(5, 300);
            self.put_agent(n, at, AgentEv::Check(check));
        }
    }

    fn act(&mut self, n: N, action: Action) {
        let after = |world: &mut World, from: u64, to: u64, ev: AgentEv| {
            let at = world.now + world.rng.between(from, to);
            world.put_agent(n, at, ev);
        };
        match action {
            Action::Register => self.asks_to_register(n),
            Action::Connect => self.connects(n),
            Action::RunStep { index, attempt } => self.runs_step(n, index, attempt),
            Action::AbortStep => {
                if let Some(agent) = &mut self.hosts[n].agent {
                    agent.step = None;
                }
            }
            Action::Fence => self.fences(n, true),
            Action::Unfence => {
                self.count(Occurrence::CancelObeyed);
                self.fences(n, false);
            }
            Action::HandBack { pid } => after(self, 2, 100, AgentEv::HandBack { pid }),
            Action::HandBackOutside => after(self, 5, 300, AgentEv::HandBackOutside),
            Action::StopWorker => self.stops_worker(n),
            Action::KillWorker => {
                self.freezes_worker(n);
                after(self, 50, 3000, AgentEv::Kill);
                after(self, 5, 300, AgentEv::HandBackOutside);
            }
            Action::StartWorker => {
                // What a check shows before it has started says nothing.
                let number = self.hosts[n].number();
                if let Some(agent) = &mut self.hosts[n].agent {
                    agent.starting = Some(number);
                }
                after(self, 500, 3000, AgentEv::Start(number));
            }
            Action::PowerOff(reason) => {
                say!(self, "i-{n}: its agent powers it off ({reason:?})");
                let is_told = reason == spillway_machine::LastReason::Told;
                self.count(if is_told { Occurrence::PoweredOffAsTold } else { Occurrence::PowerOff });
                self.check_power_off(n, reason);
                self.ec2_shuts_down(n, "Client.InstanceInitiatedShutdown");
            }
            Action::Report(report) => self.reports(n, report),
        }
    }

    /// The processes get fences and their ends in the order in which they were sent.
    fn fences(&mut self, n: N, on: bool) {
        let at = self.now + self.rng.between(2, 50);
        let at = at.max(self.hosts[n].fences_at + 1);
        self.hosts[n].fences_at = at;
        self.put_agent(n, at, AgentEv::Fenced(on));
    }

    fn reports(&mut self, n: N, report: Report) {
        match report {
            Report::Beat => self.beat(n),
            Report::CommandResult { id, refused } => {
                let Some(agent) = &mut self.hosts[n].agent else { return };
                let must_refuse = agent.must_refuse.take().is_some_and(|expected| expected.to_string() == id);
                match refused {
                    Some(why) => say!(self, "i-{n}: the agent rejects a command: {why}"),
                    None if must_refuse => {
                        let text = format!("the agent of i-{n} obeys a command of an older epoch");
                        self.violate(Invariant::OnlyTheLeader, text);
                    }
                    None => {}
                }
            }
            Report::Rehearsed { at } => {
                self.cloud.machines[n].rehearsed = true;
                let host = &self.hosts[n];
                let left = at.since(host.machine_time(self.now));
                let message = Message::Interruption { at: host.to_wall(at), left, is_rehearsal: true };
                self.send(n, message);
            }
            Report::Drained(outcome) => {
                say!(
                    self,
                    "i-{n}: the agent is drained ({} handed back, {:?} left)",
                    outcome.handed_back,
                    outcome.jobs_left
                );
                self.count(Occurrence::Drained);
                self.hosts[n].drained_by = self.hosts[n].agent_generation;
                self.send(n, Message::Drained { left: outcome.jobs_left, handed_back: outcome.handed_back });
            }
        }
    }

    /// At whichever coordinator the name resolves to.
    fn asks_to_register(&mut self, n: N) {
        let c = self.coordinator_for(n);
        let at = self.now + self.net.latency(self.now, &mut self.rng);
        let number = self.hosts[n].number();
        let (agent, generation) = (self.hosts[n].agent_generation, self.coordinators[c].generation);
        let is_reached = self.coordinators[c].is_up && !self.net.session[n][c].is_down(self.now);
        if let Some(own) = &mut self.hosts[n].agent {
            own.asking = Some(number);
        }
        if is_reached {
            self.agenda.put(at, Ev::Coordinator { c, generation, ev: CoordinatorEv::Register { n, agent } });
        }
        let within = if is_reached { 10 * SECOND } else { self.rng.between(1, 5000) };
        self.put_agent(n, at + within, AgentEv::TimesOut { asking: Some(number), session: None });
    }

    /// The leader, if a standby has just named it; else whichever the name resolves to.
    fn coordinator_for(&mut self, n: N) -> usize {
        let any = self.rng.below(self.coordinators.len() as u64) as usize;
        self.hosts[n].agent.as_mut().and_then(|agent| agent.leader.take()).unwrap_or(any)
    }

    fn connects(&mut self, n: N) {
        let c = self.coordinator_for(n);
        let at = self.now + self.net.latency(self.now, &mut self.rng);
        let (agent, generation) = (self.hosts[n].agent_generation, self.coordinators[c].generation);
        let is_reached = self.coordinators[c].is_up && !self.net.session[n][c].is_down(self.now);
        let Some(own) = &mut self.hosts[n].agent else { return };
        own.sessions += 1;
        let session = own.sessions;
        own.session = Some(Session { c, number: session, is_welcome: false });
        self.hosts[n].last_received = 0;
        self.hosts[n].last_sent = 0;
        if is_reached {
            self.agenda.put(at, Ev::Coordinator { c, generation, ev: CoordinatorEv::Connect { n, agent, session } });
        }
        let within = if is_reached { 10 * SECOND } else { self.rng.between(1, 5000) };
        self.put_agent(n, at + within, AgentEv::TimesOut { asking: None, session: Some(session) });
    }

    /// Sends a message over the session, if the coordinator has accepted one.
    pub(super) fn send(&mut self, n: N, message: Message) {
        let session = self.hosts[n].agent.as_ref().and_then(|agent| agent.session).filter(|open| open.is_welcome);
        if let Some(Session { c, number, .. }) = session {
            self.send_to_coordinator(c, n, number, message);
        }
    }

    fn runs_step(&mut self, n: N, index: usize, attempt: u32) {
        let number = self.hosts[n].number();
        let took = self.rng.between(2, 25) * SECOND * self.hosts[n].slow.min(30);
        if let Some(agent) = &mut self.hosts[n].agent {
            agent.step = Some(number);
            self.put_agent(n, self.now + took, AgentEv::StepEnds { index, attempt, number });
        }
    }
}
