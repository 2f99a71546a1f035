//! The faults of a round: each is injected at its time and taken back where it lasts, and what was done to which instance is
//! remembered. At a round's end no fault is left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::draw::{Fault, Random, Round};
use super::inject::Injection;
use super::proxy::{Proxy, Trouble};
use super::site::{Seat, Site};
use super::{Broken, now_ms};

const LOOK: Duration = Duration::from_millis(4);
const AGAIN: Duration = Duration::from_millis(200);
/// A fault waits so long for an instance that it may hit.
pub(super) const VICTIM_WITHIN: Duration = Duration::from_secs(6);
/// A lease of 15 s after all faults, and a busy machine.
const LEADS_WITHIN: Duration = Duration::from_secs(60);

/// Something that happened_to one instance: whose jobs then may begin again.
#[derive(Clone, Debug)]
pub struct Cause {
    pub instance: String,
    pub at_ms: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// EC2 took it after a notice.
    Notice,
    /// It was taken without a word.
    Taken,
    AgentKilled,
    WorkerKilled,
    Pm2Killed,
}

impl What {
    /// Not only jobs that ran at that moment may begin again.
    pub fn lasts(self) -> bool {
        self != What::WorkerKilled
    }
}

/// What was injected so far.
#[derive(Debug, Default)]
pub struct Injected {
    pub counts: RefCell<BTreeMap<String, u32>>,
    pub causes: RefCell<Vec<Cause>>,
    pub round: Cell<u32>,
    /// Instances that hold a job, by the last look at Redis.
    pub busy: RefCell<BTreeSet<String>>,
}

/// What is left to do in this round.
pub(super) enum Step<'a> {
    Inject {
        fault: Fault,
        until: Instant,
    },
    Restart(&'a Seat),
    End(&'a Proxy),
    FreshLists,
    ThawRedis,
    BootsWork,
    /// Kill it once it asks for another launch than these.
    AtLaunch {
        seat: &'a Seat,
        seen: u32,
        back_after: Duration,
        until: Instant,
    },
}

impl Step<'_> {
    fn inject(fault: Fault, at: Instant) -> Self {
        Step::Inject { fault, until: at + VICTIM_WITHIN }
    }
}

pub async fn play(site: &Site, injected: &Injected, round: Round, random: &mut Random) -> Result<(), Broken> {
    let began = Instant::now();
    let mut steps: Vec<(Instant, Step<'_>)> =
        round.faults.into_iter().map(|(at, fault)| (began + at, Step::inject(fault, began + at))).collect();
    while !steps.is_empty() {
        let now = Instant::now();
        let Some(due) = steps.iter().position(|(at, _)| *at <= now) else {
            sleep(LOOK).await;
            continue;
        };
        let (_, step) = steps.remove(due);
        let more = match step {
            Step::Inject { fault, until } => Injection { site, injected, now, until }.inject(fault, random).await,
            Step::Restart(seat) => {
                if seat.is_dead() {
                    seat.start().await;
                }
                None
            }
            Step::End(proxy) => {
                proxy.set(Trouble::None);
                None
            }
            Step::FreshLists => {
                site.world.emulator().stale(Duration::ZERO).expect("a lag");
                None
            }
            Step::ThawRedis => {
                site.world.redis.go_on();
                None
            }
            Step::BootsWork => {
                // It may have been ended by another.
                let _ = fs::remove_file(site.boots_fail_mark());
                None
            }
            Step::AtLaunch { seat, seen, back_after, .. } if seat.ec2.seen() > seen => {
                if seat.kill() {
                    injected.count("leader killed as it launched");
                }
                Some((now + back_after, Step::Restart(seat)))
            }
            Step::AtLaunch { until, .. } if now > until => None,
            step @ Step::AtLaunch { .. } => Some((now + LOOK, step)),
        };
        steps.extend(more);
    }
    site.world.emulator().clear_faults();
    rest(site, round.rest).await
}

/// Nothing is done for so long, and until one of the coordinators leads.
async fn rest(site: &Site, span: Duration) -> Result<(), Broken> {
    let began = Instant::now();
    sleep(span).await;
    while site.leader().await.is_none() {
        if began.elapsed() > LEADS_WITHIN {
            return Err(Broken(format!("nobody leads {LEADS_WITHIN:?} after the last fault")));
        }
        sleep(AGAIN).await;
    }
    for seat in &site.seats {
        seat.check_alive()?;
    }
    Ok(())
}

impl Injected {
    pub fn count(&self, what: &str) {
        *self.counts.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn happened_to(&self, instance: String, what: What) {
        self.causes.borrow_mut().push(Cause { instance, at_ms: now_ms(), what });
    }
}
