//! Chaos on the real programs: two coordinators on one ledger, real agents with PM2 and bun, floods of jobs, and in
//! every round kills, partitions, lost answers, refusals and interruptions drawn from a seed. The invariants are
//! checked all the time against the emulator's record and Redis; at the end faults and load stop, and the pool must
//! return to zero.
//!
//! - `draw`: the faults of each round, from the seed; `faults`: when each begins and ends; `inject`: injects it
//! - `proxy`: faults of a connection; `stage`: what a run sets up, with two coordinators, proxies and processes
//! - `invariants`: what must hold at any moment; `journal`: what became of the jobs; `summary`: the table at the end

mod draw;
mod faults;
mod inject;
mod invariants;
mod journal;
mod proxy;
mod stage;
mod summary;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use spillway_emulator::{InstanceRecord, InstanceState};
use spillway_words::excerpt;
use tokio::time::{Instant, sleep};

use crate::jobs;
use crate::random::Random;
use faults::Injected;
use invariants::Seen;
use journal::Journal;
use proxy::LinkFault;
use stage::{ChaosStage, MAX_INSTANCES};
pub use summary::Summary;

/// From the last job's end until the fleet is at zero.
const ENDS_WITHIN: Duration = Duration::from_secs(240);
/// While a backlog is worked off, some job ends at least this often: how long all of it takes is for the faults before.
const GOES_ON_WITHIN: Duration = Duration::from_secs(90);
const STOPS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub rounds: u32,
    pub seed: u64,
}

/// An invariant that does not hold, as one sentence.
#[derive(Debug)]
pub struct Violation(String);

/// Runs all rounds; `log` gets a line for each.
pub async fn run(options: Options, log: impl Fn(&str)) -> Summary {
    let stage = ChaosStage::start().await;
    lives(stage, options, log).await.ends().await
}

/// The same with two installations in one account, each with faults, floods and a cap of its own: neither ever touches
/// an instance of the other.
pub async fn run_side_by_side(options: Options, log: impl Fn(&str)) -> [Summary; 2] {
    let [one, two] = ChaosStage::two().await;
    let of = |name: &'static str| move |words: &str| format!("{name}: {words}");
    let (first, second) = (of("one"), of("two"));
    let more = Options { seed: options.seed + 1, ..options };
    let (one, two) =
        tokio::join!(lives(one, options, |words| log(&first(words))), lives(two, more, |words| log(&second(words))));
    // The emulator and its instances end with the last of the two, in the first one's directory.
    let second = two.ends().await;
    [one.ends().await, second]
}

/// One installation after all rounds, or after a violation.
struct Lived {
    stage: ChaosStage,
    injected: Injected,
    summary: Summary,
    outcome: Result<(), Violation>,
}

async fn lives(stage: ChaosStage, options: Options, log: impl Fn(&str)) -> Lived {
    log(&format!("seed {}", options.seed));
    let (seen, injected) = (RefCell::new(Seen::default()), Injected::default());
    let journal = RefCell::new(Journal::default());
    let mut summary = Summary { seed: options.seed, ..Summary::default() };
    let (added, resumed) = (Cell::new(0), Cell::new(0));
    let outcome = {
        let goes_on = Cell::new(true);
        let rounds = async {
            rounds(&stage, &injected, &seen, &journal, options, &log).await?;
            goes_on.set(false);
            Ok(())
        };
        let lives = async {
            tokio::try_join!(rounds, floods(&stage, &goes_on, &added, options.seed))?;
            log("faults and load have stopped");
            settle(&stage, &injected, &seen, &journal, added.get(), &resumed).await
        };
        tokio::select! {
            violation = invariants::check(&stage, &seen, &injected) => Err(violation),
            () = follow_the_leader(&stage) => Ok(()),
            outcome = lives => outcome,
        }
    };
    count(&stage, &mut summary, &seen.borrow(), &injected, added.get());
    summary.resumed = resumed.get();
    // Also after another violation, for the summary.
    if let Ok(mut redis) = connect(&stage).await {
        let mut journal = journal.into_inner();
        let _ = journal.read(&mut redis).await;
        summary.stalls = journal.stalls();
        summary.runs_on_instances = journal.runs_elsewhere_than("primary");
        summary.again = journal.again(&injected.causes.borrow());
    }
    let outcome = outcome.and_then(|()| match summary.again.unexplained.first() {
        Some(run) => Err(Violation(format!("a job was run twice without a fault that explains it: {run}"))),
        None => Ok(()),
    });
    Lived { stage, injected, summary, outcome }
}

