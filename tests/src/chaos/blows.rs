//! Deals the blows of a round, each at its time, takes back what is to be taken back, and remembers what was done to which
//! instance. At a round's end no fault is left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use spillway_coordinator::ledger::LEASE;
use spillway_emulator::{Delay, InstanceRecord, Lose, Refuse};
use tokio::time::{Instant, sleep};

use super::draw::{Blow, Link, Random, Round, Who};
use super::proxy::{Proxy, Trouble};
use super::site::{MAX_INSTANCES, Seat, Site};
use super::{Broken, now_ms};
use crate::other_client;

const LOOK: Duration = Duration::from_millis(4);
const AGAIN: Duration = Duration::from_millis(200);
/// A blow waits so long for an instance that it may hit.
const VICTIM_WITHIN: Duration = Duration::from_secs(6);
/// The flood may be in a pause.
const LAUNCH_WITHIN: Duration = Duration::from_secs(10);
/// At first only for one that works on a job: there is something to lose.
const BUSY_WITHIN: Duration = Duration::from_secs(3);
/// A lease of 15 s after all faults, and a busy machine.
const LEADS_WITHIN: Duration = Duration::from_secs(60);

/// Something that befell one instance: whose jobs then may begin again.
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

/// What was dealt so far.
#[derive(Debug, Default)]
pub struct Dealt {
    pub counts: RefCell<BTreeMap<String, u32>>,
    pub causes: RefCell<Vec<Cause>>,
    pub round: Cell<u32>,
    /// Instances that hold a job, by the last look at Redis.
    pub busy: RefCell<BTreeSet<String>>,
}

/// What is left to do in this round.
enum Step<'a> {
    Deal {
        blow: Blow,
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
    fn deal(blow: Blow, at: Instant) -> Self {
        Step::Deal { blow, until: at + VICTIM_WITHIN }
    }
}

