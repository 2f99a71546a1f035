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

/// EC2's sizes, with what each costs beside the family's `xlarge`.
const SIZES: [(&str, f64); 16] = [
    ("medium", 0.25),
    ("large", 0.5),
    ("xlarge", 1.0),
    ("2xlarge", 2.0),
    ("3xlarge", 3.0),
    ("4xlarge", 4.0),
    ("6xlarge", 6.0),
    ("8xlarge", 8.0),
    ("9xlarge", 9.0),
    ("12xlarge", 12.0),
    ("16xlarge", 16.0),
    ("18xlarge", 18.0),
    ("24xlarge", 24.0),
    ("32xlarge", 32.0),
    ("48xlarge", 48.0),
    ("96xlarge", 96.0),
];

/// Dollars an hour of all types that the table has in a region.
pub(super) fn prices(region: &str) -> BTreeMap<String, f64> {
    let families = TABLE.regions.get(region).into_iter().flatten();
    let of_family =
        |(family, xlarge): (&String, &f64)| SIZES.map(|(size, times)| (format!("{family}.{size}"), xlarge * times));
    families.flat_map(of_family).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_cost_in_proportion_and_what_is_not_there_is_unknown() {
        let price = |region, instance_type| prices(region).get(instance_type).copied();
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
