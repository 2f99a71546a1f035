//! From what came in to what the brain is told.

use std::time::Duration;

use spillway_brain::{Event, HandBack, InstanceId, Listed, Timestamp};

use super::Pool;
use crate::{
    Asker, Attempt, Denied, Effect, FromAgent, Granted, Happening, Input, Now, Observation, Refused, Rehearsal, Wish,
    agreed,
};

/// How long EC2 runs on after it marked a spot instance for termination.
const NOTICE: Duration = Duration::from_secs(120);

impl Pool {
    pub(super) fn take_in(&mut self, now: Now, input: Input) {
        match input {
            Input::Observed(answer) => self.observed(now, answer),
            Input::Listed { asked_at, answer } => self.listed(now, asked_at, answer),
            Input::Floors(floors) if *self.state().floors() == floors => {}
            Input::Floors(floors) => self.tell(now, Event::FloorsSet(floors)),
            Input::LaunchImage(image) => self.tell(now, Event::LaunchImageRead { image }),
            Input::Interruptions(ids) => {
                for id in ids {
                    let at = self.time(now) + NOTICE;
                    self.tell(now, Event::NoticeSeen { id, at, is_rehearsal: false });
                }
            }
            Input::LaunchAnswered { token, answer } => {
                self.tell(now, Event::LaunchAnswered { token, answer });
                self.schedule.lists_soon(now.up);
            }
            Input::TerminateAnswered { id, answer: Ok(()) } => {
                self.tell(now, Event::TerminateAccepted { id });
                self.schedule.lists_soon(now.up);
            }
            Input::TerminateAnswered { id, answer: Err(Refused { class, code, detail }) } => {
                self.tell(now, Event::TerminateFailed { id, class, code, detail });
            }
            Input::HandedBack(attempt) => self.handed_back(now, attempt),
            Input::Lead { epoch } => self.lead(now, epoch),
            Input::StandBy => self.stand_by(now),
            Input::LedgerRefused { problem } => self.ledger_refused(problem),
            Input::Loaded { epoch, saved, plans } => self.loaded(now, epoch, saved, plans),
            Input::NotLoaded { epoch, problem } => self.not_loaded(now, epoch, problem),
            // Nothing is being saved.
            Input::Saved(_) => {}
            Input::FromAgent(id, said) => self.tell(now, event(self.time(now), id, said)),
            Input::Operator(asker, wish) => self.asked(now, asker, wish),
            Input::Rehearsed { rehearsal, is_delivered } => self.rehearsed(rehearsal, is_delivered),
            Input::Stop => self.stop(),
        }
    }

    fn observed(&mut self, now: Now, answer: Result<Observation, String>) {
        self.schedule.observed();
        let was_known = self.state().observation_problem().is_none();
        match answer {
            Ok(Observation { backlog, jobs, work }) => {
                if let Some((asked_at, seen)) = jobs {
                    let asked_at = self.clock.at(asked_at);
                    self.tell(now, Event::JobsSeen { asked_at, seen });
                }
                self.tell(now, Event::BacklogObserved(backlog));
                if let Some(work) = work {
                    self.tell(now, Event::WorkSeen(work));
                }
            }
            Err(problem) => self.tell(now, Event::ObservationFailed { detail: problem }),
        }
        match self.state().observation_problem().map(str::to_owned) {
            Some(problem) if was_known => self.happened(Happening::QueuesUnknown { problem }),
            None if !was_known => self.happened(Happening::QueuesKnownAgain),
            _ => {}
        }
    }

    fn listed(&mut self, now: Now, asked_at: Duration, answer: Result<Vec<Listed>, Refused>) {
        let was_known = self.state().listing_problem().is_none();
        match answer {
            Ok(instances) => {
                if !was_known {
                    self.happened(Happening::InstancesKnownAgain);
                }
                self.schedule.listed(now.up);
                let asked_at = self.clock.at(asked_at);
                self.tell(now, Event::InstancesListed { asked_at, instances });
                if self.state().listed_at().is_none() {
                    // It was asked for before the ledger was loaded.
                    self.schedule.lists_soon(now.up);
                }
            }
            Err(Refused { class, detail, .. }) => {
                if was_known {
                    self.happened(Happening::InstancesUnknown { problem: detail.clone() });
                }
                self.schedule.listing_failed(now.up, class);
                self.tell(now, Event::ListingFailed { detail });
            }
        }
    }

    fn handed_back(&mut self, now: Now, attempt: Attempt) {
        let (id, certain) = (attempt.id.clone(), attempt.certain);
        let Attempt { handed_back, left, .. } = attempt;
        let suspects = attempt.suspects.clone();
        let event = match &attempt.problem {
            // What was handed back before it failed is told; the next attempt says what the matter is.
            Some(detail) if handed_back == 0 && suspects.is_empty() => {
                Event::HandBackFailed { id: id.clone(), certain, detail: detail.clone() }
            }
            Some(_) => Event::HandedBack { id: id.clone(), certain, handed_back, left: left.max(1), suspects },
            None => Event::HandedBack { id: id.clone(), certain, handed_back, left, suspects },
        };
        self.tell(now, event);
        let goes_on = |it: &HandBack| it.certain == certain && !it.is_over();
        if self.state().instance(&id).and_then(|it| it.owed.hand_back.as_ref()).is_some_and(goes_on) {
            self.looks.keep(attempt);
        }
    }

    fn asked(&mut self, now: Now, asker: Asker, wish: Wish) {
        let answer = wish.judge(self.time(now), &self.controller);
        if let (Wish::Rehearse { id, notice }, Ok(_)) = (&wish, &answer) {
            let rehearsal = Rehearsal { asker, id: id.clone(), notice: *notice, deadline: self.time(now) + *notice };
            // Answered once the agent's session has taken it.
            return self.effects.push_back(Effect::Rehearse { epoch: self.epoch(), rehearsal });
        }
        if answer.is_ok() {
            if matches!(wish, Wish::Resume { .. }) {
                self.schedule.forget_back_off(now.up);
            }
            if let Some(event) = wish.event() {
                self.tell(now, event);
            }
        }
        self.effects.push_back(Effect::Reply { asker, answer });
    }

    fn rehearsed(&mut self, rehearsal: Rehearsal, is_delivered: bool) {
        let Rehearsal { asker, id, notice, .. } = rehearsal;
        let answer = if is_delivered {
            self.happened(Happening::Rehearsed { id: id.clone(), notice });
            Ok(Granted::Rehearses { id, notice })
        } else {
            Err(Denied::NotConnected { id })
        };
        self.effects.push_back(Effect::Reply { asker, answer });
    }
}

fn event(now: Timestamp, id: InstanceId, said: FromAgent) -> Event {
    match said {
        FromAgent::Registered => Event::AgentRegistered { id },
        FromAgent::RegisteredTwice => Event::RegisteredTwice { id },
        FromAgent::Reported(report) => Event::AgentReported(report),
        FromAgent::Notice { at, left, is_rehearsal } => {
            Event::NoticeSeen { id, at: agreed(now, at, left), is_rehearsal }
        }
        FromAgent::RebalanceRecommended { at } => Event::RebalanceRecommended { id, at },
        FromAgent::Drained { jobs_left, jobs_handed_back } => Event::AgentDrained { id, jobs_left, jobs_handed_back },
    }
}
