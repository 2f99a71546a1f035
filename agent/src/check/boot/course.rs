//! The boot itself, as `run` would make it: the same machine decides on retries, on crash loops and on the proof. Owns
//! what is said of it; stops nothing when it ends.

use std::pin::Pin;
use std::time::Duration;

use spillway_machine::{Action, Event, Failure, Machine, Missing, Phase};
use spillway_words::in_words;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::{Finding, State};
use super::Said;
use crate::boot::launcher::Launcher;
use crate::boot::{self, Attempt};
use crate::clock::Clock;
use crate::config::Config;
use crate::imds::Document;
use crate::report::Reporter;
use crate::shim::ShimUpdate;
use crate::worker::pm2::Pm2;
use crate::worker::{Observer, Pace, WorkerCheck};

/// A worker that is proven must stay so for this long: one that connects and then falls over is none.
const STAYS: Duration = Duration::from_secs(10);
/// As long as no instance lives: no coordinator will come, and nothing here powers off.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What is booted.
pub(super) struct Course<'a> {
    /// With the check's own Redis.
    pub config: &'a Config,
    pub launcher: &'a Launcher,
    pub pm2: &'a Pm2,
    pub document: &'a Document,
    /// How long the proof may take.
    pub within: Duration,
    /// Of the worker's processes; nothing comes where there is no shim.
    pub shims: mpsc::Receiver<ShimUpdate>,
    /// Why there is no shim.
    pub no_shim: Option<String>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// The worker was proven so long after the last step.
    Proven(Duration),
    /// A step failed, as was said.
    Step,
    /// The worker is not proven.
    NotProven(NotProven),
    /// The check was told to leave, by this.
    Interrupted(&'static str),
}

/// Why a worker is not proven.
#[derive(Debug, Default)]
pub(super) struct NotProven {
    /// What the proof lacks.
    pub problem: String,
    /// The end of the worker's own log, masked.
    pub log: String,
    /// A process of it runs.
    pub is_up: bool,
    /// Its Workers are connected to another Redis.
    pub is_elsewhere: bool,
}

enum Input {
    Step(usize, u32, Option<Attempt>),
    Checked(Box<WorkerCheck>),
}

