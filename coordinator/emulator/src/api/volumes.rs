//! Volumes: what a launch makes of the devices of its image and its template, DescribeVolumes, and DeleteVolume.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::describe::tags_xml;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use super::{Change, View};
use crate::clock::iso_milliseconds;
use crate::error::ApiError;
use crate::launch_data::{BlockDevice, is_id};
use crate::model::{Device, Instance, Tags, Volume};
use crate::query::Params;
use crate::shared::{State, new_id};
use crate::xml::Xml;

const FILTERS: &[&str] = &[
    "attachment.delete-on-termination",
    "attachment.device",
    "attachment.instance-id",
    "availability-zone",
    "create-time",
    "snapshot-id",
    "status",
    "volume-id",
];

/// The devices of a launch: the image's, and what the request or its template says of each by name.
pub(crate) fn devices(image: &[Device], asked: &[BlockDevice]) -> Vec<Device> {
    let mut devices: BTreeMap<&str, Device> =
        image.iter().map(|device| (device.name.as_str(), device.clone())).collect();
    for wanted in asked {
        let device = devices.entry(&wanted.device_name).or_insert_with(|| Device::empty(&wanted.device_name));
        device.size_gib = wanted.size_gib.clone().unwrap_or_else(|| device.size_gib.clone());
        device.kind = wanted.kind.clone().unwrap_or_else(|| device.kind.clone());
        device.delete_on_termination = wanted.delete_on_termination.unwrap_or(device.delete_on_termination);
    }
    devices.into_values().collect()
}

/// Makes an instance's volumes.
pub(super) fn create(state: &mut State, now_ms: u64, instance: &Instance, devices: &[Device], tags: &Tags) {
    for device in devices {
        let volume = Volume {
            seq: state.next_seq(),
            id: new_id("vol-"),
            attached_to: Some(instance.id.clone()),
            device: device.clone(),
            availability_zone: instance.availability_zone.clone(),
            create_ms: now_ms,
            tags: tags.clone(),
        };
        state.resources.volumes.insert(volume.id.clone(), Arc::new(volume));
    }
}

pub(super) fn delete(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let id = params.require("VolumeId")?;
    params.finish()?;
    let found = find(change.state.resources.volumes.get(&id), &id)?;
    if let Some(instance) = &found.attached_to {
        return Err(ApiError::new("VolumeInUse", format!("Volume {id} is currently attached to {instance}")));
    }
    change.stop_if_dry_run()?;
    change.state.resources.volumes.remove(&id);
    let mut xml = Xml::new();
    xml.text("return", "true");
    Ok(xml)
}

fn find<'a>(volume: Option<&'a Arc<Volume>>, id: &str) -> Result<&'a Arc<Volume>, ApiError> {
    if !is_id(id, "vol-") {
        return Err(ApiError::new("InvalidVolumeID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    volume.ok_or_else(|| ApiError::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")))
}

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=1000)?;
    let ids = params.list("VolumeId");
    let filters = Filters::read(&mut params)?;
    filters.check(|name| FILTERS.contains(&name) || is_tag_filter(name))?;
    params.finish()?;
    for id in &ids {
        find(view.resources.volumes.get(id), id)?;
    }
    let found = view
        .resources
        .volumes
        .values()
        .filter(|volume| ids.is_empty() || ids.contains(&volume.id))
        .filter(|volume| filters.match_all(|name| values(volume, name)));
    let page = page.of(found, |volume| volume.seq);
    let mut xml = Xml::new();
    xml.list("volumeSet", &page.items, |xml, volume| volume_xml(xml, volume));
    page.write_next(&mut xml);
    Ok(xml)
}

fn values(volume: &Volume, filter: &str) -> Vec<String> {
    let attached = volume.attached_to.as_ref();
    let value = match filter {
        "attachment.delete-on-termination" => attached.map(|_| volume.device.delete_on_termination.to_string()),
        "attachment.device" => attached.map(|_| volume.device.name.clone()),
        "attachment.instance-id" => attached.cloned(),
        "availability-zone" => Some(volume.availability_zone.clone()),
        "create-time" => Some(iso_milliseconds(volume.create_ms)),
        "snapshot-id" => Some(volume.device.snapshot_id.clone()),
        "status" => Some(volume.status().to_owned()),
        "volume-id" => Some(volume.id.clone()),
        name if is_tag_filter(name) => return tag_values(name, &volume.tags),
        _ => None,
    };
    value.into_iter().collect()
}

fn volume_xml(xml: &mut Xml, volume: &Volume) {
    let Volume { device, .. } = volume;
    xml.text("volumeId", &volume.id).text("size", &device.size_gib).text("snapshotId", &device.snapshot_id);
    xml.text("availabilityZone", &volume.availability_zone).text("status", volume.status());
    xml.text("createTime", iso_milliseconds(volume.create_ms));
    xml.list("attachmentSet", &volume.attached_to, |xml, instance| {
        xml.text("volumeId", &volume.id).text("instanceId", instance).text("device", &device.name);
        xml.text("status", "attached").text("attachTime", iso_milliseconds(volume.create_ms));
        xml.text("deleteOnTermination", device.delete_on_termination.to_string());
    });
    tags_xml(xml, &volume.tags);
    xml.text("volumeType", &device.kind).text("encrypted", "false").text("multiAttachEnabled", "false");
}
