//! DescribeImages, CreateImage, DeregisterImage. Behind a record is a directory tree where instances are machines, and
//! nothing where they are processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::describe::tags_xml;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use super::volumes::devices;
use super::{Change, View, snapshots};
use crate::clock::iso_milliseconds;
use crate::error::ApiError;
use crate::launch_data::{LaunchData, check_image_id};
use crate::machines;
use crate::model::{Device, Image, ImageState, InstanceState};
use crate::query::Params;
use crate::region::ACCOUNT_ID;
use crate::resources::Resources;
use crate::shared::new_id;
use crate::tags;
use crate::xml::Xml;

const FILTERS: &[&str] =
    &["architecture", "creation-date", "description", "image-id", "image-type", "name", "owner-id", "state"];

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 1..=1000)?;
    let ids = params.list("ImageId");
    let owners = params.list("Owner");
    drop(params.list("ExecutableBy"));
    params.without_effect(&["IncludeDeprecated", "IncludeDisabled"]);
    let filters = Filters::read(&mut params)?;
    filters.check(|name| FILTERS.contains(&name) || is_tag_filter(name))?;
    params.finish()?;
    for id in &ids {
        find(view.resources.images.get(id), id)?;
    }
    let ours = owners.is_empty() || owners.iter().any(|owner| owner == "self" || owner == ACCOUNT_ID);
    let found = view
        .resources
        .images
        .values()
        .filter(|image| ours && !image.deregistered)
        .filter(|image| ids.is_empty() || ids.contains(&image.id))
        .filter(|image| filters.match_all(|name| values(image, name)));
    let page = page.of(found, |image| image.seq);
    let mut xml = Xml::new();
    xml.list("imagesSet", &page.items, |xml, image| image_xml(xml, image));
    page.write_next(&mut xml);
    Ok(xml)
}

pub(super) fn create(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let instance_id = params.require("InstanceId")?;
    let name = params.require("Name")?;
    let description = params.take("Description").unwrap_or_default();
    params.boolean("NoReboot")?;
    let mut asked = LaunchData::default();
    asked.read_block_devices(&mut params)?;
    let mut tags = tags::read_specifications(&mut params)?;
    params.finish()?;
    let instance = change.state.resources.instance(&instance_id)?;
    if !matches!(instance.state, InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped) {
        return Err(ApiError::new(
            "IncorrectState",
            format!("Instance '{instance_id}' is not 'running', 'stopping' or 'stopped'"),
        ));
    }
    if change.state.resources.images.values().any(|image| image.name == name && !image.deregistered) {
        return Err(ApiError::new("InvalidAMIName.Duplicate", format!("AMI name {name} is already in use")));
    }
    change.stop_if_dry_run()?;
    // As they are on the instance, where the call says nothing else.
    let attached = change.state.resources.volumes_of(&instance_id).into_iter();
    let mut volumes = BTreeMap::new();
    let copied = attached.map(|volume| {
        let snapshot_id = new_id("snap-");
        volumes.insert(snapshot_id.clone(), volume.id.clone());
        Device { snapshot_id, ..volume.device.clone() }
    });
    let copied = copied.collect::<Vec<_>>();
    let devices = devices(&copied, &asked.block_devices);
    let (id, booted_from) = (new_id("ami-"), instance.image_id.clone());
    let state =
        if copy_tree(change, &id, &instance_id, &booted_from) { ImageState::Pending } else { ImageState::Available };
    let of_snapshots = tags.remove("snapshot").unwrap_or_default();
    snapshots::create(change.state, change.now_ms, &devices, &volumes, &of_snapshots);
    let image = Image {
        seq: change.state.next_seq(),
        id,
        name,
        description,
        source_instance: Some(instance_id),
        create_ms: change.now_ms,
        devices,
        tags: tags.remove("image").unwrap_or_default(),
        state,
        deregistered: false,
    };
    let mut xml = Xml::new();
    xml.text("imageId", &image.id);
    change.state.resources.images.insert(image.id.clone(), Arc::new(image));
    Ok(xml)
}

