//! What has changed between two saves and is worth a line in the log: an instance's phase, desired capacity, a
//! back-off, the breaker, a threshold's window, a drill. Compared only after a save, so that what was undone is never
//! told, and a change that lasts is told once.

use std::time::Duration;

use spillway_brain::{
    Config, Decision, Drill, Instance, LaunchToken, Outcome, PhaseKind, Plan, State, Timestamp, Tried, Window,
};

use crate::Happening;

/// What the log was told last.
#[derive(Debug)]
pub(crate) struct Changes {
    instances: Vec<Told>,
    desired: Option<u32>,
    /// EC2's code.
    back_off: Option<String>,
    breaker: Option<Timestamp>,
    windows: Vec<Window>,
    /// The drill's number, and whether it was under way.
    drill: Option<(u64, bool)>,
}

#[derive(Debug)]
struct Told {
    token: LaunchToken,
    phase: PhaseKind,
    since: Timestamp,
    boot_failed: bool,
}

impl Changes {
    /// Of what is known by now, nothing is told.
    pub(crate) fn since(now: Timestamp, state: &State) -> Self {
        Changes {
            instances: state.instances().map(Told::of).collect(),
            desired: state.desired(),
            back_off: state.back_off(now).map(|it| it.code.to_owned()),
            breaker: breaker(state).0,
            windows: state.windows().collect(),
            drill: state.drill().map(drill),
        }
    }

    /// What has changed since it was asked last. `plan` is the one that was just saved: its decisions have a line of
    /// their own.
    pub(crate) fn tell(&mut self, now: Timestamp, state: &State, config: &Config, plan: &Plan) -> Vec<Happening> {
        let mut happenings = Vec::new();
        self.windows(state, config, &mut happenings);
        self.desired(state, plan, &mut happenings);
        self.back_off(now, state, &mut happenings);
        self.breaker(now, state, &mut happenings);
        self.drill(state, &mut happenings);
        self.instances(state, plan, &mut happenings);
        happenings
    }

    /// The clock was set by so many milliseconds: nothing has changed by that.
    pub(crate) fn clock_stepped(&mut self, by: i64) {
        self.instances.iter_mut().for_each(|told| told.since = told.since.stepped(by));
        self.windows.iter_mut().for_each(|window| window.since = window.since.stepped(by));
        self.breaker = self.breaker.map(|until| until.stepped(by));
    }

    fn instances(&mut self, state: &State, plan: &Plan, happenings: &mut Vec<Happening>) {
        // Both are in the order in which they were launched; mostly nothing has changed.
        if self.instances.len() == state.instances().count()
            && self.instances.iter().zip(state.instances()).all(Told::is_told)
        {
            return;
        }
        self.instances.retain(|told| state.instances().any(|it| it.token == told.token));
        for instance in state.instances() {
            let place = self.instances.iter().position(|told| told.token == instance.token);
            let known = place.map(|place| &self.instances[place]);
            if known.is_some_and(|told| Told::is_told((told, instance))) {
                continue;
            }
            if known.is_none() && instance.adopted {
                happenings.push(Happening::Adopted { id: instance.name().to_owned(), token: instance.token.clone() });
            } else if !has_own_line(instance, plan) {
                let before = known.map(|told| told.since);
                happenings.push(Happening::PhaseChanged {
                    id: instance.name().to_owned(),
                    phase: instance.phase_kind(),
                    after: lasted(instance, before),
                    reason: instance.phase_reason.clone(),
                });
            }
            if instance.boot_failed && !known.is_some_and(|told| told.boot_failed) {
                happenings.extend(boot_failed(instance));
            }
            match place {
                Some(place) => self.instances[place] = Told::of(instance),
                None => self.instances.push(Told::of(instance)),
            }
        }
    }

    fn desired(&mut self, state: &State, plan: &Plan, happenings: &mut Vec<Happening>) {
        let Some(to) = state.desired().filter(|_| state.desired() != self.desired) else { return };
        let from = self.desired.replace(to);
        // A new ledger begins with none, which is no change for anybody.
        if from.is_some() || to > 0 {
            let reason = plan.notes.first().map(ToString::to_string).unwrap_or_default();
            happenings.push(Happening::DesiredChanged { from: from.unwrap_or(0), to, reason });
        }
    }

    fn back_off(&mut self, now: Timestamp, state: &State, happenings: &mut Vec<Happening>) {
        let back_off = state.back_off(now);
        let code = back_off.map(|it| it.code.as_str());
        if code == self.back_off.as_deref() {
            return;
        }
        if let Some(code) = self.back_off.take() {
            happenings.push(Happening::BackOffEnded { code });
        }
        if let Some(it) = back_off {
            let (code, message) = (it.code.to_owned(), it.message.to_owned());
            self.back_off = Some(code.clone());
            happenings.push(Happening::BackOffBegan { code, message, wait: it.until.map(|until| now.until(until)) });
        }
    }

