//! The loop: what comes in, what makes a tick due, and what comes out in which order.
//!
//! ```text
//!   Observed, Listed, answers, agents, operators ──► events ──► Controller ── tick ──► Save ──┬─ saved in time ──► the plan's effects
//!                                                                    ▲                       └─ not ──► undone
//!                                                                    └──────── outcomes come back as inputs ◄── performed
//! ```
//!
//! Between `Save` and its answer nothing changes: what comes in meanwhile waits.

mod events;
mod leadership;
mod tick;

use std::collections::VecDeque;
use std::time::Duration;

use spillway_brain::{Config, Controller, Event, SaidByEc2, State, Timestamp, when_reclaimed};

use crate::changes::Changes;
use crate::clock::Clock;
use crate::hand_back::KeptLooks;
use crate::journal::Journal;
use crate::schedule::Schedule;
use crate::{Admission, Effect, Happening, History, Input, Now};
use leadership::Leadership;
use tick::Saving;

/// Between two ticks that nothing but the time asks for.
const SOONEST_TICK: Duration = Duration::from_secs(1);

/// One pool.
#[derive(Debug)]
pub struct Pool {
    controller: Controller,
    clock: Clock,
    /// While it leads.
    journal: Option<Journal>,
    /// While it leads.
    changes: Option<Changes>,
    leadership: Leadership,
    schedule: Schedule,
    looks: KeptLooks,
    history: History,
    /// Something happened that may change a decision.
    tick_due: bool,
    /// The last tick, by `Now::up`.
    ticked: Duration,
    /// The same as the brain was told it; None before the first as the leader.
    ticked_at: Option<Timestamp>,
    saving: Option<Saving>,
    /// It was told to stop: what is known is saved once more, and that is all.
    is_stopped: bool,
    /// Why the ledger could not be read or written the last time.
    ledger_problem: Option<String>,
    /// Came in while a save was under way.
    waiting: VecDeque<Input>,
    effects: VecDeque<Effect>,
}

impl Pool {
    /// A pool that knows nothing yet. `nonce` as in [`Controller::new`].
    pub fn new(now: Now, config: Config, nonce: impl Into<String>) -> Self {
        Pool {
            schedule: Schedule::new(&config, now.up),
            controller: Controller::new(config, nonce),
            clock: Clock::new(now),
            journal: None,
            changes: None,
            leadership: Leadership::default(),
            looks: KeptLooks::default(),
            history: History::default(),
            tick_due: false,
            ticked: now.up,
            ticked_at: None,
            saving: None,
            is_stopped: false,
            ledger_problem: None,
            waiting: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// Whose instances are ours: told before it leads, as soon as it is known. Until then EC2's list says nothing.
    pub fn identify(&mut self, installation: impl Into<String>) {
        self.controller.identify(installation);
    }

    /// What happened, at `now`.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.is_stopped {
            return;
        }
        if let Input::Saved(saved) = input {
            self.saved(now, saved);
            while self.saving.is_none()
                && let Some(input) = self.waiting.pop_front()
            {
                self.follows_clock(now);
                self.take_in(now, input);
            }
        } else if self.saving.is_some() {
            self.waiting.push_back(input);
        } else {
            self.follows_clock(now);
            self.take_in(now, input);
        }
    }

    /// A wall clock that was set moves all that is known. Not while a save is under way: what is saved then is not
    /// changed.
    fn follows_clock(&mut self, now: Now) {
        if let Some(by_ms) = self.clock.follow(now) {
            self.happened(Happening::ClockStepped { by_ms, is_elsewhen: false });
            self.tell(now, Event::ClockStepped { by_ms });
            self.changes.iter_mut().for_each(|changes| changes.clock_stepped(by_ms));
            self.ticked_at = self.ticked_at.map(|at| at.stepped(by_ms));
        }
    }

    /// What to do next; None: nothing, until something happens or [`Pool::next_deadline`] has come. To be asked until
    /// it says None, and each effect to be performed before the next is asked for.
    pub fn poll(&mut self, now: Now) -> Option<Effect> {
        if let Some(effect) = self.effects.pop_front() {
            return Some(effect);
        }
        if self.saving.is_some() || self.is_stopped {
            return None;
        }
        self.follows_clock(now);
        self.comes_due(now);
        if self.effects.is_empty() && self.is_tick_due(now) {
            self.tick(now);
        }
        self.effects.pop_front()
    }

    /// When to poll although nothing happened, by `Now::up`.
    pub fn next_deadline(&self, now: Now) -> Duration {
        let others = [self.brain_due(now), self.leadership.load_at()];
        let may_list = !self.config().installation.is_empty();
        others.into_iter().flatten().fold(self.schedule.next_deadline(may_list), Duration::min)
    }

