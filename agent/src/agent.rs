//! The loop between the machine and its surroundings. Owns the order: inputs become events of the machine, and its
//! actions are performed; never decides anything itself.

mod act;
mod checker;
mod inputs;

use std::pin::pin;
use std::time::Duration;

use spillway_machine::{Event, Machine, Phase, Timestamp};
use spillway_proto::v1::SessionRequest;
use spillway_proto::v1::session_request::Message;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch as latest};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::boot::account::AccountError;
use crate::boot::launcher::Launcher;
use crate::boot::{Attempt, process};
use crate::clock::Clock;
use crate::config::Config;
use crate::identity::{self, Origin};
use crate::imds::poll::{self, ReadNotice, Seen};
use crate::imds::{Document, ImdsError};
use crate::lockfile;
use crate::report::{FlightRecord, Reporter};
use crate::saved::SavedState;
use crate::session::messages::{envelope, farewell, phase};
use crate::session::{Here, Inbound, Registered, SessionError};
use crate::shim::{InstallError, Installed, Place, ShimUpdate, Shims};
use crate::tls::Address;
use crate::worker::clients::WorkerIdentity;
use crate::worker::evidence::Redis;
use crate::worker::pm2::Pm2;
use crate::worker::{Baseline, Observer, Pace, WorkerCheck};
use checker::Schedule;

/// Notices that are kept for the next session.
const NOTICES_KEPT: usize = 32;
/// The farewell must be on its way within it.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of heartbeats until the coordinator sets another.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(5);

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration names a user that steps cannot run as.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// There is no way to learn who this instance is.
    #[error("AWS_EC2_METADATA_DISABLED is set, so the instance id is unknown: unset it, or set SPILLWAY_INSTANCE_ID")]
    NoIdentity,
    /// No client for the metadata service.
    #[error("cannot create a client for the instance metadata service")]
    Imds(#[source] ImdsError),
}

/// An input of the loop.
#[derive(Debug)]
enum Input {
    Machine(Event),
    Registered(Registered),
    NotRegistered(SessionError),
    Inbound(u64, Inbound),
    SessionEnded(u64, SessionError),
    /// `None`: it was aborted, as the machine knows.
    StepEnded(usize, u32, Option<Attempt>),
    Outlook(Seen),
    WorkerChecked(u64, Box<WorkerCheck>),
    Commit(String),
    Lockfile(Option<String>),
    Shim(ShimUpdate),
}

/// A session under way.
#[derive(Debug)]
struct Open {
    number: u64,
    outbound: mpsc::Sender<SessionRequest>,
    task: JoinHandle<()>,
    welcomed: bool,
}

/// A step under way.
#[derive(Debug)]
struct Running {
    abort: latest::Sender<bool>,
    task: JoinHandle<()>,
}

struct Agent {
    config: Config,
    clock: Clock,
    document: Document,
    launcher: Launcher,
    pm2: Pm2,
    redis: Redis,
    saved: SavedState,
    machine: Machine,
    inputs: mpsc::Sender<Input>,
    /// Never kept over a restart: whoever comes back proves itself anew.
    registration: Option<Registered>,
    origin: Origin,
    here: Here,
    /// The leader's address, as a standby reported it: tried next, and dropped when that fails.
    leader: Option<Address>,
    sessions: u64,
    session: Option<Open>,
    step: Option<Running>,
    /// The worker is being started again, as after a cancelled drain.
    start: Option<JoinHandle<()>>,
    kill: latest::Sender<bool>,
    schedule: latest::Sender<Schedule>,
    flight: FlightRecord,
    /// With when EC2 takes the instance, by an interruption notice.
    notices: Vec<(ReadNotice, Option<Timestamp>)>,
    reporter: Reporter,
    shims: Shims,
    /// When a job last caused a heartbeat.
    beat_for_jobs: Instant,
}

