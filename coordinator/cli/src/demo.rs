//! `spillway demo`: the whole thing on this machine, without an AWS account. Real are Redis, BullMQ, bun, PM2, git, the
//! coordinator, the agents and the AWS SDK; EC2 and its metadata are the emulator's, and its instances are processes.
//!
//! - `stage`: sets everything up in a temporary directory, and leaves nothing behind; `app` is what the instances run
//! - `watch`: what happens, from the coordinator, the emulator and Redis (`jobs`), brought into the `model` and the
//!   `story`
//! - `screen`: a terminal shows the `frame` of the model; anything else gets `plain` lines
//! - `commands`: what a person may try meanwhile
//! - `score`: what it came to, and by `price` what it would have cost

mod app;
mod commands;
mod frame;
mod jobs;
mod model;
mod plain;
mod price;
mod score;
mod screen;
mod stage;
mod story;
mod watch;

use std::time::Duration;

use anyhow::bail;
use spillway_output::{errln, outln};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use commands::Commands;
use score::Score;
use screen::Screen;
use stage::Stage;
use watch::Watch;

/// What is one minute in the plan is this long here.
pub const MINUTE: Duration = Duration::from_secs(1);
/// EC2's two minutes of notice, shortened less than the rest: a job must have a chance to finish.
const NOTICE: Duration = Duration::from_secs(20);
/// Everything must be over by then.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(250);
const MAX_INSTANCES: u32 = 2;

/// What a person may choose.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How many jobs the flood has
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub jobs: u32,
    /// How long a job takes, in seconds
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = seconds)]
    pub job_seconds: f64,
    /// Interrupt one instance while it works on a job
    #[arg(long)]
    pub interrupt: bool,
    /// Stay until Ctrl-C, and show commands to try meanwhile
    #[arg(long)]
    pub keep: bool,
    /// Print the result as JSON in the last line
    #[arg(long)]
    pub json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=300.0).contains(&seconds) => Ok(seconds),
        _ => Err("write a number of seconds from 0 to 300".to_owned()),
    }
}

/// Runs the demo.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut stage = Stage::new()?;
    let mut screen = Screen::new(&options);
    let mut score = None;
    let played = tokio::select! {
        played = play(&options, &mut stage, &mut screen, &mut score) => played,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
        () = unread() => Ok(()),
    };
    screen.close();
    if played.is_ok() && score.is_none() {
        errln!("stopping: ending every process of the demo …");
    }
    if played.is_err() {
        // Before the directory goes: it is what tells why.
        stage.show_logs();
    }
    stage.end().await;
    played?;
    let Some(score) = score else { bail!("stopped before its end; nothing is left behind") };
    screen.result(&score);
    if options.json {
        outln!("{}", serde_json::to_string(&score)?);
    }
    score.verdict()
}

/// Until nobody reads what the demo says.
async fn unread() {
    while !spillway_output::is_unread() {
        tokio::time::sleep(POLL).await;
    }
}

/// `score` is there as soon as it is over: with `--keep` only a signal ends it.
async fn play(
    options: &Options,
    stage: &mut Stage,
    screen: &mut Screen,
    score: &mut Option<Score>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    stage.set_up(|step| screen.step(step)).await?;
    let mut watch = Watch::new(stage, options).await?;
    watch.until_it_decides(stage).await?;
    if options.keep {
        let commands = Commands::write(stage, options)?;
        screen.commands(&commands);
        watch.model.commands = Some(commands);
    }
    screen.step(&format!("flooding the queue with {} jobs of {} s", options.jobs, options.job_seconds));
    stage.flood(options.jobs, options.job_seconds).await?;
    watch.flooded();
    let mut over_at = None;
    loop {
        watch.observe(stage).await?;
        if options.interrupt && watch.interrupted.is_none() {
            watch.interrupt_a_busy_one(stage, NOTICE)?;
        }
        screen.draw(&watch);
        if watch.is_over() && over_at.is_none() {
            over_at = Some(Instant::now());
            watch.model.is_over = true;
            *score = Some(watch.score(began.elapsed()).await?);
            screen.say("the flood is worked off and the fleet is back at zero");
            if options.keep {
                screen.say("this stays until Ctrl-C");
            }
        }
        match over_at {
            Some(_) if !options.keep => return Ok(()),
            None if began.elapsed() > PATIENCE => bail!("not over after 10 minutes: see what is said above"),
            _ => {}
        }
        stage.check_children()?;
        tokio::time::sleep(POLL).await;
    }
}
