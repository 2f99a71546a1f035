//! Looking: the queues each interval, EC2's list each listing interval and right after an action.

use std::collections::BTreeSet;

use spillway_brain::{
    Backlog, Event, HandBack, InstanceId, JobsByInstance, LaunchAnswer, LaunchToken, RefusalClass, Timestamp,
};
use tokio::time::{Duration, Instant};

use super::{INTERRUPTIONS_INTERVAL, Reconciler};
use crate::clock;
use crate::cloud::{Interruption, ListedInstance, Refused};
use crate::hand_back::Attempt;
use crate::queue::{ObservationProblem, QueueObserver};

/// How long EC2 runs on after it marked a spot instance for termination.
const NOTICE: Duration = Duration::from_secs(120);

/// What comes back from work beside the loop.
#[derive(Debug)]
pub(super) enum Outcome {
    Observed {
        observer: Box<QueueObserver>,
        took: Duration,
        /// With when the look at the jobs' holders began.
        answer: Result<(Backlog, Option<(Timestamp, JobsByInstance)>), ObservationProblem>,
    },
    Listed {
        asked_at: Timestamp,
        answer: Result<Vec<ListedInstance>, Refused>,
    },
    Interruptions(Result<Vec<Interruption>, Refused>),
    Launched {
        token: LaunchToken,
        answer: Result<InstanceId, Refused>,
    },
    Terminated {
        id: InstanceId,
        answer: Result<(), Refused>,
    },
    HandedBack {
        id: InstanceId,
        certain: bool,
        attempt: Attempt,
    },
    LeadAgain {
        epoch: u64,
    },
}

impl Reconciler {
    /// Begins an observation, unless the last one is still under way: a slow Redis is not asked more often for it.
    pub(super) fn observe(&mut self) {
        let Some(mut observer) = self.observer.take() else { return };
        let state = self.controller.state();
        let with_jobs = state.instances().any(|instance| !instance.is_gone());
        let known: BTreeSet<InstanceId> = state.instances().filter_map(|instance| instance.id.clone()).collect();
        self.under_way.spawn(async move {
            let started = Instant::now();
            let answer = async {
                let backlog = observer.observe().await?;
                let asked_at = clock::now();
                let jobs = if with_jobs { observer.jobs_by_instance(&known).await? } else { None };
                Ok((backlog, jobs.map(|seen| (asked_at, seen))))
            }
            .await;
            Outcome::Observed { observer: Box::new(observer), took: started.elapsed(), answer }
        });
    }

    pub(super) fn list(&mut self) {
        self.is_listing = true;
        let (cloud, pool) = (self.cloud.clone(), self.pool.clone());
        self.under_way.spawn(async move {
            let asked_at = clock::now();
            Outcome::Listed { asked_at, answer: cloud.list(&pool).await }
        });
        let has_instances = self.controller.state().instances().any(|instance| instance.may_bill());
        if has_instances && Instant::now() >= self.next_interruptions {
            self.next_interruptions = Instant::now() + INTERRUPTIONS_INTERVAL;
            let (cloud, pool) = (self.cloud.clone(), self.pool.clone());
            self.under_way.spawn(async move { Outcome::Interruptions(cloud.interruptions(&pool).await) });
        }
    }

