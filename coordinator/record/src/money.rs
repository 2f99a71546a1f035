//! What instances cost, beside what they would have cost on demand, and if they had been left on. An estimate from
//! their lives as they were seen and the prices of the time: EC2's bill also has volumes, traffic and taxes.
//!
//! EC2 bills an instance by the second and for a minute at least, from its start until its end, and nothing of a spot
//! instance that it interrupts in its first hour ("Billing for interrupted Spot Instances" in its user guide). Here a
//! life begins with the request and ends when EC2 shows it terminated: some seconds more than are billed.

use crate::history::History;
use crate::lanes::Lane;
use crate::prices::{Prices, dollars_of};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const ON_DEMAND: &str = "on-demand";

/// Dollars of a time range; None: a price of it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Period {
    /// Later than what was asked for where nothing is known of before, in milliseconds since the epoch.
    pub from: u64,
    pub to: u64,
    /// What its instances cost.
    pub dollars: Option<f64>,
    /// The same time on demand.
    pub on_demand: Option<f64>,
    /// `max_instances` on demand, all the time.
    pub left_on: Option<f64>,
    /// All instances' billed time together, in milliseconds.
    pub instance_ms: u64,
}

/// What a pool costs. Spans end now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Money {
    pub hour: Period,
    pub day: Period,
    /// Thirty days.
    pub month: Period,
    /// Of the month, for a thousand jobs that ended in its queues, wherever they ran.
    pub per_1000_jobs: Option<f64>,
    /// A type and a zone of the month without a spot price.
    pub without_spot: Option<(String, String)>,
    /// A type of the month without a price on demand.
    pub without_on_demand: Option<String>,
}

impl History {
    /// What the pool costs; of no time before the record begins.
    pub fn money(&self, prices: &Prices, max_instances: u32, now: u64) -> Money {
        // Of before then some instances are not known any more.
        let known_from = self.begins().unwrap_or(now).max(self.known_from());
        let period = |length: u64| self.period(prices, max_instances, now.saturating_sub(length).max(known_from), now);
        let month = period(30 * DAY_MS);
        let mut finished = 0_u64;
        self.jobs(month.from, now, |jobs| finished = finished.saturating_add(jobs.finished));
        #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
        let per_1000_jobs = month.dollars.filter(|_| finished > 0).map(|dollars| dollars * 1000.0 / finished as f64);
        let billed = || {
            let lanes = self.lanes_by_token().filter_map(|(token, lane)| Some((lane, lane.billed(token, now)?)));
            lanes.filter(|(_, (began, ended))| *began < now && *ended > month.from)
        };
        let without_spot = billed().find(|(lane, (began, _))| {
            lane.capacity_type != ON_DEMAND
                && prices.spot(&lane.instance_type, &lane.zone, (*began).max(month.from)).is_none()
        });
        let without_on_demand = billed().find(|(lane, _)| prices.on_demand(&lane.instance_type).is_none());
        Money {
            hour: period(HOUR_MS),
            day: period(DAY_MS),
            month,
            per_1000_jobs,
            without_spot: without_spot.map(|(lane, _)| (lane.instance_type.clone(), lane.zone.clone())),
            without_on_demand: without_on_demand.map(|(lane, _)| lane.instance_type.clone()),
        }
    }

    /// What its instances cost in a time range; None: a price is not known.
    pub fn dollars(&self, prices: &Prices, from: u64, to: u64) -> Option<f64> {
        self.period(prices, 0, from, to).dollars
    }

    /// The same, for what adds up; None also while EC2's list has not shown yet of which type one is.
    pub fn settled_dollars(&self, prices: &Prices, from: u64, to: u64) -> Option<f64> {
        let is_unlisted = |lane: &Lane| lane.ended_at.is_none() && lane.instance_type.is_empty();
        if self.lanes_within(from, to).any(is_unlisted) { None } else { self.dollars(prices, from, to) }
    }

