//! `spillway-agent check --boot`: boots the worker on an instance that is thrown away afterwards, with a Redis of the
//! check's own in place of the real one, which is made unreachable meanwhile. Owns the order, and that nothing of the
//! check is left running; the proof is the one of `run`.

mod alone;
mod course;
mod environment;
mod guard;
mod server;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::{Finding, Findings, State};
use crate::boot::launcher::Launcher;
use crate::clock::Clock;
use crate::config::{Config, RedisUrl};
use crate::identity::Origin;
use crate::imds::Document;
use crate::secret::Secret;
use crate::shim::{Place, ShimUpdate, Shims};
use crate::worker::clients::WorkerIdentity;
use crate::worker::evidence::Redis;
use crate::worker::pm2::Pm2;
use crate::worker::proc::{self, ProcessId};
use crate::worker::{Baseline, Observer, stop};
use course::{Course, End, NotProven, indented};
use guard::Guard;
use server::Server;

/// In the environment of all that the check starts, by which it finds it again. An application may look at it, too.
const MARK: &str = "SPILLWAY_BOOT_CHECK";
/// For the worker to stop by itself: it has no job.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// For what was killed to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What was found, each told to somebody at once.
struct Said<'a> {
    found: Vec<Finding>,
    to: &'a mut dyn FnMut(&Finding),
}

impl Said<'_> {
    fn say(&mut self, finding: Finding) {
        (self.to)(&finding);
        self.found.push(finding);
    }

    fn ok(&mut self, what: &str, detail: &str) {
        self.say(Finding::new(what, State::Ok, detail));
    }

    fn warn(&mut self, what: &str, detail: &str) {
        self.say(Finding::new(what, State::Warning, detail));
    }

    fn failed(&mut self, what: &str, detail: &str) {
        self.say(Finding::new(what, State::Failed, detail));
    }
}

/// What a boot check is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration is.
    pub path: PathBuf,
    /// How long the worker may take to be proven once the boot steps are done.
    pub within: Duration,
}

/// Boots the worker and says how it went: each finding as it comes, and all of them at the end. Needs root, since it
/// makes the real Redis unreachable. Ends early at `shutdown`.
pub async fn boot(
    config: &Config,
    origin: &Origin,
    options: &Options,
    shutdown: impl Future<Output = &'static str>,
    said: &mut dyn FnMut(&Finding),
) -> Vec<Finding> {
    let mut said = Said { found: Vec::new(), to: said };
    // What is wrong with it, the check says that was made before.
    let document = super::identity(&mut Findings::default(), origin).await;
    if let Err((what, problem)) = try_boot(config, &document, options, shutdown, &mut said).await {
        said.failed(what, &format!("{problem}. No boot step was run"));
    }
    said.found
}

