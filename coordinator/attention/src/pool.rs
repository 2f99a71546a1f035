//! The findings of one pool, from its status, the notes of its last plan and what a person was told of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use spillway_brain::{AlertKind, Note, Timestamp, in_words};
use spillway_proto::{times, v1};
use spillway_words::counted;

use crate::finding::{Finding, list, sentence};
use crate::kind::Kind;

/// An image that is older is worth a bake: each boot then installs what has changed since.
const OLD_IMAGE: Duration = Duration::from_secs(30 * 86_400);
/// An install that takes longer is worth an image of its own.
const SLOW_INSTALL: Duration = Duration::from_secs(20);
/// A hold that is older may have been forgotten.
const LONG_HOLD: Duration = Duration::from_secs(3600);
/// Sentences of notes in one detail.
const SENTENCES: usize = 3;
/// Readings of the backlog that are kept to see it grow.
const READINGS: usize = 256;

/// What a pool's findings are made of.
#[derive(Debug)]
pub struct Seen<'a> {
    pub pool: &'a v1::Pool,
    /// Of the last plan; none of a standby.
    pub notes: &'a [Note],
    /// What a person was told of, and is not over, with what was said (empty where that is not known); none of a
    /// standby.
    pub alerts: &'a BTreeMap<AlertKind, &'a str>,
    pub held_since: Option<Timestamp>,
    /// A standby tells what it cannot read, and nothing else.
    pub leads: bool,
    /// How long jobs should wait at most: half of it at the cap, with more jobs than before, is worth a word.
    pub target: Duration,
}

/// Remembers of a pool what one status does not tell: since when something is so, and whether the backlog grows.
#[derive(Clone, Debug, Default)]
pub struct Watcher {
    since: BTreeMap<Kind, Timestamp>,
    /// Demand while the pool is at its cap, oldest first.
    at_cap: VecDeque<(Timestamp, u64)>,
    cap_reached: bool,
}

impl Watcher {
    /// The pool's findings, the worst first.
    pub fn look(&mut self, seen: &Seen<'_>, now: Timestamp) -> Vec<Finding> {
        let mut found = Vec::new();
        unreadable(seen, &mut found);
        if seen.leads {
            launches(seen, &mut found);
            found.extend(self.growing(seen, now));
            found.extend(held(seen, now));
            fleet(seen, &mut found);
            notes(seen, &mut found);
            image(seen, now, &mut found);
            alerts(seen, now, &mut found);
        } else {
            self.at_cap.clear();
        }
        found.sort_by_key(|it| (it.kind.severity(), it.kind));
        found.dedup_by_key(|it| it.kind);
        self.since.retain(|kind, _| found.iter().any(|it| it.kind == *kind));
        for finding in &mut found {
            let first = *self.since.entry(finding.kind).or_insert(now);
            finding.since = finding.since.or(Some(first));
        }
        found
    }

    /// At the cap for half of the target, with more jobs than before: only a higher cap would help. It stays so until
    /// the backlog is no larger than when it was said, or the cap is left.
    fn growing(&mut self, seen: &Seen<'_>, now: Timestamp) -> Option<Finding> {
        let cap = at_cap(seen);
        let backlog = seen.pool.backlog.as_ref().filter(|_| cap.is_some());
        let (Some(cap), Some(backlog)) = (cap, backlog) else {
            self.at_cap.clear();
            self.cap_reached = false;
            return None;
        };
        let window = seen.target / 2;
        let is_news = self.at_cap.back().is_none_or(|(at, _)| now.since(*at) >= window / 64);
        if is_news {
            self.at_cap.push_back((now, backlog.demand));
        }
        // The newest that is old enough is what is compared with.
        while self.at_cap.len() > READINGS || self.at_cap.get(1).is_some_and(|(at, _)| now.since(*at) >= window) {
            self.at_cap.pop_front();
        }
        let (at, before) = *self.at_cap.front()?;
        if now.since(at) >= window {
            self.cap_reached = backlog.demand > before || (self.cap_reached && backlog.demand == before);
        }
        let title = format!("At the cap of {} while the backlog grows", counted(seen.pool.max_instances, "instance"));
        let (jobs, ago) = (counted(backlog.demand, "job"), in_words(now.since(at)));
        let detail = format!("{jobs} ready to run, {before} were {ago} ago. {cap}");
        self.cap_reached.then(|| Finding::new(Kind::CapReached).title(title).detail(detail))
    }
}

