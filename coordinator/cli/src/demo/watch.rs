//! What happens, as the coordinator, the emulator and Redis tell it: brought into the model, and told as a story.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use spillway_console::style::Style;
use spillway_console::{times, words};
use spillway_coordinator::clock;
use spillway_emulator::{Emulator, InstanceRecord, InstanceState};
use spillway_proto::v1;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_words::counted;
use tonic::transport::Channel;

use super::jobs::{HandBack, Jobs};
use super::model::{Instance, Model, Step};
use super::score::Score;
use super::stage::Stage;
use super::{MAX_INSTANCES, Options, frame, price};

/// Plans that are asked for at each observation.
const PLANS: u32 = 30;
/// From the coordinator's start, on a machine that is busy.
const DECIDES_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Watch {
    jobs: Jobs,
    coordinator: OperatorServiceClient<Channel>,
    pub model: Model,
    /// The pool as it was shown last.
    pub pool: v1::Pool,
    flooded_at: SystemTime,
    told: BTreeSet<String>,
    peak: usize,
    first_ready: Option<Duration>,
    /// When no job waited any more, at last.
    worked_off: Option<Duration>,
    /// The instance that was interrupted on purpose.
    pub interrupted: Option<String>,
    records: Vec<InstanceRecord>,
}

impl Watch {
    pub(super) async fn new(stage: &Stage, options: &Options) -> anyhow::Result<Self> {
        Ok(Self {
            jobs: Jobs::connect(&stage.redis_url()).await?,
            coordinator: OperatorServiceClient::connect(format!("http://{}", stage.coordinator())).await?,
            model: Model::new(options, MAX_INSTANCES),
            pool: v1::Pool::default(),
            flooded_at: clock::system_now(),
            told: BTreeSet::new(),
            peak: 0,
            first_ready: None,
            worked_off: None,
            interrupted: None,
            records: Vec::new(),
        })
    }

    /// Until the coordinator has read the queue and listed the instances: what is shown before that is unknown, and
    /// says nothing of it.
    pub(super) async fn until_it_decides(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let until = tokio::time::Instant::now() + DECIDES_WITHIN;
        loop {
            stage.check_children()?;
            let fleet = self.coordinator.get_fleet(v1::GetFleetRequest::default()).await;
            let fleet = fleet.context("the coordinator does not answer")?.into_inner();
            if fleet.pools.iter().any(|pool| pool.desired.is_some()) {
                return Ok(());
            }
            anyhow::ensure!(tokio::time::Instant::now() < until, "the coordinator does not decide: see its log");
            tokio::time::sleep(super::POLL).await;
        }
    }

    /// From now on everything is timed; the flood begins.
    pub(super) fn flooded(&mut self) {
        self.flooded_at = clock::system_now();
        let Options { jobs, job_seconds, .. } = self.model.options;
        let text = format!("the queue floods: {jobs} jobs of {job_seconds} s each");
        self.model.story.tell(Duration::ZERO, Style::Bold, text);
    }

    /// Observes everything once.
    pub(super) async fn observe(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let request = v1::GetFleetRequest::default();
        let fleet = self.coordinator.get_fleet(request).await.context("the coordinator does not answer")?;
        self.pool = fleet.into_inner().pools.into_iter().next().unwrap_or_default();
        let explained = self.coordinator.explain(v1::ExplainRequest { limit: PLANS, ..Default::default() }).await?;
        let again = self.jobs.observe().await?;
        self.records = stage.emulator.iter().flat_map(Emulator::instances).collect();
        self.peak = self.peak.max(self.records.iter().filter(|record| is_billing(record)).count());
        let now = clock::system_now();
        self.model.elapsed = self.since_flood(now);
        self.take_jobs(&again);
        for plan in explained.into_inner().plans.iter().rev() {
            self.take_decisions(plan);
        }
        self.take_fleet(now);
        Ok(())
    }

