//! The faults of a round: each is injected at its time and ended later if it lasts; which instance was hit is recorded.
//! At the end of a round no fault is left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::draw::{Fault, Round};
use super::inject::Injection;
use super::proxy::{LinkFault, Proxy};
use super::stage::{ChaosStage, Seat};
use super::{Violation, now_ms};
use crate::random::Random;

const POLL_INTERVAL: Duration = Duration::from_millis(4);
const AGAIN: Duration = Duration::from_millis(200);
/// How long a fault waits for an instance that it may hit.
pub(super) const VICTIM_WITHIN: Duration = Duration::from_secs(6);
/// A lease of 15 s after all faults, on a busy host.
const LEADS_WITHIN: Duration = Duration::from_secs(60);

/// A fault that hit an instance: it explains why the instance's jobs started again.
#[derive(Clone, Debug)]
pub struct Cause {
    pub instance: String,
    pub at_ms: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// EC2 reclaimed it after a notice.
    Notice,
    /// It was reclaimed or terminated without a notice.
    Unannounced,
    AgentKilled,
    WorkerKilled,
    Pm2Killed,
}

impl What {
    /// It explains new starts of jobs that began later, too.
    pub fn lasts(self) -> bool {
        self != What::WorkerKilled
    }
}

/// What has been injected so far.
#[derive(Debug, Default)]
pub struct Injected {
    pub counts: RefCell<BTreeMap<String, u32>>,
    pub causes: RefCell<Vec<Cause>>,
    pub round: Cell<u32>,
    /// Instances that hold a job, by the last scan of Redis.
    pub busy: RefCell<BTreeSet<String>>,
}

/// What is still to be done in this round.
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
    /// Kill it once it has sent more launches than `seen`.
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

pub async fn play(stage: &ChaosStage, injected: &Injected, round: Round, random: &mut Random) -> Result<(), Violation> {
    let began = Instant::now();
    let mut steps: Vec<(Instant, Step<'_>)> =
        round.faults.into_iter().map(|(at, fault)| (began + at, Step::inject(fault, began + at))).collect();
    while !steps.is_empty() {
        let now = Instant::now();
        let Some(due) = steps.iter().position(|(at, _)| *at <= now) else {
            sleep(POLL_INTERVAL).await;
            continue;
        };
        let (_, step) = steps.remove(due);
        let more = match step {
            Step::Inject { fault, until } => Injection { stage, injected, now, until }.inject(fault, random).await,
            Step::Restart(seat) => {
                if seat.is_dead() {
                    seat.start().await;
                }
                None
            }
            Step::End(proxy) => {
                proxy.set(LinkFault::None);
                None
            }
            Step::FreshLists => {
                stage.base.emulator().stale(Duration::ZERO).expect("a lag");
                None
            }
            Step::ThawRedis => {
                stage.base.redis.go_on();
                None
            }
            Step::BootsWork => {
                // Another fault of this kind may have ended already.
                let _ = fs::remove_file(stage.boots_fail_mark());
                None
            }
            Step::AtLaunch { seat, seen, back_after, .. } if seat.ec2.seen() > seen => {
                if seat.kill() {
                    injected.count("leader killed as it launched");
                }
                Some((now + back_after, Step::Restart(seat)))
            }
            Step::AtLaunch { until, .. } if now > until => None,
            step @ Step::AtLaunch { .. } => Some((now + POLL_INTERVAL, step)),
        };
        steps.extend(more);
    }
    stage.base.emulator().clear_faults();
    rest(stage, round.rest).await
}

/// Waits for this time, and until one of the coordinators leads.
async fn rest(stage: &ChaosStage, span: Duration) -> Result<(), Violation> {
    let began = Instant::now();
    sleep(span).await;
    while stage.leader().await.is_none() {
        if began.elapsed() > LEADS_WITHIN {
            return Err(Violation(format!("no coordinator leads {LEADS_WITHIN:?} after the last fault")));
        }
        sleep(AGAIN).await;
    }
    for seat in &stage.seats {
        seat.check_alive()?;
    }
    Ok(())
}

impl Injected {
    pub fn count(&self, what: &str) {
        *self.counts.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn hit(&self, instance: String, what: What) {
        self.causes.borrow_mut().push(Cause { instance, at_ms: now_ms(), what });
    }
}
