//! Looking: the queues each interval, EC2's list each listing interval and right after an action.

use spillway_brain::{Backlog, Event, InstanceId, JobsByInstance, LaunchAnswer, LaunchToken, RefusalClass, Timestamp};
use tokio::time::{Duration, Instant};

use super::{INTERRUPTIONS_INTERVAL, Reconciler};
use crate::clock;
use crate::cloud::{Interruption, ListedInstance, Refused};
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
    LeadAgain {
        epoch: u64,
    },
}

impl Reconciler {
    /// Begins an observation, unless the last one is still under way: a slow Redis is not asked more often for it.
    pub(super) fn observe(&mut self) {
        let Some(mut observer) = self.observer.take() else { return };
        let with_jobs = self.controller.state().instances().any(|instance| !instance.is_gone());
        self.under_way.spawn(async move {
            let started = Instant::now();
            let answer = async {
                let backlog = observer.observe().await?;
                let asked_at = clock::now();
                let jobs = if with_jobs { observer.jobs_by_instance().await? } else { None };
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
            Outcome::LeadAgain { epoch } => self.lead_again = Some(epoch),
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
