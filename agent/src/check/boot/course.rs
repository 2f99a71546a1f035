//! The boot itself, as `run` would make it: the same machine decides on retries, on crash loops and on the proof. Owns
//! what is said of it; stops nothing when it ends.

use std::pin::Pin;
use std::time::Duration;

use spillway_machine::{Action, Event, Failure, Machine, Missing, Phase, Server, ShimProcess};
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
use crate::shim::{ShimUpdate, Shims};
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
    /// The worker's processes, fenced from their start.
    pub shims: Shims,
    /// What changes in them; nothing comes where there is no shim.
    pub updates: mpsc::Receiver<ShimUpdate>,
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
        let (inputs, mut incoming) = mpsc::channel(8);
        let (abort, aborted) = watch::channel(false);
        let (mut step, mut observer, mut _checks) = (None, Some(observer), None);
        let mut boot = Boot::new(&mut self);
        loop {
            for action in boot.machine.poll(boot.clock.now()) {
                // There is no coordinator, and whoever runs this stops the worker.
                if let Action::RunStep { index, attempt } = action {
                    step = Some(boot.course.start(index, attempt, aborted.clone(), inputs.clone()));
                }
            }
            boot.note_times();
            if boot.proving_since.is_some()
                && let Some(observer) = observer.take()
            {
                _checks = Some(Ends(tokio::spawn(watch_worker(observer, inputs.clone()))));
            }
            if let Some(end) = boot.end() {
                boot.say_limits(&end, said);
                return end;
            }
            let next = boot.next();
            tokio::select! {
                Some(input) = incoming.recv() => boot.take(input, said),
                Some(update) = boot.course.updates.recv() => boot.shims_changed(update),
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
}

/// A boot under way.
struct Boot<'a, 'b> {
    course: &'a mut Course<'b>,
    clock: Clock,
    machine: Machine,
    reporter: Reporter,
    last: WorkerCheck,
    /// As the shims report them.
    processes: Vec<ShimProcess>,
    is_fenced: bool,
    proving_since: Option<Instant>,
    ready_since: Option<Instant>,
}

impl<'a, 'b> Boot<'a, 'b> {
    fn new(course: &'a mut Course<'b>) -> Self {
        let clock = Clock::start();
        let retries = course.config.boot.steps.iter().map(|step| step.retries).collect();
        let settings = spillway_machine::Config { orphan_after: FOREVER, ..spillway_machine::Config::new(retries) };
        let mut machine = Machine::new(settings);
        machine.handle(clock.now(), Event::Identified);
        let mut reporter = Reporter::new(course.config, course.document);
        if let Some(why) = course.no_shim.take() {
            reporter.no_shim(why);
        }
        Self {
            course,
            clock,
            machine,
            reporter,
            last: WorkerCheck::default(),
            processes: Vec::new(),
            is_fenced: true,
            proving_since: None,
            ready_since: None,
        }
    }

    fn note_times(&mut self) {
        match self.machine.phase() {
            Phase::Identifying | Phase::Booting { .. } => return,
            Phase::Ready { lost_since: None, .. } => self.ready_since = self.ready_since.or(Some(Instant::now())),
            _ => self.ready_since = None,
        }
        self.proving_since = self.proving_since.or(Some(Instant::now()));
    }

    fn end(&mut self) -> Option<End> {
        if matches!(self.machine.phase(), Phase::Failed(Failure::Step { .. })) {
            return Some(End::Step);
        }
        let proving_since = self.proving_since?;
        if let Some(since) = self.ready_since.filter(|since| since.elapsed() >= STAYS) {
            return Some(End::Proven(since - proving_since));
        }
        let is_elsewhere = self.machine.missing(self.clock.now()) == Some(Missing::OtherRedis);
        let is_late = self.ready_since.is_none() && proving_since.elapsed() >= self.course.within;
        if !matches!(self.machine.phase(), Phase::Failed(_)) && !is_elsewhere && !is_late {
            return None;
        }
        let proof = self.reporter.heartbeat(&self.machine, self.clock).worker.unwrap_or_default();
        let held = match (is_elsewhere, self.is_fenced) {
            (true, true) => ". It was fenced from its start, so that it took no job there",
            (true, false) => ". It may have taken a job there",
            (false, _) => "",
        };
        let late = if is_late { format!(" (after {})", in_words(self.course.within)) } else { String::new() };
        Some(End::NotProven(NotProven {
            problem: proof.missing + held + &late,
            log: self.last.log.clone(),
            // One that crash-loops is up for moments.
            is_up: is_late && self.last.observation.worker.as_ref().is_some_and(|worker| worker.processes > 0),
            is_elsewhere,
        }))
    }

    /// What a worker that is proven lacks all the same.
    fn say_limits(&mut self, end: &End, said: &mut Said<'_>) {
        if matches!(end, End::Proven(_)) {
            let beat = self.reporter.heartbeat(&self.machine, self.clock);
            beat.unprotected.iter().for_each(|words| said.warn("drain", words));
            if let Some(problem) = self.reporter.problem(&self.machine, self.clock.now()) {
                said.warn("boot worker", &problem);
            }
        }
    }

    /// When to look again, if nothing comes before.
    fn next(&self) -> Instant {
        let own = [self.ready_since.map(|at| at + STAYS), self.proving_since.map(|at| at + self.course.within)];
        let of_machine = self.machine.next_deadline(self.clock.now()).map(|at| self.clock.instant(at));
        // A limit that has passed is for a worker that is not ready.
        let own = own.into_iter().flatten().filter(|at| *at > Instant::now());
        own.chain(of_machine).fold(Instant::now() + STAYS, Ord::min)
    }

    fn take(&mut self, input: Input, said: &mut Said<'_>) {
        match input {
            Input::Step(index, attempt, Some(ended)) => {
                self.say_step(index, attempt, &ended, said);
                self.handle(Event::StepFinished { index, outcome: ended.outcome() });
            }
            Input::Step(_, _, None) => {}
            Input::Checked(check) => {
                self.handle(Event::Observed(check.observation.clone()));
                self.last = (*check).clone();
                self.reporter.worker_checked(*check);
                self.lift_fence();
            }
        }
    }

    fn shims_changed(&mut self, update: ShimUpdate) {
        match update {
            ShimUpdate::Event(event) => self.handle(event),
            ShimUpdate::Seen(seen) => {
                self.processes.clone_from(&seen.processes);
                self.handle(Event::ShimsSeen(seen.processes.clone()));
                self.reporter.shims_seen(seen);
                self.lift_fence();
            }
        }
    }

    fn handle(&mut self, event: Event) {
        self.machine.handle(self.clock.now(), event);
    }

    /// The worker may look for jobs once it is connected to the check's own Redis, and to no other that is known.
    fn lift_fence(&mut self) {
        let Some(own) = self.last.observation.server.as_ref().filter(|_| self.is_fenced) else { return };
        let servers: Vec<Option<&Server>> =
            self.processes.iter().flat_map(|it| &it.workers).map(|worker| worker.server.as_ref()).collect();
        let is_elsewhere = servers.iter().flatten().any(|server| *server != own);
        let is_here = !servers.is_empty() && servers.iter().all(Option::is_some);
        let is_seen = self.last.observation.evidence.as_ref().is_some_and(|evidence| evidence.connections > 0);
        if !is_elsewhere && (is_here || is_seen) {
            self.is_fenced = false;
            self.course.shims.fence(false);
        }
    }

    fn say_step(&self, index: usize, attempt: u32, ended: &Attempt, said: &mut Said<'_>) {
        let (step, mask) = (&self.course.config.boot.steps[index], &self.course.config.mask);
        let what = format!("boot step {}", step.name);
        let time = format!("{:.1} s", ended.took.as_secs_f64());
        let Some(problem) = &ended.problem else {
            return said.say(Finding::new(what, State::Ok, time).took(ended.took));
        };
        let foreign = self.course.pm2.foreign_daemon().map(|foreign| format!("; {foreign}")).unwrap_or_default();
        let (state, again) = match step.retries.checked_sub(attempt) {
            Some(_) => (State::Warning, "; trying again"),
            None => (State::Failed, ""),
        };
        let tail = indented("its output ends with", &mask.mask(&ended.tail));
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
