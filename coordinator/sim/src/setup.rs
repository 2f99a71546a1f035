//! What a seed draws before its run begins: settings, load, and how often each fault happens. Every seed has a few
//! faults, not all: a bug that one fault hides from another shows in some seed.

use std::time::Duration;

use spillway_brain::{Config, Floor, OnDrift, OnRebalance, Step, Steps, Timestamp, Wait};
use spillway_machine::Graceful;

use crate::clock::{HOUR, MINUTE, NEVER, SECOND};
use crate::cloud::OURS;
use crate::faults::Fault;
use crate::rng::Rng;

/// How a worker's jobs name their instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Our shim: the lock's token begins with the instance's id, and `pb` is it.
    Shim,
    /// The application names its Worker: `pb` only.
    Pb,
    /// They do not: Redis cannot tell.
    None,
}

/// What stays the same throughout a run.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub config: Config,
    /// What is scheduled, by the true time; none from its end on.
    pub floors: Vec<Floor>,
    pub has_floors: bool,
    pub coordinators: usize,
    /// Added to the true time: each coordinator's clock.
    pub skew: [i64; 2],
    pub naming: Naming,
    pub graceful: Graceful,
    /// How long PM2 waits between the signal and the kill.
    pub patience: u64,
    pub processes: u32,
    pub slots: usize,
    pub primary_slots: usize,
    /// Some worker runs the stall check. Without one only a hand-back requeues a dead worker's jobs.
    pub stall_check: bool,
    /// Mean time between arrivals (`NEVER`: jobs come in bursts alone), and between bursts.
    pub arrivals: u64,
    pub bursts: u64,
    pub burst_size: u64,
    /// The shortest and the longest job.
    pub job: (u64, u64),
    /// Jobs that the application fails, per mille.
    pub failing: u64,
    /// The agents' dead-man's switch.
    pub orphan_after: u64,
    pub max_life: Option<u64>,
    pub calls: Calls,
    /// Mean time between two of each fault; `NEVER` if this run has none.
    pub every: Vec<(Fault, u64)>,
}

/// What happens to single calls and messages, per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    pub lost_request: u64,
    pub lost_answer: u64,
    pub late: u64,
    pub twice: u64,
    pub stale_list: u64,
    pub throttled: u64,
    pub no_capacity: u64,
    /// Launches that are accepted, and whose instance never runs.
    pub taken_back: u64,
    pub crash: u64,
    pub freeze_before_execution: u64,
    pub save_answer_lost: u64,
    pub never_boots: u64,
    pub slow_boot: u64,
    pub step_fails: u64,
    pub message_late: u64,
    pub session_message_lost: u64,
    pub imds_late: u64,
    /// EC2 does not know the instance that it is to terminate.
    pub not_found: u64,
    /// Of launches whose answer is lost: the instance ends before any listing shows it; a deploy changes the
    /// parameters.
    pub ends_unseen: u64,
    pub deploy: u64,
}

