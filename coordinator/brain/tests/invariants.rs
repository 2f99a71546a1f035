//! Many random lives of a small world: EC2 that loses answers, throttles, refuses and lists late, agents that fall silent
//! or never boot, a coordinator that crashes between a plan and its execution. What must always hold is checked after
//! every step; then the faults stop, the queue empties, and the fleet must be back at zero.
//!
//! Each life comes from one seed, which a failure names: `SEED=1234 cargo test -p spillway-brain --test invariants`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Controller, Decision, Ec2State, Event, InstanceId, JobsByInstance, LaunchAnswer,
    LaunchToken, Listed, QueueBacklog, RefusalClass, Report, State, Timestamp,
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
        ] {
            assert!(met.contains_key(what), "{what} never occurred: {met:?}");
        }
    }
}

struct Machine {
    token: LaunchToken,
    state: Ec2State,
    age: u32,
    boots_after: Option<u32>,
    fenced: bool,
    /// It says that it is drained while a job still runs.
    lies: bool,
    /// Steps that its current job still takes; 0: none.
    job: u32,
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
    demand: u64,
    is_blind: bool,
    met: BTreeMap<&'static str, u64>,
}

impl Life {
    fn new(seed: u64) -> Life {
        let config = Config { max_instances: 1 + (seed % 3) as u32, ..Config::default() };
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
            if !lost {
                self.execute(planned.decision, faults);
            }
        }
        if lost {
            self.crash();
        }
        let cap = self.controller.config().max_instances as usize;
        assert!(self.alive() <= cap, "seed {}: {} bill, {cap} allowed", self.seed, self.alive());
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
            let length = 1 + (self.random % 40) as u32;
            let demand = self.demand;
            let machine = self.machines.get_mut(&id).expect("it is there");
            machine.age += 1;
            machine.job = machine.job.saturating_sub(1);
            machine.silent = machine.silent.saturating_sub(1);
            let mut met = Vec::new();
            match machine.state {
                Ec2State::Pending => machine.state = Ec2State::Running,
                Ec2State::ShuttingDown => machine.state = Ec2State::Terminated,
                Ec2State::Running => {
                    let is_ready = machine.boots_after.is_some_and(|after| machine.age > after);
                    if is_ready && !machine.fenced && machine.job == 0 && demand > 0 && takes_job {
                        machine.job = length;
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
            (true, ..) if machine.lies => AgentPhase::Drained,
            (true, ..) => AgentPhase::Draining,
            (false, _, true) => AgentPhase::Ready,
            (false, ..) => AgentPhase::Booting,
        };
        let (taken_in, jobs) = (machine.taken_in, u32::from(machine.job > 0));
        let is_a_lie = phase == AgentPhase::Drained && jobs > 0;
        let id = InstanceId(id.to_owned());
        if let Some(left) = taken_in {
            let at = self.now + STEP * left;
            self.controller.handle(self.now, Event::NoticeSeen { id: id.clone(), at });
        }
        if is_a_lie {
            self.note("lie");
        }
        let proven = phase == AgentPhase::Ready;
        let report = Report { id, phase, proven, named: true, active_jobs: Some(jobs), problem: String::new() };
        self.controller.handle(self.now, Event::AgentReported(report));
    }

    fn observe(&mut self, faults: bool) {
        self.is_blind = faults && self.one_in(12);
        if self.is_blind {
            self.note("blind");
            return self.controller.handle(self.now, Event::ObservationFailed { detail: "gone".to_owned() });
        }
        let busy = self.machines.iter().filter(|(_, machine)| machine.job > 0 && machine.state == Ec2State::Running);
        let jobs: BTreeMap<InstanceId, u32> = busy.map(|(id, _)| (InstanceId(id.clone()), 1)).collect();
        let active = jobs.len() as u64;
        let queue = QueueBacklog { queue: "q".to_owned(), waiting: self.demand, active, ..QueueBacklog::default() };
        self.controller.handle(self.now, Event::JobsSeen(JobsByInstance { jobs }));
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
        let fresh: Vec<Listed> = self.machines.iter().map(listed).collect();
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

    fn execute(&mut self, decision: Decision, faults: bool) {
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
                assert!(machine.job == 0 || machine.state != Ec2State::Running, "seed {}: {id} ran a job", self.seed);
                if matches!(machine.state, Ec2State::Pending | Ec2State::Running) {
                    machine.state = Ec2State::ShuttingDown;
                }
            }
            Decision::Alert { .. } => {}
        }
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
            let boots_after = if faults && self.one_in(8) {
                self.note("never boots");
                None
            } else {
                Some(3 + (self.random % 30) as u32)
            };
            let (state, lies) = (Ec2State::Pending, self.one_in(4));
            let token = token.clone();
            let new =
                Machine { token, state, age: 0, boots_after, fenced: false, lies, job: 0, silent: 0, taken_in: None };
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
        let kept = serde_json::to_string(self.controller.state()).expect("state is written");
        let state: State = serde_json::from_str(&kept).expect("state is read");
        self.controller = Controller::restore(self.controller.config().clone(), state);
        self.controller.handle(self.now, Event::Started);
    }
}
