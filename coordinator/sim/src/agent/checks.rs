//! What must hold within an instance whose worker has the shim and whom nothing disturbs.

use spillway_machine as machine;

use crate::agenda::N;
use crate::bull::Exec;
use crate::clock::{MINUTE, NEVER, SECOND};
use crate::setup::Naming;
use crate::watch::Invariant;
use crate::world::World;

/// Told to fence, a process obeys within it, and a drain cuts nothing off earlier than so long before its deadline.
const FENCED_WITHIN: u64 = 10 * SECOND;
const MARGIN: u64 = 12 * SECOND;

impl World {
    /// Invariant 4: a worker with the shim that drains takes no new job.
    pub fn check_fenced(&mut self, n: N) {
        let host = &self.hosts[n];
        let fenced =
            host.draining_since != NEVER && host.draining_since.max(host.disturbed_at) + FENCED_WITHIN < self.now;
        if fenced && host.agent.is_some() && self.setup.naming == Naming::Shim {
            let text = format!("i-{n} takes a job, and has been draining for long");
            self.violate(Invariant::FencedAndEmpty, text);
        }
    }

    /// Invariant 7's other side: the dead-man's switch ends nobody who works, and nobody whose coordinator is there.
    pub(super) fn check_power_off(&mut self, n: N, reason: machine::LastReason) {
        let host = &self.hosts[n];
        let works = host.procs.iter().flat_map(|it| &it.runs).any(|run| self.bull.runs[*run].exec == Exec::Running);
        let is_welcome = host.agent.as_ref().and_then(|agent| agent.session).is_some_and(|session| session.is_welcome);
        if works || (is_welcome && reason == machine::LastReason::Orphaned) {
            let text =
                format!("i-{n} powers itself off ({reason:?}): it works {works}, it has a coordinator {is_welcome}");
            self.violate(Invariant::NoLeak, text);
        }
    }

    /// A drain that has time cuts nothing off.
    pub(super) fn check_stopped_in_peace(&mut self, n: N, index: usize) {
        let host = &self.hosts[n];
        let works = host.procs[index].runs.iter().any(|run| self.bull.runs[*run].exec == Exec::Running);
        let deadline = match host.agent.as_ref().map(|agent| agent.machine.phase()) {
            Some(machine::Phase::Draining(drain)) => drain.deadline.0 + host.zero,
            _ => return,
        };
        let undisturbed = host.disturbed_at + MINUTE < host.draining_since;
        if works && undisturbed && self.setup.naming == Naming::Shim && deadline > self.now + MARGIN {
            let text =
                format!("i-{n}: a job is cut off {} s before the drain's deadline", (deadline - self.now) / SECOND);
            self.violate(Invariant::HandedBackInTime, text);
        }
    }

    /// Invariant 5's promise to a worker with the shim: two minutes are enough to hand everything back.
    pub fn check_notice_was_enough(&mut self, n: N) {
        let machine = &self.cloud.machines[n];
        let Some(noticed_at) = machine.noticed_at else { return };
        let host = &self.hosts[n];
        let undisturbed = host.disturbed_at + MINUTE < noticed_at && !self.net.redis_down.is_down(self.now);
        let is_safe = undisturbed && host.agent.is_some() && self.setup.naming == Naming::Shim && machine.is_running();
        let left: Vec<usize> = host.procs.iter().flat_map(|process| process.runs.iter().copied()).collect();
        let works = left.iter().any(|run| self.bull.runs[*run].exec == Exec::Running);
        if is_safe && works {
            let text = format!("i-{n} still works when EC2 takes it, two minutes after its notice");
            self.violate(Invariant::HandedBackInTime, text);
        }
    }
}
