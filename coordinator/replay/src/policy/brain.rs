//! Spillway's brain in the model: the controller of production, told what a coordinator would tell it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Controller, Decision, Ec2State, Event, Finished, InstanceId, JobsByInstance,
    LaunchAnswer, LaunchToken, Listed, QueueBacklog, Report, Running, Schedule, Steps, Timestamp, Wait, Waiting, Work,
};

use super::Acts;
use crate::model::{Model, NOTICE};
use crate::world::{Action, PRIMARY, Phase, World};

/// Between two looks, as by default.
const INTERVAL: u64 = 10_000;
/// The wall clock when a trace begins: any, late enough that nothing is before the epoch.
const BEGINS: u64 = 1_700_000_000_000;
/// No deadline of production cuts into the model: its boots end, its agents are heard, its drains take as long as jobs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Ages of waiting jobs that are told apart.
const AGES: usize = 64;

pub(super) struct Brain {
    controller: Controller,
    /// What the launches that were decided are to be called, in their order.
    intended: VecDeque<LaunchToken>,
    /// By worker: its launch token.
    tokens: BTreeMap<usize, LaunchToken>,
    /// How many jobs each agent has last said that it holds.
    told: BTreeMap<usize, u32>,
    /// Those that drain already: a command may be repeated.
    draining: BTreeSet<usize>,
}

impl Brain {
    pub(super) fn new(policy: Steps, wait: Option<Wait>, model: &Model) -> Self {
        let config = Config {
            max_instances: model.max_instances,
            interval: Duration::from_millis(INTERVAL),
            listing_interval: NEVER,
            boot_timeout: NEVER,
            heartbeat_timeout: NEVER,
            drain_timeout: NEVER,
            launches_per_tick: u32::MAX,
            policy,
            wait,
            ..Config::default()
        };
        let mut controller = Controller::new(config, "replay");
        for event in [Event::Started, Event::LeadershipGained] {
            controller.handle(at(0), event);
        }
        let (intended, draining) = (VecDeque::new(), BTreeSet::new());
        let mut brain = Brain { controller, intended, tokens: BTreeMap::new(), told: BTreeMap::new(), draining };
        brain.list(0, None);
        brain
    }

    fn tick(&mut self, now: u64) -> Vec<Action> {
        let plan = self.controller.tick(at(now));
        plan.decisions.into_iter().filter_map(|planned| self.action(planned.decision)).collect()
    }

    fn action(&mut self, decision: Decision) -> Option<Action> {
        match decision {
            Decision::Launch { token } => {
                self.intended.push_back(token);
                Some(Action::Launch)
            }
            Decision::Drain { id, .. } => worker(&id).filter(|it| self.draining.insert(*it)).map(Action::Drain),
            Decision::CancelDrain { id } => worker(&id).filter(|it| self.draining.remove(it)).map(|worker| {
                // It has to prove itself again.
                self.told.remove(&worker);
                Action::CancelDrain(worker)
            }),
            Decision::Terminate { id } => worker(&id).filter(|it| self.tokens.contains_key(it)).map(Action::Terminate),
            Decision::HandBack { .. } | Decision::PowerOff { .. } | Decision::Alert { .. } => None,
        }
    }

    /// EC2's list, in which `ended` is terminated.
    fn list(&mut self, now: u64, ended: Option<usize>) {
        let listed = |(worker, token): (&usize, &LaunchToken)| Listed {
            id: id(*worker),
            token: Some(token.clone()),
            installation: None,
            retagged: None,
            image: None,
            state: if ended == Some(*worker) { Ec2State::Terminated } else { Ec2State::Running },
            state_reason: None,
            launched_at: at(now),
        };
        let instances = self.tokens.iter().map(listed).collect();
        self.controller.handle(at(now), Event::InstancesListed { asked_at: at(now), instances });
    }

    /// By its agent, and by Redis.
    fn is_drained(&mut self, world: &World<'_>, worker: usize) {
        self.report(world.now, worker, AgentPhase::Drained, 0);
        let drained = Event::AgentDrained { id: id(worker), jobs_left: Some(0), jobs_handed_back: 0 };
        self.controller.handle(at(world.now), drained);
        let seen = Event::JobsSeen { asked_at: at(world.now), seen: jobs_by_instance(world) };
        self.controller.handle(at(world.now), seen);
    }

