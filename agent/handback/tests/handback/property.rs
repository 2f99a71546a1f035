//! In random states of a queue, made by BullMQ 3 to 6 themselves (50 is 5.0.0, 512 is 5.12.0): a hand-back changes what
//! it must and nothing else, asking again changes nothing, and BullMQ's own workers then run every job that can run,
//! once. `SEED=N` replays one state of each version; without it the seeds are fixed ones and a fresh one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use spillway_handback::{Claim, Held, Outcome, Place, Queue, Way, hand_back, hand_back_all, held_by};
use tokio::time::Instant;

use crate::model::{Job, Version, is_as_claimed, is_same};
use crate::world::{Contents, Driver, Ending, RedisServer, contents, node};

/// The instance that is dead, as the driver has it.
pub const INSTANCE: &str = "i-1";
const STATES: u32 = 150;
/// From the hand-back to a start by a worker that was blocked; an overlooked worker looks by itself after 5 s.
const PROMPT: Duration = Duration::from_secs(2);

pub fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(text).collect()
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn job(version: Version, value: &Value) -> Job {
    let before = &value["before"];
    let of = |new: &str, old: &str| number(&before[if version.is_5_or_later() { new } else { old }]);
    Job {
        id: text(&value["id"]),
        kind: text(&value["kind"]),
        token: text(&value["token"]),
        priority: number(&value["priority"]),
        attempts_made: of("atm", "attemptsMade"),
        attempts_started: number(&before["ats"]),
        stalls: of("stc", "stalledCounter"),
    }
}

/// The seeds of this run; the last is a fresh one.
fn seeds() -> Vec<u32> {
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().expect("SEED is a number")];
    }
    let mut bytes = [0; 4];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("/dev/urandom");
    let fresh = u32::from_le_bytes(bytes) >> 4;
    println!("the fresh seed is {fresh}");
    (1..STATES).chain([fresh]).collect()
}

/// One state after another of one version of BullMQ.
struct Trial {
    version: Version,
    driver: Driver,
    redis: MultiplexedConnection,
    /// How often each kind of job, each place and each outcome occurred.
    seen: BTreeMap<String, u32>,
    latencies: Vec<Duration>,
}

impl Trial {
    async fn state(&mut self, seed: u32) {
        let version = self.version;
        let what = format!("version {}, SEED={seed}", version.0);
        let plan = self.driver.ask("state", json!({"seed": seed}));
        let (prefix, name) = (text(&plan["prefix"]), text(&plan["queue"]));
        let queue = Queue { prefix: &prefix, name: &name };
        let base = format!("{prefix}:{name}");
        let jobs: Vec<Job> =
            plan["active"].as_array().expect("a list").iter().map(|found| job(version, found)).collect();
        let held = self.look(queue, &jobs, &what).await;
        self.driver.tell("twist");
        let is_idle = plan["idle"] == json!(true);

        // What must run once, by id.
        let mut runs: Vec<String> = texts(&plan["waiting"]);
        let mut handed_back = Vec::new();
        for (held, job) in &held {
            let before = if is_idle { Contents::new() } else { contents(&mut self.redis).await };
            let asked = Instant::now();
            let outcome = hand_back(&mut self.redis, queue, INSTANCE, held, Way::Front).await.expect("Redis answers");
            self.count(&job.kind);
            self.count(&format!("{outcome:?}"));
            let is_back = matches!(outcome, Outcome::HandedBack(_));
            if is_back {
                handed_back.push((*job).clone());
            }
            if is_idle {
                // The worker that was blocked may be at it already.
                assert!(is_back, "{what}, {job:?}: {outcome:?}");
                if handed_back.len() == 1 {
                    let first = self.driver.tell("first");
                    assert!(first["id"].is_string() && asked.elapsed() < PROMPT, "{what}: nobody has started {job:?}");
                    self.latencies.push(asked.elapsed());
                }
                continue;
            }
            assert_eq!(outcome, version.outcome(job, &base, &before), "{what}, {job:?} in {before:#?}");
            self.assert_after(&before, job, &base, outcome, &what).await;
            self.assert_again(queue, held, outcome, &what).await;
            if job.kind == "expiredLater" && version.has_names() {
                self.second_look(queue, job, &base, &what).await;
                handed_back.push((*job).clone());
            }
        }
        runs.extend(handed_back.iter().map(|job| job.id.clone()));
        let found_by_stall_check = |job: &&Job| match job.kind.as_str() {
            "stalled" | "takenLockless" => true,
            "expired" | "expiredLater" => !version.has_names(),
            _ => false,
        };
        runs.extend(jobs.iter().filter(found_by_stall_check).map(|job| job.id.clone()));
        self.assert_runs(runs, &handed_back, &what);
    }

