//! EC2's spot prices over time. It keeps ninety days of them.

use aws_sdk_ec2::types::InstanceType;
use aws_smithy_types::DateTime;
use spillway_brain::{RefusalClass, Timestamp};

use super::permitted::or_listed;
use super::{Cloud, Refused};

/// Of Linux. Accounts of before 2013 are told the second for what runs in a VPC.
const PRODUCTS: [&str; 2] = ["Linux/UNIX", "Linux/UNIX (Amazon VPC)"];
/// More than thirty days of a few types in every zone of a region: 1,000 changes each.
const MOST_PAGES: usize = 50;

/// A spot price of one type in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotPrice {
    pub instance_type: String,
    pub zone: String,
    /// It holds from then on.
    pub from: Timestamp,
    /// Dollars an hour.
    pub dollars: f64,
}

impl Cloud {
    /// The spot prices of these types since a time, with those that held then.
    pub async fn spot_prices(&self, types: &[String], since: Timestamp) -> Result<Vec<SpotPrice>, Refused> {
        let request = self
            .client
            .describe_spot_price_history()
            .set_instance_types(Some(types.iter().map(|it| InstanceType::from(it.as_str())).collect()))
            .set_product_descriptions(Some(PRODUCTS.map(str::to_owned).to_vec()))
            .start_time(DateTime::from_millis(i64::try_from(since.0).unwrap_or(i64::MAX)));
        let mut pages = request.into_paginator().page_size(1000).send();
        let mut found = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(page) = pages.next().await else { return Ok(found) };
            let page = page.map_err(Refused::from)?;
            found.extend(page.spot_price_history().iter().filter_map(price));
        }
        // Without the oldest of them sums would be too small.
        Err(Refused {
            class: RefusalClass::Unknown,
            code: "TooMany".to_owned(),
            message: format!("more than {MOST_PAGES} pages of spot prices"),
        })
    }

    /// Whether EC2 would tell them.
    pub async fn would_tell_spot_prices(&self) -> Result<(), Refused> {
        or_listed(self.client.describe_spot_price_history().dry_run(true).send().await)
    }
}

/// None where something is missing, or is no price.
fn price(told: &aws_sdk_ec2::types::SpotPrice) -> Option<SpotPrice> {
    let from = u64::try_from(told.timestamp()?.to_millis().ok()?).ok()?;
    let dollars: f64 = told.spot_price()?.parse().ok()?;
    (dollars.is_finite() && dollars >= 0.0).then_some(SpotPrice {
        instance_type: told.instance_type()?.as_str().to_owned(),
        zone: told.availability_zone()?.to_owned(),
        from: Timestamp(from),
        dollars,
    })
}
