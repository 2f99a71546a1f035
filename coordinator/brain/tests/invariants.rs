//! Many random lives of a small world: EC2 that loses answers, throttles, refuses and lists late, agents that fall silent
//! or never boot, instances that end or vanish with a job, recommendations to rebalance, a coordinator that crashes between
//! a plan and its execution. What must always hold is checked after every step; then the faults stop, the queue empties,
//! the fleet must be back at zero, and no job may be left with a dead worker: nothing here takes it back but the coordinator.
//!
//! Each life comes from one seed, which a failure names: `SEED=1234 cargo test -p spillway-brain --test invariants`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Controller, Decision, Ec2State, Event, InstanceId, JobsByInstance, LaunchAnswer,
    LaunchToken, Listed, OnRebalance, QueueBacklog, Reason, RefusalClass, Report, State, Steps, Timestamp,
};

const STEP: Duration = Duration::from_secs(10);
const STEPS_WITH_FAULTS: u32 = 600;
/// Idle, drains and what EC2's list may hide: all of it has passed after four hours.
const STEPS_TO_CONVERGE: u32 = 1440;
const LIVES: u64 = 300;

#[test]
fn what_must_always_hold_holds_in_every_life() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..LIVES).collect(),
    };
    let mut met = BTreeMap::new();
    for seed in seeds.clone() {
        let mut life = Life::new(seed);
        for _ in 0..STEPS_WITH_FAULTS {
            life.step(true);
        }
        for _ in 0..STEPS_TO_CONVERGE {
            life.step(false);
        }
        assert_eq!(life.alive(), 0, "seed {seed}: not back at zero\n{:#?}", life.controller.state());
        let stranded: Vec<&String> = life.machines.iter().filter(|(_, it)| it.left > 0).map(|(id, _)| id).collect();
        assert!(stranded.is_empty(), "seed {seed}: jobs of {stranded:?} are left\n{:#?}", life.controller.state());
        assert_eq!(life.controller.due_at(), None, "seed {seed}: it wakes for nothing\n{:#?}", life.controller.state());
        for (what, times) in life.met {
            *met.entry(what).or_insert(0u64) += times;
        }
    }
    // A fault that never occurred was not tested.
    if seeds.len() > 1 {
        for what in [
            "launch",
            "drain",
            "terminate",
            "cancel_drain",
            "alert",
            "lost answer",
            "throttled",
            "refused",
            "crash",
            "blind",
            "stale list",
            "interrupted",
            "silent",
            "never boots",
            "job",
            "hand_back",
            "handed back",
            "job left",
            "cut off",
            "overdue",
            "vanished",
            "ended behind our back",
            "hand-back failed",
            "replaced",
            "fenced",
            "recommended",
        ] {
            assert!(met.contains_key(what), "{what} never occurred: {met:?}");
        }
    }
}

#[derive(Debug)]
struct Machine {
    token: LaunchToken,
    state: Ec2State,
    age: u32,
    boots_after: Option<u32>,
    fenced: bool,
    /// Its drain kills the worker in the middle of its job.
    kills: bool,
    /// Steps that its current job still takes; 0: none.
    job: u32,
    /// Jobs that nobody works on any more and that are still active in Redis.
    left: u32,
    has_registered: bool,
    /// EC2 lists it no longer.
    is_hidden: bool,
    recommended_at: Option<Timestamp>,
    silent: u32,
    taken_in: Option<u32>,
}

struct Life {
    seed: u64,
    random: u64,
    now: Timestamp,
    controller: Controller,
    machines: BTreeMap<String, Machine>,
    by_token: BTreeSet<LaunchToken>,
    last_list: Vec<Listed>,
    /// What hand-backs came to, told in the next step.
    answers: Vec<Event>,
    /// When one was drained or replaced on a recommendation.
    rebalanced: Vec<Timestamp>,
    /// Tokens of launches for that, and when they were decided; one that EC2 refuses replaces nothing.
    replacements: BTreeMap<String, Timestamp>,
    /// Whose drain was not waited for any longer.
    overdue: BTreeSet<String>,
    demand: u64,
    is_blind: bool,
    met: BTreeMap<&'static str, u64>,
}