    /// The jobs that say they are the instance's are those that the model has, newest first.
    async fn look<'a>(&mut self, queue: Queue<'_>, jobs: &'a [Job], what: &str) -> Vec<(Held, &'a Job)> {
        let before = contents(&mut self.redis).await;
        let held = held_by(&mut self.redis, queue, INSTANCE).await.expect("Redis answers");
        assert_eq!(before, contents(&mut self.redis).await, "{what}: the look wrote something");
        let expected: Vec<&Job> = jobs.iter().rev().filter(|job| self.version.claim(job).is_some()).collect();
        let ids = |held: &[Held]| held.iter().map(|held| held.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&held), expected.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), "{what}, {jobs:#?}");
        for (held, job) in held.iter().zip(&expected) {
            let claim = self.version.claim(job).expect("it was expected");
            assert!(is_as_claimed(held, claim), "{what}: {held:?} of {job:?}");
        }
        held.into_iter().zip(expected).collect()
    }

    async fn assert_after(&mut self, before: &Contents, job: &Job, base: &str, outcome: Outcome, what: &str) {
        let expected = self.version.after(job, base, outcome, before);
        let after = contents(&mut self.redis).await;
        assert!(is_same(&expected, &after), "{what}, {job:?}, {outcome:?}\nexpected {expected:#?}\nfound {after:#?}");
    }

    /// The same once more changes nothing, whether it is asked with what was read or with what its worker reported.
    async fn assert_again(&mut self, queue: Queue<'_>, held: &Held, outcome: Outcome, what: &str) {
        let before = contents(&mut self.redis).await;
        let is_gone = matches!(outcome, Outcome::HandedBack(_) | Outcome::Missing);
        let expected = if is_gone { Outcome::NotActive } else { outcome };
        let again = hand_back(&mut self.redis, queue, INSTANCE, held, Way::Front).await.expect("Redis answers");
        assert_eq!(again, expected, "{what}, {held:?}");
        let unlike = Held::reported(&held.id, format!("{INSTANCE}:of another run:0"));
        let again = hand_back(&mut self.redis, queue, INSTANCE, &unlike, Way::Front).await.expect("Redis answers");
        assert!(matches!(again, Outcome::NotActive | Outcome::LockChanged), "{what}, {unlike:?}: {again:?}");
        assert_eq!(before, contents(&mut self.redis).await, "{what}: the second time something changed, {held:?}");
    }

    /// The lock that has expired since the first look.
    async fn second_look(&mut self, queue: Queue<'_>, job: &Job, base: &str, what: &str) {
        let held = held_by(&mut self.redis, queue, INSTANCE).await.expect("Redis answers");
        let held = held.into_iter().find(|held| held.id == job.id).unwrap_or_else(|| panic!("{what}: no {job:?}"));
        assert_eq!((held.claim, &held.token, held.lock_left), (Claim::Name, &None, None), "{what}");
        let before = contents(&mut self.redis).await;
        let outcome = hand_back(&mut self.redis, queue, INSTANCE, &held, Way::Front).await.expect("Redis answers");
        assert_eq!(outcome, Outcome::HandedBack(self.version.place(job, base, &before)), "{what}, {job:?}");
        self.assert_after(&before, job, base, outcome, what).await;
    }

    /// BullMQ's workers run each of these once, with the counters that it had, and nothing is left.
    fn assert_runs(&mut self, mut expected: Vec<String>, handed_back: &[Job], what: &str) {
        let drained = self.driver.tell("drain");
        let runs = drained["runs"].as_array().expect("a list");
        let mut ran: Vec<String> = runs.iter().map(|run| text(&run["id"])).collect();
        ran.sort();
        expected.sort();
        assert_eq!(ran, expected, "{what}: what ran, and what should have run; {drained:#}");
        for (list, left) in drained["left"].as_object().expect("lists") {
            assert_eq!(texts(left), Vec::<String>::new(), "{what}: left in {list}");
        }
        for job in handed_back {
            let run = runs.iter().find(|run| run["id"] == json!(job.id)).expect("it ran");
            assert_counters(self.version, &run["counters"], job, what);
        }
    }

    fn count(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }
}

/// The counters of the run after the hand-back.
fn assert_counters(version: Version, run: &Value, job: &Job, what: &str) {
    let counters = |names: [&str; 3]| names.map(|name| number(&run[name]));
    if version.is_5_or_later() {
        // BullMQ counts both starts; an attempt, once it ends.
        let expected = [job.attempts_made, job.attempts_started + 2, job.stalls];
        assert_eq!(counters(["atm", "ats", "stc"]), expected, "{what}, {job:?}");
    } else {
        let expected = [job.attempts_made + 1, job.stalls, 0];
        assert_eq!(counters(["attemptsMade", "stalledCounter", "stc"]), expected, "{what}, {job:?}");
    }
}

fn median(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort();
    latencies.get(latencies.len() / 2).copied().unwrap_or_default()
}

