//! What needs a person: each finding once, with what to do. Owns the selection; how it is shown is `status`' and
//! `top`'s. An empty list is the usual state.
//!
//! The coordinator makes the list (`Pool.attention`), for the page, metrics and messages too. What can be said here
//! with the instances' names and within two lines is said in those words, also of a coordinator that sends no list.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::{counted, in_words};

use crate::times::since;
use crate::words::pool::{blocked_words, left_words};

/// Instances of one kind that are named in a sentence.
const NAMED: usize = 3;

/// An image that is older is worth a bake: each boot installs what has changed since.
const OLD_IMAGE: Duration = Duration::from_secs(30 * 86_400);

/// The first line says it.
const STANDBY: &str = "standby";
const LEFT: &str = "left_volumes";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something does not work, or is paid for nothing, until a person acts.
    Problem,
    /// It works, and is worth a look.
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// As the coordinator's list calls it.
    kind: &'static str,
    pub level: Level,
    pub title: String,
    /// The title's particulars; may be empty.
    pub detail: String,
    /// What an operator does; may be empty where the detail says it.
    pub todo: String,
}

impl Finding {
    fn new(level: Level, title: impl Into<String>, detail: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { kind: "", level, title: title.into(), detail: detail.into(), todo: todo.into() }
    }

