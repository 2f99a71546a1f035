//! The world of the scenarios: a queue, an EC2 and agents as simple as can be, driven by the lines of a script.
//!
//! Each `demand` line is one observation of the queue, of EC2's list and of every agent that is not silent, then a
//! tick. `notes`, `show` and `due` change nothing: they say the last tick's notes, what is known of each instance, and
//! when a tick is due by the time alone.

mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::{
    AgentPhase, Backlog, Config, Controller, Decision, Ec2State, Event, Finished, Instance, InstanceId, JobsByInstance,
    LaunchAnswer, LaunchToken, Listed, Outcome, QueueBacklog, RateLimit, RefusalClass, Report, Running, Schedule,
    StateReason, Timestamp, Tried, Waiting, Work,
};

use crate::{recorder, sentences};

/// What the coordinator's clock shows at first: room for one that is set back.
const AHEAD: i64 = 86_400_000;
/// The installation that the scenarios are about.
const OURS: &str = "ours";

/// An instance at EC2, with its tags.
struct AtEc2 {
    token: Option<LaunchToken>,
    installation: Option<String>,
    retagged: Option<String>,
    state: Ec2State,
    reason: Option<StateReason>,
    launched_at: Timestamp,
    image: Option<String>,
}

impl AtEc2 {
    fn running(token: Option<LaunchToken>, installation: Option<&str>, launched_at: Timestamp) -> Self {
        let installation = installation.map(str::to_owned);
        AtEc2 { token, installation, retagged: None, state: Ec2State::Running, reason: None, launched_at, image: None }
    }
}

pub struct World {
    controller: Controller,
    /// By the coordinator's clock.
    now: Timestamp,
    /// What the coordinator's clock shows when the script's shows nothing, in milliseconds.
    ahead: i64,
    /// What was said since the last line of the script.
    said: Vec<String>,
    /// Each with its kind.
    notes: Vec<(String, String)>,
    unanswered: Vec<LaunchToken>,
    ec2: BTreeMap<String, AtEc2>,
    agents: BTreeMap<String, (AgentPhase, Option<u32>, String)>,
    /// The end of their workers' logs.
    logs: BTreeMap<String, String>,
    /// What EC2 has scheduled for them, as they tell it.
    schedules: BTreeMap<String, Schedule>,
    redis_jobs: BTreeMap<InstanceId, u32>,
    launched: u32,
    /// What launches take, whether EC2 tells it or not.
    image: Option<String>,
    /// What EC2's list does not show.
    hidden: BTreeSet<String>,
    unlisted: bool,
    named: bool,
    /// Their workers' own `limiter.max`.
    limiter_max: Option<u64>,
    slots: Option<u32>,
}

impl World {
    pub fn new(config: Config) -> Self {
        let config = Config { installation: OURS.to_owned(), ..config };
        let mut controller = Controller::new(config, "t");
        let now = Timestamp(0).stepped(AHEAD);
        controller.handle(now, Event::LeadershipGained);
        World {
            controller,
            now,
            ahead: AHEAD,
            said: Vec::new(),
            notes: Vec::new(),
            unanswered: Vec::new(),
            ec2: BTreeMap::new(),
            agents: BTreeMap::new(),
            logs: BTreeMap::new(),
            schedules: BTreeMap::new(),
            redis_jobs: BTreeMap::new(),
            launched: 0,
            image: None,
            hidden: BTreeSet::new(),
            unlisted: false,
            named: true,
            limiter_max: None,
            slots: None,
        }
    }

    /// One line of the script; what is said to it.
    pub fn line(&mut self, line: &str) -> Vec<String> {
        let (when, what) = line.trim().split_once(' ').expect("TIME what");
        let (from, to) = when.split_once("..").unwrap_or((when, when));
        let (mut at, to) = (time(from), time(to));
        assert!(self.now <= at.stepped(self.ahead), "time goes on: {line}");
        while at <= to {
            self.now = at.stepped(self.ahead);
            self.happens(what.trim());
            at = at + Duration::from_secs(10);
        }
        std::mem::take(&mut self.said)
    }

