//! An incident: a finding that lasts, from its first message to its last. What the ledger keeps of a pool's.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spillway_brain::Timestamp;
use spillway_proto::v1;

use crate::kind::Kind;

/// It is told again after so long.
const STILL: [Duration; 3] = [Duration::from_secs(3600), Duration::from_secs(6 * 3600), Duration::from_secs(24 * 3600)];
/// One that comes back within so long is the same to a reader: it must be away for longer each time.
const COMES_BACK: Duration = Duration::from_secs(3600);
const LONGEST_QUIET: Duration = Duration::from_secs(3600);
/// Incidents of a pool that are over and not told: more are counted.
const UNTOLD: usize = 200;

/// One incident. Its key is its kind, within a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    pub kind: String,
    pub severity: String,
    pub title: String,
    pub detail: String,
    pub remedy: String,
    pub opened_at: Timestamp,
    /// Messages about it: 0 none, 1 that it is there, and one for each time of [`STILL`].
    pub told: u8,
    /// It was not seen since; None while it is there.
    pub over_since: Option<Timestamp>,
    /// It is over once it was away for so long, in milliseconds.
    pub quiet_ms: u64,
}

/// What is to be told of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    Opened,
    Still,
    Closed,
}

impl Incident {
    fn began(finding: &v1::Finding, opened_at: Timestamp, quiet: Duration) -> Self {
        let mut incident =
            Incident { kind: finding.kind.clone(), opened_at, quiet_ms: millis(quiet), ..Incident::default() };
        incident.saw(finding);
        incident
    }

    fn saw(&mut self, finding: &v1::Finding) {
        let v1::Finding { severity, title, detail, remedy, .. } = finding;
        for (to, from) in [
            (&mut self.severity, severity),
            (&mut self.title, title),
            (&mut self.detail, detail),
            (&mut self.remedy, remedy),
        ] {
            to.clone_from(from);
        }
        self.over_since = None;
    }

    /// Whether it would be found, were it there, by who leads or does not.
    pub fn is_seen(&self, leads: bool) -> bool {
        leads || Kind::named(&self.kind).is_some_and(Kind::is_seen_by_standby)
    }

    fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.over_since.is_some_and(|since| now.since(since) >= self.quiet())
    }

    /// How long it lasted, or has lasted.
    pub fn lasted(&self, now: Timestamp) -> Duration {
        self.over_since.unwrap_or(now).since(self.opened_at)
    }

    /// Messages that there would be by now, had each been sent in time.
    fn due(&self, now: Timestamp) -> u8 {
        let age = now.since(self.opened_at);
        let stills = STILL.iter().filter(|after| age >= **after).count();
        u8::try_from(stills).unwrap_or(u8::MAX).saturating_add(1)
    }
}

/// A pool's incidents, as the ledger keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    pub open: BTreeMap<String, Incident>,
    /// Over, and not told yet; the oldest first.
    pub closed: Vec<Incident>,
    /// More of those, of which nothing else is known.
    pub more_closed: u64,
    /// When a kind was over last, and for how long it had to be away.
    pub before: BTreeMap<String, (Timestamp, u64)>,
    /// The day of the last digest, as `2026-11-29`; in the first pool's alone.
    pub digest: Option<String>,
    /// Jobs that had been handed back by then.
    pub handed_back: Option<u64>,
}

impl Kept {
    /// What is found now, by who leads or does not. `rising`: since when kinds are seen that are no incident yet. True:
    /// something is to be saved.
    pub(crate) fn saw(
        &mut self,
        findings: &[v1::Finding],
        rising: &mut BTreeMap<String, Timestamp>,
        (opens_after, quiet): (Duration, Duration),
        leads: bool,
        now: Timestamp,
    ) -> bool {
        let mut is_news = false;
        rising.retain(|kind, _| findings.iter().any(|finding| finding.kind == *kind));
        // A clock that was set back shows an earlier time.
        rising.values_mut().for_each(|since| *since = (*since).min(now));
        self.open.values_mut().for_each(|it| it.over_since = it.over_since.map(|since| since.min(now)));
        for finding in findings {
            if let Some(incident) = self.open.get_mut(&finding.kind) {
                let was_away = incident.over_since.is_some();
                incident.saw(finding);
                is_news |= was_away;
                continue;
            }
            let since = *rising.entry(finding.kind.clone()).or_insert(now);
            if now.since(since) >= opens_after {
                rising.remove(&finding.kind);
                let quiet = self.quiet_of(&finding.kind, quiet, since);
                self.open.insert(finding.kind.clone(), Incident::began(finding, since, quiet));
                is_news = true;
            }
        }
        for (kind, incident) in &mut self.open {
            if incident.over_since.is_none()
                && incident.is_seen(leads)
                && !findings.iter().any(|finding| finding.kind == *kind)
            {
                incident.over_since = Some(now);
                is_news = true;
            }
        }
        is_news
    }

    /// How long a kind must be away: twice as long as before where it came back soon.
    fn quiet_of(&self, kind: &str, usual: Duration, now: Timestamp) -> Duration {
        let back = self.before.get(kind).filter(|(closed_at, _)| now.since(*closed_at) < COMES_BACK);
        back.map_or(usual, |(_, quiet)| (Duration::from_millis(*quiet) * 2).clamp(usual, LONGEST_QUIET.max(usual)))
    }

    /// Those that were away for long enough are over, where that can be seen. True: something is to be saved.
    pub(crate) fn close(&mut self, leads: bool, now: Timestamp) -> bool {
        let is_over = |incident: &Incident| incident.is_over(now) && incident.is_seen(leads);
        let over: Vec<String> =
            self.open.iter().filter(|(_, incident)| is_over(incident)).map(|(kind, _)| kind.clone()).collect();
        for kind in &over {
            let Some(incident) = self.open.remove(kind) else { continue };
            self.before.insert(kind.clone(), (now, incident.quiet_ms));
            self.closed.push(incident);
        }
        let many = self.closed.len().saturating_sub(UNTOLD);
        self.closed.drain(..many);
        self.more_closed = self.more_closed.saturating_add(u64::try_from(many).unwrap_or(u64::MAX));
        self.before.retain(|_, (closed_at, _)| now.since(*closed_at) < COMES_BACK);
        !over.is_empty()
    }

    /// What is to be told now.
    pub(crate) fn changes(&self, now: Timestamp) -> Vec<(Change, &Incident)> {
        let open = self.open.values().filter_map(|incident| match incident.told {
            0 => Some((Change::Opened, incident)),
            told if incident.over_since.is_none() && told < incident.due(now) => Some((Change::Still, incident)),
            _ => None,
        });
        open.chain(self.closed.iter().map(|incident| (Change::Closed, incident))).collect()
    }

    /// These changes are told.
    pub(crate) fn told(&mut self, changes: &[(Change, Incident)], now: Timestamp) {
        for (change, told) in changes {
            match change {
                Change::Closed => self.closed.retain(|it| (&it.kind, it.opened_at) != (&told.kind, told.opened_at)),
                Change::Opened | Change::Still => {
                    let same = |it: &&mut Incident| it.kind == told.kind && it.opened_at == told.opened_at;
                    // It may be over by now: then that is told next.
                    let found = self.open.values_mut().find(same);
                    if let Some(incident) = found.or_else(|| self.closed.iter_mut().find(same)) {
                        incident.told = incident.told.max(incident.due(now));
                    }
                }
            }
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
