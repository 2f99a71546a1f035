//! Metrics of images and of what boots spend their time with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use metrics::gauge;
use spillway_brain::Timestamp;
use spillway_proto::times::from_duration;
use spillway_proto::v1;

use crate::clock;
use crate::wire_time::from_timestamp;

/// Steps of a pool that have a series: their names are agents' words, and a series stays.
const STEPS: usize = 16;

/// The steps that have one, by pool.
static NAMED: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::new(BTreeMap::new());

/// What is not known is NaN: the value of before would be a guess.
pub(super) fn record(pool: &str, view: &v1::Pool) {
    gauge!("spillway_image_age_seconds", "pool" => pool.to_owned()).set(age(view, clock::now()).unwrap_or(f64::NAN));
    gauge!("spillway_instances_stale", "pool" => pool.to_owned()).set(stale(view).unwrap_or(f64::NAN));
    gauge!("spillway_instances_other_commit", "pool" => pool.to_owned()).set(other_commit(view).unwrap_or(f64::NAN));
    for step in &view.step_medians {
        let Some(took) = step.took.as_ref().and_then(from_duration).filter(|_| has_series(pool, &step.name)) else {
            continue;
        };
        gauge!("spillway_boot_step_seconds", "pool" => pool.to_owned(), "step" => step.name.clone())
            .set(took.as_secs_f64());
    }
}

/// Of the image that launches take, in seconds; 0 where a clock is behind EC2's.
fn age(view: &v1::Pool, now: Timestamp) -> Option<f64> {
    let made_at = from_timestamp(view.launch_image.as_ref()?.made_at.as_ref()?);
    Some(now.since(made_at).as_secs_f64())
}

/// How many instances are of another image than launches take.
fn stale(view: &v1::Pool) -> Option<f64> {
    view.launch_image.as_ref()?;
    Some(view.instances.iter().filter(|instance| instance.other_image == Some(true)).count() as f64)
}

/// How many instances run another commit than the primary.
fn other_commit(view: &v1::Pool) -> Option<f64> {
    let is_known = !view.primary_commit.is_empty();
    is_known.then(|| view.instances.iter().filter(|instance| instance.other_commit == Some(true)).count() as f64)
}

pub(super) fn has_series(pool: &str, step: &str) -> bool {
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let named = named.entry(pool.to_owned()).or_default();
    named.contains(step) || (named.len() < STEPS && named.insert(step.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire_time::timestamp;

    #[test]
    fn a_pool_has_so_many_steps_and_no_more_however_agents_call_them() {
        let told: Vec<bool> = (0..100).map(|n| has_series("of this test", &n.to_string())).collect();
        assert_eq!(told.iter().filter(|is_told| **is_told).count(), STEPS);
        assert!(has_series("of this test", "0") && !has_series("of this test", "99"));
        assert!(has_series("another of this test", "99"));
    }

    #[test]
    fn of_an_image_that_is_not_known_there_is_neither_age_nor_number() {
        let now = Timestamp(5_000_000);
        assert_eq!((age(&v1::Pool::default(), now), stale(&v1::Pool::default())), (None, None));
        let made_at = Some(timestamp(Timestamp(1_400_000)));
        let other = v1::Instance { other_image: Some(true), ..v1::Instance::default() };
        let same = v1::Instance { other_image: Some(false), ..v1::Instance::default() };
        let view = v1::Pool {
            launch_image: Some(v1::LaunchImage { made_at, ..v1::LaunchImage::default() }),
            instances: vec![other, same, v1::Instance::default()],
            ..v1::Pool::default()
        };
        assert_eq!((age(&view, now), stale(&view)), (Some(3600.0), Some(1.0)));
        assert_eq!(age(&view, Timestamp(1)), Some(0.0), "a clock that is behind EC2's");
    }
}
