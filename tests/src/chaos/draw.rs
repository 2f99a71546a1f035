//! The faults of each round, drawn from the seed alone: the same seed draws the same rounds, whatever their outcome.

use std::time::Duration;

use super::proxy::LinkFault;
use crate::random::Random;

/// The faults of a round begin within this many seconds.
const WITHIN: f64 = 4.0;
/// How long a connection's fault lasts, in seconds: up to longer than a job and than the coordinator's Redis timeout,
/// but shorter than its lease.
const FAULT_LASTS: (f64, f64) = (1.0, 8.0);
/// Longer than the lease: the leader loses it, and runs on.
const CUT_OFF_LASTS: (f64, f64) = (16.0, 20.0);

#[derive(Debug)]
pub struct Round {
    /// Each fault with its time from the start of the round, in order.
    pub faults: Vec<(Duration, Fault)>,
    /// How long no fault is injected afterwards.
    pub rest: Duration,
}

/// Which coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    Standby,
}

/// A connection that a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ec2(Who),
    Redis(Who),
    Agents,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillCoordinator {
        who: Who,
        back_after: Duration,
    },
    /// As soon as it has sent a request to launch; EC2's answer comes at once, or later.
    KillLeaderAtLaunch {
        back_after: Duration,
        answer_is_late: bool,
    },
    /// None: it is not started again.
    KillAgent {
        back_after: Option<Duration>,
    },
    KillWorker,
    KillPm2,
    Link {
        link: Link,
        link_fault: LinkFault,
        lasts: Duration,
    },
    Lose {
        action: &'static str,
        calls: u32,
    },
    Refuse {
        action: &'static str,
        code: &'static str,
        calls: u32,
    },
    Slow {
        action: &'static str,
        by: Duration,
        calls: u32,
    },
    StaleLists {
        lag: Duration,
        lasts: Duration,
    },
    Interrupt {
        notice: Duration,
    },
    /// EC2 reclaims an instance without a notice.
    Vanish,
    /// Another client terminates an instance.
    TerminateBehind,
    Rebalance,
    FreezeRedis {
        lasts: Duration,
    },
    /// Boots of new instances fail.
    BootsFail {
        lasts: Duration,
    },
}

/// One round.
pub fn round(random: &mut Random) -> Round {
    let count = 1 + random.below(3);
    let mut faults: Vec<(Duration, Fault)> = (0..count).map(|_| (random.seconds(0.0, WITHIN), fault(random))).collect();
    faults.sort_by_key(|(at, _)| *at);
    Round { faults, rest: random.seconds(2.0, 5.0) }
}

fn fault(random: &mut Random) -> Fault {
    let back_after = random.seconds(0.0, 5.0);
    match random.below(24) {
        0 | 1 => Fault::KillCoordinator { who: Who::Leader, back_after },
        2 => Fault::KillCoordinator { who: Who::Standby, back_after },
        3 | 4 => Fault::KillLeaderAtLaunch { back_after, answer_is_late: random.below(2) == 0 },
        5 | 6 => {
            let stays_dead = random.below(4) == 0;
            Fault::KillAgent { back_after: (!stays_dead).then_some(back_after.mul_f64(0.6)) }
        }
        7 | 8 => Fault::KillWorker,
        9 => Fault::KillPm2,
        10..=15 => link_fault(random),
        16 => Fault::Lose {
            action: random.one_of(&["RunInstances", "TerminateInstances", "*"]),
            calls: 1 + random.below(3),
        },
        17 => refusal(random),
        18 => Fault::Slow {
            action: random.one_of(&["RunInstances", "TerminateInstances", "DescribeInstances"]),
            by: random.seconds(0.5, 4.0),
            calls: 1 + random.below(3),
        },
        19 => Fault::StaleLists { lag: random.seconds(1.0, 5.0), lasts: random.seconds(3.0, 8.0) },
        20 => Fault::Interrupt { notice: random.seconds(5.0, 12.0) },
        21 => Fault::Vanish,
        22 => random.one_of(&[Fault::TerminateBehind, Fault::Rebalance, Fault::Vanish]),
        _ => {
            let lasts = random.seconds(1.0, 6.0);
            random.one_of(&[Fault::FreezeRedis { lasts }, Fault::BootsFail { lasts }])
        }
    }
}

fn link_fault(random: &mut Random) -> Fault {
    let who = random.one_of(&[Who::Leader, Who::Leader, Who::Standby]);
    let link = random.one_of(&[Link::Ec2(who), Link::Redis(who), Link::Redis(who), Link::Agents]);
    let link_fault = match random.below(4) {
        0 => LinkFault::Delay(random.seconds(0.05, 1.0)),
        1 => LinkFault::Stall,
        // EC2's connections are short; the others begin with a handshake that must pass.
        2 => LinkFault::LoseAnswers(if matches!(link, Link::Ec2(_)) { 0 } else { 3 + random.below(6) }),
        _ => LinkFault::Reset,
    };
    let is_cut_off = link == Link::Redis(Who::Leader) && matches!(link_fault, LinkFault::Stall | LinkFault::Reset);
    let (from, to) = if is_cut_off && random.below(3) == 0 { CUT_OFF_LASTS } else { FAULT_LASTS };
    Fault::Link { link, link_fault, lasts: random.seconds(from, to) }
}

fn refusal(random: &mut Random) -> Fault {
    let calls = 1 + random.below(4);
    let (action, code) = random.one_of(&[
        ("RunInstances", "RequestLimitExceeded"),
        ("RunInstances", "InsufficientInstanceCapacity"),
        ("RunInstances", "MaxSpotInstanceCountExceeded"),
        ("DescribeInstances", "InternalError"),
        ("TerminateInstances", "RequestLimitExceeded"),
        ("*", "ServiceUnavailable"),
    ]);
    Fault::Refuse { action, code, calls }
}
