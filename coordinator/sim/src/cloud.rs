//! EC2: the true states of instances over time, and what listings show of them. What happens inside one is its host's.

mod calls;
mod images;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};

use spillway_brain::{Ec2State, InstanceId, LaunchToken, Listed, RefusalClass, State, StateReason, Timestamp};

use crate::agenda::{CloudEv, Ev, N};
use crate::clock::{HOUR, MINUTE, NEVER, SECOND};
use crate::counts::Occurrence;
use crate::invariants::Invariant;
use crate::net::Cut;
use crate::say;
use crate::world::World;

/// What an instance with the pool's name and a launch token that is not ours says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Another installation's, with its tag.
    Another,
    /// Launched by a version that set no such tag.
    Unknown,
}

pub use images::Images;
pub use schedule::Event;

/// The installation that the simulation is about, and the one beside it.
pub const OURS: &str = "one";
const THEIRS: &str = "two";

/// EC2's reason when TerminateInstances was called, by whomever.
pub const BY_A_CALL: &str = "Client.UserInitiatedShutdown";

/// EC2's reasons for taking back a launch that it accepted, each with what it is for the brain.
pub const TAKEN_BACK: [(&str, RefusalClass); 7] = [
    ("Server.InsufficientInstanceCapacity", RefusalClass::Capacity),
    ("Server.InternalError", RefusalClass::Retry),
    ("Server.SomethingNew", RefusalClass::Retry),
    ("Client.InternalError", RefusalClass::Configuration),
    ("Client.InvalidSnapshot.NotFound", RefusalClass::Configuration),
    ("Client.VolumeLimitExceeded", RefusalClass::Quota),
    ("Client.SomethingNew", RefusalClass::Unknown),
];

pub fn class_of_taken_back(code: &str) -> Option<RefusalClass> {
    TAKEN_BACK.iter().find(|(known, _)| *known == code).map(|(_, class)| *class)
}

/// One instance at EC2.
#[derive(Debug)]
pub struct Machine {
    pub id: InstanceId,
    /// None: not ours.
    pub token: Option<LaunchToken>,
    /// Whose it is where it is not ours.
    pub stranger: Option<Stranger>,
    /// Its tags are changed: only its id finds it, or its client token.
    pub retagged: Cut,
    /// Its tag of the installation is among them, and names another.
    pub is_claimed: bool,
    /// No list shows it, for longer than lists may be late.
    pub unlisted: Cut,
    /// Since when it is in which state, oldest first.
    states: Vec<(u64, Ec2State)>,
    pub reason: Option<&'static str>,
    /// EC2 takes its launch back when it would run, with this reason.
    pub fails_with: Option<&'static str>,
    pub launched_at: u64,
    /// From when on listings may show it.
    visible_at: u64,
    pub hidden: Cut,
    /// When EC2 reclaims it, by its notice.
    pub reclaims_at: Option<u64>,
    pub noticed_at: Option<u64>,
    pub rebalance_at: Option<u64>,
    pub event: Option<Event>,
    /// The number of its image, and from when on lists say it.
    pub image: usize,
    pub image_listed_at: u64,
    /// A rehearsal counts as an interruption for the coordinator.
    pub rehearsed: bool,
    /// Its intent was deleted with the ledger before any listing could show it.
    pub forgotten: bool,
    /// EC2 refuses to terminate it, until somebody lifts that.
    pub is_protected: bool,
    /// When it ended without a notice, and before anybody here had asked EC2 to terminate it.
    pub ended_suddenly_at: Option<u64>,
    /// It vanished before any ledger knew its id, and so whose jobs to hand back.
    pub vanished_unknown: bool,
}

impl Machine {
    pub fn state(&self) -> Ec2State {
        self.states.last().map_or(Ec2State::Terminated, |(_, state)| *state)
    }

