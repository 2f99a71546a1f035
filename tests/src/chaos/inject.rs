//! Injects one fault of a round: on a coordinator and its connections, on an instance's processes, on an instance
//! through EC2, or on EC2 and Redis themselves. What it hit is counted, and recorded by instance.

use std::fs;
use std::time::Duration;

use spillway_coordinator::ledger::LEASE;
use spillway_emulator::{Delay, Emulator, InstanceRecord, Lose, Refuse};
use tokio::time::Instant;

use super::draw::{Fault, Link, Who};
use super::faults::{Injected, Step, VICTIM_WITHIN, What};
use super::proxy::LinkFault;
use super::stage::{ChaosStage, MAX_INSTANCES};
use crate::other_client;
use crate::random::Random;

const AGAIN: Duration = Duration::from_millis(200);
/// Long enough for a pause between floods.
const LAUNCH_WITHIN: Duration = Duration::from_secs(10);
/// At first only an instance that runs a job is hit.
const BUSY_WITHIN: Duration = Duration::from_secs(3);

/// The next step, and when: the end of the fault, or another attempt.
type Next<'a> = Option<(Instant, Step<'a>)>;

/// A fault that looks for something to hit until `until`.
pub(super) struct Injection<'a, 'b> {
    pub stage: &'a ChaosStage,
    pub injected: &'b Injected,
    pub now: Instant,
    pub until: Instant,
}

