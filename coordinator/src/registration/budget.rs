//! How often STS is asked, or, where agents are known by a token, how often one is registered: so often a second in
//! all, and less often for one instance, so that none takes the others' turns.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_brain::InstanceId;
use tokio::time::Instant;

/// In all: STS allows an account some hundreds a second, of which the application may need some too.
const ALL: Rate = Rate { most: 40, refill: Duration::from_millis(50) };
const OF_INSTANCE: Rate = Rate { most: 4, refill: Duration::from_secs(2) };
/// Instances that are remembered: more than a fleet has.
const REMEMBERED: usize = 4096;

#[derive(Clone, Copy, Debug)]
struct Rate {
    most: u32,
    /// One more after each of these.
    refill: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u32,
    since: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Bucket { left: rate.most, since: now }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let nanos = rate.refill.as_nanos().max(1);
        let refilled = u32::try_from(now.duration_since(self.since).as_nanos() / nanos).unwrap_or(u32::MAX);
        if refilled >= rate.most {
            *self = Bucket::full(rate, now);
        } else {
            self.since += rate.refill * refilled;
            self.left = self.left.saturating_add(refilled).min(rate.most);
        }
    }
}

/// A bucket of turns for all, and one for each instance.
#[derive(Debug)]
pub struct Budget {
    rates: (Rate, Rate),
    all: Bucket,
    of_instances: BTreeMap<InstanceId, Bucket>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(Instant::now())
    }
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self::of(now, ALL, OF_INSTANCE)
    }

    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        let rate = Rate { most: u32::MAX, refill: Duration::from_nanos(1) };
        Self::of(Instant::now(), rate, rate)
    }

    fn of(now: Instant, all: Rate, of_instance: Rate) -> Self {
        Budget { rates: (all, of_instance), all: Bucket::full(all, now), of_instances: BTreeMap::new() }
    }

    /// Whether it is this instance's turn now.
    pub(crate) fn take(&mut self, id: &InstanceId, now: Instant) -> bool {
        let (all, of_instance) = self.rates;
        if self.of_instances.len() >= REMEMBERED {
            self.of_instances.retain(|_, bucket| {
                bucket.refill(of_instance, now);
                bucket.left < of_instance.most
            });
        }
        self.all.refill(all, now);
        if self.of_instances.len() >= REMEMBERED && !self.of_instances.contains_key(id) {
            return false;
        }
        let own = self.of_instances.entry(id.clone()).or_insert(Bucket::full(of_instance, now));
        own.refill(of_instance, now);
        let may = own.left > 0 && self.all.left > 0;
        own.left -= u32::from(may);
        self.all.left -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_takes_its_own_turns_and_no_others() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        let id = |number: u32| InstanceId(format!("i-{number}"));
        assert_eq!((0..1000).filter(|_| budget.take(&id(0), now)).count(), OF_INSTANCE.most as usize);
        let others = (1..1000).filter(|number| budget.take(&id(*number), now)).count();
        assert_eq!(others, (ALL.most - OF_INSTANCE.most) as usize);
        let later = now + Duration::from_secs(1);
        assert!(!budget.take(&id(0), later));
        assert_eq!((1000..2000).filter(|number| budget.take(&id(*number), later)).count(), 20, "in a second");
        let much_later = now + Duration::from_secs(86_400);
        assert_eq!((0..100).filter(|_| budget.take(&id(0), much_later)).count(), OF_INSTANCE.most as usize);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        for number in 0..100_000_u32 {
            budget.take(&InstanceId(number.to_string()), now + ALL.refill * number);
        }
        assert!(budget.of_instances.len() <= REMEMBERED);
    }
}
