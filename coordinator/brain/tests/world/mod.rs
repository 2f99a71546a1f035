//! The world of the scenarios: a queue, an EC2 and agents as simple as can be, driven by a script.
#![allow(dead_code, reason = "each file of scenarios uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Controller, Decision, Ec2State, Event, InstanceId, JobsByInstance, LaunchAnswer,
    LaunchToken, Listed, QueueBacklog, RefusalClass, Report, State, Timestamp,
};

/// Runs the script under the default configuration; the log must be `expected`. Lines of the log are compared without
/// the launch token unless `expected` names one.
#[track_caller]
pub fn check(script: &str, expected: &str) {
    check_with(|_| {}, script, expected);
}

#[track_caller]
pub fn check_with(configure: impl FnOnce(&mut Config), script: &str, expected: &str) {
    let mut config = Config::default();
    configure(&mut config);
    let world = World::run(config, script);
    let strip = |line: &str| {
        let line = line.trim();
        if expected.contains("launch t-") {
            line.to_owned()
        } else {
            line.split(" t-").next().unwrap_or(line).to_owned()
        }
    };
    let mut said: Vec<String> = world.log.lines().map(strip).collect();
    let mut wanted: Vec<String> = expected.lines().map(|line| line.trim().to_owned()).collect();
    said.sort();
    wanted.sort();
    assert_eq!(said, wanted, "\nscript:\n{script}\nlog with reasons:\n{}", world.reasons);
}

/// The notes of the last tick.
pub fn notes(script: &str) -> Vec<String> {
    notes_with(|_| {}, script)
}

pub fn notes_with(configure: impl FnOnce(&mut Config), script: &str) -> Vec<String> {
    let mut config = Config::default();
    configure(&mut config);
    World::run(config, script).notes
}

/// The reasons of all decisions, each after its line of the log.
pub fn reasons(script: &str) -> String {
    World::run(Config::default(), script).reasons
}

/// When it wants the next tick, by the time alone.
pub fn due_after(script: &str) -> Option<Timestamp> {
    World::run(Config::default(), script).controller.due_at()
}

/// What is known at the end.
pub fn state_after(script: &str) -> State {
    World::run(Config::default(), script).controller.state().clone()
}

struct World {
    controller: Controller,
    now: Timestamp,
    log: String,
    reasons: String,
    notes: Vec<String>,
    unanswered: Vec<LaunchToken>,
    ec2: BTreeMap<String, (Option<LaunchToken>, Ec2State)>,
    agents: BTreeMap<String, (AgentPhase, Option<u32>, String)>,
    redis_jobs: BTreeMap<InstanceId, u32>,
    launched: u32,
    /// What EC2's list does not show.
    hidden: BTreeSet<String>,
    unlisted: bool,
    named: bool,
}

