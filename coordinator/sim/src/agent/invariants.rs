//! Invariant checks inside an instance whose worker has the shim and that no fault has hit.

use std::time::Duration;

use spillway_machine as machine;

use crate::agenda::N;
use crate::bull::Exec;
use crate::clock::{MINUTE, NEVER, SECOND, ms};
use crate::invariants::Invariant;
use crate::setup::Naming;
use crate::world::World;

/// A process is fenced within this time.
const FENCED_WITHIN: u64 = 10 * SECOND;
/// No drain cuts a job off earlier than this before its deadline.
const MARGIN: u64 = 12 * SECOND;
/// So much of its margin of 10 s a drain leaves for an end that comes early.
const WITHIN_MARGIN: u64 = 8 * SECOND;
/// The instance metadata shows a notice no later than this. Whatever a notice says, an agent expects EC2's end no later
/// than two minutes after it saw it.
const SEEN_WITHIN: u64 = 20 * SECOND;

impl World {
    /// Invariant 4: a worker with the shim that drains takes no new job.
    pub fn check_fenced(&mut self, n: N) {
        let host = &self.hosts[n];
        let fenced =
            host.draining_since != NEVER && host.draining_since.max(host.disturbed_at) + FENCED_WITHIN < self.now;
        if fenced && host.agent.is_some() && self.setup.naming == Naming::Shim {
            let text = format!("i-{n} takes a job long after its drain began");
            self.violate(Invariant::FencedAndEmpty, text);
        }
    }

    /// Invariant 7, the reverse: the dead-man's switch powers off no instance that runs a job or has a coordinator.
    pub(super) fn check_power_off(&mut self, n: N, reason: machine::LastReason) {
        let host = &self.hosts[n];
        let works = host.procs.iter().flat_map(|it| &it.runs).any(|run| self.bull.runs[*run].exec == Exec::Running);
        let is_welcome = host.agent.as_ref().and_then(|agent| agent.session).is_some_and(|session| session.is_welcome);
        let sees_notice = host.agent.as_ref().and_then(|agent| agent.notice);
        let is_before = sees_notice.is_some_and(|(_, ends_at)| host.machine_time(self.now) < ends_at);
        if is_before && self.should_be_left_to_ec2(n) {
            let text = format!("i-{n} powers itself off ({reason:?}) before EC2 reclaims it in its first hour");
            return self.violate(Invariant::LeftToEc2, text);
        }
        if works || (is_welcome && reason == machine::LastReason::Orphaned) {
            let text =
                format!("i-{n} powers itself off ({reason:?}), with jobs running: {works}, connected: {is_welcome}");
            self.violate(Invariant::NoLeak, text);
        }
    }

    /// Whatever a wall clock shows, a drain has the time that the coordinator gives it, less what its command was under
    /// way and a clock may be slow.
    pub(super) fn check_deadline(&mut self, n: N, taken: machine::Timestamp, left: Duration) {
        let given = (self.now - self.hosts[n].zero).saturating_add(ms(left));
        if taken.0 > given || taken.0 + MINUTE < given {
            let (taken, given) = (taken.0 / SECOND, given / SECOND);
            let text =
                format!("i-{n} takes its drain's deadline as {taken} s after its boot, and {given} s were given");
            self.violate(Invariant::HandedBackInTime, text);
        }
    }

    /// A drain that has time cuts no job off.
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

    /// Invariant 5 for a worker with the shim: two minutes of notice are enough to hand back all jobs.
    pub fn check_notice_was_enough(&mut self, n: N) {
        let machine = &self.cloud.machines[n];
        let Some(noticed_at) = machine.noticed_at else { return };
        let host = &self.hosts[n];
        let undisturbed = host.disturbed_at + MINUTE < noticed_at && !self.net.redis_down.is_down(self.now);
        // Weaker: an agent whose clock is behind, and that saw the notice late, takes EC2's end for a later one.
        let is_late = |left: u64| (WITHIN_MARGIN..SEEN_WITHIN).contains(&left);
        let undisturbed = undisturbed && !host.expects_end_in(self.now).is_some_and(is_late);
        let is_safe = undisturbed && host.agent.is_some() && self.setup.naming == Naming::Shim && machine.is_running();
        let left: Vec<usize> = host.procs.iter().flat_map(|process| process.runs.iter().copied()).collect();
        let works = left.iter().any(|run| self.bull.runs[*run].exec == Exec::Running);
        if is_safe && works {
            let text = format!("i-{n} still runs jobs when EC2 reclaims it, two minutes after its notice");
            self.violate(Invariant::HandedBackInTime, text);
        }
    }
}