    fn observe(&mut self, words: &[&str]) {
        let number = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.parse().ok());
        let queue = QueueBacklog {
            queue: "video".to_owned(),
            waiting: words[0].parse().expect("a number"),
            active: number("active=").unwrap_or(0),
            paused: words.contains(&"paused"),
            concurrency: number("limit="),
            rate_limit: words.iter().find_map(|word| rate_limit(word.strip_prefix("limiter=")?)),
            missing: words.contains(&"missing").then(|| "queue \"video\" has never existed".to_owned()),
            ..QueueBacklog::default()
        };
        self.heartbeats();
        self.list();
        self.tell(Event::JobsSeen { asked_at: self.now, seen: JobsByInstance { jobs: self.redis_jobs.clone() } });
        self.tell(Event::BacklogObserved(Backlog { queues: vec![queue] }));
        self.tell_work(words);
        self.tick();
    }

    /// The jobs one by one, where the line has them: `ages=90x4,20` (four that have waited for 90 s, then one), `runs=`
    /// the same of those that run, on the primary or `30@i-1`, `took=60x20` of those that ended.
    fn tell_work(&mut self, words: &[&str]) {
        let listed = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
        let [ages, runs, took] = ["ages=", "runs=", "took="].map(listed);
        if [ages, runs, took].iter().all(Option::is_none) {
            return;
        }
        let each = |list: Option<&str>| -> Vec<(Duration, Option<InstanceId>, u64)> {
            let items = list.unwrap_or_default().split(',').filter(|item| !item.is_empty());
            let item = |item: &str| {
                let (item, on) = item.split_once('@').map_or((item, None), |(item, on)| (item, Some(on)));
                let (seconds, jobs) = item.split_once('x').unwrap_or((item, "1"));
                let span = Duration::from_secs(seconds.parse().expect("seconds"));
                (span, on.map(|id| InstanceId(id.to_owned())), jobs.parse().expect("a number"))
            };
            items.map(item).collect()
        };
        let name = String::new;
        let many = |(span, on, jobs): (Duration, Option<InstanceId>, u64)| {
            (0..jobs).map(move |_| Running { on: on.clone(), elapsed: span, name: name() })
        };
        let ended = |(took, _, jobs): (Duration, _, u64)| (0..jobs).map(move |_| Finished { took, name: name() });
        let waiting = each(ages).into_iter().map(|(age, _, jobs)| Waiting { age, jobs }).collect();
        self.tell(Event::WorkSeen(Work {
            waiting: [("video".to_owned(), waiting)].into(),
            running: each(runs).into_iter().flat_map(many).collect(),
            finished: each(took).into_iter().flat_map(ended).collect(),
        }));
    }

    fn heartbeats(&mut self) {
        for (id, (phase, jobs, problem)) in self.agents.clone() {
            let worker_log = self.logs.get(&id).filter(|_| phase != AgentPhase::Ready).cloned();
            let schedule = self.schedules.get(&id).cloned().unwrap_or_default();
            let report = Report {
                id: InstanceId(id),
                phase,
                proven: phase == AgentPhase::Ready,
                named: self.named,
                active_jobs: jobs,
                is_rate_limited: problem == "rate-limited",
                slots: self.slots,
                limiter_max: self.limiter_max.iter().map(|max| ("video".to_owned(), *max)).collect(),
                problem: Some(problem).filter(|problem| !problem.is_empty()),
                worker_log,
                schedule,
            };
            self.tell(Event::AgentReported(report));
        }
    }

    fn agent(&mut self, id: &str, phase: AgentPhase, problem: &str) {
        self.agents.insert(id.to_owned(), (phase, Some(0), problem.to_owned()));
        self.heartbeats();
    }

    fn list(&mut self) {
        if !self.unlisted {
            let instances = self.shown_by_ec2();
            self.tell(Event::InstancesListed { asked_at: self.now, instances });
        }
    }

    fn shown_by_ec2(&self) -> Vec<Listed> {
        self.ec2
            .iter()
            .filter(|(id, _)| !self.hidden.contains(*id))
            .map(|(id, it)| Listed {
                id: InstanceId(id.clone()),
                token: it.token.clone(),
                installation: it.installation.clone(),
                retagged: it.retagged.clone(),
                image: it.image.clone(),
                state: it.state,
                state_reason: it.reason.clone(),
                launched_at: it.launched_at,
            })
            .collect()
    }

    fn launch(&mut self, token: LaunchToken) -> String {
        if let Some((id, _)) = self.ec2.iter().find(|(_, known)| known.token.as_ref() == Some(&token)) {
            return id.clone();
        }
        self.launched += 1;
        let id = format!("i-{}", self.launched);
        let running = AtEc2::running(Some(token), Some(OURS), self.now);
        self.ec2.insert(id.clone(), AtEc2 { image: self.image.clone(), ..running });
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
        recorder::saved(self.controller.state());
        let again = self.controller.clone().tick(self.now);
        assert!(again.decisions.is_empty(), "a second tick decides {again:?}");
        self.notes = plan.notes.iter().map(|note| (sentences::kind(note), note.to_string())).collect();
        for planned in plan.decisions {
            let subject = self.execute(&planned.decision);
            let kind = planned.decision.kind();
            sentences::is_said(&sentences::kind(&planned.reason));
            self.said.push(format!("{} {kind} {subject}: {}", self.clock(self.now), planned.reason));
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
                    instance.state = Ec2State::ShuttingDown;
                    let code = "Client.UserInitiatedShutdown";
                    instance.reason =
                        Some(StateReason::new(code, "Client.UserInitiatedShutdown: User initiated shutdown"));
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
            Decision::HandBack { id, certain, sudden } => {
                let sudden = if *sudden { ", without notice" } else { "" };
                format!("{id} {}{sudden}", if *certain { "certain" } else { "uncertain" })
            }
            // Whether it does is the script's to say.
            Decision::PowerOff { id } => id.0.clone(),
            Decision::Alert { alert } => {
                serde_json::to_value(alert).expect("written").as_str().unwrap_or_default().to_owned()
            }
        }
    }

    /// A time of the coordinator's clock, as the script has it.
    fn clock(&self, at: Timestamp) -> String {
        clock(at.stepped(-self.ahead))
    }

    fn show_drill(&mut self) {
        let Some(drill) = self.controller.state().drill() else { return self.said.push("no drill".to_owned()) };
        let ended = drill.ended_at.map_or("under way".to_owned(), |at| format!("over at {}", self.clock(at)));
        let said = format!("drill {} ({}): {ended}", drill.number, drill.asked());
        let lines: Vec<String> = drill.tried.iter().map(|it| tried(it, self.ahead)).collect();
        self.said.extend([said].into_iter().chain(lines));
    }

    fn show(&mut self) {
        let state = self.controller.state();
        let desired = state.desired().map_or_else(|| "unknown".to_owned(), |desired| desired.to_string());
        let handed_back = state.handed_back_total();
        self.said.push(format!("pool: desired {desired}, {handed_back} jobs handed back"));
        self.said.extend(state.instances().map(|instance| shown(instance, self.ahead)));
    }
}

