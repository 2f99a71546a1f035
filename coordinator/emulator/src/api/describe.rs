//! DescribeInstances and DescribeInstanceStatus, and how an instance is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::View;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use crate::clock::iso_milliseconds;
use crate::error::ApiError;
use crate::model::{Instance, InstanceState, Lifecycle, MetadataOptions, Tags, Volume};
use crate::query::Params;
use crate::region::{ACCOUNT_ID, Region, VPC_ID};
use crate::resources::Resources;
use crate::xml::Xml;

const FILTERS: &[&str] = &[
    "availability-zone",
    "client-token",
    "image-id",
    "instance-id",
    "instance-lifecycle",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "launch-time",
    "private-ip-address",
    "reservation-id",
    "spot-instance-request-id",
    "state-reason-code",
    "subnet-id",
    "vpc-id",
];

pub(super) fn instances(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params.clone(), 5..=1000)?;
    let paged = Page::is_requested(&params);
    params.without_effect(&["MaxResults", "NextToken", "IncludeManagedResources"]);
    let ids = params.list("InstanceId");
    if paged && !ids.is_empty() {
        return Err(ApiError::combination("The parameter instancesSet cannot be used with the parameter maxResults"));
    }
    let filters = Filters::read(&mut params)?;
    filters.check(|name| FILTERS.contains(&name) || is_tag_filter(name))?;
    params.finish()?;
    let found = chosen(view, &ids)?.into_iter().filter(|instance| filters.match_all(|name| values(instance, name)));
    let page = page.of(found, |instance| instance.seq);

    // Instances of one launch stand together, as on EC2.
    let mut reservations: BTreeMap<u64, Vec<&Arc<Instance>>> = BTreeMap::new();
    let mut first_of: BTreeMap<&str, u64> = BTreeMap::new();
    for instance in &page.items {
        let first = *first_of.entry(&instance.reservation_id).or_insert(instance.seq);
        reservations.entry(first).or_default().push(instance);
    }
    let mut xml = Xml::new();
    xml.list("reservationSet", reservations.values(), |xml, instances| {
        reservation_xml(xml, &view.shared.region, view.resources, instances);
    });
    page.write_next(&mut xml);
    Ok(xml)
}

pub(super) fn instance_status(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=1000)?;
    let ids = params.list("InstanceId");
    let all = params.boolean("IncludeAllInstances")?.unwrap_or(false);
    params.without_effect(&["IncludeManagedResources"]);
    let filters = Filters::read(&mut params)?;
    filters.check(|name| matches!(name, "instance-state-name" | "instance-state-code" | "availability-zone"))?;
    params.finish()?;
    let found = chosen(view, &ids)?
        .into_iter()
        .filter(|instance| all || instance.state == InstanceState::Running)
        .filter(|instance| filters.match_all(|name| values(instance, name)));
    let page = page.of(found, |instance| instance.seq);
    let mut xml = Xml::new();
    xml.list("instanceStatusSet", &page.items, |xml, instance| status_xml(xml, view, instance));
    page.write_next(&mut xml);
    Ok(xml)
}

fn chosen<'a>(view: &View<'a>, ids: &[String]) -> Result<Vec<&'a Arc<Instance>>, ApiError> {
    if ids.is_empty() {
        return Ok(view.resources.instances.values().collect());
    }
    let mut chosen: BTreeMap<&str, &Arc<Instance>> = BTreeMap::new();
    for id in ids {
        chosen.insert(id, view.resources.instance(id)?);
    }
    Ok(chosen.into_values().collect())
}

fn values(instance: &Instance, filter: &str) -> Vec<String> {
    let value = match filter {
        "availability-zone" => instance.availability_zone.clone(),
        "client-token" => instance.client_token.clone().unwrap_or_default(),
        "image-id" => instance.image_id.clone(),
        "instance-id" => instance.id.clone(),
        "instance-lifecycle" if instance.lifecycle == Lifecycle::Spot => "spot".to_owned(),
        "instance-state-code" => instance.state.code().to_string(),
        "instance-state-name" => instance.state.name().to_owned(),
        "instance-type" => instance.instance_type.clone(),
        "launch-time" => iso_milliseconds(instance.launch_ms),
        "private-ip-address" => instance.private_ip.clone(),
        "reservation-id" => instance.reservation_id.clone(),
        "spot-instance-request-id" => return instance.spot_request_id.clone().into_iter().collect(),
        "state-reason-code" => return instance.state_reason.iter().map(|reason| reason.code.clone()).collect(),
        "subnet-id" => instance.subnet_id.clone(),
        "vpc-id" => VPC_ID.to_owned(),
        name if is_tag_filter(name) => return tag_values(name, &instance.tags),
        _ => return Vec::new(),
    };
    vec![value]
}

/// The elements of a reservation that holds these instances.
pub(super) fn reservation_xml(xml: &mut Xml, region: &Region, resources: &Resources, instances: &[&Arc<Instance>]) {
    let id = instances.first().map_or("", |instance| &instance.reservation_id);
    xml.text("reservationId", id).text("ownerId", ACCOUNT_ID).node("groupSet", |_| ());
    xml.list("instancesSet", instances, |xml, instance| {
        instance_xml(xml, region, instance, &resources.volumes_of(&instance.id));
    });
}

pub(super) fn tags_xml(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key).text("value", value);
    });
}

pub(super) fn state_xml(xml: &mut Xml, name: &str, state: InstanceState) {
    xml.node(name, |xml| {
        xml.number("code", state.code()).text("name", state.name());
    });
}