    fn take_jobs(&mut self, again: &[HandBack]) {
        let (before, counts) = (self.model.jobs, self.jobs.counts);
        self.model.jobs = counts;
        self.model.running_on.clone_from(&self.jobs.running_on);
        self.model.done_on.clone_from(&self.jobs.fates.done_on);
        self.model.sample(counts.waiting);
        if counts.waiting == 0 && (before.waiting > 0 || self.worked_off.is_none()) && counts.all() > 0 {
            self.worked_off = Some(self.model.elapsed);
            self.model.story.tell(self.model.elapsed, Style::Bold, "the backlog is worked off: no job waits");
        }
        for hand_back in again {
            let on = if hand_back.on.is_empty() { String::new() } else { format!(" on {}", hand_back.on) };
            let after = in_milliseconds(hand_back.after);
            let text = format!("1 job handed back, running again{on} after {after}");
            self.model.story.tell(self.model.elapsed, Style::Magenta, text);
        }
    }

    fn take_decisions(&mut self, plan: &v1::PlanRecord) {
        let at = self.since_flood(times::system_time(plan.at.as_ref()));
        let of = plan.at.map_or(0, |at| at.seconds);
        // There is no instance yet, and nobody knows it by its launch token.
        let (launches, others): (Vec<_>, Vec<_>) =
            plan.decisions.iter().partition(|decision| decision.kind == "launch");
        if let Some(first) = launches.first() {
            let count = if launches.len() == 1 { "launch".to_owned() } else { format!("{} launches", launches.len()) };
            self.tell_once(format!("{of} launch"), at, Style::Yellow, format!("{count} requested: {}", first.reason));
        }
        for decision in others {
            let key = format!("{of} {} {}", decision.kind, decision.instance);
            self.tell_once(key, at, Style::Plain, words::decision_line(decision));
        }
    }

    fn take_fleet(&mut self, now: SystemTime) {
        self.model.desired = self.pool.desired;
        self.model.notes = self.pool.plan.iter().flat_map(|plan| plan.notes.clone()).collect();
        let all: Vec<v1::Instance> = std::mem::take(&mut self.pool.instances);
        self.model.instances = all.iter().map(|it| instance(it, &self.model.instances, now)).collect();
        self.pool.instances = all;
        for instance in self.model.instances.clone() {
            let Instance { id, phase, .. } = &instance;
            let since = self.model.elapsed.saturating_sub(instance.in_phase_for);
            let style = Style::of_phase(phase);
            match (phase.as_str(), instance.ready_after) {
                _ if id.is_empty() => {}
                ("booting", _) => {
                    let text = format!("{id} launched{}", self.kind_of(id));
                    self.tell_once(format!("{id} launched"), since, style, text);
                }
                ("ready", after) => {
                    self.first_ready.get_or_insert(since);
                    let after =
                        after.map_or(String::new(), |after| format!(" {:.1} s after its launch", after.as_secs_f64()));
                    let text = format!("{id} ready{after}: {}", frame::steps(&instance));
                    self.tell_once(format!("{id} ready"), since, style, text);
                }
                ("gone", _) => {
                    let done = self.model.done_on.get(id).copied().unwrap_or(0);
                    let text = format!("{id} gone, {} done there: {}", counted(done, "job"), instance.phase_reason);
                    self.tell_once(format!("{id} gone"), since, Style::Plain, text);
                }
                _ => {}
            }
        }
    }

    fn kind_of(&self, id: &str) -> String {
        let record = self.records.iter().find(|record| record.id == id);
        record.map_or(String::new(), |it| format!(": {} in {}", it.instance_type, it.availability_zone))
    }

    fn tell_once(&mut self, key: String, at: Duration, style: Style, text: String) {
        if self.told.insert(key) {
            self.model.story.tell(at, style, text);
        }
    }

    fn since_flood(&self, at: SystemTime) -> Duration {
        at.duration_since(self.flooded_at).unwrap_or_default()
    }

