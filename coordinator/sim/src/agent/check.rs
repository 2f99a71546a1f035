//! The agent's checks of its worker in PM2, in Redis and through the shims, and its heartbeats. A part that does not
//! answer is unknown.

use std::time::Duration;

use spillway_brain::{AgentPhase, Report, Schedule, Timestamp};
use spillway_handback_rule::RENEWED_ABOVE;
use spillway_machine::{Event, Evidence, Jobs, Observation, Phase, ShimJob, ShimProcess, Worker};

use crate::agenda::{AgentEv, Message, N};
use crate::bull::Where;
use crate::clock::SECOND;
use crate::invariants::Invariant;
use crate::setup::Naming;
use crate::world::World;

/// A lock with more left is being renewed.
const LIVE: u64 = RENEWED_ABOVE.as_millis() as u64;

/// Longer than a machine trusts a check.
const UNSEEN: u64 = 150 * SECOND;

/// What the last check showed.
#[derive(Debug, Default)]
pub struct Seen {
    active: Option<u32>,
    by_name: bool,
}

impl World {
    pub(super) fn agent_checks(&mut self, n: N, number: u64) {
        let Some(agent) = &self.hosts[n].agent else { return };
        if agent.check != number {
            return;
        }
        let (pace, is_starting) = (agent.pace, agent.starting.is_some());
        self.put_agent(n, self.now + pace, AgentEv::Check(number));
        if is_starting {
            return;
        }
        // The shims' beats tell one that waits out a rate limit from one that hangs.
        if self.is_held_back() && self.hosts[n].procs.iter().all(|process| process.hung_until.is_none()) {
            self.shims_changed(n);
        }
        let observation = self.observation(n);
        self.agent_feed(n, Event::Observed(observation));
    }

    fn observation(&mut self, n: N) -> Observation {
        let reaches = self.net.host_redis(n, self.now);
        let host = &self.hosts[n];
        let base = host.agent.as_ref().map_or(0, |agent| agent.base_restarts);
        let is_falsely_proven = host.is_falsely_proven(self.setup.naming);
        let up = host.procs.iter().filter(|process| process.is_up).count() as u32;
        let up = if is_falsely_proven { up.max(1) } else { up };
        let restarts = host.procs.iter().map(|process| process.restarts).sum::<u32>().saturating_sub(base);
        let worker = Worker {
            processes: up,
            errored: 0,
            restarts,
            graceful: self.setup.graceful,
            patience: Duration::from_millis(self.setup.patience),
        };
        if !reaches {
            return Observation { worker: Some(worker), ..Observation::default() };
        }
        // Held back it does not block for a job.
        let limited = self.is_held_back();
        let fetching = is_falsely_proven || !limited && host.free_processes(self.setup.slots).next().is_some();
        let at = host.machine_time(self.now);
        let live = |job: &&usize| {
            let entry = &self.bull.jobs[**job];
            let left = entry.run.and_then(|run| self.bull.runs[run].lock_left(self.now));
            self.holder(**job) == Some(n) && left.is_some_and(|left| left > LIVE)
        };
        let live_locks = self.bull.active.iter().filter(live).count() as u32;
        let active = self.active_of(n);
        if let Some(agent) = &mut self.hosts[n].agent {
            agent.seen.active = active;
            agent.seen.by_name = self.setup.naming == Naming::Pb && (up > 0 || live_locks > 0);
        }
        self.hosts[n].saw_redis_at = self.now;
        let evidence = Some(Evidence { connections: up, fetching, fresh: fetching, unlisted: false });
        let jobs = Some(Jobs { at, active, live_locks, limited });
        Observation { worker: Some(worker), evidence, jobs, server: None }
    }

    /// Its active jobs as Redis shows them; None if the jobs do not name their instance.
    pub(super) fn active_of(&self, n: N) -> Option<u32> {
        let own = self.bull.active.iter().filter(|job| self.holder(**job) == Some(n)).count();
        let is_anonymous = |job: &usize| self.bull.jobs[*job].pb.is_none();
        let is_named = self.setup.naming != Naming::None && (own > 0 || self.hosts[n].took_jobs);
        let is_known = is_named || self.setup.naming == Naming::Pb || !self.bull.active.iter().any(is_anonymous);
        is_known.then_some(own as u32)
    }