/// EC2 fixes the order of the elements.
fn instance_xml(xml: &mut Xml, region: &Region, instance: &Instance, volumes: &[&Volume]) {
    let gone = instance.state == InstanceState::Terminated;
    xml.text("instanceId", &instance.id).text("imageId", &instance.image_id);
    state_xml(xml, "instanceState", instance.state);
    xml.text("privateDnsName", if gone { String::new() } else { instance.private_dns() });
    xml.text("dnsName", "").text("reason", &instance.transition_reason);
    xml.optional("keyName", instance.key_name.as_deref());
    xml.number("amiLaunchIndex", instance.launch_index).node("productCodes", |_| ());
    xml.text("instanceType", &instance.instance_type).text("launchTime", iso_milliseconds(instance.launch_ms));
    placement_xml(xml, region, instance);
    network_xml(xml, instance);
    if let Some(reason) = &instance.state_reason
        && !matches!(instance.state, InstanceState::Running)
    {
        xml.node("stateReason", |xml| {
            xml.text("code", &reason.code).text("message", &reason.message);
        });
    }
    xml.text("architecture", "x86_64").text("rootDeviceType", "ebs").text("rootDeviceName", "/dev/sda1");
    xml.list("blockDeviceMapping", volumes, |xml, volume| {
        xml.text("deviceName", &volume.device.name).node("ebs", |xml| {
            xml.text("volumeId", &volume.id).text("status", "attached");
            xml.text("attachTime", iso_milliseconds(instance.launch_ms));
            xml.text("deleteOnTermination", volume.device.delete_on_termination.to_string());
        });
    });
    xml.text("virtualizationType", "hvm").text("clientToken", instance.client_token.as_deref().unwrap_or(""));
    tags_xml(xml, &instance.tags);
    xml.text("hypervisor", "xen").node("networkInterfaceSet", |_| ());
    if let Some((_, arn)) = &instance.profile {
        xml.node("iamInstanceProfile", |xml| {
            xml.text("arn", arn).text("id", "AIPAEMULATEDPROFILE01");
        });
    }
    if instance.lifecycle == Lifecycle::Spot {
        xml.text("instanceLifecycle", "spot").optional("spotInstanceRequestId", instance.spot_request_id.as_deref());
    }
    xml.text("ebsOptimized", "false").text("enaSupport", "true");
    metadata_options_xml(xml, instance.metadata);
    xml.text("platformDetails", "Linux/UNIX").text("usageOperation", "RunInstances");
}

fn placement_xml(xml: &mut Xml, region: &Region, instance: &Instance) {
    xml.node("placement", |xml| {
        let zone = region.zones.iter().find(|zone| zone.name == instance.availability_zone);
        xml.optional("availabilityZoneId", zone.map(|zone| &zone.id));
        xml.text("groupName", "").text("tenancy", "default").text("availabilityZone", &instance.availability_zone);
    });
    xml.node("monitoring", |xml| {
        xml.text("state", "disabled");
    });
}

/// EC2 drops the address and the network of a terminated instance.
fn network_xml(xml: &mut Xml, instance: &Instance) {
    let gone = instance.state == InstanceState::Terminated;
    if !gone {
        xml.text("subnetId", &instance.subnet_id).text("vpcId", VPC_ID).text("privateIpAddress", &instance.private_ip);
    }
    xml.text("sourceDestCheck", "true");
    xml.list("groupSet", instance.security_groups.iter().filter(|_| !gone), |xml, group| {
        xml.text("groupId", group).text("groupName", group);
    });
}

fn metadata_options_xml(xml: &mut Xml, options: MetadataOptions) {
    let switch = |on| if on { "enabled" } else { "disabled" };
    xml.node("metadataOptions", |xml| {
        xml.text("state", "applied");
        xml.text("httpTokens", if options.tokens_required { "required" } else { "optional" });
        xml.number("httpPutResponseHopLimit", options.hop_limit);
        xml.text("httpEndpoint", switch(options.enabled)).text("httpProtocolIpv6", "disabled");
        xml.text("instanceMetadataTags", switch(options.instance_tags));
    });
}

fn status_xml(xml: &mut Xml, view: &View<'_>, instance: &Instance) {
    xml.text("availabilityZone", &instance.availability_zone);
    xml.list("eventsSet", instance.maintenance.iter().filter(|event| event.state == "active"), |xml, event| {
        xml.text("instanceEventId", &event.event_id).text("code", &event.code);
        xml.text("description", &event.description);
        xml.text("notAfter", iso_milliseconds(event.not_after_ms));
        xml.text("notBefore", iso_milliseconds(event.not_before_ms));
    });
    xml.text("instanceId", &instance.id);
    state_xml(xml, "instanceState", instance.state);
    // EC2's own checks take a while after the start, so a client that waits for `ok` is made to wait.
    let status = match (instance.state, instance.running_ms) {
        (InstanceState::Running, Some(since)) if since + 1_000 < view.now_ms => "ok",
        (InstanceState::Running | InstanceState::Pending, _) => "initializing",
        _ => "not-applicable",
    };
    for name in ["instanceStatus", "systemStatus"] {
        xml.node(name, |xml| {
            let passed = match status {
                "ok" => Some("passed"),
                "initializing" => Some("initializing"),
                _ => None,
            };
            xml.text("status", status);
            xml.list("details", passed, |xml, passed| {
                xml.text("name", "reachability").text("status", passed);
            });
        });
    }
}
