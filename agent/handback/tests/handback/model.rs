//! What a hand-back may change, and nothing else: a model of each BullMQ's rules, which knows the version that the
//! script has to find out.

use spillway_handback::{Claim, Held, Outcome, Place};

use crate::world::{Content, Contents};

/// A job of the driver's `active`.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    pub kind: String,
    pub token: String,
    pub priority: u64,
    /// Before its last run.
    pub attempts_made: u64,
    pub attempts_started: u64,
    pub stalls: u64,
}

/// BullMQ by the driver's number: 3, 4, 50 (5.0.0), 512 (5.12.0), 5, 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32);

impl Version {
    pub fn is_5_or_later(self) -> bool {
        self.0 >= 5
    }

    /// Its jobs have a `pb`.
    pub fn has_names(self) -> bool {
        self.is_5_or_later() && self.0 != 50
    }

    /// What a look finds of a job.
    pub fn claim(self, job: &Job) -> Option<(Claim, Option<&str>)> {
        let token = Some(job.token.as_str());
        match job.kind.as_str() {
            "other" | "unnamed" => None,
            "expired" | "takenUnlocked" | "takenLockless" => self.has_names().then_some((Claim::Name, None)),
            "named" | "namedOld" | "stale" => self.has_names().then_some((Claim::Name, token)),
            _ => Some((Claim::Token, token)),
        }
    }

    /// What a hand-back says, after what has happened to the job since the look.
    pub fn outcome(self, job: &Job, queue: &str, before: &Contents) -> Outcome {
        match job.kind.as_str() {
            "finished" | "stalled" => Outcome::NotActive,
            "taken" | "takenUnlocked" | "takenLockless" | "renewed" | "expiredLater" => Outcome::LockChanged,
            "named" | "stale" => Outcome::Doubtful,
            "gone" => Outcome::Missing,
            _ => Outcome::HandedBack(self.place(job, queue, before)),
        }
    }

    pub fn place(self, job: &Job, queue: &str, before: &Contents) -> Place {
        let exists = |part: &str| before.contains_key(&format!("{queue}:{part}"));
        let says_version = meta(before, queue, "version").is_some();
        let paused = meta(before, queue, "paused").is_some();
        let keeps_wait = self.0 == 6 && !exists("paused") && (says_version || exists("wait"));
        let is_4_for_sure = self.0 == 4 && (says_version || exists("prioritized"));
        if job.priority > 0 && (self.is_5_or_later() || is_4_for_sure) {
            Place::Prioritized
        } else if paused && !keeps_wait {
            Place::Paused
        } else {
            Place::Wait
        }
    }

    /// What Redis holds after the outcome.
    pub fn after(self, job: &Job, queue: &str, outcome: Outcome, before: &Contents) -> Contents {
        let mut after = before.clone();
        let key = |part: &str| format!("{queue}:{part}");
        let is_paused = meta(before, queue, "paused").is_some();
        let concurrency: Option<usize> = meta(before, queue, "concurrency").map(|text| text.parse().expect("a number"));
        let place = match outcome {
            Outcome::HandedBack(place) => Some(place),
            Outcome::Missing => None,
            Outcome::NotActive | Outcome::LockChanged | Outcome::Doubtful | Outcome::LeftToStallCheck => return after,
        };
        let left = list(&mut after, &key("active"));
        left.retain(|id| *id != job.id);
        let is_maxed = concurrency.is_some_and(|most| left.len() >= most);
        after.remove(&key(&format!("{}:lock", job.id)));
        if let Some(Content::Set(stalled)) = after.get_mut(&key("stalled")) {
            stalled.remove(&job.id);
        }
        if (concurrency.is_some() || (place.is_some() && self.is_5_or_later())) && !is_paused && !is_maxed {
            sorted(&mut after, &key("marker")).insert("0".into(), 0.0);
        }
        match place {
            Some(Place::Wait) => list(&mut after, &key("wait")).push(job.id.clone()),
            Some(Place::Paused) => list(&mut after, &key("paused")).push(job.id.clone()),
            Some(Place::Prioritized) => {
                #[expect(clippy::cast_precision_loss, reason = "as Redis has it")]
                let score = (job.priority << 32) as f64;
                sorted(&mut after, &key("prioritized")).insert(job.id.clone(), score);
                if !self.is_5_or_later() && !is_paused && list(&mut after, &key("wait")).is_empty() {
                    list(&mut after, &key("wait")).push("0:0".into());
                }
            }
            None => {}
        }
        if place.is_some() {
            let Some(Content::Hash(hash)) = after.get_mut(&key(&job.id)) else { panic!("{job:?} has no hash") };
            hash.remove("pb");
            if !self.is_5_or_later() {
                hash.insert("attemptsMade".into(), job.attempts_made.to_string());
            }
            let Some(Content::Stream(events)) = after.get_mut(&key("events")) else { panic!("no events") };
            events.push(["event", "waiting", "jobId", &job.id, "prev", "active"].map(str::to_owned).to_vec());
        }
        after.retain(|_, content| !is_empty(content));
        after
    }
}

/// A look's finding about a job, as the model has it.
pub fn is_as_claimed(held: &Held, (claim, token): (Claim, Option<&str>)) -> bool {
    held.claim == claim && held.token.as_deref() == token && held.lock_left.is_some() == token.is_some()
}

/// Streams are trimmed now and then: what is there must be the end of what was expected.
pub fn is_same(expected: &Contents, found: &Contents) -> bool {
    expected.keys().eq(found.keys())
        && expected.iter().all(|(key, expected)| match (expected, &found[key]) {
            (Content::Stream(expected), Content::Stream(found)) => !found.is_empty() && expected.ends_with(found),
            (expected, found) => expected == found,
        })
}

fn meta<'a>(contents: &'a Contents, queue: &str, field: &str) -> Option<&'a String> {
    match contents.get(&format!("{queue}:meta")) {
        Some(Content::Hash(meta)) => meta.get(field),
        _ => None,
    }
}

fn list<'a>(contents: &'a mut Contents, key: &str) -> &'a mut Vec<String> {
    match contents.entry(key.to_owned()).or_insert_with(|| Content::List(Vec::new())) {
        Content::List(list) => list,
        other => panic!("{key} is {other:?}"),
    }
}

fn sorted<'a>(contents: &'a mut Contents, key: &str) -> &'a mut std::collections::BTreeMap<String, f64> {
    match contents.entry(key.to_owned()).or_insert_with(|| Content::Sorted(std::collections::BTreeMap::new())) {
        Content::Sorted(sorted) => sorted,
        other => panic!("{key} is {other:?}"),
    }
}

fn is_empty(content: &Content) -> bool {
    match content {
        Content::List(list) => list.is_empty(),
        Content::Set(set) => set.is_empty(),
        Content::Sorted(sorted) => sorted.is_empty(),
        Content::Text(_) | Content::Hash(_) | Content::Stream(_) => false,
    }
}