    /// The shims report at once when a job starts or ends.
    pub fn shims_changed(&mut self, n: N) {
        if self.setup.naming != Naming::Shim || self.hosts[n].agent.is_none() {
            return;
        }
        let host = &self.hosts[n];
        let class =
            |run: usize| if self.bull.jobs[self.bull.runs[run].job].took > 300 * SECOND { "long" } else { "short" };
        let job = |run: &usize| ShimJob {
            class: class(*run).to_owned(),
            began: host.machine_time(self.bull.runs[*run].began.max(host.zero)),
        };
        let shim = |process: &super::Proc| ShimProcess {
            pid: process.pid,
            fenced: process.is_fenced,
            can_hand_back: true,
            jobs: process.runs.iter().map(job).collect(),
            heard_at: host.machine_time(self.now),
            workers: Vec::new(),
        };
        let processes: Vec<ShimProcess> = host.procs.iter().filter(|process| process.is_up).map(shim).collect();
        let jobs = processes.iter().map(|process| process.jobs.len()).sum();
        self.agent_feed(n, Event::ShimsSeen(processes));
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let changed = std::mem::replace(&mut agent.told_jobs, jobs) != jobs;
        if changed && self.now >= agent.beat_for_jobs_at + SECOND {
            agent.beat_for_jobs_at = self.now;
            self.beat(n);
        }
    }

    /// Tells the machine how long such a job took.
    pub fn job_learnt(&mut self, n: N, job: usize, run: usize) {
        if self.setup.naming != Naming::Shim || self.bull.jobs[job].place != Where::Completed {
            return;
        }
        let took = Duration::from_millis(self.now - self.bull.runs[run].began);
        let class = if took.as_secs() > 300 { "long" } else { "short" };
        self.agent_feed(n, Event::JobFinished { class: class.to_owned(), took });
    }

    /// Invariant 6, at the agent: it reports ready only if it has read Redis recently.
    fn check_ready(&mut self, n: N, phase: AgentPhase) {
        let host = &self.hosts[n];
        if phase == AgentPhase::Ready && host.saw_redis_at + UNSEEN < self.now {
            self.violate(Invariant::OnlyReady, format!("i-{n} reports ready, but has not read Redis for long"));
        }
    }

    /// Sends a heartbeat with the present state.
    pub(super) fn beat(&mut self, n: N) {
        let host = &self.hosts[n];
        let Some(agent) = &host.agent else { return };
        if agent.session.is_none_or(|open| !open.is_welcome) {
            return;
        }
        let now = host.machine_time(self.now);
        let phase = match agent.machine.phase() {
            Phase::Identifying | Phase::Booting { .. } => AgentPhase::Booting,
            Phase::Proving => AgentPhase::Proving,
            Phase::Ready { .. } => AgentPhase::Ready,
            Phase::Draining(_) => AgentPhase::Draining,
            Phase::Drained(_) => AgentPhase::Drained,
            Phase::Failed(_) => AgentPhase::Failed,
        };
        let may_be_proven = matches!(phase, AgentPhase::Proving | AgentPhase::Ready);
        self.check_ready(n, phase);
        let host = &self.hosts[n];
        let Some(agent) = &host.agent else { return };
        let schedule = match agent.schedule {
            None => Schedule::Unknown,
            Some(None) => Schedule::Empty,
            Some(Some(event)) => Schedule::Next {
                code: event.code.to_owned(),
                at: Timestamp(event.at),
                left: Some(Duration::from_millis(event.at.saturating_sub(host.wall(self.now)))),
            },
        };
        let report = Report {
            id: self.cloud.machines[n].id.clone(),
            phase,
            proven: may_be_proven && agent.machine.missing(now).is_none(),
            named: agent.machine.shim_jobs().is_some() || agent.seen.by_name,
            active_jobs: agent.machine.shim_jobs().or(agent.seen.active),
            is_rate_limited: false,
            limiter_max: std::collections::BTreeMap::new(),
            slots: None,
            problem: None,
            worker_log: None,
            schedule,
        };
        let report = match host.old_word(phase) {
            Some(said) => Report { schedule: report.schedule, ..said.clone() },
            None => report,
        };
        self.hosts[n].said = Some(report.clone());
        self.send(n, Message::Beat(report));
    }
}
