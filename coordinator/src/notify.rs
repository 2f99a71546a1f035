//! Messages about what needs a person, and the daily digest: reads what the pools publish, saves what it tells to the
//! ledger, sends. Which messages there are is decided by `spillway-attention`. A task of its own, for which nobody
//! waits.
//!
//! The leader of a pool tells of it. While the ledger does not answer nobody knows who leads: then whoever led last
//! tells what is new, from memory, and what the ledger has waits for it. One that has not led since its start tells
//! alone that nobody leads, after a while.
//!
//! - `webhook`: one message, once

mod roles;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_attention::{Day, Dollars, Engine, Kept, Schedule, digest, test_message};
use spillway_proto::v1;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::config::Settings;
use crate::ledger::{Incidents, LedgerProblem};
use crate::pools::PoolList;
use crate::reconcile::PoolHandle;
use crate::redis_client::Redis;
use crate::{VERSION, clock, fleet};
use roles::Role;
pub use webhook::{Webhook, WebhookProblem};

/// What is found is looked at this often, or twice in an observation's interval.
const EACH: Duration = Duration::from_secs(1);
const LEAST_EACH: Duration = Duration::from_millis(100);
/// A message that is under way when the process is to end may take so long.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(86_400);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Taken,
    NotTaken,
    /// It may have been taken.
    Unanswered,
}

/// Tells of all pools that this process leads.
#[derive(Debug)]
pub(crate) struct Notifier {
    pools: PoolList,
    webhook: Webhook,
    schedule: Schedule,
    ledger: Incidents,
    engine: Engine,
    roles: BTreeMap<String, Role>,
    /// Pools whose incidents the ledger does not have as they are.
    unsaved: BTreeSet<String>,
    interval: Duration,
    /// A message about incidents was not answered: the digest has a turn before it is sent again.
    digest_is_next: bool,
    /// Why the last message was not taken, or the ledger not read: it is logged once.
    problem: Option<String>,
}

impl Notifier {
    /// None: the settings have no webhook.
    ///
    /// # Errors
    /// A URL of a proxy or of Redis cannot be used.
    pub(crate) fn of(settings: &Settings, pools: PoolList) -> anyhow::Result<Option<Self>> {
        let Some(url) = settings.notify.webhook.clone() else { return Ok(None) };
        let interval = settings.pools.iter().map(|pool| pool.brain.interval).min().unwrap_or(EACH);
        let redis = Redis::new("ledger.url", &settings.ledger_url)?;
        Ok(Some(Notifier {
            pools,
            webhook: Webhook::new(url, &settings.proxies)?,
            schedule: settings.notify.digest.clone(),
            ledger: Incidents::new(redis, &settings.ledger_prefix),
            engine: Engine::new(interval),
            roles: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            interval,
            digest_is_next: false,
            problem: None,
        }))
    }

