//! Which messages there are, and when: incidents of all pools of this process, gathered, folded and spaced.
//!
//! ```text
//!   finding ──► rising ──► open ──► (over: away for a quiet time) ──► closed ──► told
//!               seen for     │ told: opened, still after 1 h, 6 h, 24 h
//!               so long      └─ seen again meanwhile: the same incident
//! ```
//!
//! What is not told yet stays to be told: nothing is lost while no message can be sent. One message at a time; what
//! comes before the next may be sent is one message together.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_brain::Timestamp;
use spillway_proto::v1;

use crate::incident::{Change, Incident, Kept};
use crate::message;

/// A finding that lasts for so many observations is an incident,
const OPENS_AFTER: u32 = 3;
/// and is over when so many have not seen it.
const QUIET: u32 = 12;
/// Observations between the messages of a storm: more after each.
const SPACING: [u32; 3] = [6, 12, 30];
/// The pace of a pool that observes more rarely is no slower.
const SLOWEST: Duration = Duration::from_secs(10);
/// Never more than one message in this time, and the first wait after one that failed.
const LEAST: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What a webhook that is asked too often may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// A message that was not answered is sent so often as it is; then it is made anew, with what has come since.
const ATTEMPTS: u32 = 3;
/// What was sent and not answered for so long counts as taken: a webhook that takes each message and answers too late
/// would have it for ever. One that is only down is back sooner.
const TAKEN_AFTER: Duration = Duration::from_secs(2 * 3600);

/// A message that is to be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub text: String,
    /// The same for the same news, whoever sends them.
    pub key: String,
    /// What it tells, by pool.
    changes: BTreeMap<String, Vec<(Change, Incident)>>,
}

impl Outgoing {
    /// Whose incidents it tells.
    pub fn pools(&self) -> impl Iterator<Item = &str> {
        self.changes.keys().map(String::as_str)
    }
}

/// The incidents of this process' pools.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Between two observations.
    interval: Duration,
    pools: BTreeMap<String, OfPool>,
    last_sent: Option<Timestamp>,
    /// Messages in a row that came as soon as they might.
    burst: usize,
    /// Since when something is to be told.
    news_since: Option<Timestamp>,
    /// Attempts in a row that failed, and when the next may be made.
    failed: u32,
    not_before: Option<Timestamp>,
    /// Sent, and not answered: the webhook may have taken it, so that it is sent again as it is. With the attempts.
    unanswered: Option<(Outgoing, u32)>,
    /// Since when no message was answered.
    silent_since: Option<Timestamp>,
    /// The same for the digest of a day.
    unanswered_digest: Option<(String, u32)>,
}

#[derive(Clone, Debug, Default)]
struct OfPool {
    kept: Kept,
    rising: BTreeMap<String, Timestamp>,
    settled: Timestamp,
}

impl Engine {
    /// `interval`: between two observations of the pools.
    pub fn new(interval: Duration) -> Self {
        Engine {
            interval: interval.min(SLOWEST),
            pools: BTreeMap::new(),
            last_sent: None,
            burst: 0,
            news_since: None,
            failed: 0,
            not_before: None,
            unanswered: None,
            silent_since: None,
            unanswered_digest: None,
        }
    }

    /// This process tells of the pool from now on, from what the ledger has. Nothing is over before `settled`: what
    /// takes a while to be seen was not seen by this process yet.
    pub fn take_over(&mut self, pool: &str, kept: Kept, settled: Timestamp) {
        self.pools.insert(pool.to_owned(), OfPool { kept, rising: BTreeMap::new(), settled });
    }

    /// Another process does, or nobody.
    pub fn let_go(&mut self, pool: &str) {
        self.pools.remove(pool);
    }

    pub fn has(&self, pool: &str) -> bool {
        self.pools.contains_key(pool)
    }

    /// For the ledger.
    pub fn kept(&self, pool: &str) -> Option<&Kept> {
        self.pools.get(pool).map(|it| &it.kept)
    }

    pub(crate) fn kept_mut(&mut self, pool: &str) -> Option<&mut Kept> {
        self.pools.get_mut(pool).map(|it| &mut it.kept)
    }

    /// What is found of a pool now. `leads`: whether the pool is led here. What only its leader can find is not over
    /// because another does not find it. True: something is to be saved.
    pub fn saw(&mut self, pool: &str, findings: &[v1::Finding], leads: bool, now: Timestamp) -> bool {
        let pace = (self.interval * OPENS_AFTER, self.interval * QUIET);
        let Some(OfPool { kept, rising, settled }) = self.pools.get_mut(pool) else { return false };
        // A hint is worth no message.
        let told: Vec<v1::Finding> = findings.iter().filter(|finding| finding.severity != "hint").cloned().collect();
        let is_news = kept.saw(&told, rising, pace, leads, now);
        (now >= *settled && kept.close(leads, now)) || is_news
    }