impl Life {
    fn new(seed: u64) -> Self {
        // Long jobs and short patience: drains that are taken back, and drains that come to their deadline.
        let mut policy = Steps::default();
        if seed.is_multiple_of(4) {
            policy.idle = Duration::from_secs(120);
            policy.steps.iter_mut().for_each(|step| step.over = Duration::from_secs(30));
        }
        let config = Config {
            policy,
            max_instances: 1 + (seed % 3) as u32,
            drain_timeout: Duration::from_secs(if seed.is_multiple_of(3) { 60 } else { 1800 }),
            interrupted_counts: !seed.is_multiple_of(5),
            rebalance: [OnRebalance::Replace, OnRebalance::Fence, OnRebalance::Ignore][(seed % 7 % 3) as usize],
            ..Config::default()
        };
        let mut controller = Controller::new(config, "life");
        controller.handle(Timestamp(0), Event::LeadershipGained);
        Life {
            seed,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: Timestamp(1_000_000),
            controller,
            machines: BTreeMap::new(),
            by_token: BTreeSet::new(),
            last_list: Vec::new(),
            answers: Vec::new(),
            rebalanced: Vec::new(),
            replacements: BTreeMap::new(),
            overdue: BTreeSet::new(),
            demand: 0,
            is_blind: true,
            met: BTreeMap::new(),
        }
    }

    /// One in `of`, by the seed (xorshift).
    fn one_in(&mut self, of: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(of)
    }

    fn note(&mut self, what: &'static str) {
        *self.met.entry(what).or_insert(0) += 1;
    }

    fn alive(&self) -> usize {
        let bills = |machine: &&Machine| matches!(machine.state, Ec2State::Pending | Ec2State::Running);
        self.machines.values().filter(bills).count()
    }

    fn step(&mut self, faults: bool) {
        self.now = self.now + STEP;
        for event in std::mem::take(&mut self.answers) {
            self.controller.handle(self.now, event);
        }
        self.world_goes_on(faults);
        self.observe(faults);
        self.list(faults);
        if faults && self.one_in(60) {
            self.crash();
        }
        let plan = self.controller.tick(self.now);
        let again = self.controller.tick(self.now);
        assert!(again.decisions.is_empty(), "seed {}: a second tick decides {again:?}", self.seed);
        // A crash between the saved plan and its execution: nothing of it happens.
        let lost = faults && self.one_in(80);
        for planned in plan.decisions {
            let acts = !matches!(planned.decision, Decision::Alert { .. });
            assert!(!(acts && self.is_blind), "seed {}: acted blindly: {planned:?}", self.seed);
            self.note(planned.decision.kind());
            match planned.reason {
                Reason::Replaces { .. } => {
                    self.replacements.insert(planned.decision.subject().to_owned(), self.now);
                }
                Reason::RebalanceRecommended => self.rebalanced.push(self.now),
                Reason::DrainOverdue { .. } if acts => {
                    self.note("overdue");
                    self.overdue.insert(planned.decision.subject().to_owned());
                }
                _ => {}
            }
            if !lost {
                self.execute(planned.decision, &planned.reason, faults);
            }
        }
        self.check_rebalances();
        if lost {
            self.crash();
        }
        let config = self.controller.config();
        let cap = config.max_instances as usize * if config.interrupted_counts { 1 } else { 2 };
        assert!(self.alive() <= cap, "seed {}: {} bill, {cap} allowed", self.seed, self.alive());
    }

