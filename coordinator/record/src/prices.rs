//! Dollars an hour, by instance type: spot prices as they were over time, and on-demand prices. What is not known is
//! None, and never 0.

use std::collections::BTreeMap;

const HOUR_MS: f64 = 3_600_000.0;

/// What is known of prices.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// EC2's, by type, by zone: from which time each holds, oldest first.
    spot: BTreeMap<String, BTreeMap<String, Vec<(u64, f64)>>>,
    /// What a person has set, by type, in place of EC2's.
    set_spot: BTreeMap<String, f64>,
    on_demand: BTreeMap<String, f64>,
}

impl Prices {
    pub fn new(on_demand: BTreeMap<String, f64>, set_spot: BTreeMap<String, f64>) -> Self {
        Prices { spot: BTreeMap::new(), set_spot, on_demand }
    }

    /// Somebody has set its spot price: EC2 need not be asked.
    pub fn is_set(&self, instance_type: &str) -> bool {
        self.set_spot.contains_key(instance_type)
    }

    /// EC2's spot price from a time on, in milliseconds since the epoch. Told in any order, and repeatedly.
    pub fn add(&mut self, instance_type: &str, zone: &str, from: u64, dollars: f64) {
        let points = self.spot.entry(instance_type.to_owned()).or_default().entry(zone.to_owned()).or_default();
        match points.binary_search_by_key(&from, |(at, _)| *at) {
            Ok(same) => points[same].1 = dollars,
            Err(position) => points.insert(position, (from, dollars)),
        }
    }

    /// Prices that held no longer at that time are not needed any more.
    pub fn forget_before(&mut self, at: u64) {
        for points in self.spot.values_mut().flat_map(BTreeMap::values_mut) {
            let held = points.partition_point(|(from, _)| *from <= at);
            points.drain(..held.saturating_sub(1));
        }
    }

    /// Of an on-demand instance.
    pub fn on_demand(&self, instance_type: &str) -> Option<f64> {
        self.on_demand.get(instance_type).copied()
    }

    /// Of a spot instance at a time.
    pub fn spot(&self, instance_type: &str, zone: &str, at: u64) -> Option<f64> {
        if let Some(set) = self.set_spot.get(instance_type) {
            return Some(*set);
        }
        let points = self.points(instance_type, zone)?;
        let held = points.partition_point(|(from, _)| *from <= at);
        Some(points[held.checked_sub(1)?].1)
    }

    /// What a spot instance comes to from one time to another, in dollars.
    pub(crate) fn spot_dollars(&self, instance_type: &str, zone: &str, from: u64, to: u64) -> Option<f64> {
        let (mut since, mut price) = (from, self.spot(instance_type, zone, from)?);
        let mut dollars = 0.0;
        let is_set = self.is_set(instance_type);
        let changes = self.points(instance_type, zone).filter(|_| !is_set).unwrap_or_default();
        for (at, next) in changes.iter().filter(|(at, _)| from < *at && *at < to) {
            dollars += dollars_of(price, since, *at);
            (since, price) = (*at, *next);
        }
        Some(dollars + dollars_of(price, since, to))
    }

    fn points(&self, instance_type: &str, zone: &str) -> Option<&[(u64, f64)]> {
        self.spot.get(instance_type)?.get(zone).map(Vec::as_slice)
    }
}

/// A price an hour over a time.
#[expect(clippy::cast_precision_loss, reason = "a span in milliseconds")]
pub(crate) fn dollars_of(price: f64, from: u64, to: u64) -> f64 {
    price * to.saturating_sub(from) as f64 / HOUR_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn prices() -> Prices {
        let mut prices = Prices::new(BTreeMap::from([("c6i.xlarge".to_owned(), 0.17)]), BTreeMap::new());
        // As EC2 answers: the newest first.
        prices.add("c6i.xlarge", "eu-1a", 10 * HOUR, 0.10);
        prices.add("c6i.xlarge", "eu-1a", 4 * HOUR, 0.06);
        prices.add("c6i.xlarge", "eu-1a", 4 * HOUR, 0.06);
        prices
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("a price");
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn a_price_holds_from_its_time_to_the_next_and_is_unknown_before_the_first() {
        let prices = prices();
        assert_eq!(prices.spot("c6i.xlarge", "eu-1a", 4 * HOUR - 1), None);
        near(prices.spot("c6i.xlarge", "eu-1a", 4 * HOUR), 0.06);
        near(prices.spot("c6i.xlarge", "eu-1a", 11 * HOUR), 0.10);
        assert_eq!(prices.spot("c6i.xlarge", "eu-1b", 11 * HOUR), None, "of another zone nothing is known");
        assert_eq!(prices.on_demand("c7i.xlarge"), None);
    }

    #[test]
    fn what_runs_while_the_price_changes_pays_each_for_its_time() {
        let prices = prices();
        near(prices.spot_dollars("c6i.xlarge", "eu-1a", 8 * HOUR, 12 * HOUR), 2.0 * 0.06 + 2.0 * 0.10);
        near(prices.spot_dollars("c6i.xlarge", "eu-1a", 5 * HOUR, 5 * HOUR + HOUR / 2), 0.03);
        assert_eq!(prices.spot_dollars("c6i.xlarge", "eu-1a", 3 * HOUR, 12 * HOUR), None, "not known from the start");
    }

    #[test]
    fn a_price_that_is_set_is_taken_in_place_of_ec2s() {
        let mut prices = Prices { set_spot: BTreeMap::from([("c6i.xlarge".to_owned(), 0.05)]), ..prices() };
        near(prices.spot_dollars("c6i.xlarge", "eu-1c", HOUR, 3 * HOUR), 0.10);
        assert!(prices.is_set("c6i.xlarge") && !prices.is_set("c7i.xlarge"));
        prices.forget_before(0);
    }

    #[test]
    fn what_held_last_is_kept() {
        let mut prices = prices();
        prices.forget_before(9 * HOUR);
        near(prices.spot("c6i.xlarge", "eu-1a", 9 * HOUR), 0.06);
        prices.forget_before(20 * HOUR);
        assert_eq!(prices.spot("c6i.xlarge", "eu-1a", 9 * HOUR), None);
        near(prices.spot("c6i.xlarge", "eu-1a", 20 * HOUR), 0.10);
    }
}
