//! `spillway gameday`: interrupts one instance as EC2 would, and reports what became of its jobs.
//!
//! - `target`: which instance, and what it holds
//! - `interrupt`: EC2's emulator interrupts it where there is one; else its agent behaves as if EC2 had given notice
//! - `follow`: BullMQ's own events of its jobs, and the fleet, until all is settled
//! - `score`: what it came to

mod follow;
mod interrupt;
mod score;
mod target;

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use spillway_console::client::{Address, Coordinator, connect};
use spillway_coordinator::config::{self, Needs};
use spillway_coordinator::redis_client::Redis;
use spillway_output::{errln, out, outln};
use spillway_words::in_words;

use follow::Follow;
use score::Score;
use target::Target;

/// What a person may choose.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Instance to interrupt [default: the ready one with the most jobs]
    #[arg(long, value_name = "ID")]
    pub instance: Option<String>,
    /// Interruption notice; 0s (none at all) works with the emulator only
    #[arg(long, value_name = "SPAN", default_value = "120s", value_parser = humantime::parse_duration)]
    pub notice: Duration,
    /// How long to wait for an instance with a running job
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = humantime::parse_duration)]
    pub wait: Duration,
}

/// A running coordinator, and BullMQ's Redis.
#[derive(Debug)]
struct Scene {
    coordinator: Coordinator,
    redis: Redis,
    settings: config::Settings,
    /// Says what happens, where a person looks on.
    says: bool,
}

impl Scene {
    fn say(&self, what: &str) {
        if self.says {
            outln!("{what}");
        }
    }

    /// Also beside JSON.
    fn warn(&self, what: &str) {
        errln!("warning: {what}");
    }
}

/// Runs it; an error where a job was lost.
pub async fn run(file: Option<&Path>, server: &Address, options: Options, as_json: bool) -> anyhow::Result<()> {
    let settings = config::load(file, &config::process_environment(), Needs::Queues)?;
    let redis = Redis::new("redis.url", &settings.redis_url)?;
    let coordinator = connect(server).await?;
    let mut scene = Scene { coordinator, redis, settings, says: !as_json };
    let target = Target::choose(&mut scene, &options).await?;
    let way = interrupt::way(&scene, &target, options.notice).await?;
    scene.say(&format!(
        "{} of pool {} holds {} {}: {} with {} of notice",
        target.instance,
        target.pool,
        target.jobs.len(),
        if target.jobs.len() == 1 { "job" } else { "jobs" },
        way.in_words(),
        in_words(options.notice)
    ));
    let mut follow = Follow::new(&target);
    interrupt::interrupt(&mut scene, &way, &target, options.notice).await?;
    let score = follow.until_settled(&mut scene, options.notice, &way).await?;
    show(&score, as_json)?;
    score.verdict()
}

fn show(score: &Score, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        outln!("{}", serde_json::to_string(score).context("the score is no JSON")?);
    } else {
        if std::io::stdout().is_terminal() {
            outln!();
        }
        out!("{}", score.in_lines());
    }
    Ok(())
}
