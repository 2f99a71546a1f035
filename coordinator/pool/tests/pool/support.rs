//! A pool whose effects a test performs one by one, at times in seconds.

use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Ec2State, InstanceId, LaunchAnswer, LaunchToken, Listed, QueueBacklog, Report,
    Schedule, Step, Timestamp,
};
use spillway_pool::{Effect, FromAgent, Input, Now, Observation, Pool, Save, Saved};

/// The wall clock when the steady one shows nothing.
const START: u64 = 1_000_000_000;

pub struct Stage {
    pub pool: Pool,
    pub seconds: u64,
    /// How many milliseconds the wall clock was set ahead.
    pub ahead_ms: i64,
}

pub fn id() -> InstanceId {
    InstanceId("i-1".to_owned())
}

/// One instance as soon as one job waits.
pub fn config() -> Config {
    let mut config = Config { installation: "ours".to_owned(), ..Config::default() };
    config.policy.steps = vec![Step { jobs: 1, over: Duration::ZERO, instances: 1 }];
    config
}

impl Stage {
    /// Knows nothing, and has not been asked for anything.
    pub fn new() -> Self {
        Stage::new_with(config())
    }

    fn new_with(config: Config) -> Self {
        let pool = Pool::new(Now { wall: Timestamp(START), up: Duration::ZERO }, config, "nonce");
        Stage { pool, seconds: 0, ahead_ms: 0 }
    }

    /// Leads, from an empty ledger, and has saved what it knows of an empty queue.
    pub fn leading() -> Self {
        Stage::leading_with(config())
    }

    pub fn leading_with(config: Config) -> Self {
        let mut stage = Stage::new_with(config);
        stage.effects();
        stage.tell(Input::Lead { epoch: 7 });
        assert!(matches!(stage.effects()[..], [Effect::Load { epoch: 7 }]));
        stage.tell(Input::Loaded { epoch: 7, saved: None, plans: Vec::new() });
        stage.sees(0, Vec::new());
        stage.saves();
        assert!(stage.pool.is_leader());
        stage
    }

    /// Leads, with an instance that is ready.
    pub fn with_ready_instance() -> Self {
        let mut stage = Stage::leading();
        let token = stage.floods();
        stage.saves();
        stage.tell(Input::LaunchAnswered { token: token.clone(), answer: LaunchAnswer::Accepted { id: id() } });
        stage.tell(Input::FromAgent(id(), FromAgent::Registered));
        stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Ready))));
        stage.saves();
        stage.sees(1, vec![listed(token, Ec2State::Running)]);
        stage.saves();
        stage
    }

    pub fn now(&self) -> Now {
        let wall = Timestamp(START + self.seconds * 1000).stepped(self.ahead_ms);
        Now { wall, up: Duration::from_secs(self.seconds) }
    }

    pub fn tell(&mut self, input: Input) {
        self.pool.handle(self.now(), input);
    }

    /// All that it wants done now.
    pub fn effects(&mut self) -> Vec<Effect> {
        let now = self.now();
        std::iter::from_fn(|| self.pool.poll(now)).collect()
    }

    pub fn after(&mut self, seconds: u64) -> Vec<Effect> {
        self.seconds += seconds;
        self.effects()
    }

    /// Queue and list are looked at, whether it asked for that or not.
    pub fn sees(&mut self, waiting: u64, instances: Vec<Listed>) {
        let queue = QueueBacklog { queue: "q".to_owned(), waiting, ..QueueBacklog::default() };
        let backlog = Backlog { queues: vec![queue] };
        let asked_at = self.now().up;
        self.tell(Input::Listed { asked_at, answer: Ok(instances) });
        self.tell(Input::Observed(Ok(Observation { backlog, jobs: None, work: None })));
    }

    /// A job waits: the plan that launches an instance is to be saved. Its token.
    pub fn floods(&mut self) -> LaunchToken {
        self.sees(1, Vec::new());
        let save = save_in(self.effects());
        let plan = save.plan.expect("a plan");
        LaunchToken(plan.decisions.first().expect("a launch").decision.subject().to_owned())
    }

    /// All that it wants done now, with every save a success.
    pub fn effects_and_saves(&mut self) -> Vec<Effect> {
        let mut done = self.effects();
        done.extend(self.saves());
        done
    }

    /// Every save succeeds; what is done then.
    pub fn saves(&mut self) -> Vec<Effect> {
        let until = self.now().up + Duration::from_secs(15);
        self.tell(Input::Saved(Saved::Until(until)));
        let mut done = Vec::new();
        loop {
            let effects = self.effects();
            if effects.is_empty() {
                return done;
            }
            if effects.iter().any(|effect| matches!(effect, Effect::Save(_))) {
                self.tell(Input::Saved(Saved::Until(until)));
            }
            done.extend(effects);
        }
    }
}

pub fn report(phase: AgentPhase) -> Report {
    Report {
        id: id(),
        phase,
        proven: phase == AgentPhase::Ready,
        named: true,
        active_jobs: Some(0),
        is_rate_limited: false,
        limiter_max: std::collections::BTreeMap::new(),
        slots: None,
        problem: None,
        worker_log: None,
        schedule: Schedule::Unknown,
    }
}

pub fn listed(token: LaunchToken, state: Ec2State) -> Listed {
    Listed {
        image: None,
        id: id(),
        token: Some(token),
        installation: Some("ours".to_owned()),
        retagged: None,
        state,
        state_reason: None,
        launched_at: Timestamp(START),
    }
}

/// The one save that is asked for.
pub fn save_in(effects: Vec<Effect>) -> Save {
    let mut saves = effects.into_iter().filter_map(|effect| match effect {
        Effect::Save(save) => Some(save),
        _ => None,
    });
    let save = saves.next().expect("a save");
    assert!(saves.next().is_none(), "one at a time");
    save
}

/// What is done outside of the ledger, in words.
pub fn acts(effects: &[Effect]) -> Vec<&'static str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Launch { .. } => Some("launch"),
            Effect::Terminate { .. } => Some("terminate"),
            Effect::Command { .. } => Some("command"),
            Effect::HandBack(_) => Some("hand back"),
            Effect::Rehearse { .. } => Some("rehearse"),
            _ => None,
        })
        .collect()
}
