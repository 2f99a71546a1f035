//! What each round does, drawn from the seed alone: the same seed draws the same rounds, whatever became of the last one.

use std::time::Duration;

use super::proxy::Trouble;

/// Blows of a round fall within this.
const WITHIN: f64 = 4.0;
/// Up to longer than a job and than the coordinator's patience with Redis; shorter than its lease.
const TROUBLE_LASTS: (f64, f64) = (1.0, 8.0);
/// Longer than its lease: it is deposed, and lives on.
const DEPOSED_IN: (f64, f64) = (16.0, 20.0);

#[derive(Debug)]
pub struct Round {
    /// When, from the round's beginning, in order.
    pub faults: Vec<(Duration, Fault)>,
    /// Without a fault, after it.
    pub rest: Duration,
}

/// Which coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    Standby,
}

/// A connection that troubles befall.
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
    /// As soon as a request to launch has left it; EC2's answer comes later, or at once.
    KillLeaderAtLaunch {
        back_after: Duration,
        answer_is_late: bool,
    },
    /// None: it stays dead.
    KillAgent {
        back_after: Option<Duration>,
    },
    KillWorker,
    KillPm2,
    Trouble {
        link: Link,
        trouble: Trouble,
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
    /// Taken without a notice.
    Vanish,
    /// Terminated by another client of EC2's.
    TerminateBehind,
    Rebalance,
    FreezeRedis {
        lasts: Duration,
    },
    /// New instances do not come up.
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
        10..=15 => trouble(random),
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

fn trouble(random: &mut Random) -> Fault {
    let who = random.one_of(&[Who::Leader, Who::Leader, Who::Standby]);
    let link = random.one_of(&[Link::Ec2(who), Link::Redis(who), Link::Redis(who), Link::Agents]);
    let trouble = match random.below(4) {
        0 => Trouble::Delay(random.seconds(0.05, 1.0)),
        1 => Trouble::Stall,
        // EC2's connections are short; the others begin with a greeting that is to pass.
        2 => Trouble::LoseAnswers(if matches!(link, Link::Ec2(_)) { 0 } else { 3 + random.below(6) }),
        _ => Trouble::Reset,
    };
    let is_cut_off = link == Link::Redis(Who::Leader) && matches!(trouble, Trouble::Stall | Trouble::Reset);
    let (from, to) = if is_cut_off && random.below(3) == 0 { DEPOSED_IN } else { TROUBLE_LASTS };
    Fault::Trouble { link, trouble, lasts: random.seconds(from, to) }
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

/// Numbers from a seed (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.unit();
        random
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, end: u32) -> u32 {
        (self.unit() * f64::from(end)) as u32
    }

    pub fn seconds(&mut self, from: f64, to: f64) -> Duration {
        Duration::from_secs_f64(from + self.unit() * (to - from))
    }

    pub fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(u32::try_from(all.len()).expect("a few")) as usize].clone()
    }
}