    /// Runs until `stop` ends.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<()>) {
        let mut each = tokio::time::interval((self.interval / 2).clamp(LEAST_EACH, EACH));
        each.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = each.tick() => {}
                _ = stop.changed() => break,
            }
            let mut ending = stop.clone();
            let turn = self.turn();
            tokio::pin!(turn);
            tokio::select! {
                () = &mut turn => continue,
                _ = ending.changed() => {}
            }
            // What is under way is finished, so that the next leader does not send it again.
            let _ = tokio::time::timeout(ENDS_WITHIN, turn).await;
            break;
        }
    }

    async fn turn(&mut self) {
        self.look().await;
        let unsaved = std::mem::take(&mut self.unsaved);
        for pool in unsaved {
            self.save(&pool).await;
        }
        let now = clock::now();
        if self.digest_is_next && self.engine.may_send(now) {
            self.digest_is_next = false;
            if self.digest().await {
                return;
            }
        }
        if let Some(outgoing) = self.engine.due(now) {
            let pools: Vec<String> = outgoing.pools().map(str::to_owned).collect();
            if !self.may_tell(&pools).await {
                return;
            }
            match self.send(&outgoing.text, &outgoing.key).await {
                Sent::Taken => {
                    self.engine.sent(&outgoing, clock::now());
                    self.save_all(&pools).await;
                }
                Sent::Unanswered => {
                    self.digest_is_next = true;
                    if self.engine.unanswered(outgoing, clock::now()) {
                        may_be_taken();
                        self.save_all(&pools).await;
                    }
                }
                Sent::NotTaken => {}
            }
            return;
        }
        let _ = self.digest().await;
    }

    /// What is found of each pool, by whoever tells of it.
    async fn look(&mut self) {
        let of_all = fleet::attention(&self.pools);
        let (first, pools) = (self.first(), self.pools.all());
        // One that was wound up, and is here no more.
        let gone: Vec<String> =
            self.roles.keys().filter(|name| pools.iter().all(|pool| pool.name != **name)).cloned().collect();
        for name in gone {
            self.roles.remove(&name);
            self.engine.let_go(&name);
        }
        for pool in pools {
            self.settle(&pool).await;
            let (mut found, leads) = {
                let status = pool.status.borrow();
                (status.view.attention.clone(), status.leading)
            };
            if Some(&pool.name) == first.as_ref() {
                found.extend(of_all.iter().cloned());
            }
            let role = self.roles.entry(pool.name.clone()).or_default();
            role.only(&mut found, self.engine.kept(&pool.name));
            if self.engine.saw(&pool.name, &found, leads, clock::now()) {
                self.unsaved.insert(pool.name.clone());
            }
        }
    }

    /// The pool that keeps what is of the installation.
    fn first(&self) -> Option<String> {
        self.pools.configured().first().map(|pool| pool.name.clone())
    }

    /// Takes over what the ledger has of a pool that is led here now, and lets go of what is not.
    async fn settle(&mut self, pool: &PoolHandle) {
        let (leads, epoch) = {
            let status = pool.status.borrow();
            (status.leading, status.epoch)
        };
        let led = *pool.led.borrow();
        let role = self.roles.entry(pool.name.clone()).or_default();
        if role.takes_over(led, leads, epoch) {
            match self.ledger.load(&pool.name).await {
                Ok((saved, saved_in)) => {
                    let own = self.engine.kept(&pool.name).cloned().unwrap_or_default();
                    let kept = role.led(epoch, saved, saved_in, own);
                    // A backlog is seen to grow after half of the target.
                    let settled = clock::now() + pool.config.target / 2 + self.interval * 6;
                    self.engine.take_over(&pool.name, kept, settled);
                    self.unsaved.insert(pool.name.clone());
                }
                Err(problem) => {
                    if role.unread() {
                        self.engine.take_over(&pool.name, Kept::default(), clock::now());
                    }
                    self.not_saved(&problem);
                }
            }
        } else if let Some(kept) = role.not_led(led, self.engine.kept(&pool.name), clock::now()) {
            match kept {
                Some(kept) => self.engine.take_over(&pool.name, kept, clock::now()),
                None => self.engine.let_go(&pool.name),
            }
        }
    }

    async fn save_all(&mut self, pools: &[String]) {
        for pool in pools {
            self.save(pool).await;
        }
    }

    /// Saves a pool's incidents. Until when the lease is certain to last; None: it is not, or they are not in the
    /// ledger.
    async fn save(&mut self, pool: &str) -> Option<Duration> {
        let role = self.roles.get_mut(pool)?;
        let epoch = role.epoch()?;
        let kept = self.engine.kept(pool)?.clone();
        let holder = self.pools.all().into_iter().find(|it| it.name == pool)?.holder;
        match self.ledger.save(pool, &holder, epoch, &kept).await {
            Ok(until) => {
                role.saved(kept);
                Some(until)
            }
            Err(problem) => {
                self.unsaved.insert(pool.to_owned());
                self.not_saved(&problem);
                None
            }
        }
    }

    /// Whether this process is to tell of these pools, and will be for as long as that takes. What is told is in the
    /// ledger before that, where there is one: whoever leads next knows the incidents.
    async fn may_tell(&mut self, pools: &[String]) -> bool {
        for pool in pools {
            if self.roles.get(pool).is_some_and(|role| role.epoch().is_none()) {
                continue;
            }
            let Some(until) = self.save(pool).await else { return false };
            if until.saturating_sub(clock::up()) <= webhook::ANSWERS_WITHIN {
                return false;
            }
        }
        true
    }

    async fn send(&mut self, text: &str, key: &str) -> Sent {
        match self.webhook.send(text, key).await {
            Ok(_) => {
                if self.problem.take().is_some() {
                    tracing::info!("messages are taken again");
                }
                Sent::Taken
            }
            Err(problem) => {
                let wait = self.engine.failed(problem.retry_after(), clock::now());
                let sent = if matches!(problem, WebhookProblem::Hangs) { Sent::Unanswered } else { Sent::NotTaken };
                let problem = problem.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(problem, ?wait, "a message was not taken: it is sent again");
                }
                self.problem = Some(problem);
                sent
            }
        }
    }

    fn not_saved(&mut self, problem: &LedgerProblem) {
        tracing::debug!(%problem, "incidents are not saved to the ledger: retrying");
    }

    /// The digest, where it is due. True: it was tried.
    async fn digest(&mut self) -> bool {
        let Some(first) = self.first() else { return false };
        let Some(day) = self.engine.digest_due(&first, &self.schedule, clock::now()) else { return false };
        // Another leader may have sent it: only the ledger knows, and only its leader asks.
        let is_led = self.roles.get(&first).is_some_and(|role| role.epoch().is_some());
        if !is_led || !self.may_tell(std::slice::from_ref(&first)).await {
            return false;
        }
        let text = self.digest_text();
        match self.send(&text, &format!("spillway-digest-{first}-{day}")).await {
            Sent::Taken => self.engine.answered(clock::now()),
            Sent::Unanswered if self.engine.digest_unanswered(&day) => may_be_taken(),
            Sent::Unanswered | Sent::NotTaken => return true,
        }
        self.engine.digest_sent(&first, day);
        for pool in self.pools.configured().to_vec() {
            let total = pool.status.borrow().view.jobs_handed_back_total;
            let _ = self.engine.handed_back(&pool.name, total, true);
            self.save(&pool.name).await;
        }
        true
    }

    fn digest_text(&mut self) -> String {
        let now = clock::now();
        let pools = self.pools.configured().to_vec();
        let days: Vec<Day> = pools
            .iter()
            .map(|pool| {
                let totals = pool.past.look().totals((now - DAY).0, now.0);
                let total = pool.status.borrow().view.jobs_handed_back_total;
                Day {
                    pool: pool.name.clone(),
                    done: totals.finished,
                    failed: totals.failed,
                    wait_p95: totals.wait_p95.and_then(|seconds| Duration::try_from_secs_f64(seconds.round()).ok()),
                    launched: totals.launched,
                    instance_time: Duration::from_millis(totals.instance_ms),
                    interrupted: totals.interrupted,
                    handed_back: self.engine.handed_back(&pool.name, total, false),
                    dollars: dollars(&pool.prices.money(pool)),
                }
            })
            .collect();
        let v1::GetFleetResponse { mut attention, pools, .. } = fleet::shown(&self.pools);
        attention.extend(pools.into_iter().flat_map(|pool| pool.attention));
        digest(&days, &attention)
    }
}

fn may_be_taken() {
    tracing::warn!("a message was not answered: it may have been taken, and is not sent again");
}

/// What a day cost; None where a price is not known.
fn dollars(money: &v1::Money) -> Option<Dollars> {
    let day = money.day.as_ref()?;
    Some(Dollars { spot: day.dollars?, on_demand: day.on_demand })
}

/// Sends one message by the settings, and returns what the webhook answered.
///
/// # Errors
/// There is no webhook, or it did not take the message: what is wrong, and what to do.
pub async fn test(settings: &Settings) -> anyhow::Result<String> {
    let Some(url) = settings.notify.webhook.clone() else {
        anyhow::bail!(
            "notify.webhook_url is not set, so no message is sent: put the webhook's URL into a file of mode 0600, and set \
             notify.webhook_url_file to it"
        );
    };
    let key = format!("spillway-test-{}", uuid::Uuid::new_v4());
    Ok(Webhook::new(url, &settings.proxies)?.send(&test_message(VERSION), &key).await?)
}