impl Lived {
    async fn ends(self) -> Summary {
        let Lived { mut stage, injected, mut summary, outcome } = self;
        let round = injected.round.get();
        let outcome = match outcome {
            Ok(()) => end(stage).await.map(|left| {
                summary.processes_left = left.len();
                (!left.is_empty()).then(|| ("processes are left".to_owned(), left.join("\n")))
            }),
            Err(Violation(what)) => Ok(Some((what, diagnose(&mut stage, &injected).await))),
        };
        summary.violation = match outcome {
            Ok(violation) => violation.map(|(what, diagnosis)| (what, round, diagnosis)),
            Err(Violation(what)) => Some((what, round, String::new())),
        };
        summary
    }
}

/// Cuts the leader off from Redis until the other coordinator leads, and lets it run on: its agents must connect to the
/// new leader. An error says what happened, with logs.
pub async fn depose_leader() -> Result<(), String> {
    let stage = ChaosStage::start().await;
    let watching = watch_agents(&stage);
    let outcome = tokio::select! {
        outcome = watching => outcome,
        () = follow_the_leader(&stage) => Ok(()),
    };
    let Err(Violation(what)) = outcome else { return Ok(()) };
    Err(format!("{what}\n{}", stage.diagnosis().await))
}

async fn watch_agents(stage: &ChaosStage) -> Result<(), Violation> {
    let mut flood = stage.flood(1, 400, 8.0, 1);
    until("two instances are ready", async || stage.ready().await >= 2).await?;
    let old = stage.leader().await.ok_or_else(|| Violation("no coordinator leads".to_owned()))?;
    old.redis.set(LinkFault::Reset);
    until("the other coordinator leads", async || stage.leader().await.is_some_and(|seat| seat.name != old.name))
        .await?;
    old.redis.set(LinkFault::None);
    until("the agents are connected to the new leader", async || stage.ready().await >= 2).await?;
    let ended = stage.ours().iter().filter(|record| record.ending_ms.is_some()).count();
    flood.kill();
    if ended == 0 { Ok(()) } else { Err(Violation(format!("{ended} instances were ended meanwhile"))) }
}

/// Logs, plans, calls and faults; the directory with all logs is kept.
async fn diagnose(stage: &mut ChaosStage, injected: &Injected) -> String {
    let causes: Vec<String> = injected.causes.borrow().iter().map(|cause| format!("{cause:?}")).collect();
    let causes = excerpt::end("faults by instance", &causes.join("\n"));
    stage.base.directory.disable_cleanup(true);
    let directory = stage.base.directory.path().display();
    format!("{}{causes}--- all logs are kept in {directory}", stage.diagnosis().await,)
}

/// Leads new connections of agents to the leader, as an address that moves would. Open sessions stay where they are.
async fn follow_the_leader(stage: &ChaosStage) {
    loop {
        stage.leader().await;
        sleep(Duration::from_millis(300)).await;
    }
}

