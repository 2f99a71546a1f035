//! The arena: a pool under steady load, a primary that works the same queue, and interruptions one after another.

use std::process::ChildStdin;
use std::time::Duration;

use spillway_handback::{Queue, held_by};
use spillway_stage::redis_server::connection_to;

use super::tally::{self, Interruption, Tally};
use crate::process::{Process, command};
use crate::world::{Setup, World, in_phase};
use crate::{QUEUE, programs};

/// EC2's two minutes, a notice that came late, and none at all.
pub const NOTICES: &[u32] = &[120, 20, 0];
/// A queue that nobody works: there is always demand, and so a replacement is always wanted.
const BALLAST: &str = "ballast";
/// Jobs of the arena last so long, before they are shortened.
const SHORTEST_MS: f64 = 100.0;
const LONGEST_MS: f64 = 300_000.0;

/// One run of the arena.
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

/// Interrupts so many times, waits for every job, and counts. `told` hears of each interruption.
pub async fn interrupt(options: Options, mut told: impl FnMut(&Interruption)) -> Tally {
    let mut random = Random(options.seed | 1);
    let world = start(options, "1h").await;
    let url = world.redis.url();
    let _primary = primary(&world, options);
    let (_ballast, ballast) = load(&world, options, BALLAST, 10.0);
    let (jobs, orders) = load(&world, options, QUEUE, options.jobs_per_second);
    world.until("there is demand", || llen(&world, BALLAST) >= 10).await;
    drop(ballast);
    world.until_ready(options.instances as usize).await;

    let mut connection = connection_to(&url).await.expect("Redis");
    let mut done: Vec<Interruption> = Vec::new();
    while done.len() < options.interruptions as usize {
        tokio::time::sleep(Duration::from_secs_f64(random.next())).await;
        let Some(pool) = world.coordinator().try_pool().await else { continue };
        let ready: Vec<String> = in_phase(&pool, "ready").map(|instance| instance.id.clone()).collect();
        let Some(id) = ready.get((random.next() * ready.len() as f64) as usize) else { continue };
        let is_new = done.iter().all(|before| before.instance != *id);
        let held = held_by(&mut connection, Queue { prefix: "bull", name: QUEUE }, id).await.expect("Redis");
        if !is_new || held.is_empty() {
            continue;
        }
        let notice = options.notices[done.len() % options.notices.len()];
        let at_ms = now_ms(&world);
        world.emulator().interrupt(id, options.shorten(notice.into())).expect("a running spot instance");
        let interruption = Interruption {
            instance: id.clone(),
            notice: Some(notice),
            at_ms,
            jobs: held.into_iter().map(|held| held.id).collect(),
        };
        told(&interruption);
        done.push(interruption);
    }
    settle(&world, jobs, orders, done).await
}

/// Scales in so many times while the worker works: nothing waits, but jobs run all the time. Then as `interrupt`.
pub async fn scale_in(options: Options, times: u32, mut told: impl FnMut(&Interruption)) -> Tally {
    let world = start(options, "3s").await;
    let _primary = primary(&world, options);
    let (jobs, orders) = load(&world, options, QUEUE, options.jobs_per_second);
    let mut connection = connection_to(&world.redis.url()).await.expect("Redis");
    let mut done: Vec<Interruption> = Vec::new();
    while done.len() < times as usize {
        let (_ballast, ballast) = load(&world, options, BALLAST, 20.0);
        world.until("there is demand", || llen(&world, BALLAST) >= 10).await;
        drop(ballast);
        world.until_ready(options.instances as usize).await;
        let _: u64 = world.redis.ask(&["DEL", &format!("bull:{BALLAST}:wait")]);
        let id = world
            .until_pool("an instance is scaled in", |pool| {
                let draining = in_phase(pool, "draining").map(|instance| instance.id.clone());
                draining.into_iter().find(|id| done.iter().all(|before| before.instance != *id))
            })
            .await;
        let at_ms = now_ms(&world);
        let held = held_by(&mut connection, Queue { prefix: "bull", name: QUEUE }, &id).await.expect("Redis");
        let jobs = held.into_iter().map(|held| held.id).collect();
        let interruption = Interruption { instance: id.clone(), notice: None, at_ms, jobs };
        told(&interruption);
        done.push(interruption);
        world.until("it is gone", || world.instance(&id).ended_ms.is_some()).await;
    }
    settle(&world, jobs, orders, done).await
}

