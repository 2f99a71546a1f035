//! CreateTags, DeleteTags, DescribeTags.

use super::filters::Filters;
use super::pages::Page;
use super::{Change, View};
use crate::error::ApiError;
use crate::model::Tags;
use crate::query::Params;
use crate::tags;
use crate::xml::Xml;

const MAX_RESOURCES: usize = 1_000;

pub(super) fn create(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let ids = resources(change, &mut params)?;
    let new = tags::read(&mut params)?;
    params.finish()?;
    if new.is_empty() {
        return Err(ApiError::missing("Tag"));
    }
    for id in &ids {
        let in_metadata =
            change.state.resources.instances.get(id).is_some_and(|instance| instance.metadata.instance_tags);
        if in_metadata {
            tags::check_for_metadata(&new)?;
        }
        if let Some(existing) = change.state.resources.tags_mut(id) {
            let mut united = existing.clone();
            united.extend(new.clone());
            tags::check_count(&united)?;
        }
    }
    change.stop_if_dry_run()?;
    for id in &ids {
        if let Some(existing) = change.state.resources.tags_mut(id) {
            existing.extend(new.clone());
        }
    }
    Ok(done())
}

pub(super) fn delete(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let ids = resources(change, &mut params)?;
    let mut doomed: Vec<(String, Option<String>)> = Vec::new();
    for mut tag in params.structures("Tag") {
        doomed.push((tag.require("Key")?, tag.take("Value")));
        tag.finish()?;
    }
    params.finish()?;
    change.stop_if_dry_run()?;
    for id in &ids {
        let Some(existing) = change.state.resources.tags_mut(id) else { continue };
        if doomed.is_empty() {
            existing.retain(|key, _| tags::is_reserved(key));
        }
        for (key, value) in &doomed {
            // With a value, only a tag that has this value goes.
            let matches = value.as_ref().is_none_or(|value| existing.get(key) == Some(value));
            if matches && !tags::is_reserved(key) {
                existing.remove(key);
            }
        }
    }
    Ok(done())
}

fn done() -> Xml {
    let mut xml = Xml::new();
    xml.text("return", "true");
    xml
}

fn resources(change: &mut Change<'_>, params: &mut Params) -> Result<Vec<String>, ApiError> {
    let ids = params.list("ResourceId");
    if ids.is_empty() || ids.len() > MAX_RESOURCES {
        return Err(ApiError::new("MissingParameter", format!("Between 1 and {MAX_RESOURCES} ResourceId are needed")));
    }
    for id in &ids {
        if id.starts_with("i-") {
            change.state.resources.instance(id)?;
        } else if id.starts_with("sir-") {
            change.state.resources.spot_request(id)?;
        } else if change.state.resources.tags_mut(id).is_none() {
            return Err(ApiError::new("InvalidID", format!("The ID '{id}' is not valid")));
        }
    }
    Ok(ids)
}

pub(super) fn describe(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 5..=1000)?;
    let filters = Filters::read(&mut params)?;
    filters
        .check(|name| matches!(name, "key" | "value" | "resource-id" | "resource-type") || name.starts_with("tag:"))?;
    params.finish()?;
    let mut all: Vec<(&str, &str, &str, &str)> = Vec::new();
    let mut add = |id, kind, tags| add_tags(&mut all, id, kind, tags);
    for instance in view.resources.instances.values() {
        add(&instance.id, "instance", &instance.tags);
    }
    view.resources.volumes.values().for_each(|volume| add(&volume.id, "volume", &volume.tags));
    view.resources.spot_requests.values().for_each(|request| add(&request.id, "spot-instances-request", &request.tags));
    view.resources.templates.values().for_each(|template| add(&template.id, "launch-template", &template.tags));
    view.resources.images.values().for_each(|image| add(&image.id, "image", &image.tags));
    view.resources.snapshots.values().for_each(|snapshot| add(&snapshot.id, "snapshot", &snapshot.tags));
    all.sort_unstable();
    let found = (1_u64..).zip(all).filter(|(_, (id, kind, key, value))| {
        filters.match_all(|name| match name {
            "key" => vec![(*key).to_owned()],
            "value" => vec![(*value).to_owned()],
            "resource-id" => vec![(*id).to_owned()],
            "resource-type" => vec![(*kind).to_owned()],
            name if name.strip_prefix("tag:") == Some(*key) => vec![(*value).to_owned()],
            _ => Vec::new(),
        })
    });
    let page = page.of(found, |(place, _)| *place);
    let mut xml = Xml::new();
    xml.list("tagSet", &page.items, |xml, (_, (id, kind, key, value))| {
        xml.text("resourceId", id).text("resourceType", kind).text("key", key).text("value", value);
    });
    page.write_next(&mut xml);
    Ok(xml)
}

fn add_tags<'a>(all: &mut Vec<(&'a str, &'a str, &'a str, &'a str)>, id: &'a str, kind: &'a str, tags: &'a Tags) {
    all.extend(tags.iter().map(|(key, value)| (id, kind, key.as_str(), value.as_str())));
}
