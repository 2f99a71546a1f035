//! What the region has: availability zones, subnets, spot prices.

use super::View;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use crate::clock::{self, iso_milliseconds};
use crate::error::ApiError;
use crate::model::{Lifecycle, Tags};
use crate::query::Params;
use crate::region::{ACCOUNT_ID, VPC_ID, check_instance_type};
use crate::xml::Xml;

/// Prices change this often, each time to the same plausible value.
const PRICE_AGE_MS: u64 = 6 * 60 * 60 * 1000;
/// EC2 keeps no older ones.
const PRICES_KEPT_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Instance types whose prices are listed if the request names none.
const USUAL_TYPES: &[&str] = &["c6i.large", "c6i.xlarge", "c6i.2xlarge", "t3.large"];
const MAX_TYPES: usize = 100;

pub(super) fn availability_zones(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let names = params.list("ZoneName");
    let ids = params.list("ZoneId");
    params.boolean("AllAvailabilityZones")?;
    let filters = Filters::read(&mut params)?;
    filters.check(|name| matches!(name, "zone-name" | "zone-id" | "state" | "region-name" | "zone-type"))?;
    params.finish()?;
    let region = &view.shared.region;
    for name in &names {
        region.zone(name)?;
    }
    let found = region.zones.iter().filter(|zone| {
        (names.is_empty() || names.contains(&zone.name))
            && (ids.is_empty() || ids.contains(&zone.id))
            && filters.match_all(|filter| match filter {
                "zone-name" => vec![zone.name.clone()],
                "zone-id" => vec![zone.id.clone()],
                "state" => vec!["available".to_owned()],
                "zone-type" => vec!["availability-zone".to_owned()],
                _ => vec![region.name.clone()],
            })
    });
    let mut xml = Xml::new();
    xml.list("availabilityZoneInfo", found, |xml, zone| {
        xml.text("optInStatus", "opt-in-not-required").node("messageSet", |_| ());
        xml.text("regionName", &region.name).text("zoneName", &zone.name).text("zoneId", &zone.id);
        xml.text("groupName", &region.name).text("networkBorderGroup", &region.name);
        xml.text("zoneType", "availability-zone").text("zoneState", "available");
    });
    Ok(xml)
}

pub(super) fn subnets(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=1000)?;
    let ids = params.list("SubnetId");
    let filters = Filters::read(&mut params)?;
    filters.check(|name| {
        matches!(name, "subnet-id" | "vpc-id" | "availability-zone" | "state" | "default-for-az") || is_tag_filter(name)
    })?;
    params.finish()?;
    let region = &view.shared.region;
    for id in &ids {
        region.subnet(id)?;
    }
    let found = (1_u64..).zip(&region.zones).filter(|(_, zone)| {
        (ids.is_empty() || ids.contains(&zone.subnet_id))
            && filters.match_all(|filter| match filter {
                "subnet-id" => vec![zone.subnet_id.clone()],
                "vpc-id" => vec![VPC_ID.to_owned()],
                "availability-zone" => vec![zone.name.clone()],
                "state" => vec!["available".to_owned()],
                "default-for-az" => vec!["true".to_owned()],
                name => tag_values(name, &Tags::new()),
            })
    });
    let page = page.of(found, |(place, _)| *place);
    let mut xml = Xml::new();
    xml.list("subnetSet", &page.items, |xml, (_, zone)| {
        xml.text("subnetId", &zone.subnet_id).text("state", "available").text("vpcId", VPC_ID);
        xml.text("cidrBlock", format!("10.0.{}.0/20", u16::from(zone.network) * 16));
        xml.text("availableIpAddressCount", "4091").text("availabilityZone", &zone.name);
        xml.text("availabilityZoneId", &zone.id).text("defaultForAz", "true").text("mapPublicIpOnLaunch", "true");
        xml.text("ownerId", ACCOUNT_ID).node("tagSet", |_| ());
    });
    page.write_next(&mut xml);
    Ok(xml)
}

fn time(params: &mut Params, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = params.take(name) else { return Ok(None) };
    clock::from_iso(&text)
        .map(Some)
        .ok_or_else(|| ApiError::invalid_value(format!("Value ({text}) for parameter {name} is no time")))
}

pub(super) fn spot_prices(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 1..=1000)?;
    let mut types = params.list("InstanceType");
    let products = params.list("ProductDescription");
    let zone = params.take("AvailabilityZone");
    let start = time(&mut params, "StartTime")?.unwrap_or(view.now_ms);
    let end = time(&mut params, "EndTime")?.unwrap_or(view.now_ms).min(view.now_ms);
    let filters = Filters::read(&mut params)?;
    filters.check(|name| matches!(name, "availability-zone" | "instance-type" | "product-description"))?;
    params.finish()?;
    for name in &types {
        check_instance_type(name)?;
    }
    if types.len() > MAX_TYPES {
        return Err(ApiError::invalid_value(format!("More than {MAX_TYPES} instance types")));
    }
    if types.is_empty() {
        types = USUAL_TYPES.iter().map(|name| (*name).to_owned()).collect();
    }
    let region = &view.shared.region;
    let linux = products.is_empty() || products.iter().any(|product| product.starts_with("Linux/UNIX"));
    let start = start.max(view.now_ms.saturating_sub(PRICES_KEPT_MS)).min(end);
    // The newest first, and at the end the one that held at the start.
    let changes: Vec<u64> = (start / PRICE_AGE_MS..=end / PRICE_AGE_MS).rev().map(|it| it * PRICE_AGE_MS).collect();
    let mut prices = Vec::new();
    for instance_type in types.iter().filter(|_| linux) {
        for place in region.zones.iter().filter(|place| zone.as_ref().is_none_or(|zone| *zone == place.name)) {
            let matches = filters.match_all(|filter| match filter {
                "availability-zone" => vec![place.name.clone()],
                "instance-type" => vec![instance_type.clone()],
                _ => vec!["Linux/UNIX".to_owned()],
            });
            if matches {
                prices.extend(changes.iter().map(|since_ms| (instance_type, place, *since_ms)));
            }
        }
    }
    let page = page.of((1_u64..).zip(prices), |(place, _)| *place);
    let mut xml = Xml::new();
    xml.list("spotPriceHistorySet", &page.items, |xml, (_, (instance_type, place, since_ms))| {
        let price = region.price(instance_type, &place.name, Lifecycle::Spot);
        xml.text("instanceType", instance_type).text("productDescription", "Linux/UNIX");
        xml.text("spotPrice", format!("{price:.6}")).text("timestamp", iso_milliseconds(*since_ms));
        xml.text("availabilityZone", &place.name);
    });
    page.write_next(&mut xml);
    Ok(xml)
}
