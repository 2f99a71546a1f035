//! The fleet while a drill is under way: news are said as they come, and what is waited for while there are none. A
//! coordinator that restarts is asked again; whoever leads next goes on with the drill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use spillway_console::client::{Address, Coordinator, connect};
use spillway_console::times;
use spillway_coordinator::clock;
use spillway_proto::v1;
use spillway_words::in_words;
use tokio::time::{Instant, interval, sleep};
use tonic::Streaming;

use super::Begun;
use super::report::{Report, Seen, steps};

/// While there are no news, what is waited for is said this often.
const SAID_EVERY: Duration = Duration::from_secs(10);
/// Between two attempts to reach a coordinator that does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Without a leader's word for longer nobody is waited for.
const PATIENCE: Duration = Duration::from_secs(600);
/// A drill that a leader does not show by then is not in its ledger.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// A drill that is followed.
#[derive(Debug)]
pub(super) struct Follow {
    begun: Begun,
    server: Address,
    began: Instant,
    /// When a leader last showed it.
    heard: Instant,
    /// By launch token: what was seen of each instance.
    seen: BTreeMap<String, Seen>,
    /// The last that was shown of it.
    drill: Option<v1::Drill>,
    /// News that were said.
    told: BTreeSet<String>,
    told_at: Instant,
}

impl Follow {
    /// From its request on.
    pub(super) fn new(begun: Begun, server: Address) -> Self {
        let now = Instant::now();
        Follow {
            begun,
            server,
            began: now,
            heard: now,
            seen: BTreeMap::new(),
            drill: None,
            told: BTreeSet::new(),
            told_at: now,
        }
    }