    fn of(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// What is the matter.
    pub fn sentence(&self) -> String {
        if self.detail.is_empty() { self.title.clone() } else { format!("{}: {}", self.title, self.detail) }
    }
}

/// Of one pool, the worst first.
pub fn attention(pool: &v1::Pool, now: SystemTime) -> Vec<Finding> {
    let mut found = unread(pool);
    found.extend(stopped(pool, now));
    found.extend(breaker(pool));
    found.extend(of_instances(pool));
    found.extend(held(pool));
    found.extend(strange(pool));
    found.extend(old_image(pool, now));
    let is_here = |finding: &&v1::Finding| found.iter().any(|it| it.kind == finding.kind);
    let others: Vec<Finding> = pool.attention.iter().filter(|it| !is_here(it)).filter_map(told).collect();
    found.extend(others);
    found.sort_by_key(|finding| finding.level);
    found
}

/// Of the installation: what belongs to no pool.
pub fn of_installation(fleet: &v1::GetFleetResponse, now: SystemTime) -> Vec<Finding> {
    let left = fleet.left_volumes.as_ref().filter(|left| !left.ids.is_empty());
    let left = left.map(|left| Finding::new(Level::Problem, left_words(left, now), "", "").of(LEFT));
    let is_here = |kind: &str| kind == STANDBY || left.as_ref().is_some_and(|left| left.kind == kind);
    let others: Vec<&v1::Finding> = fleet.attention.iter().filter(|it| !is_here(&it.kind)).collect();
    left.into_iter().chain(others.into_iter().filter_map(told)).collect()
}

/// As the coordinator says it. What would only be better is told with images and boots.
fn told(finding: &v1::Finding) -> Option<Finding> {
    let level = match finding.severity.as_str() {
        "stop" => Level::Problem,
        "hint" => return None,
        _ => Level::Warning,
    };
    let end = |text: &str| text.trim_end_matches('.').to_owned();
    Some(Finding::new(level, &finding.title, end(&finding.detail), end(&finding.remedy)))
}

/// Whether a note of the plan is one of the findings, which then say it.
pub fn is_told(note: &str, pool: &v1::Pool) -> bool {
    let is_stopped = pool.launches_blocked.iter().any(|blocked| blocked.needs_a_person);
    is_breaker(note)
        || strange_todo(note).is_some()
        || is_stopped && note.contains(": launching is stopped")
        || !pool.observation_problem.is_empty() && note.starts_with("cannot read the queues (")
        || !pool.listing_problem.is_empty() && note.starts_with("cannot list EC2's instances (")
        || note.starts_with("EC2 refuses to terminate ") && alive(pool).any(|it| !it.terminate_problem.is_empty())
}

/// Whether an instance is to be named where others are only counted.
pub fn is_notable(instance: &v1::Instance) -> bool {
    let beat = instance.heartbeat.as_ref();
    let worker_fails = beat.and_then(|beat| beat.worker.as_ref()).is_some_and(|worker| !worker.proven);
    let step_fails = |step: &v1::BootStep| matches!(step.state(), v1::StepState::Failed | v1::StepState::Retrying);
    is_silent(instance)
        || beat.is_some() && !instance.connected && has_agent(instance)
        || instance.phase == "ready" && worker_fails
        || instance.phase != "ready" && instance.boot_steps.iter().any(step_fails)
        // Of a boot that failed.
        || instance.phase != "booting" && !instance.worker_log.is_empty()
        || instance.hand_back == "given-up"
        || !instance.terminate_problem.is_empty()
        || !instance.notices.is_empty() && instance.phase != "gone"
        || beat.is_some_and(|beat| !beat.unprotected.is_empty())
}

/// No heartbeat, where there should be one. What is terminated stops its agent.
pub(crate) fn is_silent(instance: &v1::Instance) -> bool {
    instance.stale && has_agent(instance)
}

fn has_agent(instance: &v1::Instance) -> bool {
    matches!(instance.phase.as_str(), "booting" | "ready" | "draining")
}

pub(crate) fn alive(pool: &v1::Pool) -> impl Iterator<Item = &v1::Instance> {
    pool.instances.iter().filter(|instance| instance.phase != "gone")
}

fn unread(pool: &v1::Pool) -> Vec<Finding> {
    let mut found = Vec::new();
    let problem = &pool.observation_problem;
    if !problem.is_empty() {
        let todo = match problem.as_str() {
            // It says itself what to do.
            it if it.contains("written by a newer version") => "",
            it if it.starts_with("ledger:") => {
                "`spillway doctor` looks at the ledger's Redis; nothing is scaled meanwhile"
            }
            _ => "`spillway queues` asks Redis from here; nothing is scaled meanwhile",
        };
        found.push(Finding::new(Level::Problem, problem, "", todo).of("queues_unknown"));
    }
    if !pool.listing_problem.is_empty() {
        let todo = "`spillway doctor` tries what is asked of AWS; nothing is scaled meanwhile";
        found.push(Finding::new(Level::Problem, "EC2", &pool.listing_problem, todo).of("instances_unknown"));
    }
    found
}

fn stopped(pool: &v1::Pool, now: SystemTime) -> Vec<Finding> {
    let blocked = pool.launches_blocked.iter().filter(|blocked| blocked.needs_a_person);
    blocked
        .map(|blocked| {
            let todo = remedy(pool, &blocked.class);
            let todo = format!("{todo}; then `spillway resume`, which tries at once");
            Finding::new(Level::Problem, "launching is stopped", blocked_words(blocked, now), todo)
                .of("launches_stopped")
        })
        .collect()
}

/// As the plan's note has it, which knows EC2's codes one by one; else by the class.
fn remedy<'a>(pool: &'a v1::Pool, class: &str) -> &'a str {
    let notes = pool.plan.iter().flat_map(|plan| &plan.notes);
    let of_note = |note: &'a String| {
        let (_, after) = note.split_once(": launching is stopped, and tried again in ")?;
        let (remedy, _) = after.split_once(". ")?.1.split_once("; `spillway resume`")?;
        (!remedy.is_empty()).then_some(remedy)
    };
    let of_class = match class {
        "quota" => "ask AWS for a higher quota, or lower max_instances",
        "permission" => "fix the coordinator's credentials or IAM policy, or the account",
        "configuration" => "fix the launch template, what it names, or pool.tags",
        _ => "EC2's message says what to fix",
    };
    notes.filter_map(of_note).next().unwrap_or(of_class)
}

fn is_breaker(note: &str) -> bool {
    note.contains(" in a row") && note.contains(": no launch for ")
}

fn breaker(pool: &v1::Pool) -> Vec<Finding> {
    let notes = pool.plan.iter().flat_map(|plan| &plan.notes).filter(|note| is_breaker(note));
    notes
        .map(|note| {
            let title = note.replace(". `spillway status --all` says why each failed", "");
            let todo = "fix the image or the application, then `spillway resume`; `spillway status --all` has the step that \
                        failed and the end of the worker's log";
            Finding::new(Level::Problem, title, "", todo).of("breaker_open")
        })
        .collect()
}