    /// Billable, or may become so again.
    pub fn is_live(&self) -> bool {
        !matches!(self.state(), Ec2State::ShuttingDown | Ec2State::Terminated)
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state(), Ec2State::Pending | Ec2State::Running)
    }

    /// Every listing shows it, however out of date.
    pub fn is_settled(&self, now: u64) -> bool {
        self.visible_at + MINUTE < now
    }

    pub fn is_interrupted(&self) -> bool {
        self.reclaims_at.is_some() || self.rehearsed
    }

    fn state_at(&self, at: u64) -> Option<Ec2State> {
        self.states.iter().rev().find(|(since, _)| *since <= at).map(|(_, state)| *state)
    }
}

/// EC2.
#[derive(Debug, Default)]
pub struct Cloud {
    pub machines: Vec<Machine>,
    /// The instance of a token, and with which parameters it was launched.
    by_token: BTreeMap<LaunchToken, (N, u32)>,
    /// Number of the configuration that coordinators which start now have.
    pub parameters: u32,
    /// What listings may still show.
    pub listed: Vec<N>,
    /// Number of managed instances that are billable.
    pub live: usize,
    /// Tokens whose intents were deleted with the ledger while their launches were under way.
    pub forgotten: BTreeSet<LaunchToken>,
    /// Requests that were refused: the token, and when the intent was saved.
    refused: BTreeSet<(LaunchToken, u64)>,
    pub without_capacity: Cut,
    pub over_quota: Cut,
    pub unauthorized: Cut,
    pub misconfigured: Cut,
    pub strange: Cut,
    /// Launches are taken back, with this reason.
    pub takes_back: Cut,
    pub takes_back_with: &'static str,
    /// Terminations are refused.
    pub no_termination: Cut,
    pub throttles: Cut,
    pub bad_image: Cut,
    pub images: Images,
    /// The image's worker works another queue.
    pub other_queue: Cut,
}

/// By its id, or by the client token of a launch that was not answered.
fn is_known(known: &State, machine: &Machine) -> bool {
    known.instances().any(|instance| {
        let launched = || instance.id.is_none() && machine.token.as_ref() == Some(&instance.token);
        !instance.is_gone() && (instance.id.as_ref() == Some(&machine.id) || launched())
    })
}

impl World {
    /// The listing as of `as_of`; without what is hidden now. What is `known` is found whatever its tags are.
    pub fn ec2_list(&self, as_of: u64, known: &State) -> Vec<Listed> {
        let entry = |n: &N| {
            let machine = &self.cloud.machines[*n];
            if machine.hidden.is_down(self.now) || machine.unlisted.is_down(self.now) || as_of < machine.visible_at {
                return None;
            }
            let retagged = machine.retagged.is_down(self.now).then(|| "changed".to_owned());
            if retagged.is_some() && !is_known(known, machine) {
                return None;
            }
            let theirs = machine.stranger.map(|_| LaunchToken(format!("their-{n}")));
            let installation = match (machine.stranger, &machine.token) {
                (Some(Stranger::Another), _) => Some(THEIRS),
                (None, Some(_)) if retagged.is_some() && machine.is_claimed => Some(THEIRS),
                (None, Some(_)) => Some(OURS),
                _ => None,
            };
            Some(Listed {
                id: machine.id.clone(),
                token: machine.token.clone().or(theirs),
                installation: installation.map(str::to_owned),
                retagged,
                image: self.listed_image(*n, as_of),
                state: machine.state_at(as_of)?,
                state_reason: machine.reason.map(|code| StateReason::new(code, "")),
                launched_at: Timestamp(machine.launched_at),
            })
        };
        self.cloud.listed.iter().filter_map(entry).collect()
    }

