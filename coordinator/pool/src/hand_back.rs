//! Attempts to hand back an instance's jobs. What one attempt saw of the jobs' locks is kept for the next: that nobody
//! renews a lock takes two looks. Which job goes back is `spillway-handback-rule`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_brain::{InstanceId, Suspect};
use spillway_handback_rule::{Held, Look, Verdict, Way, verdict};

/// What earlier attempts saw of one instance's jobs, by queue and id. Kept between attempts of the same certainty: what
/// was renewed while the worker may have lived was its own; what is renewed after its death is somebody else's.
pub type Looks = BTreeMap<(String, String), Look>;

/// One attempt at all of an instance's jobs: what is known goes in, what it came to comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub id: InstanceId,
    /// The worker of the instance is said to be dead, by EC2 or by its agent.
    pub certain: bool,
    /// The instance ended without notice, and nobody here had decided that.
    pub sudden: bool,
    pub handed_back: u32,
    /// Jobs that are still the instance's.
    pub left: u32,
    /// Why not all of it could be done.
    pub problem: Option<String>,
    /// Jobs that may be what ends their instances.
    pub suspects: Vec<Suspect>,
    before: Looks,
    looks: Looks,
}

impl Attempt {
    pub(crate) fn new(id: InstanceId, (certain, sudden): (bool, bool), before: Looks) -> Self {
        let (suspects, looks) = (Vec::new(), Looks::new());
        Attempt { id, certain, sudden, handed_back: 0, left: 0, problem: None, suspects, before, looks }
    }

    /// A job that says it is the instance's, as a look found it whose question was sent and whose answer came at these
    /// times (of [`crate::Now::up`]). How it is to be handed back, if it is. It counts as left until that is done.
    pub fn finds(&mut self, (asked, answered): (Duration, Duration), queue: &str, job: &Held) -> Option<Way> {
        let key = (queue.to_owned(), job.id.clone());
        let look = Look::new((asked, answered), job, self.before.get(&key));
        let verdict = verdict(&look, job, self.certain);
        self.looks.insert(key, look);
        self.left += u32::from(verdict != Verdict::NotIts);
        if verdict != Verdict::HandBack {
            return None;
        }
        let way = Way::of(job, self.sudden);
        if way == Way::LeftToStallCheck {
            self.leaves(queue, job);
            return None;
        }
        Some(way)
    }

    /// What was to be handed back was.
    pub fn hands_back(&mut self, queue: &str, job: &Held, way: Way) {
        self.left -= 1;
        if way.is_of_a_suspect() {
            self.suspects(queue, job, false);
        } else {
            self.handed_back += 1;
        }
    }

    /// It is not handed back: BullMQ's stall check decides.
    pub fn leaves(&mut self, queue: &str, job: &Held) {
        self.left -= 1;
        self.suspects(queue, job, true);
    }

    fn suspects(&mut self, queue: &str, job: &Held, is_left: bool) {
        let ends = job.sudden_ends.saturating_add(1);
        self.suspects.push(Suspect { queue: queue.to_owned(), job: job.id.clone(), ends, is_left });
    }

    /// What was to be handed back has left `active` by itself.
    pub fn has_left(&mut self) {
        self.left -= 1;
    }

    /// It could not be carried out, or not to its end. What it did not come to is not forgotten.
    pub fn fails(&mut self, problem: impl Into<String>) {
        self.problem = Some(problem.into());
        let mut looks = self.before.clone();
        looks.append(&mut self.looks);
        self.looks = looks;
    }

    pub(crate) fn into_looks(self) -> Looks {
        self.looks
    }
}

/// What the last attempts saw, and whether that was with certainty.
#[derive(Debug, Default)]
pub(crate) struct KeptLooks(BTreeMap<InstanceId, (bool, Looks)>);

impl KeptLooks {
    pub(crate) fn take(&mut self, id: &InstanceId, certain: bool) -> Looks {
        let looks = self.0.remove(id).filter(|(then, _)| *then == certain);
        looks.map(|(_, looks)| looks).unwrap_or_default()
    }

    pub(crate) fn keep(&mut self, attempt: Attempt) {
        self.0.insert(attempt.id.clone(), (attempt.certain, attempt.into_looks()));
    }
}