    fn check_rebalances(&mut self) {
        let (seed, config) = (self.seed, self.controller.config());
        self.rebalanced.retain(|at| self.now.since(*at) < Duration::from_secs(3600));
        let limit = if config.rebalance == OnRebalance::Ignore { 0 } else { config.rebalance_limit as usize };
        assert!(self.rebalanced.len() <= limit, "seed {seed}: {limit} in an hour, {:?}", self.rebalanced);
        let under_way = self.controller.state().instances().filter(|it| it.replaces.is_some()).count();
        assert!(under_way <= 1, "seed {seed}: {under_way} replaced at a time");
    }

    fn world_goes_on(&mut self, faults: bool) {
        if !faults {
            self.demand = 0;
        } else if self.one_in(40) {
            self.demand = [0, 0, 3, 7, 20, 100][(self.random % 6) as usize];
        }
        let ids: Vec<String> = self.machines.keys().cloned().collect();
        for id in ids {
            let (takes_job, falls_silent, is_taken) = (self.one_in(3), self.one_in(200), self.one_in(300));
            let (ends, vanishes, is_recommended) = (self.one_in(1000), self.one_in(1500), self.one_in(150));
            let length = 1 + (self.random % 40) as u32;
            let (demand, job_length) = (self.demand, if self.seed.is_multiple_of(4) { 4 } else { 1 });
            let machine = self.machines.get_mut(&id).expect("it is there");
            machine.age += 1;
            machine.job = machine.job.saturating_sub(1);
            machine.silent = machine.silent.saturating_sub(1);
            let mut met = Vec::new();
            match machine.state {
                Ec2State::Pending => machine.state = Ec2State::Running,
                // What runs there runs on for a while.
                Ec2State::ShuttingDown if machine.job > 0 && takes_job => met.push("runs on"),
                Ec2State::ShuttingDown => machine.state = Ec2State::Terminated,
                Ec2State::Running => {
                    let is_ready =
                        machine.boots_after.is_some_and(|after| machine.age > after) && machine.has_registered;
                    if machine.fenced && machine.kills && machine.job > 0 {
                        (machine.job, machine.left) = (0, 1);
                        met.push("job left");
                    }
                    if faults && is_recommended {
                        machine.recommended_at = Some(self.now);
                        met.push("recommended");
                    }
                    if faults && ends {
                        machine.state = Ec2State::ShuttingDown;
                        met.push("ended behind our back");
                    }
                    if faults && vanishes {
                        (machine.state, machine.is_hidden) = (Ec2State::Terminated, true);
                        met.push("vanished");
                    }
                    if is_ready && !machine.fenced && machine.job == 0 && demand > 0 && takes_job {
                        machine.job = length * job_length;
                        met.push("job");
                    }
                    if faults && falls_silent {
                        machine.silent = 2 + length * 3;
                        met.push("silent");
                    }
                    match &mut machine.taken_in {
                        Some(0) => machine.state = Ec2State::Terminated,
                        Some(left) => *left -= 1,
                        None if faults && is_taken => {
                            machine.taken_in = Some(12);
                            machine.fenced = true;
                            met.push("interrupted");
                        }
                        None => {}
                    }
                }
                _ => {}
            }
            if machine.state == Ec2State::Terminated && machine.job > 0 {
                (machine.job, machine.left) = (0, 1);
                met.push("cut off");
            }
            met.into_iter().for_each(|what| self.note(what));
            self.report(&id);
        }
    }

