//! The `wait` policy: a promised wait, kept with the least instances.
//!
//! An instance is launched as late as the promise allows: while a launch one look later would keep it too, jobs may end
//! sooner than they were expected to, and then none is needed. One is given back once the promise has held without it
//! for long enough, also while it runs jobs: it finishes them, and its drain is cancelled, at no cost, where jobs come
//! back before it is empty.

use std::time::Duration;

use super::scale_in;
use super::scale_out;
use super::turns;
use super::wanted::{Excess, Wanted};
use crate::config::{Config, Wait};
use crate::forecast::{Forecast, Slots};
use crate::instance::Instance;
use crate::late_start::LateStart;
use crate::note::Note;
use crate::state::{Spare, State};
use crate::time::{Timestamp, millis};
use crate::work::Work;

/// An instance on its way is not taken to be ready sooner than this, however long it has booted.
const SOON: u64 = 5_000;

/// Desired capacity by the policy; None while nothing tells how long jobs take.
pub(super) fn desired(state: &mut State, now: Timestamp, config: &Config, policy: &Wait) -> Option<Wanted> {
    let (work, looked_at) = state.work.as_ref().filter(|(_, at)| now.since(*at) <= config.longest_gap())?;
    let (backlog, observed_at) = state.backlog.as_ref()?;
    let demand = backlog.demand();
    // A look that was made before the jobs came, or went, tells nothing of them.
    if looked_at < observed_at && work.is_waiting() != (demand > 0) {
        return None;
    }
    let capacity = state.counts(now).capacity_without_drill();
    if demand == 0 {
        // There is no promise to break. But a rate limit that paces jobs leaves its workers without some for a while.
        let spare = if backlog.is_idle() { capacity } else { 0 };
        let is_measured = state.measures.has_durations();
        return is_measured.then(|| keeps(state, now, config, policy, (capacity, spare), 0));
    }
    let waiting = turns::turns(work, backlog);
    let durations = state.measures.durations(&work.running)?;
    let (boot, slots) = (state.measures.boot(), state.measures.slots(policy));
    let forecast = Forecast::new(&waiting, &durations, boot, policy.target, policy.quantile);
    let most_at_once = turns::most_at_once(backlog);
    let fleet = Fleet { state, work, now, slots: slots as u64, boot, ready_in: forecast.boot, most_at_once };
    let have = fleet.capacity(|_| true);
    if forecast.keeps(&have) {
        let spare = spare(&fleet, &forecast, capacity);
        return Some(keeps(state, now, config, policy, (capacity, spare), demand));
    }
    let needs = needs(&fleet, &forecast, &have, config, capacity);
    state.spare = None;
    Some(needs)
}

/// How many instances could go without a broken promise: those that scale-in would take first.
fn spare(fleet: &Fleet<'_>, forecast: &Forecast<'_>, capacity: u32) -> u32 {
    let keeps_without = |fewer: &u32| {
        let gone = scale_in::excess(fleet.state, fleet.now, capacity - fewer);
        let left = fleet.capacity(|instance| !gone.contains(&instance.token));
        forecast.keeps(&left)
    };
    // The fewer are left, the less they keep: the first that is too few ends it.
    first_of(capacity, |fewer| !keeps_without(&fewer)).map_or(capacity, |too_many| too_many - 1)
}

/// The promise is kept by what there is.
fn keeps(
    state: &mut State,
    now: Timestamp,
    config: &Config,
    policy: &Wait,
    (capacity, spare): (u32, u32),
    waiting: u64,
) -> Wanted {
    let (target, idle) = (policy.target, policy.idle);
    if spare == 0 {
        state.spare = None;
        let note = match waiting {
            0 => Note::NothingWaits,
            _ => Note::PromiseKept { waiting, instances: capacity, target },
        };
        return Wanted { desired: capacity, floor: 0, excess: Excess::Lowered, late: None, note };
    }
    let before = state.spare.filter(|it| now.since(it.seen) <= config.longest_gap() && it.seen <= now);
    let since = before.map_or(now, |it| it.since);
    let span = now.since(since);
    // A tick that has just launched others, or given some back, shows what is there in another light: not before the
    // next.
    let gave_at = before.and_then(|it| it.gave_at);
    let is_due = span >= idle && since < now && gave_at != Some(now);
    state.spare = Some(Spare { since, seen: now, gave_at: if is_due { Some(now) } else { gave_at } });
    let (desired, excess) = match is_due {
        true => (capacity - spare, Excess::NotNeeded { waiting, target, span }),
        false => (capacity, Excess::Lowered),
    };
    Wanted {
        desired,
        floor: 0,
        excess,
        late: None,
        note: Note::SpareCounting { spare, since: span, of: idle, waiting, target },
    }
}