    /// Interrupts an instance that works on a job, once there is one.
    pub(super) fn interrupt_a_busy_one(&mut self, stage: &Stage, notice: Duration) -> anyhow::Result<()> {
        let is_busy = |it: &&Instance| it.phase == "ready" && self.model.running_on.contains_key(&it.id);
        let (Some(busy), Some(emulator)) = (self.model.instances.iter().find(is_busy), &stage.emulator) else {
            return Ok(());
        };
        let id = busy.id.clone();
        emulator.interrupt(&id, notice)?;
        let text = format!("EC2 interrupts {id} with {} s of notice", notice.as_secs());
        self.model.story.tell(self.since_flood(clock::system_now()), Style::Red, text);
        self.interrupted = Some(id);
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        let fleet_is_gone = self.records.iter().all(|record| record.state == InstanceState::Terminated);
        self.model.jobs.done + self.model.jobs.failed >= u64::from(self.model.options.jobs)
            && fleet_is_gone
            && self.pool.desired == Some(0)
            && self.pool.instances.iter().all(|instance| instance.phase == "gone")
    }

    /// What it came to; `took` is from the demo's start.
    pub(super) async fn score(&mut self, took: Duration) -> anyhow::Result<Score> {
        Ok(Score {
            jobs_added: u64::from(self.model.options.jobs),
            jobs_completed: self.model.jobs.done,
            jobs_failed: self.model.jobs.failed,
            jobs_run_twice: self.jobs.run_twice().await?,
            instances_launched: self.records.len(),
            instances_terminated: self.records.iter().filter(|it| it.state == InstanceState::Terminated).count(),
            instances_peak: self.peak,
            max_instances: MAX_INSTANCES,
            seconds_to_first_ready: self.first_ready.map(|span| span.as_secs_f64()),
            seconds_total: took.as_secs_f64(),
            jobs_handed_back: self.jobs.fates.hand_backs(),
            done_on: self.jobs.fates.done_on.clone().into_iter().collect(),
            worked_off: self.worked_off,
            cost: price::estimate(&self.records),
        })
    }
}

fn is_billing(record: &InstanceRecord) -> bool {
    matches!(record.state, InstanceState::Pending | InstanceState::Running)
}

/// Short spans matter here.
fn in_milliseconds(span: Duration) -> String {
    if span < Duration::from_secs(10) { format!("{} ms", span.as_millis()) } else { format!("{} s", span.as_secs()) }
}

/// An instance as its row shows it; what it was before tells how long its boot took.
fn instance(shown: &v1::Instance, before: &[Instance], now: SystemTime) -> Instance {
    let in_phase_for = times::since(shown.phase_since.as_ref(), now);
    let known = before.iter().find(|it| it.id == shown.id).and_then(|it| it.ready_after);
    let booted = match (shown.launched_at.as_ref(), shown.phase_since.as_ref()) {
        (Some(launched), Some(ready)) if shown.phase == "ready" => Some(times::between(launched, ready)),
        _ => None,
    };
    let ending = shown.notices.iter().filter(|notice| notice.kind() == v1::NoticeKind::Interruption);
    Instance {
        id: shown.id.clone(),
        phase: shown.phase.clone(),
        phase_reason: shown.phase_reason.clone(),
        in_phase_for,
        ready_after: known.or(booted),
        steps: shown.boot_steps.iter().map(|it| step(it, now)).collect(),
        reclaimed_in: ending.map(|notice| times::until(notice.at.as_ref(), now)).next_back(),
        silent_for: shown.stale.then(|| times::since(shown.last_heartbeat_at.as_ref(), now)),
    }
}

fn step(shown: &v1::BootStep, now: SystemTime) -> Step {
    let went_wrong = matches!(shown.state(), v1::StepState::Failed | v1::StepState::Retrying);
    Step {
        name: shown.name.clone(),
        took: shown.took.as_ref().map(times::span),
        running_for: times::since(shown.started_at.as_ref().or(Some(&now.into())), now),
        count: shown.count,
        problem: if went_wrong { shown.problem.clone() } else { String::new() },
    }
}