/// Why no more instances can be launched, whatever the policy wants; None: there is room, or some are starting. Desired
/// capacity is never above the cap, so the plan has a note only where something else takes the room.
fn at_cap(seen: &Seen<'_>) -> Option<String> {
    let is_full = |note: &&Note| matches!(note, Note::AtCap { max_instances, billing, .. } if billing >= max_instances);
    if let Some(note) = seen.notes.iter().find(is_full) {
        return Some(sentence(&note.to_string()));
    }
    let max = seen.pool.max_instances;
    let ready = seen.pool.instances.iter().filter(|it| it.phase == "ready").count();
    let is_full =
        seen.pool.desired.is_some_and(|desired| desired >= max) && ready >= usize::try_from(max).unwrap_or(usize::MAX);
    (is_full && max > 0).then(|| format!("All {} that max_instances allows are ready.", counted(max, "instance")))
}

/// Queues and instances that are unknown, also to a standby.
fn unreadable(seen: &Seen<'_>, found: &mut Vec<Finding>) {
    let problems = [
        (Kind::QueuesUnknown, &seen.pool.observation_problem, AlertKind::QueuesUnknown),
        (Kind::InstancesUnknown, &seen.pool.listing_problem, AlertKind::InstancesUnknown),
    ];
    for (kind, problem, alert) in problems {
        let detail = format!("{} No scaling until this works again.", sentence(problem));
        if !problem.is_empty() {
            found.push(Finding::new(kind).detail(detail));
        } else if seen.alerts.contains_key(&alert) {
            found.push(Finding::new(kind));
        }
    }
}

fn launches(seen: &Seen<'_>, found: &mut Vec<Finding>) {
    let stopped: Vec<&v1::LaunchesBlocked> =
        seen.pool.launches_blocked.iter().filter(|blocked| blocked.needs_a_person).collect();
    if let Some(first) = stopped.first() {
        let said: Vec<String> = stopped
            .iter()
            .map(|it| {
                let how = if it.after_accept {
                    "EC2 accepted the last launch, and ended it before anything ran there"
                } else {
                    "EC2 refused the last launch"
                };
                let message = if it.message.is_empty() { String::new() } else { format!(": {}", it.message) };
                sentence(&format!("{how} ({}: {}{message})", it.class, it.code))
            })
            .collect();
        let (remedy, row) = match first.class.as_str() {
            "quota" => ("Ask AWS for a higher quota, or lower max_instances", "account limit"),
            "permission" => ("Fix the coordinator's credentials or IAM policy, or the account", "not permitted"),
            "configuration" => (
                "Fix the launch template, what it names (image, subnet, security group, key, profile), or pool.tags",
                "wrong configuration",
            ),
            _ => ("EC2's message says what to fix", "unknown error"),
        };
        let finding = Finding::new(Kind::LaunchesStopped)
            .detail(said.join(" "))
            .remedy(format!("{remedy}; then `spillway resume`, which tries at once."))
            .row(format!("EC2 refused a launch ({row}"))
            .since(first.at.as_ref().map(moment));
        found.push(finding);
    }
    let breaker =
        seen.notes.iter().find(|note| matches!(note, Note::BreakerOpen { .. } | Note::EarlyEnds { left: Some(_), .. }));
    if let Some(note) = breaker {
        let row = match note {
            Note::EarlyEnds { .. } => "in a row ended without notice",
            _ => Kind::BreakerOpen.row(),
        };
        found.push(Finding::new(Kind::BreakerOpen).detail(sentence(&note.to_string())).row(row));
    }
}