pub async fn deal(site: &Site, dealt: &Dealt, round: Round, random: &mut Random) -> Result<(), Broken> {
    let began = Instant::now();
    let mut steps: Vec<(Instant, Step<'_>)> =
        round.blows.into_iter().map(|(at, blow)| (began + at, Step::deal(blow, began + at))).collect();
    while !steps.is_empty() {
        let now = Instant::now();
        let Some(due) = steps.iter().position(|(at, _)| *at <= now) else {
            sleep(LOOK).await;
            continue;
        };
        let (_, step) = steps.remove(due);
        let more = match step {
            Step::Deal { blow, until } => falls(site, dealt, blow, until, random).await,
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
                    dealt.count("leader killed as it launched");
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

async fn falls<'a>(
    site: &'a Site,
    dealt: &Dealt,
    blow: Blow,
    until: Instant,
    random: &mut Random,
) -> Option<(Instant, Step<'a>)> {
    let now = Instant::now();
    let emulator = site.world.emulator();
    let candidates = || {
        let is_busy = |record: &InstanceRecord| dealt.busy.borrow().contains(&record.id);
        let may_be_idle = now + VICTIM_WITHIN >= until + BUSY_WITHIN;
        let mut running = site.running();
        if !may_be_idle || running.iter().any(is_busy) {
            running.retain(is_busy);
        }
        running
    };
    // The next look finds perhaps what this one did not.
    let later = || {
        let is_patient = now < until;
        if !is_patient {
            dealt.count("(hit nothing)");
        }
        is_patient.then_some((now + AGAIN, Step::Deal { blow, until }))
    };
    match blow {
        Blow::KillCoordinator { who, back_after } => {
            let Some(seat) = site.seat(who).await else { return later() };
            if !seat.kill() {
                return later();
            }
            dealt.count(if who == Who::Leader { "leader killed" } else { "standby killed" });
            Some((now + back_after, Step::Restart(seat)))
        }
        Blow::KillLeaderAtLaunch { back_after, answer_is_late } => {
            let Some(seat) = site.seat(Who::Leader).await else { return later() };
            if answer_is_late {
                let delay = Delay { action: "RunInstances".to_owned(), milliseconds: 300, calls: 1 };
                emulator.delay(delay).expect("a fault");
            }
            let running = site.running();
            if let (true, Some(record)) = (running.len() >= MAX_INSTANCES, running.first()) {
                // There is no room for a launch: one is taken.
                dealt.befell(record.id.clone(), What::Taken);
                if emulator.interrupt(&record.id, Duration::ZERO).is_ok() {
                    dealt.count("interrupted without notice");
                }
            }
            let seen = seat.ec2.seen();
            Some((now, Step::AtLaunch { seat, seen, back_after, until: now + LAUNCH_WITHIN }))
        }
        Blow::KillAgent { back_after } => {
            let Some((id, pid)) = victim(site, candidates(), random, "agent.pid") else { return later() };
            let home = site.home(&id);
            match back_after {
                Some(after) => fs::write(home.join("restart-after"), after.as_secs_f64().to_string()),
                None => fs::write(home.join("stays-dead"), ""),
            }
            .expect("a file in its home");
            kill(pid);
            dealt.count(if back_after.is_some() { "agent killed" } else { "agent killed for good" });
            dealt.befell(id, What::AgentKilled);
            None
        }
        Blow::KillWorker => {
            let Some((id, pid)) = victim(site, candidates(), random, ".pm2/pids/worker-0.pid") else { return later() };
            kill(pid);
            dealt.count("worker killed");
            dealt.befell(id, What::WorkerKilled);
            None
        }
        Blow::KillPm2 => {
            let Some((id, pid)) = victim(site, candidates(), random, ".pm2/pm2.pid") else { return later() };
            kill(pid);
            dealt.count("PM2 killed");
            dealt.befell(id, What::Pm2Killed);
            None
        }
        Blow::Trouble { link, trouble, lasts } => {
            let seat = match link {
                Link::Ec2(who) | Link::Redis(who) => site.seat(who).await,
                Link::Agents => None,
            };
            let (proxy, name) = match (link, seat) {
                (Link::Ec2(_), Some(seat)) => (&seat.ec2, "EC2"),
                (Link::Redis(_), Some(seat)) => (&seat.redis, "Redis"),
                (Link::Agents, _) => (&site.agents, "agents"),
                _ => return later(),
            };
            proxy.set(trouble);
            let what = match trouble {
                Trouble::None | Trouble::Delay(_) => "slow",
                Trouble::Stall | Trouble::Reset if lasts > LEASE => "cut off for longer than the lease",
                Trouble::Stall => "partitioned",
                Trouble::LoseAnswers(_) => "answers lost",
                Trouble::Reset => "reset",
            };
            dealt.count(&format!("{name} {what}"));
            Some((now + lasts, Step::End(proxy)))
        }
        Blow::Lose { action, calls } => {
            emulator.lose(Lose { action: action.to_owned(), calls }).expect("a fault");
            dealt.count("EC2 loses answers");
            None
        }
        Blow::Refuse { action, code, calls } => {
            let fault = Refuse { action: action.to_owned(), code: code.to_owned(), calls, message: None };
            emulator.refuse(fault).expect("a fault");
            dealt.count("EC2 refuses");
            None
        }
        Blow::Slow { action, by, calls } => {
            let milliseconds = u64::try_from(by.as_millis()).expect("seconds");
            emulator.delay(Delay { action: action.to_owned(), milliseconds, calls }).expect("a fault");
            dealt.count("EC2 answers late");
            None
        }
        Blow::StaleLists { lag, lasts } => {
            emulator.stale(lag).expect("a lag");
            dealt.count("EC2's lists stale");
            Some((now + lasts, Step::FreshLists))
        }
        Blow::Interrupt { notice } => {
            let Some(id) = any(candidates(), random) else { return later() };
            dealt.befell(id.clone(), What::Notice);
            // It may end by itself at this moment.
            if emulator.interrupt(&id, notice).is_ok() {
                dealt.count("interrupted with notice");
            }
            None
        }
        Blow::Vanish => {
            let Some(id) = any(candidates(), random) else { return later() };
            dealt.befell(id.clone(), What::Taken);
            if emulator.interrupt(&id, Duration::ZERO).is_ok() {
                dealt.count("interrupted without notice");
            }
            None
        }
        Blow::TerminateBehind => {
            let Some(id) = any(candidates(), random) else { return later() };
            dealt.befell(id.clone(), What::Taken);
            let form = [("Action", "TerminateInstances"), ("InstanceId.1", id.as_str())];
            let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
            if other_client::call(&site.world, &form).await {
                dealt.count("terminated by another client");
            }
            None
        }
        Blow::Rebalance => {
            let Some(id) = any(candidates(), random) else { return later() };
            if emulator.rebalance(&id).is_ok() {
                dealt.count("rebalance recommended");
            }
            None
        }
        Blow::FreezeRedis { lasts } => {
            site.world.redis.freeze();
            dealt.count("Redis frozen");
            Some((now + lasts, Step::ThawRedis))
        }
        Blow::BootsFail { lasts } => {
            fs::write(site.boots_fail_mark(), "").expect("a mark");
            dealt.count("boots fail");
            Some((now + lasts, Step::BootsWork))
        }
    }
}

/// One of them, with the process whose id is in that file of its home.
fn victim(site: &Site, among: Vec<InstanceRecord>, random: &mut Random, file: &str) -> Option<(String, i32)> {
    let with = |record: InstanceRecord| Some((site.process(&record, file)?, record.id));
    let all: Vec<(i32, String)> = among.into_iter().filter_map(with).collect();
    let (pid, id) = (!all.is_empty()).then(|| random.one_of(&all))?;
    Some((id, pid))
}

fn any(among: Vec<InstanceRecord>, random: &mut Random) -> Option<String> {
    (!among.is_empty()).then(|| random.one_of(&among).id)
}

fn kill(pid: i32) {
    // SAFETY: kill has no memory effects. The process was seen just now to be an instance's; it may have ended since.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
    }
}

impl Dealt {
    pub fn count(&self, what: &str) {
        *self.counts.borrow_mut().entry(what.to_owned()).or_default() += 1;
    }

    fn befell(&self, instance: String, what: What) {
        self.causes.borrow_mut().push(Cause { instance, at_ms: now_ms(), what });
    }
}
