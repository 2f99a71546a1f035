//! Looking: the queue each interval, EC2's list each listing interval and right after an action. A look that fails says so.

use spillway_brain::{Event, JobsByInstance, LaunchAnswer, Listed, QueueBacklog, RefusalClass, Timestamp};

use crate::agenda::{C, CoordinatorEv, N};
use crate::clock::{MINUTE, SECOND, ms};
use crate::cloud_refused;
use crate::counts::Met;
use crate::world::World;

const INTERRUPTIONS_EACH: u64 = 30 * SECOND;
/// A stale list is so old at the most: less than the brain's consistency grace, with what a late request may take.
const STALE_MOST: u64 = 50 * SECOND;

/// One observation.
#[derive(Debug)]
pub struct Seen {
    backlog: QueueBacklog,
    jobs: Option<(Timestamp, JobsByInstance)>,
}

/// EC2's list, or why there is none.
#[derive(Debug)]
pub struct ListAnswer {
    asked_at: Timestamp,
    listed: Option<Vec<Listed>>,
}

impl World {
    pub(super) fn observe(&mut self, c: C) {
        let interval = ms(self.setup.config.interval);
        self.put_coordinator(c, self.now + interval, CoordinatorEv::Observe);
        if std::mem::replace(&mut self.coordinators[c].is_observing, true) {
            return;
        }
        let answers_at = self.now + self.net.latency(self.now, &mut self.rng);
        if !self.net.coordinator_redis(c, self.now) {
            let at = answers_at + self.rng.between(100, 5000);
            return self.put_coordinator(c, at, CoordinatorEv::Observed(None));
        }
        let with_jobs = self.coordinators[c].controller.state().instances().any(|instance| !instance.is_gone());
        let jobs = with_jobs.then(|| (self.local(c), self.jobs_by_instance()));
        let seen = Seen { backlog: self.bull.backlog(self.now), jobs };
        if !self.net.slow.is_down(self.now) {
            // A few milliseconds: at once.
            return self.observed(c, Some(Box::new(seen)));
        }
        self.put_coordinator(c, answers_at, CoordinatorEv::Observed(Some(Box::new(seen))));
    }

    pub(super) fn observed(&mut self, c: C, seen: Option<Box<Seen>>) {
        self.coordinators[c].is_observing = false;
        let Some(seen) = seen else {
            return self.tell(c, Event::ObservationFailed { detail: "Redis does not answer".to_owned() });
        };
        if let Some((asked_at, seen)) = seen.jobs {
            self.tell(c, Event::JobsSeen { asked_at, seen });
        }
        self.tell(c, Event::BacklogObserved(spillway_brain::Backlog { queues: vec![seen.backlog] }));
    }

    pub(super) fn list_soon(&mut self, c: C) {
        if !self.coordinators[c].is_listing {
            self.list_at(c, self.now);
        }
    }

    fn list_at(&mut self, c: C, at: u64) {
        self.coordinators[c].listing_number += 1;
        let number = self.coordinators[c].listing_number;
        self.put_coordinator(c, at, CoordinatorEv::List(number));
    }

    pub(super) fn list(&mut self, c: C, number: u64) {
        if self.coordinators[c].is_listing || self.coordinators[c].listing_number != number {
            return;
        }
        self.coordinators[c].is_listing = true;
        let asked_at = self.local(c);
        let answers_at = self.now + 2 * self.net.latency(self.now, &mut self.rng) + self.rng.between(20, 300);
        let throttled = self.cloud.throttles.is_down(self.now);
        if throttled || self.net.ec2[c].is_down(self.now) {
            let at = answers_at + if throttled { 0 } else { self.rng.between(100, 5000) };
            let answer = ListAnswer { asked_at, listed: None };
            return self.put_coordinator(c, at, CoordinatorEv::Listed(Box::new(answer)));
        }
        let mut as_of = self.now;
        if !self.is_calm && self.rng.per_mille(self.setup.calls.stale_list) {
            as_of -= self.rng.between(1, STALE_MOST);
            self.met(Met::StaleList);
        }
        let answer = ListAnswer { asked_at, listed: Some(self.ec2_list(as_of)) };
        if self.net.slow.is_down(self.now) || self.rng.one_in(4) {
            self.put_coordinator(c, answers_at, CoordinatorEv::Listed(Box::new(answer)));
        } else {
            self.listed(c, answer);
        }
        let state = self.coordinators[c].controller.state();
        if self.now >= self.coordinators[c].next_interruptions && state.instances().any(|it| it.may_bill()) {
            self.coordinators[c].next_interruptions = self.now + INTERRUPTIONS_EACH;
            let is_marked = |n: &N| {
                let machine = &self.cloud.machines[*n];
                machine.takes_at.is_some() && machine.is_live() && machine.token.is_some()
            };
            let marked: Vec<N> = self.cloud.listed.iter().copied().filter(is_marked).collect();
            self.put_coordinator(c, answers_at, CoordinatorEv::Interruptions(marked));
        }
    }

    pub(super) fn interruptions_listed(&mut self, c: C, taken: &[N]) {
        for n in taken {
            let at = Timestamp(self.local(c).0 + 2 * MINUTE);
            let id = self.cloud.machines[*n].id.clone();
            self.tell(c, Event::NoticeSeen { id, at });
        }
    }

    pub(super) fn listed(&mut self, c: C, answer: ListAnswer) {
        self.coordinators[c].is_listing = false;
        let interval = ms(self.setup.config.listing_interval);
        let Some(instances) = answer.listed else {
            self.coordinators[c].failed_listings += 1;
            let wait = (interval * 2u64.pow(self.coordinators[c].failed_listings.min(6))).min(MINUTE.max(interval));
            self.list_at(c, self.now + wait);
            return self.tell(c, Event::ListingFailed { detail: "EC2 does not answer".to_owned() });
        };
        self.coordinators[c].failed_listings = 0;
        self.list_at(c, self.now + interval);
        self.tell(c, Event::InstancesListed { asked_at: answer.asked_at, instances });
    }

    /// EC2's answer to a launch or a termination; without a way back it is lost.
    pub(super) fn answered(&mut self, c: C, event: Event) {
        let event = if self.net.ec2[c].is_down(self.now) { cloud_refused(event) } else { event };
        let is_accepted = match &event {
            Event::LaunchAnswered { .. } => true,
            event => matches!(event, Event::TerminateAccepted { .. }),
        };
        self.note_answer(&event);
        self.tell(c, event);
        if is_accepted {
            self.list_soon(c);
        }
    }

    fn note_answer(&mut self, event: &Event) {
        if let Event::LaunchAnswered { token, answer } = event {
            let words = match answer {
                LaunchAnswer::Accepted { id } => format!("accepted as {id}"),
                LaunchAnswer::Refused { code, class, .. } if *class == RefusalClass::Retry => {
                    format!("unanswered: {code}")
                }
                LaunchAnswer::Refused { code, .. } => format!("refused: {code}"),
            };
            crate::say!(self, "launch {token} {words}");
        }
    }
}