    pub(super) fn came_back(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // A panic in a call: the process is not sound any more, and systemd starts a new one from the ledger.
                tracing::error!(%error, "a call panicked");
                std::process::abort();
            }
        };
        match outcome {
            Outcome::Observed { observer, took, answer } => {
                self.observer = Some(*observer);
                self.observation_took = Some(took);
                self.observed(answer);
            }
            Outcome::Listed { asked_at, answer } => {
                self.is_listing = false;
                self.next_listing = Instant::now() + self.pool.brain.listing_interval;
                self.listed(asked_at, answer);
            }
            Outcome::Interruptions(Ok(interruptions)) => {
                for Interruption { id, .. } in interruptions {
                    self.tell(Event::NoticeSeen { id, at: clock::now() + NOTICE });
                }
            }
            Outcome::Interruptions(Err(refused)) => {
                tracing::debug!(pool = self.pool.name, %refused, "spot requests could not be listed");
            }
            Outcome::Launched { token, answer } => {
                match &answer {
                    Ok(id) => tracing::info!(pool = self.pool.name, %token, %id, "launch accepted"),
                    Err(refused) => tracing::warn!(pool = self.pool.name, %token, %refused, "launch refused"),
                }
                let answer = match answer {
                    Ok(id) => LaunchAnswer::Accepted { id },
                    Err(Refused { class, code, message }) => LaunchAnswer::Refused { class, code, message },
                };
                self.tell(Event::LaunchAnswered { token, answer });
                self.next_listing = Instant::now();
            }
            Outcome::Terminated { id, answer: Ok(()) } => {
                self.tell(Event::TerminateAccepted { id });
                self.next_listing = Instant::now();
            }
            Outcome::Terminated { id, answer: Err(Refused { class, code, message }) } => {
                tracing::warn!(pool = self.pool.name, %id, code, message, "terminate refused");
                self.tell(Event::TerminateFailed { id, class, code });
            }
            Outcome::HandedBack { id, certain, attempt } => self.handed_back(id, certain, attempt),
            Outcome::LeadAgain { epoch } => self.lead_again = Some(epoch),
        }
    }

    fn handed_back(&mut self, id: InstanceId, certain: bool, attempt: Attempt) {
        let Attempt { handed_back, left, problem, looks } = attempt;
        if let Some(problem) = &problem {
            tracing::warn!(pool = self.pool.name, %id, problem, "hand-back failed");
        }
        if handed_back > 0 {
            tracing::info!(pool = self.pool.name, %id, handed_back, left, "jobs handed back");
        }
        match problem {
            // What was handed back before it failed is told; the next attempt says what the matter is.
            Some(detail) if handed_back == 0 => self.tell(Event::HandBackFailed { id: id.clone(), certain, detail }),
            Some(_) => self.tell(Event::HandedBack { id: id.clone(), certain, handed_back, left: left.max(1) }),
            None => self.tell(Event::HandedBack { id: id.clone(), certain, handed_back, left }),
        }
        let goes_on = |it: &HandBack| it.certain == certain && !it.is_over();
        if self.controller.state().instance(&id).and_then(|it| it.owed.hand_back.as_ref()).is_some_and(goes_on) {
            self.looks.insert(id, (certain, looks));
        }
    }

    fn observed(&mut self, answer: Result<(Backlog, Option<(Timestamp, JobsByInstance)>), ObservationProblem>) {
        let was_failing = self.controller.state().observation_problem().is_some();
        match answer {
            Ok((backlog, jobs)) => {
                if was_failing {
                    tracing::info!(pool = self.pool.name, "the queues are observed again");
                }
                if let Some((asked_at, seen)) = jobs {
                    self.tell(Event::JobsSeen { asked_at, seen });
                }
                self.tell(Event::BacklogObserved(backlog));
            }
            Err(problem) => {
                if !was_failing {
                    tracing::warn!(pool = self.pool.name, %problem, "the queues cannot be observed: everything holds");
                }
                self.tell(Event::ObservationFailed { detail: problem.to_string() });
            }
        }
    }

    fn listed(&mut self, asked_at: Timestamp, answer: Result<Vec<ListedInstance>, Refused>) {
        let was_failing = self.controller.state().listing_problem().is_some();
        match answer {
            Ok(found) => {
                if was_failing {
                    tracing::info!(pool = self.pool.name, "EC2's instances are listed again");
                }
                self.failed_listings = 0;
                let instances = found.iter().map(|it| it.listed.clone()).collect();
                for instance in found {
                    self.listed.insert(instance.listed.id.clone(), instance);
                }
                self.tell(Event::InstancesListed { asked_at, instances });
                let state = self.controller.state();
                self.listed.retain(|id, _| state.instance(id).is_some());
            }
            Err(refused) => {
                if !was_failing {
                    tracing::warn!(pool = self.pool.name, %refused, "EC2's instances cannot be listed: everything holds");
                }
                // Doubled for each failure in a row; what only a person can mend is asked about rarely.
                self.failed_listings += 1;
                let longest = match refused.class {
                    RefusalClass::Fatal | RefusalClass::Quota => Duration::from_secs(300),
                    RefusalClass::Retry | RefusalClass::Capacity => Duration::from_secs(60),
                };
                let wait = self.pool.brain.listing_interval * 2u32.pow(self.failed_listings.min(6));
                self.next_listing = Instant::now() + wait.min(longest.max(self.pool.brain.listing_interval));
                self.tell(Event::ListingFailed { detail: refused.to_string() });
            }
        }
    }
}
