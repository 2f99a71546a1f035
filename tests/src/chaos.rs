//! Chaos on the real programs: two coordinators on one ledger, real agents with PM2 and bun, floods of jobs, and in every
//! round kills, partitions, lost answers, refusals and interruptions that a seed draws. The invariants are read all the
//! while off EC2's own record and off Redis; in the end faults and load stop, and everything must come to rest.
//!
//! - `draw`: what each round does, from the seed; `faults`: when, and takes it back; `inject`: does it
//! - `proxy`: the troubles of a connection; `site`: the world with its coordinators, proxies and processes
//! - `watch`: what must hold at any moment; `journal`: what became of the jobs; `report`: the table

mod draw;
mod faults;
mod inject;
mod journal;
mod proxy;
mod report;
mod site;
mod watch;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use spillway_emulator::{InstanceRecord, InstanceState};
use tokio::time::{Instant, sleep};

use crate::jobs;
use draw::Random;
use faults::Injected;
use journal::Journal;
use proxy::Trouble;
pub use report::Report;
use site::{MAX_INSTANCES, Site};
use watch::Seen;

/// From the last fault until every job has ended, and from there until the fleet is at zero.
const ENDS_WITHIN: Duration = Duration::from_secs(240);
const STOPS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub rounds: u32,
    pub seed: u64,
}

/// An invariant does not hold.
#[derive(Debug)]
pub struct Broken(String);

/// Runs so many rounds. `told` hears of each, in words.
pub async fn run(options: Options, told: impl Fn(&str)) -> Report {
    told(&format!("seed {}", options.seed));
    let mut site = Site::start().await;
    let (seen, injected) = (RefCell::new(Seen::default()), Injected::default());
    let journal = RefCell::new(Journal::default());
    let mut report = Report { seed: options.seed, ..Report::default() };
    let added = Cell::new(0);
    let outcome = {
        let goes_on = Cell::new(true);
        let rounds = async {
            rounds(&site, &injected, &seen, &journal, options, &told).await?;
            goes_on.set(false);
            Ok(())
        };
        let lives = async {
            tokio::try_join!(rounds, floods(&site, &goes_on, &added, options.seed))?;
            told("faults and load have stopped");
            settle(&site, &injected, &seen, &journal, added.get()).await
        };
        tokio::select! {
            broken = watch::watch(&site, &seen, &injected) => Err(broken),
            () = follow_the_leader(&site) => Ok(()),
            outcome = lives => outcome,
        }
    };
    count(&site, &mut report, &seen.borrow(), &injected, added.get());
    // Also where something else is broken: for the reader.
    if let Ok(mut redis) = connect(&site).await {
        let mut journal = journal.into_inner();
        let _ = journal.read(&mut redis).await;
        report.stalls = journal.stalls();
        report.runs_on_instances = journal.runs_elsewhere_than("primary");
        report.again = journal.again(&injected.causes.borrow());
    }
    let outcome = outcome.and_then(|()| match report.again.unexcused.first() {
        Some(run) => Err(Broken(format!("run again without an excuse: {run}"))),
        None => Ok(()),
    });
    let round = injected.round.get();
    let outcome = match outcome {
        Ok(()) => end(site).await.map(|left| {
            left.iter().for_each(|process| told(&format!("left: {process}")));
            report.processes_left = left.len();
            (!left.is_empty()).then(|| ("processes are left".to_owned(), left.join("\n")))
        }),
        Err(Broken(what)) => Ok(Some((what, tell(&mut site, &injected).await))),
    };
    report.broken = match outcome {
        Ok(broken) => broken.map(|(what, story)| (what, round, story)),
        Err(Broken(what)) => Some((what, round, String::new())),
    };
    report
}

/// The leader is cut off from Redis until the other one leads, and lives on: gives how it went for the agents, in words.
pub async fn depose() -> Result<(), String> {
    let site = Site::start().await;
    let watching = watch_the_deposed(&site);
    let outcome = tokio::select! {
        outcome = watching => outcome,
        () = follow_the_leader(&site) => Ok(()),
    };
    let Err(Broken(what)) = outcome else { return Ok(()) };
    Err(format!("{what}\n{}", site.story().await))
}

