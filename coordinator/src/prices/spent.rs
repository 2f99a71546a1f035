//! `spillway_cost_dollars_total`: what the pools' instances have cost since this process leads. It has cents, and the
//! recorder of metrics counts whole numbers alone: its lines are written here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{PriceBook, STEP_MS};
use crate::clock;
use crate::reconcile::PoolHandle;

/// A time whose prices are not known for so long is left out.
const GIVEN_UP_MS: u64 = 86_400_000;
const NAME: &str = "spillway_cost_dollars_total";

/// Dollars that were spent on one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    dollars: f64,
    /// All until then is in it, in milliseconds since the epoch.
    until: u64,
}

impl Spent {
    /// What was spent until `now` comes to it; while it is not known, nothing does.
    fn goes_on(&mut self, now: u64, dollars: Option<f64>) {
        match dollars {
            // An instance that EC2 turns out not to bill takes nothing back: a counter does not fall.
            Some(dollars) => {
                self.dollars += dollars.max(0.0);
                self.until = now;
            }
            None if now.saturating_sub(self.until) > GIVEN_UP_MS => self.until = now,
            None => {}
        }
    }
}

impl PriceBook {
    /// To be told often: what another leader spends meanwhile is not this one's.
    pub(crate) fn accrue(&self, pools: &[PoolHandle]) {
        self.spent(pools);
    }

    fn spent(&self, pools: &[PoolHandle]) -> BTreeMap<String, f64> {
        let now = clock::now().0 / STEP_MS * STEP_MS;
        let mut all = BTreeMap::new();
        for pool in pools {
            let is_leading = pool.status.borrow().leading;
            let before = self.with(|book| book.spent.get(&pool.name).copied());
            let mut spent = before.unwrap_or(Spent { dollars: 0.0, until: now });
            // A clock that was set back shows an earlier time.
            spent.until = spent.until.min(now);
            // Another leader's time is in its counter.
            if !is_leading {
                spent.until = now;
            } else if spent.until < now {
                let dollars = self.with(|book| pool.past.look().settled_dollars(&book.prices, spent.until, now));
                spent.goes_on(now, dollars);
            }
            self.with(|book| book.spent.insert(pool.name.clone(), spent));
            all.insert(pool.name.clone(), spent.dollars);
        }
        all
    }
}

/// The metric's lines, in Prometheus' text format.
pub(crate) fn lines(book: &PriceBook, pools: &[PoolHandle]) -> String {
    text(&book.spent(pools))
}

fn text(spent: &BTreeMap<String, f64>) -> String {
    let mut text = format!("# HELP {NAME} What instances have cost, by their prices.\n# TYPE {NAME} counter\n");
    for (pool, dollars) in spent {
        let pool = pool.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        // Every launch is of a spot instance. Writing to a string does not fail.
        let _ = writeln!(text, "{NAME}{{pool=\"{pool}\",capacity_type=\"spot\"}} {dollars:.6}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_yet_comes_later_and_a_counter_never_falls() {
        let mut spent = Spent { dollars: 1.0, until: 0 };
        spent.goes_on(60_000, None);
        assert_eq!(spent, Spent { dollars: 1.0, until: 0 }, "the next time has this one in it");
        spent.goes_on(120_000, Some(0.5));
        assert_eq!(spent, Spent { dollars: 1.5, until: 120_000 });
        spent.goes_on(180_000, Some(-0.1));
        assert_eq!(spent.dollars, 1.5);
        spent.goes_on(180_001 + GIVEN_UP_MS, None);
        assert_eq!(spent.until, 180_001 + GIVEN_UP_MS);
    }

    #[test]
    fn the_lines_are_a_counter_with_its_fraction() {
        let text = text(&BTreeMap::from([("video \"a\"".to_owned(), 0.0123)]));
        let expected = "# HELP spillway_cost_dollars_total What instances have cost, by their prices.\n\
                        # TYPE spillway_cost_dollars_total counter\n\
                        spillway_cost_dollars_total{pool=\"video \\\"a\\\"\",capacity_type=\"spot\"} 0.012300\n";
        assert_eq!(text, expected);
    }
}
