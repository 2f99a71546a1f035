//! Workers that take no job although their agents call them ready: each with proof that is not true, or is no longer.

use spillway_brain::{AgentPhase, Report};
use spillway_machine::Phase;

use super::{Agent, Host};
use crate::agenda::{AgentEv, N};
use crate::clock::{HOUR, MINUTE};
use crate::counts::Occurrence;
use crate::faults::Heal;
use crate::setup::Naming;
use crate::world::World;
use crate::{agenda::Ev, say};

/// Why a worker takes no job.
#[derive(Clone, Debug)]
pub enum Idle {
    /// Its processes are up, and what its agent takes for proof is none.
    FalselyReady,
    /// It works the jobs of another queue, by its image.
    OtherQueue,
    /// It is dead, and its agent repeats what it said before, until it drains.
    OldWord(Box<Report>),
}

impl Host {
    /// Why its worker takes no job, and since when.
    pub fn idle(&self) -> Option<(&Idle, u64)> {
        self.idle.as_ref().map(|(idle, since)| (idle, *since))
    }

    /// What its agent takes for a sign of life says nothing about this pool's queue. A shim tells which queue a worker
    /// works: such an agent is not deceived by another queue.
    pub(super) fn is_falsely_proven(&self, naming: Naming) -> bool {
        match &self.idle {
            Some((Idle::OtherQueue, _)) => naming != Naming::Shim && self.procs.iter().any(|process| process.works()),
            Some(_) => true,
            None => false,
        }
    }

    /// What it says instead of the truth.
    pub(super) fn old_word(&self, phase: AgentPhase) -> Option<&Report> {
        let is_working = matches!(phase, AgentPhase::Booting | AgentPhase::Proving | AgentPhase::Ready);
        match &self.idle {
            Some((Idle::OldWord(report), _)) if is_working => Some(report),
            _ => None,
        }
    }
}

impl World {
    /// From now on the worker takes no job, and its agent says ready.
    pub fn is_falsely_ready(&mut self, n: N) {
        if self.hosts[n].idle.is_some() || !self.hosts[n].was_ready {
            return;
        }
        say!(self, "i-{n}: the worker takes no job from now on, and its agent says ready");
        self.count(Occurrence::FalselyReady);
        self.idles(n, Idle::FalselyReady);
    }

    /// The worker dies for good, and its agent goes on saying what it said before.
    pub fn repeats_old_word(&mut self, n: N) {
        let said = self.hosts[n].said.clone().filter(|said| said.phase == AgentPhase::Ready && said.proven);
        let Some(said) = said.filter(|_| self.hosts[n].idle.is_none()) else { return };
        say!(self, "i-{n}: the worker dies, and its agent repeats what it said before");
        self.count(Occurrence::OldWord);
        self.idles(n, Idle::OldWord(Box::new(said)));
        for index in 0..self.hosts[n].procs.len() {
            self.process_dies(n, index);
        }
    }

    fn idles(&mut self, n: N, idle: Idle) {
        let until = self.now + self.rng.octaves(10 * MINUTE, 8 * HOUR);
        self.hosts[n].idle = Some((idle, self.now));
        self.hosts[n].disturb(until);
        self.agenda.put(until, Ev::Heal(Heal::Idle(n)));
    }

    /// The lie ends. Another queue's worker stays one: it is in its image.
    pub fn idles_no_longer(&mut self, n: N) {
        let host = &mut self.hosts[n];
        if !matches!(host.idle, Some((Idle::FalselyReady | Idle::OldWord(_), _))) {
            return;
        }
        host.disturbed_at = self.now;
        let is_dead = matches!(host.idle.take(), Some((Idle::OldWord(_), _)));
        let number = host.number();
        // Somebody starts it again, unless it is to end.
        let works = |agent: &&mut Agent| matches!(agent.machine.phase(), Phase::Proving | Phase::Ready { .. });
        if let Some(agent) = host.agent.as_mut().filter(works).filter(|agent| is_dead && agent.starting.is_none()) {
            agent.starting = Some(number);
            self.put_agent(n, self.now + 500, AgentEv::Start(number));
        }
        self.shims_changed(n);
        self.dispatch();
    }
}
