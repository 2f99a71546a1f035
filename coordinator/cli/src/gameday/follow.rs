//! What becomes of the jobs, by BullMQ's stream of events, and of the instance and its replacement, by the coordinator.
//! Redis' clock times the jobs, so that no delay of this program's is in their waits.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use redis::pipe;
use spillway_console::client::refused;
use spillway_coordinator::queue::QueueKeys;
use spillway_output::out;
use spillway_proto::v1;
use spillway_words::in_words;
use tokio::time::{Instant, sleep};

use super::Scene;
use super::interrupt::Way;
use super::score::{JobFate, Score};
use super::target::Target;

const POLL: Duration = Duration::from_millis(100);
/// Once the instance is gone, a replacement that nobody has begun by then is none.
const REPLACED_WITHIN: Duration = Duration::from_secs(30);
/// Beyond the notice: EC2's own end of an instance, a boot, and a job that waits for a free worker.
const PATIENCE: Duration = Duration::from_secs(600);
/// Events that are read at once.
const EVENTS_READ: usize = 1000;

#[derive(Debug)]
pub(super) struct Follow {
    target: Target,
    /// By queue: the last event that was read.
    read_to: BTreeMap<String, String>,
    fates: BTreeMap<(String, String), JobFate>,
    began: Instant,
    gone: Option<Instant>,
    replacement: Option<String>,
    replaced: Option<Instant>,
    told: usize,
}

impl Follow {
    /// From the moment on at which its jobs were read.
    pub(super) fn new(target: &Target) -> Self {
        Follow {
            read_to: target.read_to.clone(),
            fates: target.jobs.iter().map(|job| (job.clone(), JobFate::default())).collect(),
            target: target.clone(),
            began: Instant::now(),
            gone: None,
            replacement: None,
            replaced: None,
            told: 0,
        }
    }

    /// Looks on until every job has finished or runs again, the instance is gone, and its replacement is ready.
    pub(super) async fn until_settled(
        &mut self,
        scene: &mut Scene,
        notice: Duration,
        way: &Way,
    ) -> anyhow::Result<Score> {
        loop {
            self.read_events(scene).await?;
            self.look_at_fleet(scene).await?;
            self.tell(scene);
            if self.is_settled() {
                return Ok(self.score(notice, way));
            }
            if self.began.elapsed() > notice + PATIENCE {
                let open = self.fates.values().filter(|fate| !fate.is_settled()).count();
                if open == 0 && self.gone.is_some() {
                    return Ok(self.score(notice, way));
                }
                out!("{}", if scene.says { self.score(notice, way).in_lines() } else { String::new() });
                bail!("timed out after {}: {open} jobs neither finished nor ran again", in_words(notice + PATIENCE));
            }
            sleep(POLL).await;
        }
    }

    async fn read_events(&mut self, scene: &mut Scene) -> anyhow::Result<()> {
        let mut pipeline = pipe();
        for (queue, from) in &self.read_to {
            let after = format!("({from}");
            pipeline.cmd("XRANGE").arg(events(&self.target, queue)).arg(after).arg("+").arg("COUNT").arg(EVENTS_READ);
        }
        let read: Vec<Vec<(String, BTreeMap<String, String>)>> = scene.redis.query(&pipeline).await?;
        for ((queue, read_to), entries) in self.read_to.iter_mut().zip(read) {
            for (id, fields) in entries {
                let at_ms = id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
                let get = |name: &str| fields.get(name).map_or("", String::as_str);
                if let Some(fate) = self.fates.get_mut(&(queue.clone(), get("jobId").to_owned())) {
                    fate.happened(at_ms, get("event"), get("prev"));
                }
                *read_to = id;
            }
        }
        Ok(())
    }

    async fn look_at_fleet(&mut self, scene: &mut Scene) -> anyhow::Result<()> {
        let request = v1::GetFleetRequest { pool: self.target.pool.clone() };
        let fleet = scene.coordinator.get_fleet(request).await.map_err(refused)?.into_inner();
        let instances: Vec<v1::Instance> = fleet.pools.into_iter().flat_map(|pool| pool.instances).collect();
        let taken = instances.iter().find(|instance| instance.id == self.target.instance);
        // What EC2 ended long ago is not shown any more.
        if taken.is_none_or(|instance| instance.phase == "gone") && self.gone.is_none() {
            self.gone = Some(Instant::now());
            scene.say(&format!("{:>7}  {} is gone", self.elapsed(), self.target.instance));
        }
        let is_new = |instance: &&v1::Instance| !self.target.others.contains(&instance.id) && instance.phase != "gone";
        if self.replacement.is_none()
            && let Some(instance) = instances.iter().find(|it| is_new(it) && !it.id.is_empty())
        {
            self.replacement = Some(instance.id.clone());
            scene.say(&format!("{:>7}  {} launched as its replacement", self.elapsed(), instance.id));
        }
        let is_ready = |instance: &v1::Instance| is_new(&instance) && instance.phase == "ready";
        if self.replaced.is_none()
            && let Some(instance) = instances.iter().find(|instance| is_ready(instance))
        {
            self.replaced = Some(Instant::now());
            scene.say(&format!("{:>7}  {} is ready", self.elapsed(), instance.id));
        }
        Ok(())
    }

    fn tell(&mut self, scene: &Scene) {
        let settled = self.fates.values().filter(|fate| fate.is_settled()).count();
        if settled > self.told {
            self.told = settled;
            let of = self.fates.len();
            scene.say(&format!("{:>7}  {settled} of {of} jobs finished or running again", self.elapsed()));
        }
    }

    fn elapsed(&self) -> String {
        format!("{:.1} s", self.began.elapsed().as_secs_f64())
    }

    fn is_settled(&self) -> bool {
        let none_comes = self.replacement.is_none() && self.gone.is_some_and(|at| at.elapsed() >= REPLACED_WITHIN);
        self.fates.values().all(JobFate::is_settled) && self.gone.is_some() && (self.replaced.is_some() || none_comes)
    }

    fn score(&self, notice: Duration, way: &Way) -> Score {
        let since = |at: Option<Instant>| at.map(|at| at.duration_since(self.began).as_secs_f64());
        Score::new(
            &self.target,
            way.name(),
            notice,
            self.fates.values(),
            since(self.replaced),
            self.began.elapsed().as_secs_f64(),
        )
    }
}

fn events(target: &Target, queue: &str) -> String {
    QueueKeys::new(&target.prefix, queue).key("events")
}