    /// The message that is due, if there is one. It is due until it is told.
    pub fn due(&mut self, now: Timestamp) -> Option<Outgoing> {
        let pools = &self.pools;
        self.unanswered = self.unanswered.take().filter(|(it, _)| it.pools().all(|pool| pools.contains_key(pool)));
        if let Some((again, _)) = &self.unanswered {
            return self.may_send(now).then(|| again.clone());
        }
        let changes: BTreeMap<String, Vec<(Change, Incident)>> = self
            .pools
            .iter()
            .map(|(pool, of)| {
                let changes = of.kept.changes(now).into_iter().map(|(change, incident)| (change, incident.clone()));
                (pool.clone(), changes.collect::<Vec<_>>())
            })
            .filter(|(_, changes)| !changes.is_empty())
            .collect();
        if changes.is_empty() {
            self.news_since = None;
            return None;
        }
        // What belongs together is seen within one observation.
        let since = self.news_since.get_or_insert(now);
        // A clock that was set back shows an earlier time.
        *since = (*since).min(now);
        if now.since(*since) < self.interval / 2 || !self.may_send(now) || now < self.spaced(now) {
            return None;
        }
        let more = changes.keys().filter_map(|pool| self.pools.get(pool)).map(|of| of.kept.more_closed).sum();
        Some(Outgoing { text: message::of(&changes, more, now), key: message::key(&changes), changes })
    }

    /// No message, of whatever kind, may be sent before.
    pub fn may_send(&self, now: Timestamp) -> bool {
        let is_soon = self.last_sent.is_some_and(|last| now >= last && now.since(last) < LEAST);
        let is_asked_to_wait = self.not_before.is_some_and(|at| now < at && at.since(now) <= LONGEST_RETRY_AFTER);
        !is_soon && !is_asked_to_wait
    }

    /// The next message about incidents, at the earliest.
    fn spaced(&self, now: Timestamp) -> Timestamp {
        self.last_sent.filter(|last| *last <= now).map_or(Timestamp(0), |last| last + self.spacing())
    }

    fn spacing(&self) -> Duration {
        self.interval * SPACING[self.burst.min(SPACING.len() - 1)]
    }

    /// The webhook took it.
    pub fn sent(&mut self, outgoing: &Outgoing, now: Timestamp) {
        self.told(outgoing, now);
        self.answered(now);
    }

    /// It was sent, and nobody knows whether the webhook took it: what is due next is the same message, with the same
    /// key, some times, and then one with all that is news by then. True: the webhook has been silent for so long that
    /// this counts as taken. It is not known to work then: the waits stay as long as they are.
    pub fn unanswered(&mut self, outgoing: Outgoing, now: Timestamp) -> bool {
        let before =
            self.unanswered.take().filter(|(it, _)| it.key == outgoing.key).map_or(0, |(_, attempts)| attempts);
        // A clock that was set back makes no silence longer.
        let since = self.silent_since.filter(|since| *since <= now).unwrap_or(now);
        self.silent_since = Some(since);
        if before + 1 < ATTEMPTS {
            self.unanswered = Some((outgoing, before + 1));
            return false;
        }
        if now.since(since) < TAKEN_AFTER {
            return false;
        }
        self.told(&outgoing, now);
        self.last_sent = Some(now);
        true
    }

    /// The same for the digest of this day.
    pub fn digest_unanswered(&mut self, day: &str) -> bool {
        let before = self.unanswered_digest.take().filter(|(it, _)| it == day).map_or(0, |(_, attempts)| attempts);
        self.unanswered_digest = Some((day.to_owned(), before + 1));
        before + 1 >= ATTEMPTS
    }

    fn told(&mut self, outgoing: &Outgoing, now: Timestamp) {
        for (pool, changes) in &outgoing.changes {
            let Some(of) = self.pools.get_mut(pool) else { continue };
            of.kept.told(changes, now);
            of.kept.more_closed = 0;
        }
        let is_close = self.last_sent.is_some_and(|last| now.since(last) < self.spacing() * 2);
        self.burst = if is_close { (self.burst + 1).min(SPACING.len() - 1) } else { 0 };
        (self.news_since, self.unanswered) = (None, None);
    }

    /// Another message was taken: the webhook works.
    pub fn answered(&mut self, now: Timestamp) {
        (self.last_sent, self.failed, self.not_before) = (Some(now), 0, None);
        self.silent_since = None;
    }

    /// The webhook did not take it. `retry_after`: what it asked for. How long nothing is sent now.
    pub fn failed(&mut self, retry_after: Option<Duration>, now: Timestamp) -> Duration {
        let doubled = LEAST.saturating_mul(1_u32.checked_shl(self.failed).unwrap_or(u32::MAX)).min(LONGEST_WAIT);
        let wait = retry_after.map_or(doubled, |it| it.clamp(LEAST, LONGEST_RETRY_AFTER));
        self.failed = self.failed.saturating_add(1);
        self.not_before = Some(now + wait);
        wait
    }
}

#[cfg(test)]
mod tests;
