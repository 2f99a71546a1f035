//! What the pools' instances cost: EC2's spot prices of thirty days, read each hour, and on-demand prices of a table
//! and of the settings. Nothing is decided by them, and nothing waits for them. They are kept in memory alone: EC2
//! keeps them for ninety days, and is asked again after a start.
//!
//! Sums are as of the last whole ten seconds, so that all who ask are told the same.
//!
//! - `on_demand`: the table
//! - `spent`: dollars that add up, for metrics

mod on_demand;
mod spent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spillway_brain::{RefusalClass, Timestamp};
use spillway_proto::{times, v1};
use spillway_record::{Money, Period};

use crate::clock;
use crate::cloud::Cloud;
use crate::config;
use crate::pools::PoolList;
use crate::reconcile::PoolHandle;
use crate::wire_time::timestamp;
pub(crate) use spent::lines;

/// How often EC2 is asked.
const READ_EACH: Duration = Duration::from_secs(3600);
/// The same after it did not answer.
const RETRIED_AFTER: Duration = Duration::from_secs(300);
/// How often types are looked for of which no price is known yet.
const LOOKED_EACH: Duration = Duration::from_secs(5);
/// What is shown goes back thirty days.
const KEPT_MS: u64 = 31 * 86_400_000;
/// What EC2 tells late is read with the next.
const OVERLAP_MS: u64 = 3_600_000;
/// Sums are as of the last whole ten seconds.
const STEP_MS: u64 = 10_000;
/// Of one question.
const MOST_TYPES: usize = 10;
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// All prices that are known here; clones share them.
#[derive(Clone, Debug, Default)]
pub struct PriceBook(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    prices: spillway_record::Prices,
    read_at: Option<Timestamp>,
    /// Types that EC2 has answered about.
    known: BTreeSet<String>,
    /// Why spot prices are not read.
    problem: Option<String>,
    /// By pool, with the time that it is of.
    told: BTreeMap<String, (u64, v1::Money)>,
    spent: BTreeMap<String, spent::Spent>,
}

