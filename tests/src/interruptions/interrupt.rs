//! A pool under steady load, a primary that works the same queue, and interruptions one after another.

use std::process::ChildStdin;
use std::time::Duration;

use spillway_handback::{Queue, held_by};
use spillway_stage::redis_server::connection_to;

use super::tally::{self, Interruption, Tally};
use crate::process::{Process, command};
use crate::random::Random;
use crate::stage::{Setup, Stage, in_phase};
use crate::{QUEUE, jobs, programs, recorded_worker};

/// Seconds of notice: EC2's two minutes, a late notice, and none.
pub const NOTICES: &[u32] = &[120, 20, 0];
/// A queue without a worker: there is always demand, so that a replacement is always launched.
const BALLAST: &str = "ballast";
/// How long jobs take, before they are shortened.
const SHORTEST_MS: f64 = 100.0;
const LONGEST_MS: f64 = 300_000.0;

/// The settings of one run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub bullmq: u32,
    /// `bun` or `node`, both under PM2.
    pub runtime: &'static str,
    pub interruptions: u32,
    /// In seconds, in turn; before they are shortened.
    pub notices: &'static [u32],
    pub instances: u32,
    /// Jobs, notices and the margin are so many times shorter.
    pub shortened: f64,
    pub jobs_per_second: f64,
    pub seed: u64,
}

impl Options {
    fn shorten(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds / self.shortened)
    }
}

/// Interrupts so many times, waits for every job, and counts. `progress` is called for each interruption.
pub async fn interrupt(options: Options, mut progress: impl FnMut(&Interruption)) -> Tally {
    let mut random = Random::new(options.seed);
    let stage = start(options, "1h").await;
    let url = stage.redis.url();
    let _primary = primary(&stage, options);
    let (_ballast, ballast) = load(&stage, options, BALLAST, 10.0);
    let (jobs, orders) = load(&stage, options, QUEUE, options.jobs_per_second);
    stage.until("there is demand", || llen(&stage, BALLAST) >= 10).await;
    drop(ballast);
    stage.until_ready(options.instances as usize).await;

    let mut connection = connection_to(&url).await.expect("Redis");
    let mut done: Vec<Interruption> = Vec::new();
    while done.len() < options.interruptions as usize {
        tokio::time::sleep(Duration::from_secs_f64(random.unit())).await;
        let Some(pool) = stage.coordinator().try_pool().await else { continue };
        let ready: Vec<String> = in_phase(&pool, "ready").map(|instance| instance.id.clone()).collect();
        let Some(id) = ready.get((random.unit() * ready.len() as f64) as usize) else { continue };
        let is_new = done.iter().all(|before| before.instance != *id);
        let held = held_by(&mut connection, Queue { prefix: "bull", name: QUEUE }, id).await.expect("Redis");
        if !is_new || held.is_empty() {
            continue;
        }
        let notice = options.notices[done.len() % options.notices.len()];
        let at_ms = jobs::now_ms(&stage.redis);
        stage.emulator().interrupt(id, options.shorten(notice.into())).expect("a running spot instance");
        let interruption = Interruption {
            instance: id.clone(),
            notice: Some(notice),
            at_ms,
            jobs: held.into_iter().map(|held| held.id).collect(),
        };
        progress(&interruption);
        done.push(interruption);
    }
    settle(&stage, jobs, orders, done).await
}

/// Scales in so many times while the worker runs jobs, without any waiting; then as `interrupt`.
pub async fn scale_in(options: Options, times: u32, mut progress: impl FnMut(&Interruption)) -> Tally {
    let stage = start(options, "3s").await;
    let _primary = primary(&stage, options);
    let (jobs, orders) = load(&stage, options, QUEUE, options.jobs_per_second);
    let mut connection = connection_to(&stage.redis.url()).await.expect("Redis");
    let mut done: Vec<Interruption> = Vec::new();
    while done.len() < times as usize {
        let (_ballast, ballast) = load(&stage, options, BALLAST, 20.0);
        stage.until("there is demand", || llen(&stage, BALLAST) >= 10).await;
        drop(ballast);
        stage.until_ready(options.instances as usize).await;
        let _: u64 = stage.redis.ask(&["DEL", &format!("bull:{BALLAST}:wait")]);
        let id = stage
            .until_pool("an instance is scaled in", |pool| {
                let draining = in_phase(pool, "draining").map(|instance| instance.id.clone());
                draining.into_iter().find(|id| done.iter().all(|before| before.instance != *id))
            })
            .await;
        let at_ms = jobs::now_ms(&stage.redis);
        let held = held_by(&mut connection, Queue { prefix: "bull", name: QUEUE }, &id).await.expect("Redis");
        let jobs = held.into_iter().map(|held| held.id).collect();
        let interruption = Interruption { instance: id.clone(), notice: None, at_ms, jobs };
        progress(&interruption);
        done.push(interruption);
        stage.until("the instance is terminated", || stage.instance(&id).ended_ms.is_some()).await;
    }
    settle(&stage, jobs, orders, done).await
}