async fn rounds(
    stage: &ChaosStage,
    injected: &Injected,
    seen: &RefCell<Seen>,
    journal: &RefCell<Journal>,
    options: Options,
    log: &impl Fn(&str),
) -> Result<(), Violation> {
    let (mut draws, mut picks) = (Random::new(options.seed), Random::new(!options.seed));
    let began = Instant::now();
    while stage.running().is_empty() {
        sleep(Duration::from_millis(200)).await;
        if began.elapsed() > ENDS_WITHIN {
            return Err(Violation("no instance is running".to_owned()));
        }
    }
    for number in 1..=options.rounds {
        injected.round.set(number);
        let round = draw::round(&mut draws);
        let words: Vec<String> =
            round.faults.iter().map(|(at, fault)| format!("{:.1} s {fault:?}", at.as_secs_f64())).collect();
        log(&format!("round {number}, {} run: {}", stage.running().len(), words.join("; ")));
        faults::play(stage, injected, round, &mut picks).await?;
        judge(stage, injected, seen, journal).await?;
    }
    Ok(())
}

/// Reads the journal up to now, and checks the terminations by it; whether it could be read.
async fn judge(
    stage: &ChaosStage,
    injected: &Injected,
    seen: &RefCell<Seen>,
    journal: &RefCell<Journal>,
) -> Result<bool, Violation> {
    // Without Redis: at the end of the next round.
    let Ok(mut redis) = connect(stage).await else { return Ok(false) };
    let mut read = journal.take();
    let is_whole = read.read(&mut redis).await.is_ok();
    // In half of a reading jobs that have ended would still count as active.
    let judged =
        if is_whole { invariants::judge_terminations(&mut seen.borrow_mut(), &read, injected) } else { Ok(()) };
    journal.replace(read);
    judged.map(|()| is_whole)
}

async fn connect(stage: &ChaosStage) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    redis::Client::open(stage.base.redis.url())?.get_multiplexed_async_connection().await
}