    /// Looks, and another attempt to take over.
    fn comes_due(&mut self, now: Now) {
        if self.schedule.observes(now.up) {
            let with_jobs = self.state().instances().any(|instance| !instance.is_gone());
            self.effects.push_back(Effect::Observe { with_jobs });
        }
        // Whose instances a list shows is not known before ours have a name.
        if !self.config().installation.is_empty() && self.schedule.lists(now.up) {
            self.effects.push_back(Effect::List);
            if self.state().instances().any(|instance| instance.may_bill()) && self.schedule.lists_interruptions(now.up)
            {
                self.effects.push_back(Effect::ListInterruptions);
            }
        }
        self.effects.extend(self.leadership.loads_again(now.up));
    }

    fn is_tick_due(&self, now: Now) -> bool {
        self.tick_due || self.brain_due(now).is_some_and(|at| at <= now.up)
    }

    /// When the brain wants a tick although nothing happens. Not sooner than a moment after the last: what could not be
    /// decided then waits for something to happen.
    fn brain_due(&self, now: Now) -> Option<Duration> {
        let due_at = self.controller.due_at().filter(|_| self.is_leader())?;
        Some((now.up + self.time(now).until(due_at)).max(self.ticked + SOONEST_TICK))
    }

    fn tell(&mut self, now: Now, event: Event) {
        self.tick_due |= self.is_news(now, &event);
        let now = self.time(now);
        if let Some(journal) = &mut self.journal {
            journal.told(now, &event);
        }
        self.controller.handle(now, event);
    }

    /// A heartbeat that says what the last one said waits for the next observation's tick: a hundred agents must not
    /// make for a hundred ticks. Agents repeat their notices when they come back, and EC2 repeats its own.
    fn is_news(&self, now: Now, event: &Event) -> bool {
        match event {
            Event::AgentReported(report) => self.state().instance(&report.id).is_some_and(|known| {
                known.agent.phase != Some(report.phase)
                    || known.agent.proven != report.proven
                    || (report.active_jobs == Some(0) && known.agent.active_jobs != Some(0))
            }),
            Event::NoticeSeen { id, at, is_rehearsal } => {
                let at = when_reclaimed(self.time(now), *at, *is_rehearsal);
                let is_news = |known: &SaidByEc2| {
                    known.interrupted_at.is_none_or(|earlier| at < earlier) || (known.is_rehearsed && !is_rehearsal)
                };
                self.state().instance(id).is_some_and(|known| is_news(&known.ec2))
            }
            // Nothing is nearer or farther than before.
            Event::ClockStepped { .. } => false,
            Event::RebalanceRecommended { id, at } => {
                let known = self.state().instance(id);
                known.is_some_and(|known| known.ec2.rebalance.is_none_or(|earlier| earlier.at < *at))
            }
            _ => true,
        }
    }

    fn happened(&mut self, happening: Happening) {
        self.effects.push_back(Effect::Happened(happening));
    }

    fn config(&self) -> &Config {
        self.controller.config()
    }
}

/// What is shown of it.
impl Pool {
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    pub fn state(&self) -> &State {
        self.controller.state()
    }

    /// What the last save holds; None where nothing was saved since it leads, or a tick was undone since.
    pub fn saved_state(&self) -> Option<State> {
        Some(self.journal.as_ref()?.saved_state(self.config())?.state().clone())
    }

    pub fn is_leader(&self) -> bool {
        self.state().is_leader()
    }

    /// In which it leads, or led last.
    pub fn epoch(&self) -> u64 {
        self.leadership.epoch()
    }

    pub fn admission(&self) -> Admission {
        Admission::of(self.state())
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn ledger_problem(&self) -> Option<&str> {
        self.ledger_problem.as_deref()
    }

    /// When it last ticked: None before the first tick as the leader.
    pub fn ticked_at(&self) -> Option<Timestamp> {
        self.ticked_at
    }

    /// Whether an observation or a listing is under way.
    pub fn is_looking(&self) -> bool {
        self.schedule.is_under_way()
    }

    /// The time as the brain is told it: the wall clock's, but for a step that is not followed yet.
    pub fn time(&self, now: Now) -> Timestamp {
        self.clock.at(now.up)
    }

    /// The queues are known, and what is decided can be saved.
    pub fn knows_queues(&self, now: Now) -> bool {
        let now = self.time(now);
        let longest = self.config().longest_gap();
        self.state().observation_problem().is_none()
            && self.ledger_problem.is_none()
            && self.state().backlog().is_some_and(|(_, at)| now.since(*at) <= longest)
    }

    /// EC2's instances are known.
    pub fn knows_instances(&self, now: Now) -> bool {
        let now = self.time(now);
        let longest = self.config().longest_listing_age();
        self.state().listing_problem().is_none() && self.state().listed_at().is_some_and(|at| now.since(at) <= longest)
    }
}