fn held(seen: &Seen<'_>, now: Timestamp) -> Option<Finding> {
    if !seen.pool.held {
        return None;
    }
    let held = seen.held_since.map(|since| now.since(since)).filter(|held| *held >= LONG_HOLD);
    let waiting = seen.pool.backlog.as_ref().map(|it| it.demand).filter(|demand| *demand > 0);
    if held.is_none() && waiting.is_none() {
        return None;
    }
    let reason = if seen.pool.hold_reason.is_empty() { String::new() } else { sentence(&seen.pool.hold_reason) };
    let meanwhile = waiting.map(|jobs| format!("{} ready to run meanwhile.", counted(jobs, "job"))).unwrap_or_default();
    let title = held.map_or_else(|| Kind::Held.title().to_owned(), |held| format!("Held for {}", in_words(held)));
    let detail = [reason, meanwhile].into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(" ");
    Some(Finding::new(Kind::Held).title(title).detail(detail).since(seen.held_since))
}

fn alive<'a>(seen: &'a Seen<'_>) -> impl Iterator<Item = &'a v1::Instance> {
    seen.pool.instances.iter().filter(|instance| instance.phase != "gone")
}

fn name(instance: &v1::Instance) -> String {
    if instance.id.is_empty() { instance.token.clone() } else { instance.id.clone() }
}

fn fleet(seen: &Seen<'_>, found: &mut Vec<Finding>) {
    let of =
        |is_so: fn(&v1::Instance) -> bool| -> Vec<String> { alive(seen).filter(|it| is_so(it)).map(name).collect() };
    let refused = of(|it| !it.terminate_problem.is_empty());
    if let Some(first) = alive(seen).find(|it| !it.terminate_problem.is_empty()) {
        let what = if refused.len() == 1 { "it is" } else { "they are" };
        let title = format!("EC2 refuses to terminate {}, and {what} billed on", list(&refused));
        found.push(Finding::new(Kind::TerminationRefused).title(title).detail(sentence(&first.terminate_problem)));
    }
    let is_bare = |it: &v1::Instance| it.heartbeat.as_ref().is_some_and(|beat| !beat.unprotected.is_empty());
    let bare = of(is_bare);
    if !bare.is_empty() {
        let words = alive(seen).filter_map(|it| it.heartbeat.as_ref()).flat_map(|beat| &beat.unprotected);
        let words: BTreeSet<String> = words.map(|it| sentence(it)).collect();
        let many = u64::try_from(bare.len()).unwrap_or(u64::MAX);
        let title = format!("{} with an unprotected worker: {}", counted(many, "instance"), list(&bare));
        let detail: Vec<String> = words.into_iter().take(SENTENCES).collect();
        found.push(Finding::new(Kind::Unprotected).title(title).detail(detail.join(" ")));
    }
    // Also of those that are gone: the jobs are still there.
    let lost: Vec<String> = seen.pool.instances.iter().filter(|it| it.hand_back == "given-up").map(name).collect();
    if !lost.is_empty() {
        let title = format!("Jobs of {} could not be handed back", list(&lost));
        found.push(Finding::new(Kind::HandBackFails).title(title));
    }
    let silent = of(|it| it.stale);
    if !silent.is_empty() {
        found.push(Finding::new(Kind::AgentSilent).title(format!("No heartbeat from {}", list(&silent))));
    }
}

/// What the plan says of instances that are not this installation's, or do not look like it.
fn notes(seen: &Seen<'_>, found: &mut Vec<Finding>) {
    let said = |is_so: fn(&Note) -> bool| -> String {
        let all = seen.notes.iter().filter(|note| is_so(note)).take(SENTENCES);
        all.map(|note| sentence(&note.to_string())).collect::<Vec<_>>().join(" ")
    };
    let is_strange = |note: &Note| matches!(note, Note::Stranger { .. } | Note::NotOurs { .. });
    let strange = said(is_strange);
    if !strange.is_empty() {
        let row = match seen.notes.iter().find(|note| is_strange(note)) {
            Some(Note::Stranger { installation: None, .. }) => "nobody can tell whose these are",
            Some(Note::NotOurs { .. }) => "has the pool's tag but no launch token",
            _ => Kind::Strangers.row(),
        };
        found.push(Finding::new(Kind::Strangers).detail(strange).row(row));
    }
    for (kind, is_so) in [
        (Kind::TagsChanged, (|note| matches!(note, Note::TagsChanged { .. })) as fn(&Note) -> bool),
        (Kind::Unlisted, |note| matches!(note, Note::Unlisted { .. })),
    ] {
        let said = said(is_so);
        if !said.is_empty() {
            found.push(Finding::new(kind).detail(said));
        }
    }
}