async fn watch_the_deposed(site: &Site) -> Result<(), Broken> {
    let mut flood = site.flood(1, 400, 8.0, 1);
    until("two instances are ready", async || site.ready().await >= 2).await?;
    let old = site.leader().await.ok_or_else(|| Broken("nobody leads".to_owned()))?;
    old.redis.set(Trouble::Reset);
    until("the other leads", async || site.leader().await.is_some_and(|seat| seat.name != old.name)).await?;
    old.redis.set(Trouble::None);
    until("agents have come to the new leader", async || site.ready().await >= 2).await?;
    let ended = site.ours().iter().filter(|record| record.ending_ms.is_some()).count();
    flood.kill();
    if ended == 0 { Ok(()) } else { Err(Broken(format!("{ended} instances were given up meanwhile"))) }
}

/// The whole story; what wrote it is kept.
async fn tell(site: &mut Site, injected: &Injected) -> String {
    let causes: Vec<String> = injected.causes.borrow().iter().map(|cause| format!("{cause:?}")).collect();
    site.world.directory.disable_cleanup(true);
    let directory = site.world.directory.path().display();
    format!("{}\n--- happened_to\n{}\n--- all logs are kept in {directory}", site.story().await, causes.join("\n"))
}

/// Agents come to whoever leads, as behind an address that moves. Sessions from before stay where they are.
async fn follow_the_leader(site: &Site) {
    loop {
        site.leader().await;
        sleep(Duration::from_millis(300)).await;
    }
}

async fn rounds(
    site: &Site,
    injected: &Injected,
    seen: &RefCell<Seen>,
    journal: &RefCell<Journal>,
    options: Options,
    told: &impl Fn(&str),
) -> Result<(), Broken> {
    let (mut draws, mut picks) = (Random::new(options.seed), Random::new(!options.seed));
    let began = Instant::now();
    while site.running().is_empty() {
        sleep(Duration::from_millis(200)).await;
        if began.elapsed() > ENDS_WITHIN {
            return Err(Broken("no instance has come up".to_owned()));
        }
    }
    for number in 1..=options.rounds {
        injected.round.set(number);
        let round = draw::round(&mut draws);
        let words: Vec<String> =
            round.faults.iter().map(|(at, fault)| format!("{:.1} s {fault:?}", at.as_secs_f64())).collect();
        told(&format!("round {number}, {} run: {}", site.running().len(), words.join("; ")));
        faults::play(site, injected, round, &mut picks).await?;
        judge(site, injected, seen, journal).await?;
    }
    Ok(())
}

/// What the streams say up to now; whether they could be read.
async fn judge(
    site: &Site,
    injected: &Injected,
    seen: &RefCell<Seen>,
    journal: &RefCell<Journal>,
) -> Result<bool, Broken> {
    // Without Redis, the next round's end will do.
    let Ok(mut redis) = connect(site).await else { return Ok(false) };
    let mut read = journal.take();
    let is_whole = read.read(&mut redis).await.is_ok();
    // Of half a reading one would take jobs for active that have ended.
    let judged = if is_whole { watch::judge_terminations(&mut seen.borrow_mut(), &read, injected) } else { Ok(()) };
    journal.replace(read);
    judged.map(|()| is_whole)
}

async fn connect(site: &Site) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    redis::Client::open(site.world.redis.url())?.get_multiplexed_async_connection().await
}

