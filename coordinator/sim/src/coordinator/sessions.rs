//! The coordinator's side of its agents' sessions: which agents are admitted, their messages, and commands to them. A
//! session keeps its order; one that breaks loses what was under way, or delivers it after the next one began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::{AgentPhase, InstanceId, Timestamp};
use spillway_machine::Command;
use spillway_pool::{FromAgent, Input, NotAdmitted};

use crate::agenda::{AgentEv, C, CoordinatorEv, Ev, Message, N};
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::say;
use crate::world::World;

/// What a coordinator process knows of agents.
#[derive(Debug, Default)]
pub struct Sessions {
    tickets: BTreeSet<N>,
    /// The newest session of each; it may be broken without the coordinator knowing.
    open: BTreeMap<N, u32>,
}

/// A shorter partition breaks no session: what is sent meanwhile arrives late.
const SURVIVED: u64 = 12 * SECOND;

impl World {
    fn id(&self, n: N) -> InstanceId {
        self.cloud.machines[n].id.clone()
    }

    pub(super) fn register(&mut self, c: C, n: N, agent: u32) {
        let answers_at = self.now + self.net.latency(self.now, &mut self.rng);
        let answer = |world: &mut World, at: u64, ev: AgentEv| {
            world.agenda.put(at, Ev::Agent { n, generation: agent, ev });
        };
        match self.admission(c, n) {
            Err(NotAdmitted::NotTheLeader) => {
                self.points_to_leader(n);
                return answer(self, answers_at, AgentEv::NotRegistered);
            }
            Err(NotAdmitted::NotExpected) => return answer(self, answers_at, AgentEv::NotRegistered),
            Ok(()) => {}
        }
        let sessions = &mut self.coordinators[c].sessions;
        sessions.tickets.insert(n);
        sessions.open.remove(&n);
        say!(self, "the agent of i-{n} registers with {}", super::name(c));
        self.feed(c, Input::FromAgent(self.id(n), FromAgent::Registered));
        if self.net.session[n][c].is_down(self.now) {
            return answer(self, answers_at + 10 * SECOND, AgentEv::NotRegistered);
        }
        answer(self, answers_at, AgentEv::Registered);
    }

    /// A standby tells the agent where the leader is.
    fn points_to_leader(&mut self, n: N) {
        let leader = self.led_by.filter(|_| self.ledger.is_held(self.now));
        self.hosts[n].points_to(leader);
    }

    pub(super) fn connect(&mut self, c: C, n: N, agent: u32, session: u32) {
        let at = self.now + self.net.latency(self.now, &mut self.rng);
        let has_ticket = self.coordinators[c].sessions.tickets.contains(&n);
        let ev = match self.admission(c, n) {
            Err(NotAdmitted::NotTheLeader) => {
                self.points_to_leader(n);
                AgentEv::Lost { session, token_refused: false }
            }
            Ok(()) if has_ticket => {
                self.coordinators[c].sessions.open.insert(n, session);
                AgentEv::Welcome { session, epoch: self.coordinators[c].pool.epoch() }
            }
            _ => AgentEv::Lost { session, token_refused: true },
        };
        self.agenda.put(at, Ev::Agent { n, generation: agent, ev });
    }

    /// Sends over the session that the coordinator takes for open; false if there is none. With how long its deadline
    /// is off.
    pub(super) fn command(&mut self, c: C, n: N, epoch: u64, (command, left): (Command, Duration)) -> bool {
        let Some(session) = self.coordinators[c].sessions.open.get(&n).copied() else {
            say!(self, "the agent of i-{n} is not connected to {}", super::name(c));
            self.count(Occurrence::MessageLost);
            return false;
        };
        let last = self.hosts[n].last_received;
        let Some(at) = self.session_delivers(c, n, session, last) else { return true };
        self.hosts[n].last_received = at;
        let generation = self.hosts[n].agent_generation;
        self.commands += 1;
        let ev = AgentEv::Command { session, epoch, id: self.commands, command, left };
        self.agenda.put(at, Ev::Agent { n, generation, ev });
        true
    }