    fn report(&mut self, now: u64, worker: usize, phase: AgentPhase, jobs: u32) {
        self.told.insert(worker, jobs);
        let report = Report {
            id: id(worker),
            phase,
            proven: phase == AgentPhase::Ready,
            named: true,
            active_jobs: Some(jobs),
            is_rate_limited: false,
            limiter_max: BTreeMap::new(),
            slots: None,
            problem: None,
            worker_log: None,
            schedule: Schedule::default(),
        };
        self.controller.handle(at(now), Event::AgentReported(report));
    }
}

impl Acts for Brain {
    fn interval(&self) -> u64 {
        INTERVAL
    }

    fn is_at_rest(&self) -> bool {
        self.controller.state().desired().unwrap_or(0) == 0
    }

    fn look(&mut self, world: &World<'_>) -> Vec<Action> {
        for worker in &world.live {
            let it = &world.workers[*worker];
            match it.phase {
                Phase::Ready if self.told.get(worker) != Some(&it.busy) => {
                    self.report(world.now, *worker, AgentPhase::Ready, it.busy);
                }
                // It was empty when its drain began: Redis is asked after that.
                Phase::Draining if it.busy == 0 => self.is_drained(world, *worker),
                _ => {}
            }
        }
        let (waiting, active) = (world.queue.len() as u64, world.running().count() as u64);
        let queue = QueueBacklog { queue: "trace".to_owned(), waiting, active, ..QueueBacklog::default() };
        self.controller.handle(at(world.now), Event::BacklogObserved(Backlog { queues: vec![queue] }));
        self.controller.handle(at(world.now), Event::WorkSeen(work(world)));
        self.tick(world.now)
    }

    fn launched(&mut self, world: &World<'_>, worker: usize) {
        let Some(token) = self.intended.pop_front() else { return };
        self.tokens.insert(worker, token.clone());
        let answer = LaunchAnswer::Accepted { id: id(worker) };
        self.controller.handle(at(world.now), Event::LaunchAnswered { token, answer });
        self.list(world.now, None);
    }

    fn ready(&mut self, world: &World<'_>, worker: usize) {
        self.controller.handle(at(world.now), Event::AgentRegistered { id: id(worker) });
        self.report(world.now, worker, AgentPhase::Ready, 0);
    }

    fn noticed(&mut self, world: &World<'_>, worker: usize) -> Vec<Action> {
        self.draining.insert(worker);
        let (id, at_end) = (id(worker), at(world.now + NOTICE));
        self.controller.handle(at(world.now), Event::NoticeSeen { id, at: at_end, is_rehearsal: false });
        self.tick(world.now)
    }

    fn drained(&mut self, world: &World<'_>, worker: usize) -> Vec<Action> {
        self.is_drained(world, worker);
        self.tick(world.now)
    }

    fn ended(&mut self, world: &World<'_>, worker: usize) {
        self.controller.handle(at(world.now), Event::TerminateAccepted { id: id(worker) });
        self.list(world.now, Some(worker));
        self.tokens.remove(&worker);
        self.told.remove(&worker);
        self.draining.remove(&worker);
    }
}

fn work(world: &World<'_>) -> Work {
    let each = world.queue.len().div_ceil(AGES).max(1);
    let ages = (0..world.queue.len()).step_by(each).map(|first| Waiting {
        age: Duration::from_millis(world.age(world.queue[first])),
        jobs: each.min(world.queue.len() - first) as u64,
    });
    let running = world.running().map(|run| Running {
        on: (run.worker != PRIMARY).then(|| id(run.worker)),
        elapsed: Duration::from_millis(world.now - run.started_at),
        name: String::new(),
    });
    let finished = world.finished.iter();
    let finished = finished.map(|took| Finished { took: Duration::from_millis(*took), name: String::new() });
    let waiting = [("trace".to_owned(), ages.collect())].into();
    Work { waiting, running: running.collect(), finished: finished.collect() }
}

fn jobs_by_instance(world: &World<'_>) -> JobsByInstance {
    let mut jobs = BTreeMap::new();
    for run in world.running().filter(|run| run.worker != PRIMARY) {
        *jobs.entry(id(run.worker)).or_default() += 1;
    }
    JobsByInstance { jobs }
}

fn at(now: u64) -> Timestamp {
    Timestamp(BEGINS + now)
}

fn id(worker: usize) -> InstanceId {
    InstanceId(format!("i-{worker}"))
}

fn worker(id: &InstanceId) -> Option<usize> {
    id.0.strip_prefix("i-")?.parse().ok()
}