/// The error is what kept it from running any step.
async fn try_boot(
    config: &Config,
    document: &Document,
    options: &Options,
    shutdown: impl Future<Output = &'static str>,
    said: &mut Said<'_>,
) -> Result<(), (&'static str, String)> {
    let mark = format!("{}-{}", std::process::id(), seconds());
    let mut config = config.clone();
    config.boot.environment.insert(MARK.to_owned(), mark.clone());
    let launcher = |config: &Config| {
        let launcher = Launcher::new(&config.boot, &document.instance_id, std::env::vars_os());
        launcher.map_err(|error| ("boot worker", error.to_string()))
    };
    let first = launcher(&config)?;
    // Of all that PM2 runs, whatever worker.process names: all of it is stopped at the end.
    let pm2 = Pm2::new(first.clone(), Vec::new());
    alone::nothing_runs(&config, &options.path, &pm2).await.map_err(|problem| ("boot worker", problem))?;
    let had_daemon = pm2.daemon().is_some();

    let like = application_redis(&config);
    let started = Server::start(&first, &config.state_directory, &like).await;
    let mut server = started.map_err(|problem| ("boot redis", config.mask.mask(&problem)))?;
    let paused = server.pause(&config.worker.prefix, &config.worker.queues).await;
    paused.map_err(|problem| ("boot redis", problem))?;
    said.ok("boot redis", &format!("the worker is given {} instead of {like}", server.url));

    let real: Vec<environment::Place> = [&like, &config.redis].into_iter().filter_map(environment::Place::of).collect();
    let mut guard = Guard::raise(&real).await.map_err(|problem| ("boot guard", problem))?;
    let blocked = guard.addresses();
    said.ok("boot guard", &guarded(&blocked, &like));

    replace_redis(&mut config, &real, &server);
    let mut launcher = launcher(&config)?;
    let (shims, mark_of_fence, updates, no_shim) = load_shim(&config, &mut launcher);
    let pm2 = Pm2::new(launcher.clone(), Vec::new());
    let before = server.connections().await;
    let course = Course {
        config: &config,
        launcher: &launcher,
        pm2: &pm2,
        document,
        within: options.within,
        shims: shims.clone(),
        updates,
        no_shim,
    };
    let ended = course.run(observer(&config, &launcher, document).await, said, pin!(shutdown)).await;
    let connections = server.connections().await;
    // Of the connections one is the observer's.
    let was_connected = before.zip(connections).is_none_or(|(before, after)| after > before + 1);
    conclude(said, ended, was_connected, &blocked);

    let left = clean_up(&pm2, &document.instance_id, had_daemon, &mark, server).await;
    drop((shims, mark_of_fence));
    if !left.is_empty() {
        said.failed("boot worker", &format!("still running in spite of SIGKILL: processes {}", left.join(", ")));
    }
    if let Err(problem) = guard.remove() {
        said.failed("boot guard", &format!("the real Redis stays unreachable from here: {problem}"));
    }
    Ok(())
}

fn guarded(blocked: &str, real: &RedisUrl) -> String {
    match blocked {
        "" => format!("nothing to guard: {real} is this machine's own, and nothing answers there"),
        _ => format!("{blocked} cannot be reached from here until the check ends"),
    }
}

/// The Redis of the application, by its own account: the agent may have another one.
fn application_redis(config: &Config) -> RedisUrl {
    let of_application = config.application.get("REDIS_URL").map(Secret::expose);
    of_application.and_then(|url| RedisUrl::parse(url).ok()).unwrap_or_else(|| config.redis.clone())
}

/// Puts the check's own Redis in place of the real one, for the agent and for all that the boot steps start.
fn replace_redis(config: &mut Config, real: &[environment::Place], server: &Server) {
    let inherited: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let pairs = |name: &String, value: &str| (name.clone(), value.to_owned());
    let mut known: std::collections::BTreeMap<String, String> = inherited.into_iter().collect();
    known.extend(config.application.iter().map(|(name, value)| pairs(name, value.expose())));
    known.extend(config.boot.environment.iter().map(|(name, value)| pairs(name, value)));
    let variables = known.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let replaced = environment::replaced(variables, real, server.port);
    config.boot.environment.extend(replaced);
    let like = application_redis(config);
    let url = config.boot.environment.entry("REDIS_URL".to_owned()).or_default();
    if RedisUrl::parse(url).ok().as_ref().and_then(environment::Place::of).is_none_or(|it| it.port != server.port) {
        *url = environment::own_url(&like, server.port);
    }
    config.redis = server.url.clone();
}

/// The file that fences a process which starts, in good time before the first of them, and until all have ended.
struct FenceMark(PathBuf);