/// Adds jobs in floods, with pauses in which the pool may return to zero.
async fn floods(stage: &ChaosStage, goes_on: &Cell<bool>, added: &Cell<u64>, seed: u64) -> Result<(), Violation> {
    let mut random = Random::new(seed ^ 0xf100d);
    for number in 1.. {
        if !goes_on.get() {
            break;
        }
        let (jobs, per_second) = (20 + random.below(80), 5.0 + random.unit() * 7.0);
        let mut flood = stage.flood(number, jobs, per_second, random.below(u32::MAX));
        let status = flood.end_within(ENDS_WITHIN).await;
        assert!(status.success(), "a flood ended with {status}\n{}", flood.tail());
        added.set(added.get() + u64::from(jobs));
        let pause = Instant::now() + random.seconds(1.0, 14.0);
        while goes_on.get() && Instant::now() < pause {
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Without further faults every job must complete, and the pool return to zero.
async fn settle(
    stage: &ChaosStage,
    injected: &Injected,
    seen: &RefCell<Seen>,
    journal: &RefCell<Journal>,
    added: u64,
    resumed: &Cell<u32>,
) -> Result<(), Violation> {
    tokio::select! {
        outcome = works_off(stage, added) => outcome?,
        () = operator(stage, resumed) => {}
    }
    let gone = |record: &InstanceRecord| record.state == InstanceState::Terminated;
    until("the pool is at zero", async || stage.ours().iter().all(gone)).await?;
    let began = Instant::now();
    while !judge(stage, injected, seen, journal).await? {
        if began.elapsed() > ENDS_WITHIN {
            return Err(Violation("Redis does not tell what became of the jobs".to_owned()));
        }
        sleep(Duration::from_millis(200)).await;
    }
    let (completed, mut failed) = (jobs::completed(&stage.base.redis), jobs::failed_ids(&stage.base.redis));
    let ended = completed + failed.len() as u64;
    failed.retain(|job| !journal.borrow().was_killed_twice(job, &injected.causes.borrow()));
    if ended != added || !failed.is_empty() {
        return Err(Violation(format!("of {added} jobs {completed} completed; failed: {failed:?}")));
    }
    for id in seen.borrow().records.keys() {
        let left = stage::processes_with(id);
        if !left.is_empty() {
            return Err(Violation(format!("{id} is terminated, but processes of it are left: {left:?}")));
        }
    }
    Ok(())
}

/// Instances that the faults ended soon after they were ready stop launches for up to an hour: somebody who knows why
/// lifts that. From everything else launches must recover by themselves.
async fn operator(stage: &ChaosStage, resumed: &Cell<u32>) {
    loop {
        if stage.early_ends_hold_launches().await && stage.operator_resumes().await {
            resumed.set(resumed.get() + 1);
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// Every job ends.
async fn works_off(stage: &ChaosStage, added: u64) -> Result<(), Violation> {
    let (mut ended, mut goes_on_until) = (0, Instant::now() + GOES_ON_WITHIN);
    loop {
        let now = jobs::completed(&stage.base.redis) + jobs::failed(&stage.base.redis);
        if now >= added {
            return Ok(());
        }
        if now > ended {
            (ended, goes_on_until) = (now, Instant::now() + GOES_ON_WITHIN);
        }
        if Instant::now() > goes_on_until {
            return Err(Violation(format!("no job has ended for {GOES_ON_WITHIN:?}: {} are left", added - now)));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) -> Result<(), Violation> {
    let end = Instant::now() + ENDS_WITHIN;
    while !is_so().await {
        if Instant::now() > end {
            return Err(Violation(format!("not within {ENDS_WITHIN:?} of the last fault: {what}")));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn count(stage: &ChaosStage, summary: &mut Summary, seen: &Seen, injected: &Injected, added: u64) {
    let by_proxies = stage.seats.iter().map(|seat| seat.ec2.answers_lost() + seat.redis.answers_lost()).sum::<u32>();
    summary.rounds = injected.round.get();
    summary.injected = injected.counts.borrow().clone();
    summary.answers_lost = seen.calls_lost + by_proxies + stage.agents.answers_lost();
    summary.launches = seen.records.len();
    summary.peak_billing = seen.peak_billing;
    summary.over_the_cap = seen.peak_billing.saturating_sub(MAX_INSTANCES);
    summary.double_launches = seen.records.len() - seen.tokens().len();
    summary.foreign_touched = stage.foreign_touched().len() + stage.others_touched().len();
    (summary.most_calls_a_minute, summary.most_acts_a_minute) = (seen.most_calls_a_minute, seen.most_acts_a_minute);
    summary.terminated_with_jobs = seen.ended_with_jobs;
    summary.instances_left = stage.ours().iter().filter(|record| record.state != InstanceState::Terminated).count();
    summary.added = added;
    // It may still be frozen if the round was cut short.
    stage.base.redis.go_on();
    (summary.completed, summary.failed) = (jobs::completed(&stage.base.redis), jobs::failed(&stage.base.redis));
    let attempts = |id: &u64| -> Option<u64> { stage.base.redis.ask(&["HGET", &jobs_key(*id), "atm"]) };
    summary.attempts_spent = (1..=added).filter(|id| attempts(id).is_some_and(|attempts| attempts > 1)).count() as u64;
}

fn jobs_key(id: u64) -> String {
    format!("bull:{}:{id}", crate::QUEUE)
}

/// Stops both coordinators; returns the processes of this run that are left.
async fn end(mut stage: ChaosStage) -> Result<Vec<String>, Violation> {
    let directory = stage.base.directory.path().display().to_string();
    for seat in &mut stage.seats {
        let Some(mut coordinator) = seat.take() else { continue };
        coordinator.process.signal(libc::SIGTERM);
        let status = coordinator.process.end_within(STOPS_WITHIN).await;
        if !status.success() {
            let tail = coordinator.process.tail();
            return Err(Violation(format!("the {} coordinator did not stop cleanly: {status}\n{tail}", seat.name)));
        }
    }
    drop(stage);
    Ok(stage::processes_with(&directory))
}

/// By the wall clock, which Redis and the emulator use as well.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the records of other processes, which have no other clock"
)]
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("for a while")
}