    fn period(&self, prices: &Prices, max_instances: u32, from: u64, to: u64) -> Period {
        let from = from.min(to);
        let mut period = Period { from, to, dollars: Some(0.0), on_demand: Some(0.0), left_on: None, instance_ms: 0 };
        for (token, lane) in self.lanes_by_token() {
            let Some((began, ended)) = lane.billed(token, to) else { continue };
            let (since, until) = (began.max(from), ended.min(to));
            if until <= since {
                continue;
            }
            period.instance_ms = period.instance_ms.saturating_add(until - since);
            let on_demand = prices.on_demand(&lane.instance_type).map(|price| dollars_of(price, since, until));
            let cost = match lane.capacity_type == ON_DEMAND {
                true => on_demand,
                false => prices.spot_dollars(&lane.instance_type, &lane.zone, since, until),
            };
            period.dollars = period.dollars.zip(cost).map(|(sum, cost)| sum + cost);
            period.on_demand = period.on_demand.zip(on_demand).map(|(sum, cost)| sum + cost);
        }
        let newest = self.lanes_by_token().map(|(_, lane)| lane).filter(|lane| !lane.instance_type.is_empty());
        let newest = newest.max_by_key(|lane| lane.began());
        let price = newest.and_then(|lane| prices.on_demand(&lane.instance_type));
        period.left_on = price.map(|price| dollars_of(price, from, to) * f64::from(max_instances));
        period
    }
}

impl Lane {
    /// From when to when EC2 bills it, as far as it is seen at `now`; None: not at all.
    fn billed(&self, token: &str, now: u64) -> Option<(u64, u64)> {
        let began = self.began()?;
        // What EC2's list has not shown yet comes with the list; what it never shows ended before it ran.
        if !self.is_accepted(token) || self.instance_type.is_empty() {
            return None;
        }
        let is_spot = self.capacity_type != ON_DEMAND;
        let is_free = self.interrupted_at.is_some_and(|at| at.saturating_sub(began) < HOUR_MS);
        if is_spot && is_free {
            return None;
        }
        let ended = self.ended_at.unwrap_or(now);
        Some((began, ended.max(began + MINUTE_MS)))
    }

    /// EC2 has answered its launch, and given it an id.
    pub(crate) fn is_accepted(&self, token: &str) -> bool {
        self.instance != token
    }

    /// When it was there last: `now` while it lives.
    pub fn last_at(&self, now: u64) -> u64 {
        self.ended_at.unwrap_or(now)
    }