/// Jobs come in floods, with pauses in which the fleet may go to zero.
async fn floods(site: &Site, goes_on: &Cell<bool>, added: &Cell<u64>, seed: u64) -> Result<(), Broken> {
    let mut random = Random::new(seed ^ 0xf100d);
    for number in 1.. {
        if !goes_on.get() {
            break;
        }
        let (jobs, per_second) = (20 + random.below(80), 5.0 + random.unit() * 7.0);
        let mut flood = site.flood(number, jobs, per_second, random.below(u32::MAX));
        let status = flood.end_within(ENDS_WITHIN).await;
        assert!(status.success(), "a flood: {status}\n{}", flood.tail());
        added.set(added.get() + u64::from(jobs));
        let pause = Instant::now() + random.seconds(1.0, 14.0);
        while goes_on.get() && Instant::now() < pause {
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Nothing befalls it any more: every job completes, and the fleet goes to zero.
async fn settle(
    site: &Site,
    injected: &Injected,
    seen: &RefCell<Seen>,
    journal: &RefCell<Journal>,
    added: u64,
) -> Result<(), Broken> {
    until("every job has ended", async || {
        jobs::completed(&site.world.redis) + jobs::failed(&site.world.redis) >= added
    })
    .await?;
    let (completed, failed) = (jobs::completed(&site.world.redis), jobs::failed(&site.world.redis));
    if completed != added || failed != 0 {
        return Err(Broken(format!("of {added} jobs {completed} completed and {failed} failed")));
    }
    let gone = |record: &InstanceRecord| record.state == InstanceState::Terminated;
    until("the fleet is at zero", async || site.ours().iter().all(gone)).await?;
    let began = Instant::now();
    while !judge(site, injected, seen, journal).await? {
        if began.elapsed() > ENDS_WITHIN {
            return Err(Broken("Redis does not tell what became of the jobs".to_owned()));
        }
        sleep(Duration::from_millis(200)).await;
    }
    for id in seen.borrow().records.keys() {
        let left = site::processes_with(id);
        if !left.is_empty() {
            return Err(Broken(format!("{id} is gone, and of its processes are left: {left:?}")));
        }
    }
    Ok(())
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) -> Result<(), Broken> {
    let end = Instant::now() + ENDS_WITHIN;
    while !is_so().await {
        if Instant::now() > end {
            return Err(Broken(format!("not {ENDS_WITHIN:?} after the last fault: {what}")));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn count(site: &Site, report: &mut Report, seen: &Seen, injected: &Injected, added: u64) {
    let by_proxies = site.seats.iter().map(|seat| seat.ec2.answers_lost() + seat.redis.answers_lost()).sum::<u32>();
    report.rounds = injected.round.get();
    report.injected = injected.counts.borrow().clone();
    report.answers_lost = seen.calls_lost + by_proxies + site.agents.answers_lost();
    report.launches = seen.records.len();
    report.peak_billing = seen.peak_billing;
    report.over_the_cap = seen.peak_billing.saturating_sub(MAX_INSTANCES);
    report.double_launches = seen.records.len() - seen.tokens().len();
    report.foreign_touched = site.foreign_touched().len();
    (report.most_calls_a_minute, report.most_acts_a_minute) = (seen.most_calls_a_minute, seen.most_acts_a_minute);
    report.terminated_with_jobs = seen.ended_with_jobs;
    report.instances_left = site.ours().iter().filter(|record| record.state != InstanceState::Terminated).count();
    report.added = added;
    // It may be frozen in the middle of a broken round.
    site.world.redis.go_on();
    (report.completed, report.failed) = (jobs::completed(&site.world.redis), jobs::failed(&site.world.redis));
    let attempts = |id: &u64| -> Option<u64> { site.world.redis.ask(&["HGET", &jobs_key(*id), "atm"]) };
    report.attempts_spent = (1..=added).filter(|id| attempts(id).is_some_and(|attempts| attempts > 1)).count() as u64;
}

fn jobs_key(id: u64) -> String {
    format!("bull:{}:{id}", crate::QUEUE)
}

/// Both coordinators stop as they should; gives the processes that are left of the whole world.
async fn end(mut site: Site) -> Result<Vec<String>, Broken> {
    let directory = site.world.directory.path().display().to_string();
    for seat in &mut site.seats {
        let Some(mut coordinator) = seat.take() else { continue };
        coordinator.process.signal(libc::SIGTERM);
        let status = coordinator.process.end_within(STOPS_WITHIN).await;
        if !status.success() {
            let tail = coordinator.process.tail();
            return Err(Broken(format!("the {} coordinator does not stop well: {status}\n{tail}", seat.name)));
        }
    }
    drop(site);
    Ok(site::processes_with(&directory))
}

/// By the clock that Redis and EC2's emulator have as well.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the records of other processes, which have no other clock"
)]
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("for a while")
}
