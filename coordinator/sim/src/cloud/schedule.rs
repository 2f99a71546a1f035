//! Events that EC2 schedules for an instance: told long before or too late, cancelled, and what each kind does when it
//! begins.

use spillway_brain::Ec2State;

use super::BY_A_CALL;
use crate::agenda::{CloudEv, Ev, N};
use crate::clock::{HOUR, MINUTE, SECOND};
use crate::counts::Occurrence;
use crate::faults::Heal;
use crate::say;
use crate::world::World;

const CODES: [&str; 5] =
    ["instance-retirement", "instance-stop", "system-reboot", "instance-reboot", "system-maintenance"];

/// An event that is neither over nor cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub code: &'static str,
    /// Its NotBefore.
    pub at: u64,
}

impl World {
    pub fn ec2_schedules(&mut self, n: N) {
        let machine = &self.cloud.machines[n];
        if machine.event.is_some() || machine.is_interrupted() {
            return;
        }
        let code = self.rng.pick(&CODES);
        // Of some the time has passed already.
        let (at, begins_at) = if self.rng.one_in(6) {
            (self.now - self.rng.octaves(SECOND, HOUR), self.now + self.rng.octaves(SECOND, HOUR))
        } else {
            let at = self.now + self.rng.octaves(2 * MINUTE, 8 * HOUR);
            (at, at + self.rng.between(0, 5 * MINUTE))
        };
        self.cloud.machines[n].event = Some(Event { code, at });
        let in_seconds = at as i64 / SECOND as i64 - self.now as i64 / SECOND as i64;
        say!(self, "ec2 schedules {code} of i-{n} in {in_seconds} s");
        self.count(Occurrence::EventScheduled);
        self.agenda.put(begins_at, Ev::Cloud(CloudEv::EventBegins(n)));
        if self.rng.one_in(4) {
            let after = self.rng.between(0, begins_at - self.now);
            self.agenda.put(self.now + after, Ev::Heal(Heal::EventCancelled(n)));
        }
        self.imds_shows(n);
    }

    pub fn ec2_cancels_event(&mut self, n: N) {
        if self.cloud.machines[n].event.take().is_some() && self.cloud.machines[n].is_live() {
            say!(self, "ec2 cancels what it had scheduled for i-{n}");
            self.count(Occurrence::EventCancelled);
            self.imds_shows(n);
        }
    }

    pub(super) fn ec2_event_begins(&mut self, n: N) {
        let Some(event) = self.cloud.machines[n].event.take() else { return };
        if self.cloud.machines[n].state() != Ec2State::Running {
            return;
        }
        self.count(if self.works(n) { Occurrence::EventCutOff } else { Occurrence::EventBegan });
        say!(self, "{} of i-{n} begins", event.code);
        self.hosts[n].disturb(self.now);
        if matches!(event.code, "instance-retirement" | "instance-stop") {
            self.ec2_enter(n, Ec2State::Stopping, Some(BY_A_CALL));
            let off_at = self.now + self.rng.between(1, 25) * SECOND;
            self.agenda.put(off_at, Ev::Cloud(CloudEv::Off(n)));
        } else {
            let after = self.rng.between(10, 60) * SECOND;
            self.host_reboots(n, self.now + after);
            self.agenda.put(self.now + after, Ev::Cloud(CloudEv::Reboots(n)));
            self.imds_shows(n);
        }
    }
}