impl Drop for FenceMark {
    fn drop(&mut self) {
        // It is gone once the fence was lifted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// As `run` loads it, and fenced from the start: a Worker that finds another Redis takes no job there. With what
/// changes in the processes, and why there is no shim.
fn load_shim(
    config: &Config,
    launcher: &mut Launcher,
) -> (Shims, Option<FenceMark>, mpsc::Receiver<ShimUpdate>, Option<String>) {
    let (updates, received) = mpsc::channel(64);
    match crate::agent::install(config, launcher) {
        Ok((place, listener)) => {
            let mark = FenceMark(place.mark());
            if let Err(error) = std::fs::write(&mark.0, "") {
                tracing::warn!(problem = %error, "cannot fence the worker before it starts: it is fenced once it has connected");
            }
            let of = Place { prefix: config.worker.prefix.clone(), queues: config.worker.queues.clone() };
            let shims = Shims::listen(&place, listener, Clock::start(), of, updates);
            shims.fence(true);
            (shims, Some(mark), received, None)
        }
        Err(why) => (Shims::none(), None, received, Some(why)),
    }
}

/// Everybody who connects to the check's own Redis as a Worker does so from this machine.
async fn observer(config: &Config, launcher: &Launcher, document: &Document) -> Observer {
    let pm2 = Pm2::new(launcher.clone(), config.worker.processes.clone());
    let known = pm2.list().await.unwrap_or_default().iter().map(|process| process.id).collect();
    let who =
        WorkerIdentity { instance_id: document.instance_id.clone(), address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)) };
    Observer::new(pm2, Redis::new(config, who), Clock::start(), config.mask.clone(), Baseline::Boot(known))
}

fn conclude(said: &mut Said<'_>, ended: End, was_connected: bool, blocked: &str) {
    match ended {
        End::Proven(took) => {
            let detail =
                format!("connected and waiting for a job {:.1} s after the last boot step", took.as_secs_f64());
            said.say(Finding::new("boot worker", State::Ok, detail).took(took));
        }
        End::Step => said.failed("boot worker", "not started: a boot step failed"),
        End::Interrupted(why) => said.failed("boot worker", &format!("the check was interrupted: {why}")),
        End::NotProven(why) => said.failed("boot worker", &not_proven(&why, was_connected, blocked)),
    }
}

fn not_proven(why: &NotProven, was_connected: bool, blocked: &str) -> String {
    let NotProven { problem, log, is_up, is_elsewhere } = why;
    let reached = match blocked.is_empty() {
        true => "The configured Redis is this machine's own, and nothing listens there".to_owned(),
        false => format!("Nothing real was reached, since {blocked} was blocked"),
    };
    let words = match (*is_elsewhere, was_connected, *is_up) {
        (true, ..) | (false, true, _) => problem.clone(),
        (false, false, true) => format!(
            "the worker never connected to the check's own Redis: it takes its Redis address from somewhere else than REDIS_URL. {reached}. \
             What the proof lacks: {problem}"
        ),
        (false, false, false) => format!("{problem}. The worker never connected to the check's own Redis. {reached}"),
    };
    words + &indented("the worker's log ends with", log)
}

/// Ends the worker, PM2 where it was not there before, everything else that the boot steps have left running, and the
/// check's own Redis. Returns what lives on all the same.
async fn clean_up(pm2: &Pm2, instance_id: &str, had_daemon: bool, mark: &str, server: Server) -> Vec<String> {
    if pm2.daemon().is_some() {
        let (kill, killed) = watch::channel(false);
        let mut stopping = pin!(stop::stop(pm2, instance_id, killed));
        if timeout(STOPS_WITHIN, &mut stopping).await.is_err() {
            kill.send_replace(true);
            let _ = timeout(STOPS_WITHIN, stopping).await;
        }
        if !had_daemon && let Err(error) = pm2.end_daemon().await {
            tracing::warn!(problem = %error, "pm2 does not end by itself: it is killed");
        }
    }
    server.stop().await;
    let left = || -> BTreeSet<ProcessId> {
        let mut found = proc::with_variable(MARK, mark);
        found.retain(|known| known.lives() && pm2.owns(known.pid));
        found
    };
    let begun = Instant::now();
    loop {
        let found = left();
        if found.is_empty() || begun.elapsed() >= GONE_WITHIN {
            return found.into_iter().map(|known| known.pid.to_string()).collect();
        }
        found.iter().for_each(|known| known.signal_if(Signal::KILL, |pid| pm2.owns(pid)));
        sleep(Duration::from_millis(100)).await;
    }
}

fn seconds() -> u64 {
    crate::clock::wall_now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}