    pub fn ec2_create(&mut self, token: Option<LaunchToken>, parameters: u32) -> N {
        let n = self.cloud.machines.len();
        let is_ours = token.is_some();
        let visible_after = if self.setup.calls.stale_list > 0 {
            self.rng.between(0, 40 * SECOND)
        } else {
            self.rng.between(0, 2 * SECOND)
        };
        if let Some(token) = &token {
            self.cloud.by_token.insert(token.clone(), (n, parameters));
        }
        let fails_with = self.takes_back().filter(|_| is_ours);
        let image_listed_at = self.image_listed_at();
        self.cloud.machines.push(Machine {
            fails_with,
            id: InstanceId(format!("i-{n}")),
            token,
            states: vec![(self.now, Ec2State::Pending)],
            reason: None,
            launched_at: self.now,
            visible_at: self.now + visible_after,
            stranger: None,
            retagged: Cut::default(),
            is_claimed: false,
            unlisted: Cut::default(),
            hidden: Cut::default(),
            reclaims_at: None,
            noticed_at: None,
            rebalance_at: None,
            event: None,
            image: self.cloud.images.current,
            image_listed_at,
            rehearsed: false,
            forgotten: false,
            is_protected: false,
            ended_suddenly_at: None,
            vanished_unknown: false,
        });
        self.cloud.listed.push(n);
        self.host_created(n, is_ours);
        if is_ours {
            self.cloud.live += 1;
            self.count(Occurrence::Instance);
        }
        let boots_after = self.rng.between(5, 40) * SECOND;
        self.agenda.put(self.now + boots_after, Ev::Cloud(CloudEv::Runs(n)));
        n
    }