/// Jobs would start too late with what there is: drains that can be cancelled first, then the least launches.
fn needs(fleet: &Fleet<'_>, forecast: &Forecast<'_>, have: &Slots<'_>, config: &Config, capacity: u32) -> Wanted {
    let wait = |slots: &Slots<'_>| {
        let first = forecast.first_late(have)?;
        Some((first, forecast.wait(first.nth, first.age, slots)))
    };
    let cap = scale_out::room(fleet.state.counts(fleet.now), config);
    let helpful = fleet.helpful(have);
    let bound = fleet.most_at_once.filter(|_| helpful < cap);
    let late = |desired: u32, slots: &Slots<'_>| {
        let (first, now) = wait(have)?;
        let then = (desired > capacity).then(|| wait(slots)).flatten().and_then(|(_, then)| then);
        Some(LateStart {
            nth: first.nth,
            late: forecast.late(have),
            wait: now,
            with: capacity,
            then_wait: then,
            then_with: desired,
            target: Duration::from_millis(forecast.target),
            promise: first.promise,
        })
    };
    let decided = |desired: u32, slots: &Slots<'_>| {
        let late = late(desired, slots);
        let note = late.clone().map_or(Note::NothingWaits, |late| match desired > capacity {
            true => Note::StartsLate { late },
            false => Note::CannotKeep { late, max_instances: config.max_instances, most_at_once: bound },
        });
        Wanted { desired, floor: 0, excess: Excess::Lowered, late, note }
    };
    let mut slots = have.clone();
    let mut desired = capacity;
    for draining in fleet.cancellable(config) {
        slots.extend(draining);
        desired += 1;
        if forecast.keeps(&slots) {
            return decided(desired, &slots);
        }
    }
    let room = cap.min(helpful);
    let with = |launches: u32, ready_in: u64| slots.with(ready_in, u64::from(launches) * fleet.slots);
    let least = |ready_in: u64| first_of(room, |launches| forecast.keeps(&with(launches, ready_in)));
    let Some(launches) = least(forecast.boot) else {
        // The promise cannot be kept to all: to as many as can be, with no instance that helps none of them.
        let best = forecast.late(&with(room, forecast.boot));
        let helps = best < forecast.late(&slots);
        let launches = if helps { first_of(room, |it| forecast.late(&with(it, forecast.boot)) == best) } else { None };
        let launches = launches.unwrap_or(0);
        return decided(desired + launches, &with(launches, forecast.boot));
    };
    let a_look_later = forecast.boot + millis(config.interval);
    if least(a_look_later).is_some_and(|later| later <= launches) {
        let planned = late(desired + launches, &with(launches, a_look_later));
        let note = planned.map_or(Note::NothingWaits, |late| Note::LaunchCanWait { late, boot: fleet.boot });
        return Wanted { desired, floor: 0, excess: Excess::Lowered, late: None, note };
    }
    decided(desired + launches, &with(launches, forecast.boot))
}

/// The least of `1..=most` that is enough, where more always is too.
fn first_of(most: u32, is_enough: impl Fn(u32) -> bool) -> Option<u32> {
    if most == 0 || !is_enough(most) {
        return None;
    }
    let (mut low, mut high) = (1, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_enough(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

/// The workers, as far as their slots go.
struct Fleet<'a> {
    state: &'a State,
    work: &'a Work,
    now: Timestamp,
    slots: u64,
    boot: Duration,
    /// Until an instance that is launched now takes its first job.
    ready_in: u64,
    /// Jobs that may run at once, whatever the slots.
    most_at_once: Option<u64>,
}

impl<'a> Fleet<'a> {
    /// The slots of workers elsewhere, and of those instances that are capacity or on their way to be.
    fn capacity(&self, counts: impl Fn(&Instance) -> bool) -> Slots<'a> {
        let mut slots = Slots::default();
        // A job that carries the name of an instance that is gone is on no worker that will take another.
        let elsewhere = self.work.running.iter().filter(|job| job.on.is_none());
        elsewhere.clone().for_each(|job| slots.add_busy(&job.name, millis(job.elapsed)));
        slots.add_free(0, self.state.measures.slots_elsewhere().saturating_sub(elsewhere.count()) as u64);
        // Those of a drill go with it.
        let stay = self.state.instances.iter().filter(|it| !it.is_for_drill);
        for instance in stay.filter(|instance| counts(instance)) {
            let is_on_its_way = instance.is_on_its_way(self.now) && instance.replaces.is_none();
            // One whose drain was cancelled has its jobs still.
            if instance.is_capacity() || (is_on_its_way && instance.has_been_ready()) {
                slots.extend(self.slots_of(instance));
            } else if is_on_its_way {
                let ready_in = self.ready_in.saturating_sub(millis(self.now.since(instance.planned_at))).max(SOON);
                slots.add_free(ready_in, self.slots);
            }
        }
        slots
    }

    /// Launches whose slots jobs may run in.
    fn helpful(&self, have: &Slots<'_>) -> u32 {
        let left = self.most_at_once.map(|most| most.saturating_sub(have.count()));
        left.map_or(u32::MAX, |left| u32::try_from(left.div_ceil(self.slots)).unwrap_or(u32::MAX))
    }

    /// The slots of each instance that can be kept without a boot: whose drain can be cancelled, in the order in which
    /// scale-out cancels them, or which goes with its drill.
    fn cancellable(&self, config: &Config) -> Vec<Slots<'a>> {
        let goes_with_drill = |it: &Instance| it.is_for_drill && it.is_capacity();
        let can_stay = |it: &&Instance| scale_out::can_cancel(it, self.now, config) || goes_with_drill(it);
        self.state.instances.iter().filter(can_stay).map(|instance| self.slots_of(instance)).collect()
    }

    fn slots_of(&self, instance: &Instance) -> Slots<'a> {
        let mut slots = Slots::default();
        let jobs = self.work.running.iter().filter(|job| job.on.is_some() && job.on == instance.id);
        jobs.clone().for_each(|job| slots.add_busy(&job.name, millis(job.elapsed)));
        // Jobs that do not carry its name, as those of a worker that nobody named.
        let named = jobs.count() as u64;
        let told = instance.agent.active_jobs.map_or(0, u64::from);
        (named..told).for_each(|_| slots.add_busy("", 0));
        slots.add_free(0, self.slots.saturating_sub(named.max(told)));
        slots
    }
}