/// Runs the agent until `shutdown`; the worker then goes on without it.
pub async fn run(
    config: Config,
    origin: Origin,
    shutdown: impl Future<Output = &'static str>,
) -> Result<(), AgentError> {
    let mut shutdown = pin!(shutdown);
    let mut imds = origin.imds().map_err(AgentError::Imds)?;
    let document = match (&mut imds, &origin) {
        (Some(imds), _) => tokio::select! {
            document = identity::learn(imds) => document,
            _ = &mut shutdown => return Ok(()),
        },
        (None, Origin::Given(name)) => Document { instance_id: name.clone(), ..Document::default() },
        (None, _) => return Err(AgentError::NoIdentity),
    };
    let instance = &document.instance_id;
    tracing::info!(instance, image = document.image_id, kind = document.instance_type, "identified");

    let (inputs, mut incoming) = mpsc::channel(64);
    if let Some(imds) = imds {
        let (seen, mut notices) = mpsc::channel(8);
        tokio::spawn(poll::poll(imds, config.imds_interval, seen));
        let inputs = inputs.clone();
        tokio::spawn(async move {
            while let Some(seen) = notices.recv().await {
                if inputs.send(Input::Outlook(seen)).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut agent = Agent::new(config, document, origin, inputs).await?;
    agent.take(Input::Machine(Event::Identified));
    let mut beat = interval(DEFAULT_HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reason = loop {
        agent.perform_actions();
        if let Some(registration) =
            agent.registration.as_ref().filter(|registration| registration.heartbeat_interval != beat.period())
        {
            beat = interval(registration.heartbeat_interval);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let deadline = agent.machine.next_deadline(agent.clock.now()).map(|at| agent.clock.instant(at));
        tokio::select! {
            Some(input) = incoming.recv() => agent.take(input),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
            _ = beat.tick() => agent.beat(),
            reason = &mut shutdown => break reason,
        }
    };
    agent.leave(reason).await;
    Ok(())
}

impl Agent {
    async fn new(
        config: Config,
        document: Document,
        origin: Origin,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self, AgentError> {
        let clock = Clock::start();
        let mut launcher = Launcher::new(&config.boot, &document.instance_id, std::env::vars_os())?;
        let mut reporter = Reporter::new(&config, &document);
        let shims = match install(&config, &mut launcher) {
            Ok((place, listener)) => {
                let (updates, mut received) = mpsc::channel(64);
                let inputs = inputs.clone();
                tokio::spawn(async move {
                    while let Some(update) = received.recv().await {
                        if inputs.send(Input::Shim(update)).await.is_err() {
                            return;
                        }
                    }
                });
                let of = Place { prefix: config.worker.prefix.clone(), queues: config.worker.queues.clone() };
                Shims::listen(&place, listener, clock, of, updates)
            }
            Err(why) => {
                tracing::warn!(reason = why, "the worker runs without the shim");
                reporter.no_shim(why);
                Shims::none()
            }
        };
        let pm2 = Pm2::new(launcher.clone(), config.worker.processes.clone());
        let redis = Redis::new(&config, WorkerIdentity::new(&document.instance_id, &document.private_ip));
        let saved = SavedState::new(&config.state_directory, &document.instance_id);
        let (first_step, baseline) = begin(&pm2, &saved, &config).await;
        let here = Here::new(&document.private_ip, saved.boot_id());
        let settings = spillway_machine::Config {
            first_step,
            drain_margin: config.drain.margin,
            drain_signal: config.drain.signal,
            orphan_after: config.orphan_after,
            max_life: config.max_life,
            age: document.age(),
            seed: seed(&document.instance_id),
            ..spillway_machine::Config::new(config.boot.steps.iter().map(|step| step.retries).collect())
        };
        let schedule = Schedule { pace: Pace::Off, generation: 0, is_starting: false, baseline: baseline.clone() };
        let (schedule, schedules) = latest::channel(schedule);
        let observer = Observer::new(pm2.clone(), redis.clone(), clock, config.mask.clone(), baseline);
        tokio::spawn(checker::run(observer, schedules, inputs.clone()));
        Ok(Self {
            reporter,
            shims,
            beat_for_jobs: Instant::now(),
            flight: FlightRecord::new(config.boot.steps.len()),
            machine: Machine::new(settings),
            leader: None,
            sessions: 0,
            session: None,
            step: None,
            start: None,
            kill: latest::Sender::new(false),
            notices: Vec::new(),
            config,
            clock,
            document,
            launcher,
            pm2,
            redis,
            saved,
            inputs,
            registration: None,
            origin,
            here,
            schedule,
        })
    }

    /// The coordinator to connect to next.
    fn coordinator(&self) -> Address {
        self.leader.clone().unwrap_or_else(|| self.config.coordinator.clone())
    }

    /// A registration or a session failed.
    fn session_failed(&mut self, error: &SessionError) {
        self.leader = error.leader().and_then(|address| self.config.coordinator.of_leader(address));
        if let Some(leader) = &self.leader {
            tracing::info!(%leader, "another coordinator is the leader: trying that one next");
        }
    }

    fn handle(&mut self, event: Event) {
        let before = phase(self.machine.phase());
        self.machine.handle(self.clock.now(), event);
        self.phase_may_have_changed(before);
    }

    /// Sends the farewell, and leaves nothing running but the worker.
    async fn leave(&mut self, reason: &'static str) {
        tracing::info!(reason, "the agent stops; the worker keeps running");
        if let Some(step) = self.step.take() {
            step.abort.send_replace(true);
            let _ = timeout(Duration::from_secs(5), step.task).await;
        }
        self.send(Message::Farewell(farewell(reason)));
        if let Some(session) = self.session.take() {
            drop(session.outbound);
            // The stream ends once the coordinator has read it.
            tokio::select! { _ = session.task => {} () = sleep(FAREWELL_TIMEOUT) => {} }
        }
    }

    fn send(&mut self, message: Message) {
        let Some(session) = self.session.as_ref().filter(|session| session.welcomed) else { return };
        if session.outbound.try_send(envelope(message)).is_err() {
            // It reads too slowly, or is disconnected: the next session repeats what it missed.
            session.task.abort();
            let number = session.number;
            let inputs = self.inputs.clone();
            tokio::spawn(async move {
                let status = tonic::Status::unavailable("it does not read its messages");
                let _ = inputs.send(Input::SessionEnded(number, SessionError::Unavailable(status))).await;
            });
        }
    }

    fn record(&mut self, step: spillway_proto::v1::BootStep) {
        let connected = self.session.as_ref().is_some_and(|session| session.welcomed);
        self.flight.record(step.clone(), connected);
        self.send(Message::BootStep(step));
    }

    fn beat(&mut self) {
        let beat = self.reporter.heartbeat(&self.machine, self.clock);
        self.send(Message::Heartbeat(beat));
    }

    fn phase_may_have_changed(&mut self, before: spillway_proto::v1::AgentPhase) {
        let after = phase(self.machine.phase());
        if before == after {
            return;
        }
        let problem = self.reporter.problem(&self.machine, self.clock.now());
        tracing::info!(from = before.as_str_name(), to = after.as_str_name(), problem, "phase changed");
        let pace = match self.machine.phase() {
            Phase::Identifying | Phase::Booting { .. } | Phase::Drained(_) | Phase::Failed(_) => Pace::Off,
            Phase::Proving => Pace::Proving,
            Phase::Ready { .. } => Pace::Ready,
            Phase::Draining(_) => Pace::Draining,
        };
        self.schedule.send_modify(|schedule| schedule.pace = pace);
        if matches!(self.machine.phase(), Phase::Proving) {
            self.read_commit();
            self.read_lockfile();
        }
    }

    fn read_commit(&self) {
        let directory = format!("safe.directory={}", self.launcher.directory().display());
        let command = self.launcher.program("git", ["-c", &directory, "rev-parse", "HEAD"]);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            match process::output(command, Duration::from_secs(10)).await {
                Ok(commit) => drop(inputs.send(Input::Commit(commit.trim().to_owned())).await),
                Err(problem) => tracing::debug!(problem, "cannot read the application's git commit"),
            }
        });
    }

    fn read_lockfile(&self) {
        let (directory, inputs) = (self.launcher.directory().to_owned(), self.inputs.clone());
        tokio::spawn(async move {
            match tokio::task::spawn_blocking(move || lockfile::hash(&directory)).await {
                Ok(Ok(hash)) => drop(inputs.send(Input::Lockfile(hash)).await),
                Ok(Err(error)) => tracing::debug!(problem = %error, "cannot read the application's lockfile"),
                Err(error) => tracing::debug!(problem = %error, "the lockfile was not read"),
            }
        });
    }
}

/// Puts the shim in place and into the environment of all that is started; else returns why there is none.
pub(crate) fn install(config: &Config, launcher: &mut Launcher) -> Result<(Installed, UnixListener), String> {
    if !config.worker.shim {
        return Err("worker.shim is false: jobs that cannot finish in time are killed, then handed back by the agent"
            .to_owned());
    }
    let (place, listener) =
        Installed::install(&config.state_directory, launcher.account()).map_err(|error| match &error {
            InstallError::File(_, source) => format!("{error}: {source}"),
            InstallError::Unusable(_) => error.to_string(),
        })?;
    launcher.preload(&place);
    Ok((place, listener))
}

/// Where to begin: an agent before this one may have booted the worker, which then must not be started again in the
/// middle of a job.
async fn begin(pm2: &Pm2, saved: &SavedState, config: &Config) -> (usize, Baseline) {
    let before = match pm2.daemon() {
        None => Some(Vec::new()),
        Some(_) => pm2.list().await.ok(),
    };
    let done = saved.steps_done(&config.boot.steps);
    let ids: Vec<u32> = before.iter().flatten().map(|process| process.id).collect();
    // Where PM2 runs but gives no list, the worker may well run: better not to start it again.
    let is_there = before.is_none_or(|processes| !processes.is_empty());
    if done == 0 || !is_there {
        return (0, Baseline::Boot(ids));
    }
    tracing::info!(steps_done = done, "an earlier agent booted the worker: resuming after its last boot step");
    if done == config.boot.steps.len() { (done, Baseline::Now) } else { (done, Baseline::Boot(ids)) }
}

/// Another for each instance, the same after a restart (FNV-1a).
fn seed(instance_id: &str) -> u64 {
    instance_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
