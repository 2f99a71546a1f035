//! Snapshots: what an image's creation makes of its instance's volumes, DescribeSnapshots, and DeleteSnapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::describe::tags_xml;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use super::{Change, View};
use crate::clock::iso_milliseconds;
use crate::error::ApiError;
use crate::launch_data::is_id;
use crate::model::{Device, ImageState, Snapshot, Tags};
use crate::query::Params;
use crate::region::ACCOUNT_ID;
use crate::resources::Resources;
use crate::shared::State;
use crate::xml::Xml;

const FILTERS: &[&str] = &["description", "owner-id", "snapshot-id", "start-time", "status", "volume-id"];

/// The snapshots of a new image, which its devices name; `volumes` are the volumes' ids by those of the snapshots.
pub(super) fn create(
    state: &mut State,
    now_ms: u64,
    devices: &[Device],
    volumes: &BTreeMap<String, String>,
    tags: &Tags,
) {
    for device in devices.iter().filter(|device| !device.snapshot_id.is_empty()) {
        let snapshot = Snapshot {
            seq: state.next_seq(),
            id: device.snapshot_id.clone(),
            volume: volumes.get(&device.snapshot_id).cloned().unwrap_or_default(),
            size_gib: device.size_gib.clone(),
            start_ms: now_ms,
            tags: tags.clone(),
        };
        state.resources.snapshots.insert(snapshot.id.clone(), Arc::new(snapshot));
    }
}

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=1000)?;
    let ids = params.list("SnapshotId");
    let owners = params.list("Owner");
    drop(params.list("RestorableBy"));
    let filters = Filters::read(&mut params)?;
    filters.check(|name| FILTERS.contains(&name) || is_tag_filter(name))?;
    params.finish()?;
    for id in &ids {
        find(view.resources.snapshots.get(id), id)?;
    }
    let is_ours = owners.is_empty() || owners.iter().any(|owner| owner == "self" || owner == ACCOUNT_ID);
    let found = view.resources.snapshots.values().filter(|snapshot| {
        let is_named = ids.is_empty() || ids.contains(&snapshot.id);
        is_ours && is_named && filters.match_all(|name| values(view.resources, snapshot, name))
    });
    let page = page.of(found, |snapshot| snapshot.seq);
    let mut xml = Xml::new();
    xml.list("snapshotSet", &page.items, |xml, snapshot| {
        let is_done = status(view.resources, snapshot) == "completed";
        xml.text("snapshotId", &snapshot.id).text("volumeId", &snapshot.volume);
        xml.text("status", status(view.resources, snapshot)).text("progress", if is_done { "100%" } else { "50%" });
        xml.text("startTime", iso_milliseconds(snapshot.start_ms)).text("ownerId", ACCOUNT_ID);
        xml.text("volumeSize", &snapshot.size_gib).text("encrypted", "false").text("description", "");
        tags_xml(xml, &snapshot.tags);
    });
    page.write_next(&mut xml);
    Ok(xml)
}

pub(super) fn delete(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let id = params.require("SnapshotId")?;
    params.finish()?;
    find(change.state.resources.snapshots.get(&id), &id)?;
    let has_it = |device: &Device| device.snapshot_id == id;
    let mut images = change.state.resources.images.values().filter(|image| !image.deregistered);
    if let Some(image) = images.find(|image| image.devices.iter().any(has_it)) {
        let message = format!("The snapshot {id} is currently in use by {}", image.id);
        return Err(ApiError::new("InvalidSnapshot.InUse", message));
    }
    change.stop_if_dry_run()?;
    change.state.resources.snapshots.remove(&id);
    let mut xml = Xml::new();
    xml.text("return", "true");
    Ok(xml)
}

fn find<'a>(snapshot: Option<&'a Arc<Snapshot>>, id: &str) -> Result<&'a Arc<Snapshot>, ApiError> {
    if !is_id(id, "snap-") {
        return Err(ApiError::new("InvalidSnapshotID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    snapshot.ok_or_else(|| ApiError::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist.")))
}

/// Pending for as long as the image is that is made with it.
fn status(resources: &Resources, snapshot: &Snapshot) -> &'static str {
    let is_of = |device: &Device| device.snapshot_id == snapshot.id;
    let image = resources.images.values().find(|image| image.devices.iter().any(is_of));
    match image.map(|image| image.state) {
        Some(ImageState::Pending) => "pending",
        Some(ImageState::Failed) => "error",
        Some(ImageState::Available) | None => "completed",
    }
}

fn values(resources: &Resources, snapshot: &Snapshot, filter: &str) -> Vec<String> {
    let value = match filter {
        "description" => String::new(),
        "owner-id" => ACCOUNT_ID.to_owned(),
        "snapshot-id" => snapshot.id.clone(),
        "start-time" => iso_milliseconds(snapshot.start_ms),
        "status" => status(resources, snapshot).to_owned(),
        "volume-id" => snapshot.volume.clone(),
        name if is_tag_filter(name) => return tag_values(name, &snapshot.tags),
        _ => return Vec::new(),
    };
    vec![value]
}