/// Ends the load, waits for every job and every instance, and counts.
async fn settle(stage: &Stage, mut jobs: Process, orders: ChildStdin, done: Vec<Interruption>) -> Tally {
    drop(orders);
    let mut added = 0;
    stage
        .until("the load ends", || {
            let ended = jobs.ended().is_some();
            added = jobs.log().lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
            ended
        })
        .await;
    // A job that waits for BullMQ's stall check needs a minute and a half: it is counted, not cut off.
    for _ in 0..2 {
        if tally::unfinished(&stage.redis, added) > 0 {
            stage.until("every job has ended", || tally::unfinished(&stage.redis, added) == 0).await;
        }
    }
    let gone = |it: &Interruption| stage.instance(&it.instance).ended_ms.is_some();
    stage.until("all interrupted instances are terminated", || done.iter().all(gone)).await;
    tally::count(&stage.redis, added, done)
}

async fn start(options: Options, idle: &str) -> Stage {
    let link = recorded_worker::link(options.bullmq);
    let agent = format!(
        "environment = {{ WORKER_REDIS = \"$REDIS\", WORKER_QUEUE = \"{QUEUE}\", WORKER_CONCURRENCY = \"3\" }}\n\
         steps = [{{ name = \"link\", run = {link:?} }}, {{ name = \"start\", run = \"pm2 start ecosystem.config.js\" }}]\n\
         [drain]\nmargin = \"{}ms\"",
        options.shorten(10.0).as_millis(),
    );
    let steps = format!("[{{ jobs = 1, for = \"1s\", instances = {} }}]", options.instances);
    let most = options.instances + 4;
    Stage::start(Setup {
        files: recorded_worker::files(options.runtime),
        agent,
        environment: vec![
            ("QUEUE_NAMES", format!("{QUEUE},{BALLAST}")),
            ("EC2_SPOT_MAX_COUNT", most.to_string()),
            ("SPILLWAY_POOL_LAUNCHES_PER_TICK", most.to_string()),
            ("SPILLWAY_POOL_POLICY_STEPS", steps),
            ("SPILLWAY_POOL_POLICY_IDLE", idle.to_owned()),
            // They end early on purpose: no row of them is to hold launches.
            ("SPILLWAY_POOL_BOOT_FAILURES", "1000".to_owned()),
        ],
        ..Setup::default()
    })
    .await
}

/// The primary, with free slots for all jobs that are handed back.
fn primary(stage: &Stage, options: Options) -> Process {
    recorded_worker::primary(stage, options.bullmq, options.runtime, 40)
}

/// Adds jobs until the returned input is dropped.
fn load(stage: &Stage, options: Options, queue: &str, rate: f64) -> (Process, ChildStdin) {
    let mut node = command(programs::program("node"));
    let numbers = [rate, SHORTEST_MS / options.shortened, LONGEST_MS / options.shortened];
    node.arg(programs::script("steady-load.mjs")).args([&options.bullmq.to_string(), queue]);
    node.args(numbers.map(|number| number.to_string())).arg(options.seed.to_string());
    node.env("REDIS_URL", stage.redis.url());
    Process::start_fed(&format!("load of {queue}"), &mut node, &stage.directory.path().join(format!("{queue}.log")))
}

fn llen(stage: &Stage, queue: &str) -> u64 {
    stage.redis.ask(&["LLEN", &format!("bull:{queue}:wait")])
}