    /// Why EC2 will take back the launch that it accepts now.
    fn takes_back(&mut self) -> Option<&'static str> {
        if self.is_calm {
            return None;
        }
        if self.cloud.takes_back.is_down(self.now) {
            return Some(self.cloud.takes_back_with);
        }
        self.rng.per_mille(self.setup.calls.taken_back).then(|| self.rng.pick(&TAKEN_BACK).0)
    }

    /// It never runs: it is terminated at once, or shuts down first, or is only stopped.
    fn ec2_takes_back(&mut self, n: N, code: &'static str) {
        self.count(Occurrence::TakenBack);
        match self.rng.below(4) {
            0 => self.ec2_enter(n, Ec2State::Stopped, Some(code)),
            1 => self.ec2_shuts_down(n, code),
            _ => {
                self.ec2_enter(n, Ec2State::Terminated, Some(code));
                self.host_dies(n);
                self.agenda.put(self.now + HOUR, Ev::Cloud(CloudEv::Unlist(n)));
            }
        }
    }

    pub fn ec2_enter(&mut self, n: N, state: Ec2State, reason: Option<&'static str>) {
        let now = self.now;
        let machine = &mut self.cloud.machines[n];
        let was_live = machine.is_live();
        machine.states.push((now, state));
        machine.reason = machine.reason.or(reason);
        if was_live && !machine.is_live() && machine.token.is_some() {
            self.cloud.live -= 1;
        }
        say!(self, "ec2 i-{n} is {} {}", state.as_str(), reason.unwrap_or_default());
    }

    /// It shuts down, is off some seconds later, and then terminated.
    pub fn ec2_shuts_down(&mut self, n: N, reason: &'static str) {
        if !self.cloud.machines[n].is_live() {
            return;
        }
        self.ec2_enter(n, Ec2State::ShuttingDown, Some(reason));
        let off_after = self.rng.between(1, 25) * SECOND;
        self.agenda.put(self.now + off_after, Ev::Cloud(CloudEv::Off(n)));
    }

    /// It ends without notice, and not because we ask for it.
    pub fn ec2_ends_suddenly(&mut self, n: N, reason: &'static str) {
        self.is_sudden(n);
        self.ec2_shuts_down(n, reason);
    }

    fn is_sudden(&mut self, n: N) {
        let machine = &mut self.cloud.machines[n];
        let is_told = self.hosts[n].told_at.is_some() || !self.hosts[n].has_worker();
        let is_expected = machine.is_interrupted() || is_told || !machine.is_live();
        if !is_expected {
            machine.ended_suddenly_at = Some(self.now);
        }
    }

    /// It is gone at once, and no listing ever shows it terminated.
    pub fn ec2_vanishes(&mut self, n: N) {
        self.is_sudden(n);
        self.cloud.machines[n].vanished_unknown = !self.ledger_knows(n);
        self.cloud.machines[n].hidden = Cut { from: self.now, until: NEVER };
        self.ec2_enter(n, Ec2State::Terminated, None);
        self.host_dies(n);
        self.cloud.listed.retain(|listed| *listed != n);
    }

    pub fn cloud_happens(&mut self, ev: CloudEv) {
        match ev {
            CloudEv::Launch { c, generation, token, parameters, answer_at, saved_at } => {
                self.ec2_launch((c, generation), (token, parameters), answer_at, saved_at);
            }
            CloudEv::Terminate { c, generation, n, answer_at } => self.ec2_terminate((c, generation), n, answer_at),
            CloudEv::Runs(n) => {
                if self.cloud.machines[n].state() == Ec2State::Pending {
                    if let Some(code) = self.cloud.machines[n].fails_with {
                        return self.ec2_takes_back(n, code);
                    }
                    self.ec2_enter(n, Ec2State::Running, None);
                    self.host_boots(n);
                }
            }
            CloudEv::Reboots(n) => {
                if self.cloud.machines[n].state() == Ec2State::Running {
                    self.host_boots(n);
                }
            }
            CloudEv::Reclaims(n) => {
                self.check_notice_was_enough(n);
                self.ec2_shuts_down(n, "Server.SpotInstanceTermination");
            }
            CloudEv::EventBegins(n) => self.ec2_event_begins(n),
            CloudEv::Off(n) => {
                self.host_dies(n);
                match self.cloud.machines[n].state() {
                    Ec2State::Stopping => self.ec2_enter(n, Ec2State::Stopped, None),
                    Ec2State::ShuttingDown => {
                        let after = self.rng.between(1, 40) * SECOND;
                        self.ec2_enter(n, Ec2State::Terminated, None);
                        // Listings show it only after a while.
                        if let Some(last) = self.cloud.machines[n].states.last_mut() {
                            last.0 = self.now + after;
                        }
                        self.agenda.put(self.now + HOUR, Ev::Cloud(CloudEv::Unlist(n)));
                    }
                    _ => {}
                }
            }
            CloudEv::Unlist(n) => {
                self.unknown_agent_registers(n);
                self.cloud.listed.retain(|listed| *listed != n);
            }
        }
    }

    /// Invariant 1, against the true state of EC2.
    pub fn check_cap(&mut self) {
        let config = &self.setup.config;
        let cap = config.max_instances as usize;
        let cap = if config.interrupted_counts { cap } else { cap * 2 };
        if self.cloud.live <= cap && config.interrupted_counts {
            return;
        }
        let counted = |machine: &&Machine| machine.token.is_some() && machine.is_live() && !machine.forgotten;
        let listed = || self.cloud.listed.iter().map(|n| &self.cloud.machines[*n]).filter(counted);
        let live = listed().count();
        let working = listed().filter(|machine| !machine.is_interrupted()).count();
        // Weaker: what a larger cap allowed, until it is drained.
        let (larger, until) = self.larger_cap;
        if live > cap.max(larger) || working > (config.max_instances as usize).max(larger) {
            let max = config.max_instances;
            self.violate(
                Invariant::Cap,
                format!("{live} billable instances, {working} of them not interrupted; max_instances is {max}"),
            );
        }
        if self.now >= until {
            self.larger_cap.0 = larger.min(live);
        }
    }

    /// EC2 sends an interruption notice; it reclaims the instance two minutes later.
    pub fn ec2_gives_notice(&mut self, n: N) {
        let machine = &mut self.cloud.machines[n];
        if machine.reclaims_at.is_some() || machine.state() != Ec2State::Running {
            return;
        }
        let at = self.now + 2 * MINUTE;
        machine.reclaims_at = Some(at);
        machine.noticed_at = Some(self.now);
        say!(self, "ec2 sends an interruption notice for i-{n}");
        self.count(Occurrence::Notice);
        self.agenda.put(at, Ev::Cloud(CloudEv::Reclaims(n)));
        self.imds_shows(n);
    }
}