impl Course<'_> {
    /// Runs the steps and waits for the proof, or until `shutdown`. Each step is said as it ends.
    pub(super) async fn run(
        mut self,
        observer: Observer,
        said: &mut Said<'_>,
        mut shutdown: Pin<&mut impl Future<Output = &'static str>>,
    ) -> End {
        let clock = Clock::start();
        let retries = self.config.boot.steps.iter().map(|step| step.retries).collect();
        let mut machine =
            Machine::new(spillway_machine::Config { orphan_after: FOREVER, ..spillway_machine::Config::new(retries) });
        machine.handle(clock.now(), Event::Identified);
        let mut reporter = Reporter::new(self.config, self.document);
        if let Some(why) = self.no_shim.take() {
            reporter.no_shim(why);
        }
        let (inputs, mut incoming) = mpsc::channel(8);
        let (abort, aborted) = watch::channel(false);
        let mut step: Option<JoinHandle<()>> = None;
        let mut observer = Some(observer);
        let mut checks: Option<Ends> = None;
        let (mut proving_since, mut ready_since) = (None, None);
        let mut last = WorkerCheck::default();
        loop {
            for action in machine.poll(clock.now()) {
                // There is no coordinator, and whoever runs this stops the worker.
                if let Action::RunStep { index, attempt } = action {
                    step = Some(self.start(index, attempt, aborted.clone(), inputs.clone()));
                }
            }
            match machine.phase() {
                Phase::Failed(Failure::Step { .. }) => return End::Step,
                Phase::Ready { lost_since: None, .. } => {
                    let since = *ready_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= STAYS {
                        reporter.heartbeat(&machine, clock).unprotected.iter().for_each(|it| said.warn("drain", it));
                        if let Some(problem) = reporter.problem(&machine, clock.now()) {
                            said.warn("boot worker", &problem);
                        }
                        return End::Proven(since - proving_since.unwrap_or(since));
                    }
                }
                Phase::Identifying | Phase::Booting { .. } => {}
                _ => ready_since = None,
            }
            let is_proving = !matches!(machine.phase(), Phase::Identifying | Phase::Booting { .. });
            if is_proving && let Some(observer) = observer.take() {
                proving_since = Some(Instant::now());
                checks = Some(Ends(tokio::spawn(watch_worker(observer, inputs.clone()))));
            }
            let is_elsewhere = is_proving && machine.missing(clock.now()) == Some(Missing::OtherRedis);
            let is_late = ready_since.is_none() && proving_since.is_some_and(|since| since.elapsed() >= self.within);
            if matches!(machine.phase(), Phase::Failed(_)) || is_elsewhere || is_late {
                drop(checks);
                let missing = reporter.heartbeat(&machine, clock).worker.map(|proof| proof.missing).unwrap_or_default();
                let late = format!(" (within {})", in_words(self.within));
                let problem = if is_late { missing + &late } else { missing };
                // One that crash-loops is up for moments.
                let is_up = is_late && last.observation.worker.as_ref().is_some_and(|worker| worker.processes > 0);
                return End::NotProven(NotProven { problem, log: last.log, is_up, is_elsewhere });
            }
            let mut next = machine.next_deadline(clock.now()).map_or(Instant::now() + STAYS, |at| clock.instant(at));
            let own = [ready_since.map(|at| at + STAYS), proving_since.map(|at| at + self.within)];
            // A limit that has passed is for a worker that is not ready.
            next = own.into_iter().flatten().filter(|at| *at > Instant::now()).fold(next, Ord::min);
            tokio::select! {
                Some(input) = incoming.recv() => match input {
                    Input::Step(index, attempt, Some(ended)) => {
                        step = None;
                        self.step_ended(index, attempt, &ended, said);
                        machine.handle(clock.now(), Event::StepFinished { index, outcome: ended.outcome() });
                    }
                    Input::Step(_, _, None) => {}
                    Input::Checked(check) => {
                        last = (*check).clone();
                        machine.handle(clock.now(), Event::Observed(check.observation.clone()));
                        reporter.worker_checked(*check);
                    }
                },
                Some(update) = self.shims.recv() => match update {
                    ShimUpdate::Event(event) => machine.handle(clock.now(), event),
                    ShimUpdate::Seen(seen) => {
                        machine.handle(clock.now(), Event::ShimsSeen(seen.processes.clone()));
                        reporter.shims_seen(seen);
                    }
                },
                () = sleep_until(next) => {}
                why = &mut shutdown => {
                    abort.send_replace(true);
                    if let Some(step) = step {
                        // Until nothing of it is left.
                        let _ = step.await;
                    }
                    return End::Interrupted(why);
                }
            }
        }
    }

    fn start(
        &self,
        index: usize,
        attempt: u32,
        aborted: watch::Receiver<bool>,
        inputs: mpsc::Sender<Input>,
    ) -> JoinHandle<()> {
        let (launcher, step) = (self.launcher.clone(), self.config.boot.steps[index].clone());
        tokio::spawn(async move {
            let ended = boot::attempt(&launcher, &step, aborted).await;
            let _ = inputs.send(Input::Step(index, attempt, ended)).await;
        })
    }

    fn step_ended(&self, index: usize, attempt: u32, ended: &Attempt, said: &mut Said<'_>) {
        let step = &self.config.boot.steps[index];
        let what = format!("boot step {}", step.name);
        let time = format!("{:.1} s", ended.took.as_secs_f64());
        let Some(problem) = &ended.problem else {
            return said.say(Finding::new(what, State::Ok, time).took(ended.took));
        };
        let foreign = self.pm2.foreign_daemon().map(|foreign| format!("; {foreign}")).unwrap_or_default();
        let (state, again) = match step.retries.checked_sub(attempt) {
            Some(_) => (State::Warning, "; trying again"),
            None => (State::Failed, ""),
        };
        let tail = indented("its output ends with", &self.config.mask.mask(&ended.tail));
        let detail = format!("attempt {attempt}: {problem}{foreign} after {time}{again}{tail}");
        said.say(Finding::new(what, state, detail).took(ended.took));
    }
}

/// Text of another program below a finding, each line by itself.
pub(super) fn indented(title: &str, text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    let lines: String = text.trim_end().lines().map(|line| format!("\n    {line}")).collect();
    format!("; {title}:{lines}")
}

/// A task that ends with it.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn watch_worker(mut observer: Observer, inputs: mpsc::Sender<Input>) {
    loop {
        let check = observer.check(Pace::Proving).await;
        if inputs.send(Input::Checked(Box::new(check))).await.is_err() {
            return;
        }
        sleep(Pace::Proving.interval()).await;
    }
}