impl PriceBook {
    pub fn new(region: Option<&str>, set: &config::Prices) -> Self {
        let mut on_demand = on_demand::prices(region.unwrap_or_default());
        on_demand.extend(set.on_demand.clone());
        let prices = spillway_record::Prices::new(on_demand, set.spot.clone());
        PriceBook(Arc::new(Mutex::new(Book { prices, ..Book::default() })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a pool costs, as of the last whole step.
    pub fn money(&self, pool: &PoolHandle) -> v1::Money {
        let now = clock::now().0 / STEP_MS * STEP_MS;
        self.with(|book| {
            if let Some((at, told)) = book.told.get(&pool.name)
                && *at == now
            {
                return told.clone();
            }
            let money = pool.past.look().money(&book.prices, pool.config.brain.max_instances, now);
            let money = book.tell(&money);
            book.told.insert(pool.name.clone(), (now, money.clone()));
            money
        })
    }

    /// What a pool's instances cost in a time range.
    pub fn dollars(&self, pool: &PoolHandle, from: u64, to: u64) -> Option<f64> {
        self.with(|book| pool.past.look().dollars(&book.prices, from, to))
    }

    /// Dollars an hour of these now.
    pub fn of_lanes(&self, lanes: &[spillway_record::Lane]) -> Vec<Option<f64>> {
        let now = clock::now().0;
        self.with(|book| lanes.iter().map(|lane| lane.price(&book.prices, lane.last_at(now))).collect())
    }

    /// What these instances cost an hour.
    pub fn price(&self, instances: &mut [v1::Instance]) {
        let now = clock::now().0;
        self.with(|book| {
            for it in instances.iter_mut().filter(|it| !it.instance_type.is_empty()) {
                it.dollars_per_hour = match it.capacity_type == "on-demand" {
                    true => book.prices.on_demand(&it.instance_type),
                    false => book.prices.spot(&it.instance_type, &it.availability_zone, now),
                };
            }
        });
    }

    /// Asks EC2 until its task is ended.
    pub async fn keep(self, cloud: Cloud, pools: PoolList) {
        let (mut read_at, mut failed_at) = (None::<Duration>, None::<Duration>);
        loop {
            let up = clock::up();
            let since = |at: Option<Duration>| at.map(|at| up.saturating_sub(at));
            let types = self.wanted(&pools);
            let is_new = self.with(|book| types.iter().any(|it| !book.known.contains(it)));
            let is_due = is_new || since(read_at).is_none_or(|since| since >= READ_EACH);
            let may = since(failed_at).is_none_or(|since| since >= RETRIED_AFTER);
            if is_due && may && !types.is_empty() {
                match self.read(&cloud, types).await {
                    Ok(()) => (read_at, failed_at) = (Some(up), None),
                    Err(problem) => {
                        failed_at = Some(up);
                        self.fails(problem);
                    }
                }
            }
            tokio::time::sleep(LOOKED_EACH).await;
        }
    }

    /// Spot types of which somebody may want to know the price.
    fn wanted(&self, pools: &PoolList) -> BTreeSet<String> {
        let since = clock::now().0.saturating_sub(KEPT_MS);
        let types = pools.shown().into_iter().flat_map(|pool| pool.past.look().instance_types(since));
        let mut types: BTreeSet<String> = types.collect();
        self.with(|book| types.retain(|it| !book.prices.is_set(it)));
        types
    }

    async fn read(&self, cloud: &Cloud, types: BTreeSet<String>) -> Result<(), String> {
        if cloud.region().is_some_and(|region| region.starts_with("cn-")) {
            return Err(
                "in this region EC2 tells prices in yuan: set prices.spot and prices.on_demand in dollars".into()
            );
        }
        let now = clock::now();
        let (known, read_at) = self.with(|book| (book.known.clone(), book.read_at));
        let all = now.0.saturating_sub(KEPT_MS);
        let since_last = read_at.map_or(all, |at| at.0.saturating_sub(OVERLAP_MS));
        let (old, new): (Vec<String>, Vec<String>) = types.into_iter().partition(|it| known.contains(it));
        let old = old.chunks(MOST_TYPES).map(|types| (types, since_last));
        for (types, since) in old.chain(new.chunks(MOST_TYPES).map(|types| (types, all))) {
            let answer = tokio::time::timeout(CALL_TIMEOUT, cloud.spot_prices(types, Timestamp(since))).await;
            let answer =
                answer.map_err(|_| format!("EC2's spot prices: no answer for {} s", CALL_TIMEOUT.as_secs()))?;
            let found = answer.map_err(|refused| {
                let remedy = match refused.class {
                    RefusalClass::Permission => ". Allow ec2:DescribeSpotPriceHistory: ami/coordinator-policy.json",
                    _ => "",
                };
                format!("EC2's spot prices cannot be read: {refused}{remedy}")
            })?;
            self.with(|book| {
                for price in found {
                    book.prices.add(&price.instance_type, &price.zone, price.from.0, price.dollars);
                }
                book.known.extend(types.iter().cloned());
            });
        }
        self.with(|book| {
            book.prices.forget_before(all);
            (book.read_at, book.problem) = (Some(now), None);
            book.told.clear();
        });
        Ok(())
    }

    fn fails(&self, problem: String) {
        self.with(|book| {
            // Once, not at each try.
            if book.problem.as_ref() != Some(&problem) {
                tracing::warn!(problem, "what instances cost is not known");
            }
            book.problem = Some(problem);
            book.told.clear();
        });
    }
}

impl Book {
    fn tell(&self, money: &Money) -> v1::Money {
        v1::Money {
            hour: Some(period(&money.hour)),
            day: Some(period(&money.day)),
            month: Some(period(&money.month)),
            per_1000_jobs: money.per_1000_jobs,
            prices_at: self.read_at.map(timestamp),
            on_demand_as_of: on_demand::as_of().to_owned(),
            why_unknown: self.why_unknown(money),
        }
    }

    fn why_unknown(&self, money: &Money) -> String {
        if let (Some(problem), None) = (&self.problem, money.month.dollars) {
            return problem.clone();
        }
        if let Some((instance_type, zone)) = &money.without_spot {
            return match self.read_at {
                None => "EC2's spot prices are not read yet".to_owned(),
                Some(_) => format!("EC2 tells no spot price of {instance_type} in {zone}: prices.spot may have one"),
            };
        }
        if let Some(instance_type) = &money.without_on_demand {
            return format!("no on-demand price of {instance_type} is known here: set prices.on_demand");
        }
        self.problem.clone().unwrap_or_default()
    }
}

/// Dollars an hour on demand by the repository's own table; None: it does not have this type in this region.
pub fn on_demand_price(region: &str, instance_type: &str) -> Option<f64> {
    on_demand::prices(region).remove(instance_type)
}

fn period(period: &Period) -> v1::MoneyPeriod {
    v1::MoneyPeriod {
        from: Some(timestamp(Timestamp(period.from))),
        dollars: period.dollars,
        on_demand: period.on_demand,
        left_on: period.left_on,
        instance_time: Some(times::duration(Duration::from_millis(period.instance_ms))),
    }
}