fn of_instances(pool: &v1::Pool) -> Vec<Finding> {
    let mut found = Vec::new();
    let names = |is: &dyn Fn(&&v1::Instance) -> bool| alive(pool).filter(is).map(name).collect::<Vec<_>>();
    let refused = names(&|it| !it.terminate_problem.is_empty());
    if let Some(first) = alive(pool).find(|it| !it.terminate_problem.is_empty()) {
        let title = match refused.len() {
            1 => format!("EC2 refuses to terminate {}, and it is billed on", list(&refused)),
            _ => format!("EC2 refuses to terminate {}, and they are billed on", list(&refused)),
        };
        let todo = "allow ec2:TerminateInstances, lift termination protection, or terminate by hand";
        found.push(Finding::new(Level::Problem, title, &first.terminate_problem, todo).of("termination_refused"));
    }
    let given_up = names(&|it| it.hand_back == "given-up");
    let of_gone = pool.instances.iter().filter(|it| it.phase == "gone" && it.hand_back == "given-up").map(name);
    let given_up: Vec<&str> = given_up.into_iter().chain(of_gone).collect();
    if !given_up.is_empty() {
        let title = format!("jobs of {} could not be handed back", list(&given_up));
        let todo = "BullMQ's stall check requeues them; look at the Redis user's permissions (`spillway explain` has Redis' answer)";
        found.push(Finding::new(Level::Problem, title, "", todo).of("hand_back_fails"));
    }
    let stale = names(&|it| is_silent(it));
    if !stale.is_empty() {
        let title = format!("no heartbeat from {}", list(&stale));
        let todo = "look there, or `spillway drain` it: its jobs are handed back";
        found.push(Finding::new(Level::Warning, title, "", todo).of("agent_silent"));
    }
    let bare = names(&|it| it.heartbeat.as_ref().is_some_and(|beat| !beat.unprotected.is_empty()));
    if !bare.is_empty() {
        let title = format!("{} with an unprotected worker", list(&bare));
        let mut what: Vec<&str> = alive(pool)
            .flat_map(|it| it.heartbeat.iter().flat_map(|beat| beat.unprotected.iter().map(String::as_str)))
            .collect();
        what.sort_unstable();
        what.dedup();
        what.truncate(NAMED);
        let todo = "a drain may kill its jobs: fix the worker's settings as it says, then `spillway bake`";
        found.push(Finding::new(Level::Warning, title, what.join("; "), todo).of("unprotected"));
    }
    found
}

fn held(pool: &v1::Pool) -> Vec<Finding> {
    let waiting = pool.backlog.as_ref().map_or(0, |backlog| backlog.demand);
    if !pool.held || waiting == 0 {
        return Vec::new();
    }
    let why = if pool.hold_reason.is_empty() { String::new() } else { format!(" ({})", pool.hold_reason) };
    let title = format!("the pool is held{why} with {} ready to run", counted(waiting, "job"));
    vec![Finding::new(Level::Warning, title, "", "`spillway resume`, unless somebody is still looking").of("held")]
}

/// Notes on instances that are not, or may not be, this installation's, and on jobs that stay with one that is gone: of
/// which kind they are, and what to do.
fn strange_todo(note: &str) -> Option<(&'static str, &'static str)> {
    let todos = [
        ("has this pool's name, but is another installation's", "strangers", "give one of the two another pool.name"),
        ("no spillway:installation tag", "strangers", "tag it if it is ours"),
        ("has the pool's tag but no launch token", "strangers", "terminate it, or remove its tag"),
        ("somebody changed the tags of", "tags_changed", "put the tags back"),
        (
            "are not handed back yet, and this is retried",
            "hand_back_fails",
            "`spillway explain` has it whole; until it is fixed, BullMQ's stall check alone requeues them",
        ),
    ];
    todos.iter().find(|(text, ..)| note.contains(text)).map(|(_, kind, todo)| (*kind, *todo))
}

fn strange(pool: &v1::Pool) -> Vec<Finding> {
    let notes = pool.plan.iter().flat_map(|plan| &plan.notes);
    let finding = |note: &String| {
        let (kind, todo) = strange_todo(note)?;
        Some(Finding::new(Level::Warning, note, "", todo).of(kind))
    };
    notes.filter_map(finding).collect()
}

fn old_image(pool: &v1::Pool, now: SystemTime) -> Vec<Finding> {
    let made_at = pool.launch_image.as_ref().and_then(|image| image.made_at.as_ref());
    let age = made_at.map_or(Duration::ZERO, |at| since(Some(at), now));
    if age <= OLD_IMAGE {
        return Vec::new();
    }
    let title = format!("the image that launches take is {} old", in_words(age));
    vec![Finding::new(Level::Warning, title, "", "`spillway bake` makes a new one").of("image_stale")]
}

fn name(instance: &v1::Instance) -> &str {
    crate::words::instance::name(instance)
}

/// Some by name, the others in numbers.
pub(crate) fn list(names: &[&str]) -> String {
    let named = names[..names.len().min(NAMED)].join(", ");
    match names.len() - names.len().min(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
