//! On-demand prices, from a table with a date: EC2's own price list is another service, in another region, and needs
//! another permission.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// By region and family: the price of its `xlarge`.
#[derive(Debug, Default, Deserialize)]
struct Table {
    as_of: String,
    #[serde(flatten)]
    regions: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A test reads it.
static TABLE: LazyLock<Table> = LazyLock::new(|| toml::from_str(include_str!("on_demand.toml")).unwrap_or_default());

/// The day of the table.
pub(super) fn as_of() -> &'static str {
    &TABLE.as_of
}

/// Dollars an hour in a region, by type; those that are `set` are taken in place of the table's.
#[derive(Clone, Debug, Default)]
pub(super) struct OnDemand {
    pub region: String,
    pub set: BTreeMap<String, f64>,
}

impl OnDemand {
    /// None: nobody has set it, and the table does not have it.
    pub fn price(&self, instance_type: &str) -> Option<f64> {
        self.set.get(instance_type).copied().or_else(|| price(&self.region, instance_type))
    }
}

fn price(region: &str, instance_type: &str) -> Option<f64> {
    let (family, size) = instance_type.split_once('.')?;
    Some(TABLE.regions.get(region)?.get(family)? * times_xlarge(size)?)
}

/// What a size costs beside the family's `xlarge`.
fn times_xlarge(size: &str) -> Option<f64> {
    match size {
        "medium" => Some(0.25),
        "large" => Some(0.5),
        "xlarge" => Some(1.0),
        size => size.strip_suffix("xlarge")?.parse::<u16>().ok().map(f64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_cost_in_proportion_and_what_is_not_there_is_unknown() {
        assert_eq!(price("us-east-1", "c6i.xlarge"), Some(0.17));
        assert_eq!(price("us-east-1", "c6i.large"), Some(0.085));
        assert_eq!(price("eu-central-1", "c6i.4xlarge"), Some(0.776));
        for (region, instance_type) in [
            ("eu-central-1", "c7i.xlarge"),
            ("mars-1", "c6i.xlarge"),
            ("us-east-1", "c6i.metal"),
            ("us-east-1", "c6i"),
            ("us-east-1", "c6i.-1xlarge"),
        ] {
            assert_eq!(price(region, instance_type), None, "{region} {instance_type}");
        }
    }

    #[test]
    fn the_table_has_a_day_and_prices_that_can_be_true() {
        assert_eq!(as_of().len(), "2026-01-19".len());
        assert!(TABLE.regions.values().flat_map(BTreeMap::values).all(|price| (0.01..5.0).contains(price)));
    }
}
