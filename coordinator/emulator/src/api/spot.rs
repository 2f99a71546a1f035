//! DescribeSpotInstanceRequests and CancelSpotInstanceRequests.

use std::sync::Arc;

use super::describe::tags_xml;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use super::{Change, View};
use crate::clock::iso_milliseconds;
use crate::error::ApiError;
use crate::model::SpotRequest;
use crate::query::Params;
use crate::xml::Xml;

const FILTERS: &[&str] = &[
    "instance-id",
    "launch.image-id",
    "launch.instance-type",
    "launched-availability-zone",
    "spot-instance-request-id",
    "state",
    "status-code",
    "type",
];

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params.clone(), 5..=1000)?;
    let paged = Page::is_requested(&params);
    params.without_effect(&["MaxResults", "NextToken"]);
    let ids = params.list("SpotInstanceRequestId");
    if paged && !ids.is_empty() {
        return Err(ApiError::combination("SpotInstanceRequestIds cannot be used with MaxResults"));
    }
    let filters = Filters::read(&mut params)?;
    filters.check(|name| FILTERS.contains(&name) || is_tag_filter(name))?;
    params.finish()?;
    for id in &ids {
        view.resources.spot_request(id)?;
    }
    let found = view
        .resources
        .spot_requests
        .values()
        .filter(|request| ids.is_empty() || ids.contains(&request.id))
        .filter(|request| filters.match_all(|name| values(request, name)));
    let page = page.of(found, |request| request.seq);
    let mut xml = Xml::new();
    xml.list("spotInstanceRequestSet", &page.items, |xml, request| request_xml(xml, request));
    page.write_next(&mut xml);
    Ok(xml)
}

/// Cancels requests; the instances that they brought stay.
pub(super) fn cancel(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let ids = params.list("SpotInstanceRequestId");
    params.finish()?;
    if ids.is_empty() {
        return Err(ApiError::missing("SpotInstanceRequestId"));
    }
    for id in &ids {
        change.state.resources.spot_request(id)?;
    }
    change.stop_if_dry_run()?;
    let mut cancelled = Vec::new();
    for id in ids {
        let Some(request) = change.state.resources.spot_requests.get_mut(&id).map(Arc::make_mut) else { continue };
        if request.state == "active" {
            request.state = "cancelled";
            request.status_code = "request-canceled-and-instance-running";
            request.status_message = "Your Spot request is canceled, but your instance is still running.";
            request.update_ms = change.now_ms;
        }
        let state = if request.state == "closed" { "completed" } else { "cancelled" };
        cancelled.push((id, state));
    }
    let mut xml = Xml::new();
    xml.list("spotInstanceRequestSet", cancelled, |xml, (id, state)| {
        xml.text("spotInstanceRequestId", id).text("state", state);
    });
    Ok(xml)
}

fn values(request: &SpotRequest, filter: &str) -> Vec<String> {
    let value = match filter {
        "instance-id" => &request.instance_id,
        "launch.image-id" => &request.image_id,
        "launch.instance-type" => &request.instance_type,
        "launched-availability-zone" => &request.availability_zone,
        "spot-instance-request-id" => &request.id,
        "state" => request.state,
        "status-code" => request.status_code,
        "type" => "one-time",
        name if is_tag_filter(name) => return tag_values(name, &request.tags),
        _ => return Vec::new(),
    };
    vec![value.to_owned()]
}

fn request_xml(xml: &mut Xml, request: &SpotRequest) {
    xml.text("spotInstanceRequestId", &request.id).text("spotPrice", &request.max_price);
    xml.text("type", "one-time").text("state", request.state);
    xml.node("status", |xml| {
        xml.text("code", request.status_code).text("updateTime", iso_milliseconds(request.update_ms));
        xml.text("message", request.status_message);
    });
    xml.node("launchSpecification", |xml| {
        xml.text("imageId", &request.image_id).text("instanceType", &request.instance_type);
        xml.text("subnetId", &request.subnet_id).node("placement", |xml| {
            xml.text("availabilityZone", &request.availability_zone);
        });
    });
    xml.text("instanceId", &request.instance_id).text("createTime", iso_milliseconds(request.create_ms));
    xml.text("productDescription", "Linux/UNIX");
    tags_xml(xml, &request.tags);
    xml.text("launchedAvailabilityZone", &request.availability_zone).text("instanceInterruptionBehavior", "terminate");
}