    fn report(&mut self, id: &str) {
        let machine = &self.machines[id];
        let booted = machine.boots_after.is_some_and(|after| machine.age > after);
        if machine.state != Ec2State::Running || machine.silent > 0 || machine.boots_after.is_none() {
            return;
        }
        let phase = match (machine.fenced, machine.job, booted) {
            (true, 0, _) => AgentPhase::Drained,
            (true, ..) => AgentPhase::Draining,
            (false, _, true) => AgentPhase::Ready,
            (false, ..) => AgentPhase::Booting,
        };
        let (taken_in, jobs, recommended_at) =
            (machine.taken_in, u32::from(machine.job > 0) + machine.left, machine.recommended_at);
        self.machines.get_mut(id).expect("it is there").has_registered = true;
        let id = InstanceId(id.to_owned());
        if let Some(left) = taken_in {
            let at = self.now + STEP * left;
            self.controller.handle(self.now, Event::NoticeSeen { id: id.clone(), at });
        }
        if let Some(at) = recommended_at {
            self.controller.handle(self.now, Event::RebalanceRecommended { id: id.clone(), at });
        }
        let proven = phase == AgentPhase::Ready;
        let report = Report { id: id.clone(), phase, proven, named: true, active_jobs: Some(jobs), problem: None };
        self.controller.handle(self.now, Event::AgentReported(report));
        if phase == AgentPhase::Drained && self.one_in(2) {
            let jobs_left = (!self.random.is_multiple_of(3)).then_some(jobs);
            self.controller.handle(self.now, Event::AgentDrained { id, jobs_left, jobs_handed_back: 0 });
        }
    }

    fn observe(&mut self, faults: bool) {
        self.is_blind = faults && self.one_in(12);
        if self.is_blind {
            self.note("blind");
            return self.controller.handle(self.now, Event::ObservationFailed { detail: "gone".to_owned() });
        }
        let busy = self.machines.iter().filter(|(_, machine)| machine.job > 0 || machine.left > 0);
        let jobs: BTreeMap<InstanceId, u32> = busy.map(|(id, _)| (InstanceId(id.clone()), 1)).collect();
        let active = jobs.len() as u64;
        let queue = QueueBacklog { queue: "q".to_owned(), waiting: self.demand, active, ..QueueBacklog::default() };
        self.controller.handle(self.now, Event::JobsSeen { asked_at: self.now, seen: JobsByInstance { jobs } });
        self.controller.handle(self.now, Event::BacklogObserved(Backlog { queues: vec![queue] }));
    }

    fn list(&mut self, faults: bool) {
        let listed = |(id, machine): (&String, &Machine)| Listed {
            id: InstanceId(id.clone()),
            token: Some(machine.token.clone()),
            state: machine.state,
            state_reason: None,
            launched_at: self.now,
        };
        let fresh: Vec<Listed> = self.machines.iter().filter(|(_, machine)| !machine.is_hidden).map(listed).collect();
        // Eventually consistent: the answer may be what was true a step ago.
        let instances = if faults && self.one_in(4) {
            self.note("stale list");
            self.last_list.clone()
        } else {
            fresh.clone()
        };
        self.last_list = fresh;
        self.controller.handle(self.now, Event::InstancesListed { asked_at: self.now, instances });
    }

    fn execute(&mut self, decision: Decision, reason: &Reason, faults: bool) {
        match decision {
            Decision::Launch { token } => self.launch(token, faults),
            Decision::Drain { id, .. } => {
                if let Some(machine) = self.machines.get_mut(&id.0).filter(|machine| machine.silent == 0) {
                    machine.fenced = true;
                }
            }
            Decision::CancelDrain { id } => {
                if let Some(machine) = self.machines.get_mut(&id.0).filter(|machine| machine.taken_in.is_none()) {
                    machine.fenced = false;
                }
            }
            Decision::Terminate { id } => {
                let machine = self.machines.get_mut(&id.0).expect("only what was launched is terminated");
                // Two sources, or the drain's deadline: then its jobs must be handed back, which is checked at the end.
                let may_hold = machine.state != Ec2State::Running || self.overdue.contains(&id.0);
                // Nobody could fence one whose agent is silent: between a lost request and the next it may take a job.
                let was_out_of_reach = !machine.fenced && matches!(reason, Reason::TerminateAgain { .. });
                let may_hold = may_hold || was_out_of_reach;
                let holds = machine.job > 0 || machine.left > 0;
                assert!(!holds || may_hold, "seed {}: {id} held a job: {reason}", self.seed);
                if matches!(machine.state, Ec2State::Pending | Ec2State::Running) {
                    machine.state = Ec2State::ShuttingDown;
                }
            }
            Decision::HandBack { id, certain } => self.hand_back(id, certain, faults),
            Decision::Alert { .. } => {}
        }
        match reason {
            Reason::Replaced { .. } => self.note("replaced"),
            Reason::RebalanceRecommended => self.note("fenced"),
            _ => {}
        }
    }