/// Ends the load, waits for every job and every instance, and counts.
async fn settle(world: &World, mut jobs: Process, orders: ChildStdin, done: Vec<Interruption>) -> Tally {
    drop(orders);
    let mut added = 0;
    world
        .until("the load ends", || {
            let ended = jobs.ended().is_some();
            added = jobs.log().lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
            ended
        })
        .await;
    // A job that waits for BullMQ's stall check needs a minute and a half: it is counted, not cut off.
    for _ in 0..2 {
        if tally::unfinished(&world.redis, added) > 0 {
            world.until("every job has ended, or the patience", || tally::unfinished(&world.redis, added) == 0).await;
        }
    }
    let gone = |it: &Interruption| world.instance(&it.instance).ended_ms.is_some();
    world.until("the interrupted are gone", || done.iter().all(gone)).await;
    tally::count(&world.redis, added, done)
}

fn now_ms(world: &World) -> u64 {
    let (seconds, micros): (u64, u64) = world.redis.ask(&["TIME"]);
    seconds * 1000 + micros / 1000
}

async fn start(options: Options, idle: &str) -> World {
    let modules = programs::script("node_modules");
    let link = format!(
        "mkdir -p node_modules && ln -sfn {modules}/bullmq{version} node_modules/bullmq && ln -sfn {modules}/ioredis \
         node_modules/ioredis",
        modules = modules.display(),
        version = options.bullmq,
    );
    let worker = std::fs::read_to_string(programs::script("arena-worker.cjs")).expect("arena-worker.cjs");
    let ecosystem = format!(
        "module.exports = {{ apps: [{{ name: \"worker\", script: \"worker.cjs\", interpreter: \"{}\", exec_mode: \"fork\" }}] }};\n",
        options.runtime
    );
    let agent = format!(
        "environment = {{ ARENA_REDIS = \"$REDIS\", ARENA_QUEUE = \"{QUEUE}\", ARENA_CONCURRENCY = \"3\" }}\n\
         steps = [{{ name = \"link\", run = {link:?} }}, {{ name = \"start\", run = \"pm2 start ecosystem.config.js\" }}]\n\
         [drain]\nmargin = \"{}ms\"",
        options.shorten(10.0).as_millis(),
    );
    let steps = format!("[{{ jobs = 1, for = \"1s\", instances = {} }}]", options.instances);
    let most = options.instances + 4;
    World::start(Setup {
        files: vec![("worker.cjs", worker), ("ecosystem.config.js", ecosystem)],
        agent,
        environment: vec![
            ("QUEUE_NAMES", format!("{QUEUE},{BALLAST}")),
            ("EC2_SPOT_MAX_COUNT", most.to_string()),
            ("SPILLWAY_POOL_LAUNCHES_PER_TICK", most.to_string()),
            ("SPILLWAY_POOL_POLICY_STEPS", steps),
            ("SPILLWAY_POOL_POLICY_IDLE", idle.to_owned()),
        ],
        ..Setup::default()
    })
    .await
}

/// The machine that always works the queue, with room for all that is handed back.
fn primary(world: &World, options: Options) -> Process {
    let directory = world.directory.path().join("primary");
    std::fs::create_dir_all(directory.join("node_modules")).expect("a directory");
    let link = |name: &str, target: String| {
        let target = programs::script("node_modules").join(target);
        std::os::unix::fs::symlink(target, directory.join("node_modules").join(name)).expect("a link");
    };
    link("bullmq", format!("bullmq{}", options.bullmq));
    link("ioredis", "ioredis".to_owned());
    std::fs::copy(programs::script("arena-worker.cjs"), directory.join("worker.cjs")).expect("a copy");
    let mut worker = command(programs::program(options.runtime));
    worker.arg("worker.cjs").current_dir(&directory).env_remove("SPILLWAY_INSTANCE_ID");
    worker.env("ARENA_REDIS", world.redis.url()).env("ARENA_QUEUE", QUEUE).env("ARENA_CONCURRENCY", "40");
    worker.env("ON", "primary");
    Process::start("primary", &mut worker, &world.directory.path().join("primary.log"))
}

/// Adds jobs until the input that is given with it is dropped.
fn load(world: &World, options: Options, queue: &str, rate: f64) -> (Process, ChildStdin) {
    let mut node = command(programs::program("node"));
    let numbers = [rate, SHORTEST_MS / options.shortened, LONGEST_MS / options.shortened];
    node.arg(programs::script("arena-load.mjs")).args([&options.bullmq.to_string(), queue]);
    node.args(numbers.map(|number| number.to_string())).arg(options.seed.to_string());
    node.env("REDIS_URL", world.redis.url());
    Process::start_fed(&format!("load of {queue}"), &mut node, &world.directory.path().join(format!("{queue}.log")))
}

fn llen(world: &World, queue: &str) -> u64 {
    world.redis.ask(&["LLEN", &format!("bull:{queue}:wait")])
}

/// Numbers from a seed (xorshift).
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// From 0 up to 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}