impl<'a> Injection<'a, '_> {
    pub async fn inject(&self, fault: Fault, random: &mut Random) -> Next<'a> {
        match fault {
            Fault::KillCoordinator { .. } | Fault::KillLeaderAtLaunch { .. } | Fault::Link { .. } => {
                self.on_coordinator(fault).await
            }
            Fault::KillAgent { .. } | Fault::KillWorker | Fault::KillPm2 => self.on_process(fault, random),
            Fault::Interrupt { .. } | Fault::Vanish | Fault::TerminateBehind | Fault::Rebalance => {
                self.on_instance(fault, random).await
            }
            _ => self.on_service(fault),
        }
    }

    /// A coordinator's process, or one of its connections.
    async fn on_coordinator(&self, fault: Fault) -> Next<'a> {
        match fault {
            Fault::KillCoordinator { who, back_after } => {
                let Some(seat) = self.stage.seat(who).await else { return self.later(fault) };
                if !seat.kill() {
                    return self.later(fault);
                }
                self.injected.count(if who == Who::Leader { "leader killed" } else { "standby killed" });
                Some((self.now + back_after, Step::Restart(seat)))
            }
            Fault::KillLeaderAtLaunch { back_after, answer_is_late } => {
                let Some(seat) = self.stage.seat(Who::Leader).await else { return self.later(fault) };
                if answer_is_late {
                    let delay = Delay { action: "RunInstances".to_owned(), milliseconds: 300, calls: 1 };
                    self.emulator().delay(delay).expect("a fault");
                }
                let running = self.stage.running();
                if let (true, Some(record)) = (running.len() >= MAX_INSTANCES, running.first()) {
                    // The cap allows no launch: an instance is interrupted to make room.
                    self.injected.hit(record.id.clone(), What::Unannounced);
                    if self.emulator().interrupt(&record.id, Duration::ZERO).is_ok() {
                        self.injected.count("interrupted without notice");
                    }
                }
                let seen = seat.ec2.seen();
                Some((self.now, Step::AtLaunch { seat, seen, back_after, until: self.now + LAUNCH_WITHIN }))
            }
            Fault::Link { link, link_fault, lasts } => {
                let seat = match link {
                    Link::Ec2(who) | Link::Redis(who) => self.stage.seat(who).await,
                    Link::Agents => None,
                };
                let (proxy, name) = match (link, seat) {
                    (Link::Ec2(_), Some(seat)) => (&seat.ec2, "EC2"),
                    (Link::Redis(_), Some(seat)) => (&seat.redis, "Redis"),
                    (Link::Agents, _) => (&self.stage.agents, "agents"),
                    _ => return self.later(fault),
                };
                proxy.set(link_fault);
                let what = match link_fault {
                    LinkFault::None | LinkFault::Delay(_) => "slow",
                    LinkFault::Stall | LinkFault::Reset if lasts > LEASE => "cut off for longer than the lease",
                    LinkFault::Stall => "partitioned",
                    LinkFault::LoseAnswers(_) => "answers lost",
                    LinkFault::Reset => "reset",
                };
                self.injected.count(&format!("{name} {what}"));
                Some((self.now + lasts, Step::End(proxy)))
            }
            _ => None,
        }
    }

    /// A process of an instance.
    fn on_process(&self, fault: Fault, random: &mut Random) -> Next<'a> {
        match fault {
            Fault::KillAgent { back_after } => {
                let Some((id, pid)) = victim(self.stage, self.candidates(), random, "agent.pid") else {
                    return self.later(fault);
                };
                let home = self.stage.home(&id);
                match back_after {
                    Some(after) => fs::write(home.join("restart-after"), after.as_secs_f64().to_string()),
                    None => fs::write(home.join("stays-dead"), ""),
                }
                .expect("a file in its home");
                kill(pid);
                self.injected.count(if back_after.is_some() { "agent killed" } else { "agent killed for good" });
                self.injected.hit(id, What::AgentKilled);
                None
            }
            Fault::KillWorker => {
                let Some((id, pid)) = victim(self.stage, self.candidates(), random, ".pm2/pids/worker-0.pid") else {
                    return self.later(fault);
                };
                kill(pid);
                self.injected.count("worker killed");
                self.injected.hit(id, What::WorkerKilled);
                None
            }
            Fault::KillPm2 => {
                let Some((id, pid)) = victim(self.stage, self.candidates(), random, ".pm2/pm2.pid") else {
                    return self.later(fault);
                };
                kill(pid);
                self.injected.count("PM2 killed");
                self.injected.hit(id, What::Pm2Killed);
                None
            }
            _ => None,
        }
    }

    /// An instance, through EC2 or another of its clients.
    async fn on_instance(&self, fault: Fault, random: &mut Random) -> Next<'a> {
        match fault {
            Fault::Interrupt { notice } => {
                let Some(id) = any(self.candidates(), random) else { return self.later(fault) };
                self.injected.hit(id.clone(), What::Notice);
                // It may be ending just now.
                if self.emulator().interrupt(&id, notice).is_ok() {
                    self.injected.count("interrupted with notice");
                }
                None
            }
            Fault::Vanish => {
                let Some(id) = any(self.candidates(), random) else { return self.later(fault) };
                self.injected.hit(id.clone(), What::Unannounced);
                if self.emulator().interrupt(&id, Duration::ZERO).is_ok() {
                    self.injected.count("interrupted without notice");
                }
                None
            }
            Fault::TerminateBehind => {
                let Some(id) = any(self.candidates(), random) else { return self.later(fault) };
                self.injected.hit(id.clone(), What::Unannounced);
                let form = [("Action", "TerminateInstances"), ("InstanceId.1", id.as_str())];
                let form = form.map(|(name, value)| (name.to_owned(), value.to_owned()));
                if other_client::call(&self.stage.base, &form).await {
                    self.injected.count("terminated by another client");
                }
                None
            }
            Fault::Rebalance => {
                let Some(id) = any(self.candidates(), random) else { return self.later(fault) };
                if self.emulator().rebalance(&id).is_ok() {
                    self.injected.count("rebalance recommended");
                }
                None
            }
            _ => None,
        }
    }

    /// EC2's answers, Redis, and boots.
    fn on_service(&self, fault: Fault) -> Next<'a> {
        match fault {
            Fault::Lose { action, calls } => {
                self.emulator().lose(Lose { action: action.to_owned(), calls }).expect("a fault");
                self.injected.count("EC2 loses answers");
                None
            }
            Fault::Refuse { action, code, calls } => {
                let fault = Refuse { action: action.to_owned(), code: code.to_owned(), calls, message: None };
                self.emulator().refuse(fault).expect("a fault");
                self.injected.count("EC2 refuses");
                None
            }
            Fault::Slow { action, by, calls } => {
                let milliseconds = u64::try_from(by.as_millis()).expect("seconds");
                self.emulator().delay(Delay { action: action.to_owned(), milliseconds, calls }).expect("a fault");
                self.injected.count("EC2 answers late");
                None
            }
            Fault::StaleLists { lag, lasts } => {
                self.emulator().stale(lag).expect("a lag");
                self.injected.count("EC2's listings out of date");
                Some((self.now + lasts, Step::FreshLists))
            }
            Fault::FreezeRedis { lasts } => {
                self.stage.base.redis.freeze();
                self.injected.count("Redis frozen");
                Some((self.now + lasts, Step::ThawRedis))
            }
            Fault::BootsFail { lasts } => {
                fs::write(self.stage.boots_fail_mark(), "").expect("a mark");
                self.injected.count("boots fail");
                Some((self.now + lasts, Step::BootsWork))
            }
            _ => None,
        }
    }

    fn emulator(&self) -> &'a Emulator {
        self.stage.base.emulator()
    }

    /// Running instances that may be hit.
    fn candidates(&self) -> Vec<InstanceRecord> {
        let is_busy = |record: &InstanceRecord| self.injected.busy.borrow().contains(&record.id);
        let may_be_idle = self.now + VICTIM_WITHIN >= self.until + BUSY_WITHIN;
        let mut running = self.stage.running();
        if !may_be_idle || running.iter().any(is_busy) {
            running.retain(is_busy);
        }
        running
    }

    /// Another attempt, which may find something to hit.
    fn later(&self, fault: Fault) -> Next<'a> {
        let has_time = self.now < self.until;
        if !has_time {
            self.injected.count("(hit nothing)");
        }
        has_time.then_some((self.now + AGAIN, Step::Inject { fault, until: self.until }))
    }
}

/// A random one of them that has a process whose id is in this file of its home directory.
fn victim(stage: &ChaosStage, among: Vec<InstanceRecord>, random: &mut Random, file: &str) -> Option<(String, i32)> {
    let with = |record: InstanceRecord| Some((stage.process(&record, file)?, record.id));
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