    /// Looks on until the drill is over. Ctrl-C ends this, and not the drill.
    pub(super) async fn until_over(&mut self, coordinator: Coordinator) -> anyhow::Result<Report> {
        tokio::select! {
            report = self.looks_on(coordinator) => report,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot wait for Ctrl-C")?;
                Err(self.not_followed())
            }
        }
    }

    fn not_followed(&self) -> anyhow::Error {
        anyhow!(
            "not followed any more: drill {} of pool {} goes on, and ends its instances by itself. `spillway status --watch` \
             shows it",
            self.begun.number,
            self.begun.pool
        )
    }

    async fn looks_on(&mut self, coordinator: Coordinator) -> anyhow::Result<Report> {
        let mut coordinator = Some(coordinator);
        loop {
            let fleets = match coordinator.take() {
                Some(coordinator) => watch(coordinator, &self.begun.pool).await,
                None => match connect(&self.server).await {
                    Ok(coordinator) => watch(coordinator, &self.begun.pool).await,
                    Err(error) => Err(error),
                },
            };
            let problem = match fleets {
                Ok(fleets) => match self.follow(fleets).await? {
                    Some(report) => return Ok(report),
                    None => "it has ended the connection".to_owned(),
                },
                Err(error) => format!("{error:#}"),
            };
            self.is_heard(&problem)?;
            sleep(RETRY).await;
        }
    }

    /// While the connection lasts. None: it did not.
    async fn follow(&mut self, mut fleets: Streaming<v1::WatchFleetResponse>) -> anyhow::Result<Option<Report>> {
        let mut waits = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                fleet = fleets.message() => match fleet {
                    Ok(Some(fleet)) => {
                        if let Some(report) = self.look_at(fleet)? {
                            return Ok(Some(report));
                        }
                    }
                    Ok(None) | Err(_) => return Ok(None),
                },
                _ = waits.tick() => {
                    self.is_heard("it is a standby, or reads its ledger")?;
                    self.says_what_it_waits_for();
                }
            }
        }
    }

    /// No leader has shown the drill for a while: it is said once, and not waited for without end.
    fn is_heard(&mut self, problem: &str) -> anyhow::Result<()> {
        let (since, number, pool) = (self.heard.elapsed(), self.begun.number, &self.begun.pool);
        if since > PATIENCE {
            bail!(
                "no coordinator that leads has answered for {}, the last: {problem}. Drill {number} of pool {pool} goes on with \
                 whoever leads next",
                in_words(PATIENCE)
            );
        }
        if since > SAID_EVERY && self.told.insert(format!("lost {:?}", self.heard)) {
            let patience = in_words(PATIENCE);
            self.begun.say(&format!(
                "no coordinator that leads answers ({problem}): the drill goes on with whoever leads next, which is waited for, at \
                 most {patience}"
            ));
        }
        Ok(())
    }

    /// The report, once it is over.
    fn look_at(&mut self, fleet: v1::WatchFleetResponse) -> anyhow::Result<Option<Report>> {
        // What a standby has of it is older.
        if !fleet.leader {
            return Ok(None);
        }
        let Some(pool) = fleet.pools.into_iter().next() else { return Ok(None) };
        let number = self.begun.number;
        let Some(drill) = pool.drill.filter(|drill| drill.number >= number) else {
            if self.drill.is_some() || self.began.elapsed() > SHOWN_WITHIN {
                bail!(
                    "the leader does not know drill {number} of pool {}: its ledger was deleted, or it stopped before it had saved \
                     the drill. `spillway status` shows what runs",
                    self.begun.pool
                );
            }
            return Ok(None);
        };
        if drill.number > number {
            bail!(
                "drill {number} of pool {} is over, and another has begun since: `spillway explain` shows what became of it",
                self.begun.pool
            );
        }
        self.heard = Instant::now();
        for instance in pool.instances {
            if drill.instances.iter().any(|it| it.token == instance.token) {
                self.seen.entry(instance.token.clone()).or_default().take_in(instance);
            }
        }
        self.tells(&drill);
        if self.begun.says && spillway_output::is_unread() {
            return Err(self.not_followed());
        }
        let is_over = drill.ended_at.is_some();
        self.drill = Some(drill.clone());
        Ok(is_over.then(|| Report::new(self.begun.pool.clone(), drill, std::mem::take(&mut self.seen))))
    }

    /// Says what is new.
    fn tells(&mut self, drill: &v1::Drill) {
        let mut news = Vec::new();
        for it in &drill.instances {
            let name = name(it);
            let planned_at = it.planned_at.as_ref().or(drill.at.as_ref());
            for (step, after) in steps(it) {
                news.push((after, format!("{name} {step}")));
            }
            let seen = self.seen.get(&it.token);
            let since = |at: Option<&prost_types::Timestamp>| Some(times::between(planned_at?, at?));
            for step in seen.iter().flat_map(|seen| seen.boot_steps()) {
                let took = step.took.as_ref().map(times::span).unwrap_or_default();
                let at = since(step.started_at.as_ref()).unwrap_or_default() + took;
                let did = match step.state() {
                    v1::StepState::Succeeded => format!("done in {}", in_words(took)),
                    v1::StepState::Failed => format!("FAILED: {}", step.problem),
                    v1::StepState::Retrying => format!("failed (attempt {}), retried: {}", step.attempt, step.problem),
                    _ => continue,
                };
                news.push((at, format!("{name} boot step {} {did}", step.name)));
            }
            if !it.cause.is_empty() {
                let at = it.draining_at.as_ref().or(it.terminating_at.as_ref()).or(it.gone_at.as_ref());
                news.push((since(at).unwrap_or_default(), format!("{name} was not ready: {}", it.cause)));
            }
            if !it.stays.is_empty() {
                news.push((Duration::MAX, format!("{name} stays, as an ordinary instance: {}", it.stays)));
            }
        }
        news.retain(|(_, text)| !self.told.contains(text));
        // Steps at one moment stay in their order.
        news.sort_by_key(|(after, _)| *after);
        for (after, text) in news {
            let when = if after == Duration::MAX { self.began.elapsed() } else { after };
            self.begun.say(&format!("{:>9}  {text}", format!("{:.1} s", when.as_secs_f64())));
            self.told.insert(text);
            self.told_at = Instant::now();
        }
    }

    /// What, for how long, and for how long at the most.
    fn says_what_it_waits_for(&mut self) {
        if self.told_at.elapsed() < SAID_EVERY {
            return;
        }
        self.told_at = Instant::now();
        let now = clock::system_now();
        let drill = self.drill.iter().flat_map(|drill| &drill.instances);
        let waits: Vec<String> = drill
            .filter(|it| it.gone_at.is_none() && it.stays.is_empty() && !it.token.is_empty())
            .map(|it| match self.seen.get(&it.token).and_then(Seen::last) {
                Some(instance) => waits_for(name(it), instance, now),
                None => format!("{} is launched", name(it)),
            })
            .collect();
        if !waits.is_empty() {
            let elapsed = format!("{:.1} s", self.began.elapsed().as_secs_f64());
            self.begun.say(&format!("{elapsed:>9}  waits: {}", waits.join("; ")));
        }
    }
}

fn waits_for(name: &str, instance: &v1::Instance, now: std::time::SystemTime) -> String {
    let step = instance.boot_steps.iter().find(|step| step.state() == v1::StepState::Running);
    let what = match (instance.phase.as_str(), step) {
        ("booting", Some(step)) => format!("{name} is booting (step {}/{} {})", step.index + 1, step.count, step.name),
        (phase, _) => format!("{name} is {phase}"),
    };
    let lasted = in_words(whole(times::since(instance.phase_since.as_ref(), now)));
    let left = whole(times::until(instance.phase_deadline.as_ref(), now));
    let most = if left.is_zero() { String::new() } else { format!(", at most {} more", in_words(left)) };
    format!("{what} for {lasted}{most}")
}

fn whole(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

/// EC2's id, or that there is none yet.
fn name(it: &v1::DrillInstance) -> &str {
    match (it.id.as_str(), it.token.as_str()) {
        ("", "") => "one",
        ("", token) => token,
        (id, _) => id,
    }
}

async fn watch(mut coordinator: Coordinator, pool: &str) -> anyhow::Result<Streaming<v1::WatchFleetResponse>> {
    let request = v1::WatchFleetRequest { pool: pool.to_owned() };
    let fleets = coordinator.watch_fleet(request).await;
    Ok(fleets.map_err(spillway_console::client::refused)?.into_inner())
}