    /// Dollars an hour at a time; None: not known.
    pub fn price(&self, prices: &Prices, at: u64) -> Option<f64> {
        match self.capacity_type == ON_DEMAND {
            true => prices.on_demand(&self.instance_type),
            false => prices.spot(&self.instance_type, &self.zone, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::frame::{Frame, Ids, Interval, Look, PhaseBegan};

    const NOW: u64 = 40 * DAY_MS;

    fn prices() -> Prices {
        let mut prices = Prices::new(BTreeMap::from([("c6i.xlarge".to_owned(), 0.2)]), BTreeMap::new());
        prices.add("c6i.xlarge", "a", 0, 0.05);
        prices
    }

    /// One that ran from so many minutes ago to so many minutes ago.
    fn ran(history: &mut History, token: &str, (from, to): (u64, u64), change: impl FnOnce(&mut Ids)) {
        let [began, ended] = [from, to].map(|minutes| NOW - minutes * MINUTE_MS);
        let mut ids = Ids {
            at: began,
            token: token.to_owned(),
            id: format!("i-{token}"),
            instance_type: "c6i.xlarge".to_owned(),
            zone: "a".to_owned(),
            capacity_type: "spot".to_owned(),
            ..Ids::default()
        };
        change(&mut ids);
        let phase = |at, phase: &str| {
            let (instance, phase) = (token.to_owned(), phase.to_owned());
            Frame::Phase(PhaseBegan { at, instance, phase, reason: String::new() })
        };
        history.add(&Frame::Ids(Box::new(ids)), false);
        history.add(&phase(began, "launching"), false);
        if to > 0 {
            history.add(&phase(ended, "gone"), false);
        }
    }

    fn begun(minutes: u64) -> History {
        let mut history = History::default();
        history.add(&Frame::Look(Look { at: NOW - minutes * MINUTE_MS, ..Look::default() }), false);
        history
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("it is known");
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn each_period_has_its_part_of_each_life() {
        let mut history = begun(20 * 24 * 60);
        ran(&mut history, "1", (30, 0), |_| {});
        ran(&mut history, "2", (180, 120), |_| {});
        let interval = Interval { at: NOW - MINUTE_MS, finished: 150, ..Interval::default() };
        history.add(&Frame::Interval(interval), false);
        let money = history.money(&prices(), 2, NOW);
        near(money.hour.dollars, 0.025);
        near(money.hour.on_demand, 0.1);
        near(money.hour.left_on, 0.4);
        near(money.day.dollars, 0.075);
        assert_eq!(money.day.instance_ms, 90 * MINUTE_MS);
        near(money.month.left_on, 2.0 * 0.2 * 24.0 * 20.0);
        near(money.per_1000_jobs, 0.5);
        assert_eq!(money.month.from, NOW - 20 * DAY_MS, "of before it nothing is known");
    }

    #[test]
    fn what_ec2_does_not_bill_costs_nothing() {
        let mut history = begun(300);
        ran(&mut history, "interrupted", (50, 10), |ids| ids.interrupted_at = Some(ids.at + 59 * MINUTE_MS));
        ran(&mut history, "refused", (50, 49), |ids| ids.id.clear());
        near(history.money(&prices(), 2, NOW).hour.dollars, 0.0);
        ran(&mut history, "later", (119, 59), |ids| ids.interrupted_at = Some(ids.at + 60 * MINUTE_MS));
        near(history.money(&prices(), 2, NOW).day.dollars, 0.05);
    }

    #[test]
    fn what_is_not_listed_yet_makes_no_sum_unknown_and_is_waited_for_by_what_adds_up() {
        let mut history = begun(300);
        ran(&mut history, "1", (30, 0), |_| {});
        ran(&mut history, "new", (0, 0), |ids| ids.instance_type.clear());
        near(history.money(&prices(), 2, NOW).hour.dollars, 0.025);
        assert_eq!(history.settled_dollars(&prices(), NOW - MINUTE_MS, NOW), None);
        near(history.dollars(&prices(), NOW - MINUTE_MS, NOW), 0.05 / 60.0);
        ran(&mut history, "taken-back", (20, 19), |ids| ids.instance_type.clear());
        near(history.settled_dollars(&prices(), NOW - 20 * MINUTE_MS, NOW - 19 * MINUTE_MS), 0.05 / 60.0);
        near(history.settled_dollars(&prices(), NOW - 2 * MINUTE_MS, NOW - MINUTE_MS), 0.05 / 60.0);
    }

    #[test]
    fn a_short_life_is_billed_for_a_minute() {
        let mut history = begun(300);
        ran(&mut history, "1", (30, 30), |_| {});
        near(history.money(&prices(), 2, NOW).hour.dollars, 0.05 / 60.0);
    }

    #[test]
    fn one_unknown_price_makes_the_sum_unknown_and_never_smaller() {
        let mut history = begun(300);
        ran(&mut history, "1", (30, 0), |_| {});
        ran(&mut history, "2", (30, 0), |ids| ids.zone = "b".to_owned());
        let money = history.money(&prices(), 2, NOW);
        assert_eq!((money.hour.dollars, money.per_1000_jobs), (None, None));
        assert_eq!(money.without_spot, Some(("c6i.xlarge".to_owned(), "b".to_owned())));
        assert_eq!(money.without_on_demand, None);
        near(money.hour.on_demand, 0.2);
        let nothing = begun(300).money(&Prices::default(), 2, NOW);
        near(nothing.hour.dollars, 0.0);
        assert_eq!(nothing.hour.left_on, None, "no instance says of which type");
    }
}