    fn breaker(&mut self, now: Timestamp, state: &State, happenings: &mut Vec<Happening>) {
        let (until, failures) = breaker(state);
        if until != self.breaker {
            happenings.push(match until {
                Some(until) => Happening::BreakerOpened { failures, wait: now.until(until) },
                None => Happening::BreakerClosed,
            });
            self.breaker = until;
        }
    }

    fn drill(&mut self, state: &State, happenings: &mut Vec<Happening>) {
        let Some(is) = state.drill().filter(|is| self.drill != Some(drill(is))) else { return };
        let before = self.drill.replace(drill(is));
        let asked = is.asked();
        if before.is_none_or(|(number, _)| number != is.number) {
            let instances = u32::try_from(is.tried.len()).unwrap_or(u32::MAX);
            happenings.push(Happening::DrillBegan { instances, asked: asked.clone() });
        }
        if is.ended_at.is_some() {
            let (ready, failed) = is.outcomes();
            let why = is.tried.iter().filter_map(why).collect::<Vec<_>>().join("; ");
            happenings.push(Happening::DrillEnded { asked, ready, failed, why });
        }
    }

    /// Only of steps that would raise desired capacity.
    fn windows(&mut self, state: &State, config: &Config, happenings: &mut Vec<Happening>) {
        let desired = state.desired().unwrap_or(0);
        for window in state.windows().filter(|window| !self.windows.contains(window)) {
            let step = config.policy.steps.iter().find(|step| step.jobs == window.jobs);
            if let Some(step) = step.filter(|step| step.instances > desired && !step.over.is_zero()) {
                let (jobs, over, instances) = (step.jobs, step.over, step.instances);
                happenings.push(Happening::WindowBegan { jobs, over, instances });
            }
        }
        self.windows.clear();
        self.windows.extend(state.windows());
    }
}

fn drill(drill: &Drill) -> (u64, bool) {
    (drill.number, drill.ended_at.is_none())
}

/// Why one of a drill's instances was not ready, or stays.
fn why(tried: &Tried) -> Option<String> {
    let name = tried.id.as_ref().map_or("one", |id| id.0.as_str());
    let failed = match &tried.outcome {
        Some(Outcome::Failed { cause }) => Some(format!("{name} was not ready: {cause}")),
        _ => None,
    };
    let stays = tried.stays.map(|why| format!("{name} stays: {why}"));
    let both: Vec<String> = failed.into_iter().chain(stays).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

/// Of failed boots or of early ends: until when the one that lasts longer is open, and what opened it.
fn breaker(state: &State) -> (Option<Timestamp>, u32) {
    let boots = (state.breaker().open_until, state.breaker().failures);
    boots.max((state.early_ends().open_until(), state.early_ends().count()))
}

impl Told {
    fn of(instance: &Instance) -> Self {
        Told {
            token: instance.token.clone(),
            phase: instance.phase_kind(),
            since: instance.phase_since,
            boot_failed: instance.boot_failed,
        }
    }

    /// Whether this is the instance, and nothing of it is new.
    fn is_told((told, instance): (&Told, &Instance)) -> bool {
        told.phase == instance.phase_kind() && told.since == instance.phase_since && told.token == instance.token
    }
}

/// Its decision is logged, with the reason.
fn has_own_line(instance: &Instance, plan: &Plan) -> bool {
    plan.decisions.iter().any(|planned| match (&planned.decision, instance.phase_kind()) {
        (Decision::Launch { token }, PhaseKind::Launching) => *token == instance.token,
        (Decision::Drain { id, .. }, PhaseKind::Draining)
        | (Decision::Terminate { id }, PhaseKind::Terminating)
        | (Decision::CancelDrain { id }, PhaseKind::Booting) => instance.id.as_ref() == Some(id),
        _ => false,
    })
}

/// What its decision's line does not say. A boot fails together with a change of phase.
fn boot_failed(instance: &Instance) -> impl Iterator<Item = Happening> {
    let id = instance.name().to_owned();
    let worker_log = instance.agent.worker_log.clone().map(|log| Happening::BootFailed { id: id.clone(), log });
    let kept = instance.kept_until.map(|until| Happening::Kept { id, over: instance.phase_since.until(until) });
    worker_log.into_iter().chain(kept)
}

/// How long it took to be ready, or lived; None in other phases.
fn lasted(instance: &Instance, before: Option<Timestamp>) -> Option<Duration> {
    let launched = instance.accepted_at.unwrap_or(instance.planned_at);
    match instance.phase_kind() {
        PhaseKind::Ready if instance.ready_at == Some(instance.phase_since) => {
            Some(instance.phase_since.since(launched))
        }
        PhaseKind::Ready => before.map(|before| instance.phase_since.since(before)),
        PhaseKind::Gone => instance.id.as_ref().map(|_| instance.phase_since.since(launched)),
        _ => None,
    }
}
