//! What happens, as the coordinator, the emulator and Redis tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use spillway_brain::Timestamp;
use spillway_emulator::{Emulator, InstanceRecord, InstanceState};
use spillway_proto::v1;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use tonic::transport::Channel;

use super::score::Score;
use super::stage::{QUEUE, Stage};
use super::{MAX_INSTANCES, Options};
use crate::clock;
use crate::view::from_timestamp;

/// Decisions kept for the screen.
const DECISIONS_KEPT: usize = 8;

#[derive(Debug)]
pub(super) struct Watch {
    redis: MultiplexedConnection,
    coordinator: OperatorServiceClient<Channel>,
    pub options: Options,
    pub flooded_at: Timestamp,
    pub pool: v1::Pool,
    pub completed: u64,
    pub failed: u64,
    pub runs: BTreeMap<String, u64>,
    /// Newest last: when, and what with its reason.
    pub decisions: Vec<(Timestamp, String)>,
    /// Decisions that are not kept any more.
    pub decisions_dropped: usize,
    seen_decisions: BTreeSet<(u64, String)>,
    pub peak: usize,
    pub first_ready_at: Option<Timestamp>,
    /// The instance that was interrupted on purpose.
    pub interrupted: Option<String>,
    records: Vec<InstanceRecord>,
}

impl Watch {
    pub(super) async fn new(stage: &Stage, options: &Options) -> anyhow::Result<Self> {
        let redis = redis::Client::open(stage.redis_url.as_str())?.get_multiplexed_async_connection().await?;
        let coordinator = OperatorServiceClient::connect(format!("http://{}", stage.coordinator())).await?;
        Ok(Watch {
            redis,
            coordinator,
            options: options.clone(),
            flooded_at: clock::now(),
            pool: v1::Pool::default(),
            completed: 0,
            failed: 0,
            runs: BTreeMap::new(),
            decisions: Vec::new(),
            decisions_dropped: 0,
            seen_decisions: BTreeSet::new(),
            peak: 0,
            first_ready_at: None,
            interrupted: None,
            records: Vec::new(),
        })
    }

    /// One look at everything.
    pub(super) async fn look(&mut self, stage: &Stage) -> anyhow::Result<()> {
        let fleet = self.coordinator.get_fleet(v1::GetFleetRequest::default()).await;
        let fleet = fleet.context("the coordinator does not answer")?.into_inner();
        self.pool = fleet.pools.into_iter().next().unwrap_or_default();
        let explained = self.coordinator.explain(v1::ExplainRequest { pool: String::new(), limit: 30 }).await?;
        for plan in explained.into_inner().plans.iter().rev() {
            self.take_decisions(plan);
        }
        let key = |part: &str| format!("bull:{QUEUE}:{part}");
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZCARD").arg(key("completed"));
        pipeline.cmd("ZCARD").arg(key("failed"));
        pipeline.cmd("HGETALL").arg("spillway-demo:runs");
        (self.completed, self.failed, self.runs) = pipeline.query_async(&mut self.redis).await?;
        self.records = stage.emulator.iter().flat_map(Emulator::instances).collect();
        self.peak = self.peak.max(self.records.iter().filter(|record| is_billing(record)).count());
        let is_ready = |instance: &&v1::Instance| instance.phase == "ready";
        if self.first_ready_at.is_none()
            && let Some(ready) = self.pool.instances.iter().find(is_ready)
        {
            self.first_ready_at = ready.phase_since.as_ref().map(from_timestamp);
        }
        Ok(())
    }

    fn take_decisions(&mut self, plan: &v1::PlanRecord) {
        let at = plan.at.as_ref().map(from_timestamp).unwrap_or_default();
        for decision in &plan.decisions {
            let said = crate::cli::words::decision_line(decision);
            if self.seen_decisions.insert((at.0, said.clone())) {
                self.decisions.push((at, said));
            }
        }
        let excess = self.decisions.len().saturating_sub(DECISIONS_KEPT);
        self.decisions.drain(..excess);
        self.decisions_dropped += excess;
    }

    /// Interrupts an instance that works on a job, once there is one.
    pub(super) fn interrupt_a_busy_one(&mut self, stage: &Stage, notice: Duration) -> anyhow::Result<()> {
        let is_busy = |instance: &&v1::Instance| {
            instance.phase == "ready" && instance.heartbeat.as_ref().is_some_and(|beat| beat.active_jobs > Some(0))
        };
        let (Some(busy), Some(emulator)) = (self.pool.instances.iter().find(is_busy), &stage.emulator) else {
            return Ok(());
        };
        emulator.interrupt(&busy.id, notice)?;
        let said = format!("EC2 interrupts {} with {} s of notice", busy.id, notice.as_secs());
        self.decisions.push((clock::now(), said));
        self.interrupted = Some(busy.id.clone());
        Ok(())
    }

    pub(super) fn is_over(&self) -> bool {
        let fleet_is_gone = self.records.iter().all(|record| record.state == InstanceState::Terminated);
        self.completed + self.failed >= u64::from(self.options.jobs)
            && fleet_is_gone
            && self.pool.desired == Some(0)
            && self.pool.instances.iter().all(|instance| instance.phase == "gone")
    }

    pub(super) fn score(&self, stage: &Stage, took: Duration) -> Score {
        let records: Vec<InstanceRecord> = stage.emulator.iter().flat_map(Emulator::instances).collect();
        Score {
            jobs_added: u64::from(self.options.jobs),
            jobs_completed: self.completed,
            jobs_failed: self.failed,
            jobs_run_twice: self.runs.values().filter(|runs| **runs > 1).count() as u64,
            instances_launched: records.len(),
            instances_terminated: records.iter().filter(|it| it.state == InstanceState::Terminated).count(),
            instances_peak: self.peak,
            max_instances: MAX_INSTANCES,
            seconds_to_first_ready: self.first_ready_at.map(|at| at.since(self.flooded_at).as_secs_f64()),
            seconds_total: took.as_secs_f64(),
        }
    }
}

fn is_billing(record: &InstanceRecord) -> bool {
    matches!(record.state, InstanceState::Pending | InstanceState::Running)
}