async fn holds_in_every_state(version: u32) {
    let server = RedisServer::start().await;
    let driver = Driver::start(&server, version);
    let redis = server.connect().await;
    let mut trial = Trial { version: Version(version), driver, redis, seen: BTreeMap::new(), latencies: Vec::new() };
    let seeds = seeds();
    let started = Instant::now();
    for &seed in &seeds {
        trial.state(seed).await;
    }
    let count = trial.latencies.len();
    println!("version {version}: {} states in {:.1?}; {:?}", seeds.len(), started.elapsed(), trial.seen);
    println!("version {version}: a blocked worker started after {:.1?} (median of {count})", median(trial.latencies));
    if seeds.len() == 1 {
        return;
    }
    // What never occurred was not tried.
    assert!(count >= 10, "only {count} workers were blocked");
    let mut expected = vec!["plain", "finished", "stalled", "taken", "renewed", "expiredLater", "gone"];
    expected.extend(["HandedBack(Wait)", "NotActive", "LockChanged", "Missing"]);
    expected.extend((version != 3).then_some("HandedBack(Prioritized)"));
    expected.extend((version != 6).then_some("HandedBack(Paused)"));
    if trial.version.has_names() {
        expected.extend(["expired", "takenUnlocked", "takenLockless", "named", "namedOld", "stale", "Doubtful"]);
    }
    for what in expected {
        let times = trial.seen.get(what).copied().unwrap_or_default();
        assert!(times >= 5, "{what} was hardly ever there: {:?}", trial.seen);
    }
}

#[tokio::test]
async fn bullmq_4() {
    holds_in_every_state(4).await;
}

#[tokio::test]
async fn bullmq_5() {
    holds_in_every_state(5).await;
}

#[tokio::test]
async fn bullmq_6() {
    holds_in_every_state(6).await;
}

/// A worker of the version that holds jobs until it is killed.
pub fn holder(redis: &RedisServer, version: u32, queue: Queue<'_>, jobs: usize) -> Ending {
    let mut holder = node("holder.mjs");
    holder.args([&version.to_string(), &redis.url, queue.prefix, queue.name, INSTANCE, &jobs.to_string()]);
    let mut holder = Ending(holder.stdout(Stdio::piped()).spawn().expect("node"));
    let started = BufReader::new(holder.0.stdout.take().expect("a pipe")).lines().take(jobs).count();
    assert_eq!(started, jobs, "the worker has ended");
    holder
}

/// A worker process is killed with all its slots taken; another worker, which was blocked, runs all of its jobs at
/// once.
async fn a_killed_process_costs_nothing(version: u32) {
    let server = RedisServer::start().await;
    let mut driver = Driver::start(&server, version);
    let mut redis = server.connect().await;
    let mut latencies = Vec::new();
    for priority in [0, 0, 0, 5, 5] {
        let jobs: Vec<Value> = (0..5).map(|_| json!({"priority": priority, "attempts": 1})).collect();
        let made = driver.ask("queue", json!({"jobs": jobs}));
        let (prefix, name) = (text(&made["prefix"]), text(&made["queue"]));
        let queue = Queue { prefix: &prefix, name: &name };
        let mut holder = holder(&server, version, queue, jobs.len());
        driver.tell("idle");
        holder.0.kill().expect("it runs");
        holder.0.wait().expect("it ends");

        let asked = Instant::now();
        let done = hand_back_all(&mut redis, queue, INSTANCE).await.expect("Redis answers");
        assert!(
            driver.tell("first")["id"].is_string() && asked.elapsed() < PROMPT,
            "version {version}: nobody has begun"
        );
        latencies.push(asked.elapsed());
        let place = if priority == 0 || version == 3 { Place::Wait } else { Place::Prioritized };
        assert!(done.iter().all(|(_, outcome)| *outcome == Outcome::HandedBack(place)), "version {version}: {done:?}");

        let drained = driver.tell("drain");
        let runs = drained["runs"].as_array().expect("a list");
        let mut ran: Vec<String> = runs.iter().map(|run| text(&run["id"])).collect();
        ran.sort();
        assert_eq!(ran, texts(&made["waiting"]), "version {version}");
        for run in runs {
            let counters = ["attemptsMade", "atm", "stc", "stalledCounter"].map(|name| number(&run["counters"][name]));
            let made = u64::from(version < 5);
            assert_eq!(counters, [made, 0, 0, 0], "version {version}: {run}");
        }
    }
    println!("version {version}: 5 jobs of a killed process; another started after {:.1?} (median)", median(latencies));
}

#[tokio::test]
async fn a_killed_process_of_bullmq_4() {
    a_killed_process_costs_nothing(4).await;
}

#[tokio::test]
async fn a_killed_process_of_bullmq_5() {
    a_killed_process_costs_nothing(5).await;
}

#[tokio::test]
async fn a_killed_process_of_bullmq_6() {
    a_killed_process_costs_nothing(6).await;
}

#[tokio::test]
async fn bullmq_3() {
    holds_in_every_state(3).await;
    a_killed_process_costs_nothing(3).await;
}

#[tokio::test]
async fn bullmq_5_0() {
    holds_in_every_state(50).await;
    a_killed_process_costs_nothing(50).await;
}

#[tokio::test]
async fn bullmq_5_12() {
    holds_in_every_state(512).await;
    a_killed_process_costs_nothing(512).await;
}