impl Setup {
    pub fn draw(seed: u64, rng: &mut Rng) -> Self {
        let mut config = config(rng);
        let naming = rng.pick(&[Naming::Shim, Naming::Shim, Naming::Shim, Naming::Shim, Naming::Pb, Naming::None]);
        let graceful = match naming {
            Naming::Shim => Graceful::Yes,
            _ => rng.pick(&[Graceful::Yes, Graceful::No, Graceful::Unknown]),
        };
        let long = rng.one_in(2);
        let skew = |rng: &mut Rng| rng.between(0, 4000) as i64 - 2000;
        let coordinators = if rng.one_in(3) { 2 } else { 1 };
        // Drills and images are drawn apart, so that a run without them is what it was before there were any.
        let (mut apart, mut of_images) = (Rng::new(!seed), Rng::new(seed.rotate_left(32)));
        let mut every = |fault: Fault| match fault {
            Fault::Drill => every(fault, &mut apart),
            Fault::NewImage => every(fault, &mut of_images),
            _ => every(fault, rng),
        };
        let mut every: Vec<_> = Fault::ALL.iter().map(|fault| (*fault, every(*fault))).collect();
        if of_images.one_in(2) && every.iter().any(|(fault, every)| *fault == Fault::NewImage && *every != NEVER) {
            config.on_drift = OnDrift::Replace;
        }
        let mut of_policy = Rng::new(seed.rotate_left(16));
        config.wait = wait(&mut of_policy);
        let floors = floors(config.max_instances, &mut of_policy);
        if coordinators == 2 && rng.one_in(2) {
            // Leadership changes often, and the ledger is deleted in between.
            let often = rng.octaves(HOUR / 2, 4 * HOUR);
            let is_meant = |fault: &Fault| matches!(fault, Fault::DeleteLedger | Fault::CoordinatorFreezes);
            every.iter_mut().filter(|(fault, _)| is_meant(fault)).for_each(|(_, every)| *every = often);
        }
        Setup {
            seed,
            coordinators,
            skew: [skew(rng), skew(rng)],
            naming,
            graceful,
            patience: if rng.one_in(3) { 1600 } else { 30 * MINUTE },
            processes: rng.between(1, 2) as u32,
            slots: rng.between(1, 2) as usize,
            primary_slots: rng.between(1, 3) as usize,
            stall_check: !rng.one_in(4),
            arrivals: if rng.one_in(3) { NEVER } else { rng.octaves(MINUTE / 2, 30 * MINUTE) },
            bursts: rng.octaves(HOUR / 2, 4 * HOUR),
            burst_size: rng.octaves(8, 64),
            job: if long { (10 * SECOND, HOUR) } else { (SECOND / 10, 5 * MINUTE) },
            failing: rng.pick(&[0, 0, 10, 100]),
            orphan_after: rng.pick(&[5, 15]) * MINUTE,
            max_life: rng.pick(&[None, None, None, Some(6 * HOUR)]),
            calls: calls(rng),
            every,
            config,
            has_floors: !floors.is_empty(),
            floors,
        }
    }

    /// Whether this fault happens in this run.
    pub fn has(&self, fault: Fault) -> bool {
        self.every.iter().any(|(it, every)| *it == fault && *every != NEVER)
    }
}

fn config(rng: &mut Rng) -> Config {
    let seconds = Duration::from_secs;
    let max_instances = rng.pick(&[1, 2, 2, 3, 3, 5]);
    let steps = steps(max_instances, rng);
    Config {
        installation: OURS.to_owned(),
        max_instances,
        interval: seconds(rng.pick(&[10, 10, 10, 15, 30])),
        listing_interval: seconds(rng.pick(&[15, 15, 30])),
        boot_timeout: seconds(rng.pick(&[180, 300, 300])),
        drain_timeout: seconds(rng.pick(&[60, 300, 600, 1800])),
        terminate_timeout: seconds(rng.pick(&[60, 300])),
        launches_per_tick: rng.pick(&[1, 2, 5]),
        boot_failures: rng.pick(&[2, 3, 3]),
        breaker_backoff: seconds(rng.pick(&[120, 600])),
        quota_backoff: seconds(rng.pick(&[120, 600])),
        keep_failed_boots: seconds(rng.pick(&[0, 0, 0, 120, 1800])),
        interrupted_counts: !rng.one_in(4),
        rebalance: rng.pick(&[OnRebalance::Replace, OnRebalance::Replace, OnRebalance::Fence, OnRebalance::Ignore]),
        rebalance_limit: rng.between(1, 3) as u32,
        policy: Steps { steps, idle: seconds(rng.pick(&[120, 300, 600])) },
        ..Config::default()
    }
}

fn steps(max_instances: u32, rng: &mut Rng) -> Vec<Step> {
    let over = Duration::from_secs(rng.pick(&[30, 60, 120, 300]));
    let first = rng.between(1, 6);
    let mut steps = vec![Step { jobs: first, over, instances: 1 }];
    if max_instances > 1 {
        let most = rng.between(2, u64::from(max_instances) + 1) as u32;
        steps.push(Step { jobs: first * 3, over: over * rng.between(1, 2) as u32, instances: most });
    }
    steps
}

/// Drawn apart, as drills are.
fn wait(rng: &mut Rng) -> Option<Wait> {
    let seconds = Duration::from_secs;
    rng.one_in(3).then(|| Wait {
        target: seconds(rng.pick(&[30, 120, 300, 300, 900])),
        quantile: rng.pick(&[0.5, 0.95, 0.95, 1.0]),
        idle: seconds(rng.pick(&[0, 60, 60, 300])),
        slots: rng.pick(&[None, None, Some(1), Some(4)]),
    })
}

