//! The world of the scenarios: a queue, an EC2 and agents as simple as can be, driven by the lines of a script.
//!
//! Each `demand` line is one observation of the queue, of EC2's list and of every agent that is not silent, then a tick.
//! `notes`, `show` and `due` change nothing: they say the last tick's notes, what is known of each instance, and when a tick
//! is due by the time alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Controller, Decision, Ec2State, Event, Instance, InstanceId, JobsByInstance,
    LaunchAnswer, LaunchToken, Listed, QueueBacklog, RefusalClass, Report, State, Timestamp,
};

pub struct World {
    controller: Controller,
    now: Timestamp,
    /// What was said since the last line of the script.
    said: Vec<String>,
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
    pub fn new(config: Config) -> Self {
        let mut controller = Controller::new(config, "t");
        controller.handle(Timestamp(0), Event::LeadershipGained);
        World {
            controller,
            now: Timestamp(0),
            said: Vec::new(),
            notes: Vec::new(),
            unanswered: Vec::new(),
            ec2: BTreeMap::new(),
            agents: BTreeMap::new(),
            redis_jobs: BTreeMap::new(),
            launched: 0,
            hidden: BTreeSet::new(),
            unlisted: false,
            named: true,
        }
    }

    /// One line of the script; what is said to it.
    pub fn line(&mut self, line: &str) -> Vec<String> {
        let (when, what) = line.trim().split_once(' ').expect("TIME what");
        let (from, to) = when.split_once("..").unwrap_or((when, when));
        let (mut at, to) = (time(from), time(to));
        assert!(self.now <= at, "time goes on: {line}");
        while at <= to {
            self.now = at;
            self.happens(what.trim());
            at = at + Duration::from_secs(10);
        }
        std::mem::take(&mut self.said)
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
            "notes" => self.said.extend(self.notes.iter().map(|note| format!("note: {note}"))),
            "show" => self.show(),
            "due" => {
                let due = self.controller.due_at().map_or_else(|| "not by the time".to_owned(), clock);
                self.said.push(format!("due: {due}"));
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
        let again = self.controller.clone().tick(self.now);
        assert!(again.decisions.is_empty(), "a second tick decides {again:?}");
        self.notes = plan.notes.iter().map(ToString::to_string).collect();
        for planned in plan.decisions {
            let subject = self.execute(&planned.decision);
            let kind = planned.decision.kind();
            self.said.push(format!("{} {kind} {subject}: {}", clock(self.now), planned.reason));
        }
        let counts = self.controller.state().counts(self.now);
        let config = self.controller.config();
        let cap = if config.interrupted_counts { config.max_instances + 1 } else { config.max_instances * 2 };
        assert!(counts.billing <= cap, "{} may bill", counts.billing);
    }

    /// What a decision does at once; whom it is about.
    fn execute(&mut self, decision: &Decision) -> String {
        match decision {
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
        }
    }

    fn show(&mut self) {
        let state = self.controller.state();
        let desired = state.desired().map_or_else(|| "unknown".to_owned(), |desired| desired.to_string());
        let again = if state.would_drain_again() { ", cancelled drains would begin again" } else { "" };
        let handed_back = state.handed_back_total();
        self.said.push(format!("pool: desired {desired}, {handed_back} jobs handed back{again}"));
        self.said.extend(state.instances().map(shown));
    }
}

fn shown(instance: &Instance) -> String {
    let mut parts = vec![instance.phase_name().to_owned()];
    parts.extend(instance.phase_deadline().map(|deadline| format!("until {}", clock(deadline))));
    parts.extend(instance.drain_can_be_cancelled().then(|| "can go back to work".to_owned()));
    parts.extend(instance.boot_failed.then(|| "boot failed".to_owned()));
    parts.extend(instance.owes_hand_back().then(|| "owes a hand-back".to_owned()));
    let jobs = instance.jobs_handed_back();
    parts.extend((jobs > 0).then(|| format!("{jobs} jobs handed back")));
    format!("{}: {} ({})", instance.name(), parts.join(", "), instance.phase_reason)
}

fn time(text: &str) -> Timestamp {
    let (minutes, seconds) = text.split_once(':').expect("minutes:seconds");
    let (minutes, seconds): (u64, u64) = (minutes.parse().expect("minutes"), seconds.parse().expect("seconds"));
    Timestamp((minutes * 60 + seconds) * 1000)
}

fn clock(at: Timestamp) -> String {
    format!("{}:{:02}", at.0 / 60_000, at.0 / 1000 % 60)
}