    pub fn send_to_coordinator(&mut self, c: C, n: N, session: u32, message: Message) {
        let last = self.hosts[n].last_sent;
        let Some(at) = self.session_delivers(c, n, session, last) else { return };
        self.hosts[n].last_sent = at;
        self.put_coordinator(c, at, CoordinatorEv::Message { n, session, message: Box::new(message) });
    }

    /// When a message sent now arrives; None if it is lost with its session.
    fn session_delivers(&mut self, c: C, n: N, session: u32, last: u64) -> Option<u64> {
        let mut latency = self.net.latency(self.now, &mut self.rng);
        let calls = self.setup.calls;
        if !self.is_calm && self.rng.per_mille(calls.message_late) {
            latency += self.rng.between(SECOND, 20 * SECOND);
            self.count(Occurrence::MessageLate);
        }
        if !self.is_calm && self.rng.per_mille(calls.session_message_lost) {
            self.count(Occurrence::MessageLost);
            self.session_breaks(n, session, 200);
            return None;
        }
        let cut = self.net.session[n][c];
        if !cut.is_down(self.now) {
            return Some((self.now + latency).max(last + 1));
        }
        if cut.until - cut.from > SURVIVED {
            self.count(Occurrence::MessageLost);
            return None;
        }
        Some((cut.until + latency).max(last + 1))
    }

    /// The agent's side of the session ends within `within` milliseconds.
    pub fn session_breaks(&mut self, n: N, session: u32, within: u64) {
        let generation = self.hosts[n].agent_generation;
        let at = self.now + self.rng.between(1, within);
        let ev = AgentEv::Lost { session, token_refused: false };
        self.agenda.put(at, Ev::Agent { n, generation, ev });
    }

    /// Each ends within one of these times.
    pub(super) fn sessions_end_with(&mut self, c: C, within: &[u64]) {
        for (n, session) in std::mem::take(&mut self.coordinators[c].sessions.open) {
            let within = self.rng.pick(within);
            self.session_breaks(n, session, within);
        }
    }

    /// What a coordinator hears of a report: one that lies says that it holds no job, and is drained once it drains.
    fn as_told(&mut self, n: N, report: &spillway_brain::Report) -> spillway_brain::Report {
        let mut report = report.clone();
        if self.now < self.hosts[n].lies_until && !self.is_calm {
            report.active_jobs = Some(0);
            if report.phase == AgentPhase::Draining {
                report.phase = AgentPhase::Drained;
                self.count(Occurrence::LiedDrained);
            }
            self.hosts[n].has_lied = true;
        }
        report
    }

    pub(super) fn heard(&mut self, c: C, n: N, session: u32, message: &Message) {
        // A newer session or registration replaced it: its messages are ignored.
        if self.coordinators[c].sessions.open.get(&n) != Some(&session) {
            return self.count(Occurrence::OldSession);
        }
        let id = self.id(n);
        // Given up: its session is closed, so that its agent knows that nobody looks after it.
        if self.admission(c, n) == Err(NotAdmitted::NotExpected) {
            self.coordinators[c].sessions.open.remove(&n);
            return self.session_breaks(n, session, 500);
        }
        match message {
            Message::Beat(report) => {
                if report.phase == AgentPhase::Ready && report.proven && !self.hosts[n].was_ready {
                    self.hosts[n].was_ready = true;
                    self.count(Occurrence::Ready);
                    say!(self, "i-{n} is ready");
                }
                if self.ledger.is_held_by(self.holder_of_lease(c), self.now) {
                    self.hosts[n].heard_at = self.now;
                }
                let report = self.as_told(n, report);
                self.feed(c, Input::FromAgent(id, FromAgent::Reported(report)));
            }
            Message::Interruption { at, left, is_rehearsal } => {
                let (at, left, is_rehearsal) = (Timestamp(*at), Some(*left), *is_rehearsal);
                self.feed(c, Input::FromAgent(id, FromAgent::Notice { at, left, is_rehearsal }));
            }
            Message::Rebalance(at) => {
                self.feed(c, Input::FromAgent(id, FromAgent::RebalanceRecommended { at: Timestamp(*at) }));
            }
            Message::Drained { left, handed_back } => {
                let message = FromAgent::Drained { jobs_left: *left, jobs_handed_back: *handed_back };
                self.feed(c, Input::FromAgent(id, message));
            }
        }
    }
}