impl World {
    fn run(config: Config, script: &str) -> Self {
        let mut controller = Controller::new(config, "t");
        controller.handle(Timestamp(0), Event::LeadershipGained);
        let mut world = World {
            controller,
            now: Timestamp(0),
            log: String::new(),
            reasons: String::new(),
            notes: Vec::new(),
            unanswered: Vec::new(),
            ec2: BTreeMap::new(),
            agents: BTreeMap::new(),
            redis_jobs: BTreeMap::new(),
            launched: 0,
            hidden: BTreeSet::new(),
            unlisted: false,
            named: true,
        };
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (when, what) = line.split_once(' ').expect("TIME what");
            let (from, to) = when.split_once("..").unwrap_or((when, when));
            let (from, to) = (time(from), time(to));
            let mut at = from;
            while at <= to {
                world.now = at;
                world.happens(what);
                at = at + Duration::from_secs(10);
            }
        }
        world
    }

    fn happens(&mut self, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        let id = InstanceId(word(1).to_owned());
        match word(0) {
            "demand" => self.observe(&words[1..]),
            "blind" => {
                self.heartbeats();
                self.list();
                self.tell(Event::ObservationFailed { detail: "Redis does not answer".to_owned() });
                self.tick();
            }
            "unlisted" => self.unlisted = true,
            "listed" => self.unlisted = false,
            "unnamed" => self.named = false,
            "tick" => self.tick(),
            "accept" => {
                for token in std::mem::take(&mut self.unanswered) {
                    let id = self.launch(token.clone());
                    self.tell(Event::LaunchAnswered { token, answer: LaunchAnswer::Accepted { id: InstanceId(id) } });
                }
            }
            "lose-answer" => {
                for token in std::mem::take(&mut self.unanswered) {
                    self.launch(token);
                }
            }
            "throttle" => self.refuse(RefusalClass::Retry, "RequestLimitExceeded"),
            "refuse" if word(1) == "capacity" => self.refuse(RefusalClass::Capacity, word(2)),
            "refuse" => self.refuse(RefusalClass::Fatal, word(2)),
            "ready" => self.agent(word(1), AgentPhase::Ready, ""),
            "draining" => self.agent(word(1), AgentPhase::Draining, "older than max_life"),
            "registers" => self.tell(Event::AgentRegistered { id }),
            "proving" => self.agent(word(1), AgentPhase::Proving, "not blocked"),
            "failed" => {
                self.agent(word(1), AgentPhase::Failed, word(2));
                self.list();
                self.tick();
            }
            "drained" => {
                let number = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.parse().ok());
                let left = if words.contains(&"left=?") { None } else { Some(number("left=").unwrap_or(0)) };
                self.agents.insert(word(1).to_owned(), (AgentPhase::Drained, left, String::new()));
                let jobs_handed_back = number("handed=").unwrap_or(0);
                self.tell(Event::AgentDrained { id, jobs_left: left, jobs_handed_back });
            }
            "ec2" => {
                let state = serde_json::from_value(word(2).into()).expect("one of EC2's states");
                self.ec2.get_mut(word(1)).expect("it was launched").1 = state;
                if state != Ec2State::Running {
                    self.agents.remove(word(1));
                }
            }
            "vanish" => {
                self.hidden.insert(word(1).to_owned());
                self.agents.remove(word(1));
            }
            "appear" => {
                self.hidden.remove(word(1));
            }
            "list" => self.list(),
            "handed-back" => {
                let certain = word(2) == "certain";
                let [handed_back, left] = [3, 4].map(|n| word(n).parse().expect("a number"));
                self.tell(Event::HandedBack { id, certain, handed_back, left });
            }
            "hand-back-fails" => {
                self.tell(Event::HandBackFailed { id, certain: word(2) == "certain", detail: "NOPERM".to_owned() });
            }
            // Now, or seen again of then.
            "rebalance" => {
                let at = words.get(2).map_or(self.now, |when| time(when));
                self.tell(Event::RebalanceRecommended { id, at });
            }
            "operator-drain" => self.tell(Event::OperatorDrain { id, reason: String::new() }),
            "cancel" => self.tell(Event::OperatorCancelDrain { id }),
            // A look that began so many seconds ago and whose answer comes now.
            "late-look" => {
                let asked_at = self.now - Duration::from_secs(word(1).parse().expect("seconds"));
                self.tell(Event::JobsSeen { asked_at, seen: JobsByInstance { jobs: self.redis_jobs.clone() } });
            }
            "silent" => {
                self.agents.remove(word(1));
            }
            "jobs" => {
                let jobs = word(2).parse().expect("a number");
                self.redis_jobs.insert(id, jobs);
                if let Some(agent) = self.agents.get_mut(word(1)) {
                    agent.1 = Some(jobs);
                }
            }
            "redis-jobs" => {
                self.redis_jobs.insert(id, word(2).parse().expect("a number"));
            }
            "notice" => {
                let at = self.now + Duration::from_secs(word(2).parse().expect("seconds"));
                self.tell(Event::NoticeSeen { id, at });
            }
            // Launched by somebody else; with a token where that was another coordinator of ours.
            "foreign" => {
                let token = words.get(2).map(|token| LaunchToken((*token).to_owned()));
                self.ec2.insert(word(1).to_owned(), (token, Ec2State::Running));
            }
            "hold" => self.tell(Event::OperatorHold { reason: String::new() }),
            "resume" => self.tell(Event::OperatorResume),
            "depose" => self.tell(Event::LeadershipLost),
            "lead" => self.tell(Event::LeadershipGained),
            "restart" => {
                let kept = serde_json::to_string(self.controller.state()).expect("state is written");
                let state: State = serde_json::from_str(&kept).expect("state is read");
                assert_eq!(&state, self.controller.state(), "nothing is lost in the ledger");
                self.controller = Controller::restore(self.controller.config().clone(), state);
                self.unanswered.clear();
                self.tell(Event::Started);
            }
            "wipe" => {
                self.controller = Controller::new(self.controller.config().clone(), "u");
                self.tell(Event::LeadershipGained);
                self.list();
            }
            other => panic!("no such line: {other}"),
        }
    }

    fn observe(&mut self, words: &[&str]) {
        let number = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.parse().ok());
        let queue = QueueBacklog {
            queue: "video".to_owned(),
            waiting: words[0].parse().expect("a number"),
            active: number("active=").unwrap_or(0),
            paused: words.contains(&"paused"),
            concurrency: number("limit="),
            ..QueueBacklog::default()
        };
        self.heartbeats();
        self.list();
        self.tell(Event::JobsSeen { asked_at: self.now, seen: JobsByInstance { jobs: self.redis_jobs.clone() } });
        self.tell(Event::BacklogObserved(Backlog { queues: vec![queue] }));
        self.tick();
    }

    fn heartbeats(&mut self) {
        for (id, (phase, jobs, problem)) in self.agents.clone() {
            let report = Report {
                id: InstanceId(id),
                phase,
                proven: phase == AgentPhase::Ready,
                named: self.named,
                active_jobs: jobs,
                problem: Some(problem).filter(|problem| !problem.is_empty()),
            };
            self.tell(Event::AgentReported(report));
        }
    }

    fn agent(&mut self, id: &str, phase: AgentPhase, problem: &str) {
        self.agents.insert(id.to_owned(), (phase, Some(0), problem.to_owned()));
        self.heartbeats();
    }

    fn list(&mut self) {
        if self.unlisted {
            return;
        }
        let instances = self
            .ec2
            .iter()
            .filter(|(id, _)| !self.hidden.contains(*id))
            .map(|(id, (token, state))| Listed {
                id: InstanceId(id.clone()),
                token: token.clone(),
                state: *state,
                state_reason: None,
                launched_at: self.now,
            })
            .collect();
        self.tell(Event::InstancesListed { asked_at: self.now, instances });
    }

    fn launch(&mut self, token: LaunchToken) -> String {
        if let Some((id, _)) = self.ec2.iter().find(|(_, (known, _))| known.as_ref() == Some(&token)) {
            return id.clone();
        }
        self.launched += 1;
        let id = format!("i-{}", self.launched);
        self.ec2.insert(id.clone(), (Some(token), Ec2State::Running));
        id
    }

    fn refuse(&mut self, class: RefusalClass, code: &str) {
        for token in std::mem::take(&mut self.unanswered) {
            let answer = LaunchAnswer::Refused { class, code: code.to_owned(), message: "no".to_owned() };
            self.tell(Event::LaunchAnswered { token, answer });
        }
    }

    fn tell(&mut self, event: Event) {
        self.controller.handle(self.now, event);
    }

    fn tick(&mut self) {
        let plan = self.controller.tick(self.now);
        self.notes = plan.notes.iter().map(ToString::to_string).collect();
        let (minutes, seconds) = (self.now.0 / 60_000, self.now.0 / 1000 % 60);
        for planned in plan.decisions {
            let subject = match &planned.decision {
                Decision::Launch { token } => {
                    self.unanswered.push(token.clone());
                    token.0.clone()
                }
                Decision::Terminate { id } => {
                    if let Some(instance) = self.ec2.get_mut(&id.0) {
                        instance.1 = Ec2State::ShuttingDown;
                    }
                    self.agents.remove(&id.0);
                    id.0.clone()
                }
                Decision::Drain { id, .. } => {
                    if let Some(agent) = self.agents.get_mut(&id.0) {
                        agent.0 = AgentPhase::Draining;
                    }
                    id.0.clone()
                }
                Decision::CancelDrain { id } => {
                    if let Some(agent) = self.agents.get_mut(&id.0) {
                        agent.0 = AgentPhase::Ready;
                    }
                    id.0.clone()
                }
                Decision::HandBack { id, certain } => {
                    format!("{id} {}", if *certain { "certain" } else { "uncertain" })
                }
                Decision::Alert { alert } => {
                    serde_json::to_value(alert).expect("written").as_str().unwrap_or_default().to_owned()
                }
            };
            let line = format!("{minutes}:{seconds:02} {} {subject}", planned.decision.kind());
            writeln!(self.log, "{line}").expect("written");
            writeln!(self.reasons, "{line}: {}", planned.reason).expect("written");
        }
        let counts = self.controller.state().counts(self.now);
        let config = self.controller.config();
        let cap = if config.interrupted_counts { config.max_instances + 1 } else { config.max_instances * 2 };
        assert!(counts.billing <= cap, "{}", self.reasons);
    }
}

fn time(text: &str) -> Timestamp {
    let (minutes, seconds) = text.split_once(':').expect("minutes:seconds");
    let (minutes, seconds): (u64, u64) = (minutes.parse().expect("minutes"), seconds.parse().expect("seconds"));
    Timestamp((minutes * 60 + seconds) * 1000)
}