/// Drawn apart too: spans of the first three days, which may overlap and ask for more than the cap.
fn floors(max_instances: u32, rng: &mut Rng) -> Vec<Floor> {
    let spans = if rng.one_in(4) { rng.between(1, 6) } else { 0 };
    let span = |rng: &mut Rng| {
        let from = rng.between(0, 72 * HOUR);
        let until = from + rng.octaves(5 * MINUTE, 12 * HOUR);
        let instances = rng.between(1, u64::from(max_instances) + 1) as u32;
        Floor { from: Timestamp(from), until: Timestamp(until), instances }
    };
    (0..spans).map(|_| span(rng)).collect()
}

/// Other settings of the same pool, as a deploy brings them. Where the steps stay, the first asks for other instances.
pub fn reconfigured(config: &Config, rng: &mut Rng) -> Config {
    let seconds = Duration::from_secs;
    let mut config = config.clone();
    config.max_instances = rng.between(1, 5) as u32;
    if rng.one_in(2) {
        config.policy.steps = steps(config.max_instances, rng);
    } else {
        let instances = rng.between(1, u64::from(config.max_instances)) as u32;
        config.policy.steps[0].instances = instances.min(config.policy.steps.last().map_or(1, |last| last.instances));
    }
    config.interval = seconds(rng.pick(&[10, 15, 30]));
    config.listing_interval = seconds(rng.pick(&[15, 30]));
    config.policy.idle = seconds(rng.pick(&[120, 300, 600]));
    config.boot_timeout = seconds(rng.pick(&[180, 300]));
    config.drain_timeout = seconds(rng.pick(&[60, 300, 600, 1800]));
    config.terminate_timeout = seconds(rng.pick(&[60, 300]));
    config.launches_per_tick = rng.pick(&[1, 2, 5]);
    config.interrupted_counts = !rng.one_in(4);
    config.rebalance = rng.pick(&[OnRebalance::Replace, OnRebalance::Fence, OnRebalance::Ignore]);
    config.keep_failed_boots = seconds(rng.pick(&[0, 120]));
    config
}

fn calls(rng: &mut Rng) -> Calls {
    let mut some = |most: u64| if rng.one_in(2) { rng.between(1, most) } else { 0 };
    Calls {
        lost_request: some(150),
        lost_answer: some(250),
        late: some(150),
        twice: some(100),
        stale_list: some(400),
        throttled: some(150),
        no_capacity: some(150),
        taken_back: some(150),
        crash: some(30),
        freeze_before_execution: some(30),
        save_answer_lost: some(20),
        never_boots: some(250),
        slow_boot: some(200),
        step_fails: some(300),
        message_late: some(50),
        session_message_lost: some(10),
        imds_late: some(500),
        not_found: some(200),
        ends_unseen: some(300),
        deploy: some(300),
    }
}

fn every(fault: Fault, rng: &mut Rng) -> u64 {
    if !rng.one_in(3) {
        return NEVER;
    }
    let (from, to) = match fault {
        // Single things on an instance.
        Fault::Notice | Fault::Rebalance | Fault::AgentCrash | Fault::WorkerCrash => (20 * MINUTE, 4 * HOUR),
        Fault::DeleteLedger | Fault::ForgeLedger | Fault::RestoreLedger | Fault::Reconfigure | Fault::Hold => {
            (4 * HOUR, 48 * HOUR)
        }
        Fault::Permission
        | Fault::Configuration
        | Fault::Strange
        | Fault::TakesBack
        | Fault::NoTermination
        | Fault::Quota => (HOUR, 16 * HOUR),
        Fault::Protect | Fault::Obliterate | Fault::Unreadable => (2 * HOUR, 16 * HOUR),
        Fault::Unmanaged | Fault::OldVersion | Fault::BadImage | Fault::OtherQueue => (3 * HOUR, 24 * HOUR),
        _ => (30 * MINUTE, 8 * HOUR),
    };
    rng.octaves(from, to)
}