/// Copies a machine's tree to that of a new image, in the background. False where instances are processes.
fn copy_tree(change: &Change<'_>, id: &str, instance: &str, booted_from: &str) -> bool {
    let Some(machines) = &change.shared.machines else { return false };
    let image = machines.new_image(booted_from);
    let changes = change.shared.options.directory.join(instance).join("changes");
    let order = machines::Copy { image, changes, tree: machines.new_image(id) };
    let (shared, id) = (Arc::clone(change.shared), id.to_owned());
    tokio::spawn(async move {
        let copied = machines::copy(&order).await;
        if let Err(error) = &copied {
            tracing::error!(image = id, %error, "cannot copy the machine's tree to the image");
        }
        shared.change(|state, _| {
            if let Some(image) = state.resources.images.get_mut(&id).map(Arc::make_mut) {
                image.state = if copied.is_ok() { ImageState::Available } else { ImageState::Failed };
            }
        });
    });
    true
}

pub(super) fn deregister(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let id = params.require("ImageId")?;
    let with_snapshots = params.boolean("DeleteAssociatedSnapshots")?.unwrap_or(false);
    params.finish()?;
    find(change.state.resources.images.get(&id), &id)?;
    change.stop_if_dry_run()?;
    let mut xml = Xml::new();
    xml.text("return", "true");
    let Resources { images, snapshots, .. } = &mut change.state.resources;
    if let Some(image) = images.get_mut(&id).map(Arc::make_mut) {
        image.deregistered = true;
        if with_snapshots {
            image.devices.iter().for_each(|device| drop(snapshots.remove(&device.snapshot_id)));
        }
        xml.list("deleteSnapshotResultSet", image.devices.iter().filter(|_| with_snapshots), |xml, device| {
            xml.text("snapshotId", &device.snapshot_id).text("returnCode", "success");
        });
    }
    Ok(xml)
}

fn find<'a>(image: Option<&'a Arc<Image>>, id: &str) -> Result<&'a Arc<Image>, ApiError> {
    check_image_id(id)?;
    image
        .filter(|image| !image.deregistered)
        .ok_or_else(|| ApiError::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist")))
}

fn values(image: &Image, filter: &str) -> Vec<String> {
    let value = match filter {
        "architecture" => "x86_64".to_owned(),
        "creation-date" => iso_milliseconds(image.create_ms),
        "description" => image.description.clone(),
        "image-id" => image.id.clone(),
        "image-type" => "machine".to_owned(),
        "name" => image.name.clone(),
        "owner-id" => ACCOUNT_ID.to_owned(),
        "state" => image.state.name().to_owned(),
        name if is_tag_filter(name) => return tag_values(name, &image.tags),
        _ => return Vec::new(),
    };
    vec![value]
}

fn image_xml(xml: &mut Xml, image: &Image) {
    xml.text("imageId", &image.id).text("imageLocation", format!("{ACCOUNT_ID}/{}", image.name));
    xml.text("imageState", image.state.name()).text("imageOwnerId", ACCOUNT_ID);
    xml.text("creationDate", iso_milliseconds(image.create_ms)).text("isPublic", "false");
    xml.text("architecture", "x86_64").text("imageType", "machine").text("name", &image.name);
    xml.text("description", &image.description);
    xml.text("rootDeviceType", "ebs").text("rootDeviceName", "/dev/sda1");
    xml.list("blockDeviceMapping", &image.devices, |xml, device| {
        xml.text("deviceName", &device.name).node("ebs", |xml| {
            xml.text("snapshotId", &device.snapshot_id).text("volumeSize", &device.size_gib);
            xml.text("deleteOnTermination", device.delete_on_termination.to_string());
            xml.text("volumeType", &device.kind).text("encrypted", "false");
        });
    });
    xml.text("virtualizationType", "hvm").text("hypervisor", "xen").text("enaSupport", "true");
    xml.optional("sourceInstanceId", image.source_instance.as_deref());
    tags_xml(xml, &image.tags);
    xml.text("platformDetails", "Linux/UNIX").text("usageOperation", "RunInstances");
}