    fn hand_back(&mut self, id: InstanceId, certain: bool, faults: bool) {
        let (fails, is_fresh) = (faults && self.one_in(5), self.one_in(2));
        let machine = self.machines.get_mut(&id.0).expect("only what was launched is handed back");
        assert!(!certain || machine.job == 0, "seed {}: {id} works on its job: {machine:?}", self.seed);
        if fails {
            self.note("hand-back failed");
            let detail = "Redis does not answer".to_owned();
            return self.answers.push(Event::HandBackFailed { id, certain, detail });
        }
        // Without certainty a lock must be seen not to be renewed, which takes a while.
        let can_be = certain || !is_fresh;
        let handed_back = if can_be { std::mem::take(&mut machine.left) } else { 0 };
        let left = machine.left + u32::from(machine.job > 0);
        if handed_back > 0 {
            self.note("handed back");
        }
        self.answers.push(Event::HandedBack { id, certain, handed_back, left });
    }

    fn launch(&mut self, token: LaunchToken, faults: bool) {
        let refusal = match faults {
            true if self.one_in(10) => Some((RefusalClass::Retry, "throttled")),
            true if self.one_in(20) => Some((RefusalClass::Capacity, "refused")),
            _ => None,
        };
        if let Some((class, what)) = refusal {
            self.note(what);
            let answer = LaunchAnswer::Refused { class, code: what.to_owned(), message: String::new() };
            return self.controller.handle(self.now, Event::LaunchAnswered { token, answer });
        }
        let known = self.machines.iter().find(|(_, machine)| machine.token == token).map(|(id, _)| id.clone());
        let id = known.unwrap_or_else(|| {
            assert!(self.by_token.insert(token.clone()), "seed {}: {token} launched twice", self.seed);
            let id = format!("i-{}", self.by_token.len());
            self.rebalanced.extend(self.replacements.get(&token.0));
            let boots_after = if faults && self.one_in(8) {
                self.note("never boots");
                None
            } else {
                Some(3 + (self.random % 30) as u32)
            };
            let (state, kills) = (Ec2State::Pending, self.one_in(4));
            let token = token.clone();
            let new = Machine {
                token,
                state,
                age: 0,
                boots_after,
                fenced: false,
                kills,
                job: 0,
                left: 0,
                has_registered: false,
                is_hidden: false,
                recommended_at: None,
                silent: 0,
                taken_in: None,
            };
            self.machines.insert(id.clone(), new);
            id
        });
        if faults && self.one_in(10) {
            // The effect without the answer; the SDK tells of a time-out.
            self.note("lost answer");
            let (class, code) = (RefusalClass::Retry, "NoAnswer".to_owned());
            let answer = LaunchAnswer::Refused { class, code, message: String::new() };
            return self.controller.handle(self.now, Event::LaunchAnswered { token, answer });
        }
        let answer = LaunchAnswer::Accepted { id: InstanceId(id) };
        self.controller.handle(self.now, Event::LaunchAnswered { token, answer });
    }

    fn crash(&mut self) {
        self.note("crash");
        self.answers.clear();
        let kept = serde_json::to_string(self.controller.state()).expect("state is written");
        let state: State = serde_json::from_str(&kept).expect("state is read");
        self.controller = Controller::restore(self.controller.config().clone(), state);
        self.controller.handle(self.now, Event::Started);
    }
}
