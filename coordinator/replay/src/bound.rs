//! What no policy can go below, nearly: work that the primary cannot begin within the target, on slots that are never
//! idle and boot in no time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::Model;
use crate::trace::Job;

/// Milliseconds of work that the primary alone, first come, first served, cannot begin within `target`.
fn overflow(jobs: &[Job], primary_slots: u32, target: u64) -> u64 {
    let mut free: BinaryHeap<Reverse<u64>> = (0..primary_slots).map(|_| Reverse(0)).collect();
    let mut overflow = 0_u64;
    for job in jobs {
        let start = free.peek().map(|Reverse(at)| job.arrival.max(*at));
        match start.filter(|start| *start <= job.arrival.saturating_add(target)) {
            Some(start) => {
                free.pop();
                free.push(Reverse(start.saturating_add(job.duration)));
            }
            None => overflow = overflow.saturating_add(job.duration),
        }
    }
    overflow
}

/// Instance hours of that work.
pub fn box_hours(jobs: &[Job], model: &Model, target: u64) -> f64 {
    overflow(jobs, model.primary_slots, target) as f64 / f64::from(model.slots) / 3_600_000.0
}

/// The fewest instances with which 95 % of the jobs would begin within the target if all of them were there from the
/// beginning to the end; None where more than `most` would be needed.
pub fn least_instances(jobs: &[Job], model: &Model, most: u32) -> Option<u32> {
    let keeps = |instances: u32| {
        let slots = u64::from(model.primary_slots) + u64::from(instances) * u64::from(model.slots);
        let mut free: BinaryHeap<Reverse<u64>> = (0..slots).map(|_| Reverse(0)).collect();
        let mut late = 0_usize;
        for job in jobs {
            let Some(Reverse(at)) = free.pop() else { return false };
            let start = at.max(job.arrival);
            late += usize::from(start > job.arrival.saturating_add(model.target));
            free.push(Reverse(start.saturating_add(job.duration)));
        }
        late * 20 <= jobs.len()
    };
    let (mut low, mut high) = (0, most);
    if !keeps(high) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if keeps(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn model(primary_slots: u32, slots: u32) -> Model {
        let (boot, boot_max) = (75_000, 75_000);
        let target = 300_000;
        Model { primary_slots, slots, max_instances: 2, boot, boot_max, seed: 1, interrupted_every: None, target }
    }

    #[test]
    fn only_what_the_primary_cannot_begin_in_time_is_counted() {
        // Four jobs of an hour at once: the primary begins one, and another an hour later.
        let jobs = [Job { arrival: 0, duration: HOUR }; 4];
        assert_eq!(box_hours(&jobs, &model(1, 1), 300_000), 3.0);
        assert_eq!(box_hours(&jobs, &model(1, 3), 300_000), 1.0);
        assert_eq!(box_hours(&jobs, &model(1, 1), HOUR), 2.0);
        assert_eq!(box_hours(&jobs, &model(0, 1), 300_000), 4.0);
        assert_eq!(box_hours(&jobs, &model(4, 1), 300_000), 0.0);
    }

    #[test]
    fn the_least_instances_keep_the_target_for_95_of_100() {
        let jobs = [Job { arrival: 0, duration: HOUR }; 4];
        assert_eq!(least_instances(&jobs, &model(1, 1), 10), Some(3));
        assert_eq!(least_instances(&jobs, &model(1, 2), 10), Some(2));
        assert_eq!(least_instances(&jobs, &model(4, 1), 10), Some(0));
        assert_eq!(least_instances(&jobs, &model(1, 1), 2), None);
    }
}