fn image(seen: &Seen<'_>, now: Timestamp, found: &mut Vec<Finding>) {
    if let Some(image) = &seen.pool.launch_image
        && let Some(made_at) = image.made_at.as_ref().map(moment)
        && now.since(made_at) > OLD_IMAGE
    {
        let title = format!("The image is {} old", in_words(now.since(made_at)));
        found.push(Finding::new(Kind::ImageStale).title(title).detail(format!("Launches take {}.", image.id)));
    }
    let slow = seen.pool.step_medians.iter().filter(|step| step.installs).filter_map(|step| {
        let took = times::from_duration(step.took.as_ref()?).filter(|took| *took > SLOW_INSTALL)?;
        Some((step.name.as_str(), took))
    });
    if let Some((step, took)) = slow.max_by_key(|(_, took)| *took) {
        found.push(Finding::new(Kind::SlowBoot).title(format!("{step} takes {} of each boot", in_words(took))));
    }
    let is_other = |it: &&v1::Instance| it.other_image == Some(true) || it.other_commit == Some(true);
    let other: Vec<String> = alive(seen).filter(is_other).map(name).collect();
    if !other.is_empty() {
        let many = u64::try_from(other.len()).unwrap_or(u64::MAX);
        let title = format!("{} of another image or commit", counted(many, "instance"));
        found.push(Finding::new(Kind::OtherImage).title(title).detail(list(&other)));
    }
}

/// What a person was told of, and the status does not show.
fn alerts(seen: &Seen<'_>, now: Timestamp, found: &mut Vec<Finding>) {
    let known: BTreeSet<Kind> = found.iter().map(|it| it.kind).collect();
    let mut new: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
    for (alert, said) in seen.alerts {
        let said = Some(sentence(said)).filter(|it| !it.is_empty());
        new.entry(kind_of(*alert)).or_default().extend(said);
    }
    new.retain(|kind, _| !known.contains(kind));
    found.extend(new.into_iter().map(|(kind, said)| match kind {
        // It is half-open by now: one instance tries. What was said is of before.
        Kind::BreakerOpen => Finding::new(kind).title("Instances failed in a row, and none has succeeded since"),
        Kind::DrainOverdue => Finding::new(kind).title(overdue(seen, now)).detail(said.join(" ")),
        kind => Finding::new(kind).detail(said.join(" ")),
    }));
}

fn kind_of(alert: AlertKind) -> Kind {
    match alert {
        AlertKind::BootsFail | AlertKind::EarlyEnds => Kind::BreakerOpen,
        AlertKind::Quota | AlertKind::NotPermitted | AlertKind::WrongConfiguration | AlertKind::UnknownRefusal => {
            Kind::LaunchesStopped
        }
        AlertKind::NotTerminated => Kind::TerminationRefused,
        AlertKind::DrainOverdue => Kind::DrainOverdue,
        AlertKind::UnknownInstance | AlertKind::Strangers => Kind::Strangers,
        AlertKind::TagsChanged => Kind::TagsChanged,
        AlertKind::Unlisted => Kind::Unlisted,
        AlertKind::HandBackFails | AlertKind::JobsLeft => Kind::HandBackFails,
        AlertKind::SuspectJob => Kind::SuspectJob,
        AlertKind::NothingTaken => Kind::NothingTaken,
        AlertKind::QueuesUnknown => Kind::QueuesUnknown,
        AlertKind::InstancesUnknown => Kind::InstancesUnknown,
        AlertKind::QueueGone => Kind::QueueGone,
        AlertKind::TwoAgents => Kind::TwoAgents,
    }
}

/// What was said of it names no instance.
fn overdue(seen: &Seen<'_>, now: Timestamp) -> String {
    let is_late = |it: &&v1::Instance| it.phase_deadline.as_ref().is_some_and(|at| moment(at) < now);
    let late: Vec<String> = alive(seen).filter(|it| it.phase == "draining").filter(is_late).map(name).collect();
    let title = Kind::DrainOverdue.title();
    if late.is_empty() { title.to_owned() } else { format!("{title}: {}", list(&late)) }
}

fn moment(at: &prost_types::Timestamp) -> Timestamp {
    Timestamp(u64::try_from(times::since_epoch(at).as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