/// One of a drill's instances: what came of it, and when each step was seen.
fn tried(tried: &Tried, ahead: i64) -> String {
    let name = tried.id.as_ref().map(|id| &id.0).or(tried.token.as_ref().map(|token| &token.0));
    let times = &tried.times;
    let steps = [
        ("accepted", times.accepted_at),
        ("running", times.running_at),
        ("registered", times.registered_at),
        ("ready", times.ready_at),
        ("draining", times.draining_at),
        ("drained", times.drained_at),
        ("terminating", times.terminating_at),
        ("gone", times.gone_at),
    ];
    let steps = steps.iter().filter_map(|(step, at)| Some(format!("{step} {}", clock(at.as_ref()?.stepped(-ahead)))));
    let outcome = match &tried.outcome {
        None => "no outcome yet".to_owned(),
        Some(Outcome::Ready) => "was ready".to_owned(),
        Some(Outcome::Failed { cause }) => format!("failed: {cause}"),
    };
    let stays = tried.stays.map(|why| format!("stays: {why}"));
    let free = tried.is_free.then(|| "not billed".to_owned());
    let parts: Vec<String> = [outcome].into_iter().chain(stays).chain(free).chain(steps).collect();
    format!("{}: {}", name.map_or("not launched", String::as_str), parts.join("; "))
}

/// `STARTED/LEFT`, with `/ALLOWS` where the limit is known.
fn rate_limit(text: &str) -> Option<RateLimit> {
    let numbers: Vec<u64> = text.split('/').map(|number| number.parse().expect("a number")).collect();
    let left = Duration::from_secs(*numbers.get(1)?);
    Some(RateLimit { left, started: numbers[0], allows: numbers.get(2).copied() })
}

fn shown(instance: &Instance, ahead: i64) -> String {
    let mut parts = vec![instance.phase_name().to_owned()];
    parts.extend(instance.phase_deadline().map(|deadline| format!("until {}", clock(deadline.stepped(-ahead)))));
    parts.extend(instance.drain_can_be_cancelled().then(|| "can go back to work".to_owned()));
    parts.extend(instance.boot_failed.then(|| "boot failed".to_owned()));
    parts.extend(instance.agent.worker_log.as_ref().map(|log| format!("its worker's log ends with \"{log}\"")));
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
