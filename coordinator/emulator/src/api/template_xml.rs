//! DescribeLaunchTemplates and DescribeLaunchTemplateVersions, and the XML of templates.

use super::View;
use super::describe::tags_xml;
use super::filters::{Filters, is_tag_filter, tag_values};
use super::pages::Page;
use crate::clock::iso_milliseconds;
use crate::error::ApiError;
use crate::launch_data::{LaunchData, MetadataRequest};
use crate::model::ShutdownBehavior;
use crate::query::Params;
use crate::region::ACCOUNT_ID;
use crate::ssm;
use crate::templates::{Template, TemplateName, TemplateVersion};
use crate::xml::Xml;

pub(super) fn describe_templates(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 1..=200)?;
    let ids = params.list("LaunchTemplateId");
    let names = params.list("LaunchTemplateName");
    params.without_effect(&["IncludeManagedResources"]);
    let filters = Filters::read(&mut params)?;
    filters.check(|name| matches!(name, "launch-template-name" | "create-time") || is_tag_filter(name))?;
    params.finish()?;
    for id in &ids {
        TemplateName::Id(id.clone()).find(view.resources)?;
    }
    for name in &names {
        TemplateName::Name(name.clone()).find(view.resources)?;
    }
    let all = ids.is_empty() && names.is_empty();
    let found = view
        .resources
        .templates
        .values()
        .filter(|template| all || ids.contains(&template.id) || names.contains(&template.name))
        .filter(|template| {
            filters.match_all(|filter| match filter {
                "launch-template-name" => vec![template.name.clone()],
                "create-time" => vec![iso_milliseconds(template.create_ms)],
                name => tag_values(name, &template.tags),
            })
        });
    let page = page.of(found, |template| template.seq);
    let mut xml = Xml::new();
    xml.list("launchTemplates", &page.items, |xml, template| template_xml(xml, template));
    page.write_next(&mut xml);
    Ok(xml)
}

pub(super) fn describe_versions(view: &View<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let page = Page::read(view, &mut params, 1..=200)?;
    let name = TemplateName::read(&mut params)?;
    let wanted = params.list("LaunchTemplateVersion");
    let min = params.number::<u64>("MinVersion")?.unwrap_or(0);
    let max = params.number::<u64>("MaxVersion")?.unwrap_or(u64::MAX);
    let resolves = params.boolean("ResolveAlias")?.unwrap_or(false);
    params.without_effect(&["IncludeManagedResources"]);
    let filters = Filters::read(&mut params)?;
    filters.check(|name| matches!(name, "image-id" | "instance-type" | "is-default-version"))?;
    params.finish()?;
    let mut versions: Vec<(&Template, &TemplateVersion)> = Vec::new();
    match name {
        Some(name) => {
            let template = name.find(view.resources)?;
            if wanted.is_empty() {
                versions.extend(template.versions.iter().map(|version| (&**template, version)));
            }
            for wanted in &wanted {
                versions.push((template, template.version(wanted)?));
            }
        }
        // Without a template, $Default and $Latest of all templates can be requested.
        None => {
            if wanted.is_empty() || !wanted.iter().all(|wanted| wanted == "$Default" || wanted == "$Latest") {
                return Err(ApiError::missing("LaunchTemplateId"));
            }
            for template in view.resources.templates.values() {
                for wanted in &wanted {
                    versions.push((template, template.version(wanted)?));
                }
            }
        }
    }
    versions.retain(|(template, version)| {
        (min..=max).contains(&version.number)
            && filters.match_all(|filter| match filter {
                "image-id" => version.data.image_id.clone().into_iter().collect(),
                "instance-type" => version.data.instance_type.clone().into_iter().collect(),
                _ => vec![(template.default_version == version.number).to_string()],
            })
    });
    versions.sort_by_key(|(template, version)| (template.seq, version.number));
    versions.dedup_by_key(|(template, version)| (template.seq, version.number));
    let page = page.of((1_u64..).zip(versions), |(place, _)| *place);
    let mut xml = Xml::new();
    // What cannot be resolved is shown as it is written.
    let image = |written: &str| ssm::resolved(&view.resources.parameters, written).ok().filter(|_| resolves);
    xml.list("launchTemplateVersionSet", &page.items, |xml, (_, (template, version))| {
        let resolved = version.data.image_id.as_deref().and_then(image);
        let image_id = resolved.or_else(|| version.data.image_id.clone());
        let data = LaunchData { image_id, ..version.data.clone() };
        version_xml(xml, template, &TemplateVersion { data, ..(*version).clone() });
    });
    page.write_next(&mut xml);
    Ok(xml)
}

pub(super) fn template_xml(xml: &mut Xml, template: &Template) {
    xml.text("launchTemplateId", &template.id).text("launchTemplateName", &template.name);
    xml.text("createTime", iso_milliseconds(template.create_ms)).text("createdBy", created_by());
    xml.number("defaultVersionNumber", template.default_version);
    xml.number("latestVersionNumber", template.latest_version());
    tags_xml(xml, &template.tags);
}

pub(super) fn version_xml(xml: &mut Xml, template: &Template, version: &TemplateVersion) {
    xml.text("launchTemplateId", &template.id).text("launchTemplateName", &template.name);
    xml.number("versionNumber", version.number).optional("versionDescription", version.description.as_deref());
    xml.text("createTime", iso_milliseconds(version.create_ms)).text("createdBy", created_by());
    xml.number("defaultVersion", version.number == template.default_version);
    xml.node("launchTemplateData", |xml| data_xml(xml, &version.data));
}

fn created_by() -> String {
    format!("arn:aws:iam::{ACCOUNT_ID}:root")
}

/// EC2 fixes the order of the elements.
fn data_xml(xml: &mut Xml, data: &LaunchData) {
    if data.profile_arn.is_some() || data.profile_name.is_some() {
        xml.node("iamInstanceProfile", |xml| {
            xml.optional("arn", data.profile_arn.as_deref()).optional("name", data.profile_name.as_deref());
        });
    }
    block_devices_xml(xml, data);
    xml.optional("imageId", data.image_id.as_deref()).optional("instanceType", data.instance_type.as_deref());
    xml.optional("keyName", data.key_name.as_deref());
    placement_xml(xml, data);
    xml.optional("disableApiTermination", data.termination_protected.map(|on| on.to_string()));
    let behavior = data.shutdown_behavior.map(|behavior| match behavior {
        ShutdownBehavior::Stop => "stop",
        ShutdownBehavior::Terminate => "terminate",
    });
    xml.optional("instanceInitiatedShutdownBehavior", behavior).optional("userData", data.user_data.as_deref());
    if !data.tags.is_empty() {
        xml.list("tagSpecificationSet", &data.tags, |xml, (kind, tags)| {
            xml.text("resourceType", kind);
            tags_xml(xml, tags);
        });
    }
    if !data.security_group_ids.is_empty() {
        xml.texts("securityGroupIdSet", &data.security_group_ids);
    }
    if !data.security_groups.is_empty() {
        xml.texts("securityGroupSet", &data.security_groups);
    }
    market_xml(xml, data);
    metadata_xml(xml, data);
}

fn block_devices_xml(xml: &mut Xml, data: &LaunchData) {
    if data.block_devices.is_empty() {
        return;
    }
    xml.list("blockDeviceMappingSet", &data.block_devices, |xml, device| {
        xml.text("deviceName", &device.device_name).node("ebs", |xml| {
            xml.optional("encrypted", device.encrypted.map(|on| on.to_string()));
            xml.optional("deleteOnTermination", device.delete_on_termination.map(|on| on.to_string()));
            xml.optional("volumeSize", device.size_gib.as_deref()).optional("volumeType", device.kind.as_deref());
        });
    });
}

fn placement_xml(xml: &mut Xml, data: &LaunchData) {
    if let Some(subnet) = &data.subnet_id {
        xml.list("networkInterfaceSet", [subnet], |xml, subnet| {
            xml.text("deviceIndex", "0").text("subnetId", subnet);
        });
    }
    if let Some(zone) = &data.availability_zone {
        xml.node("placement", |xml| {
            xml.text("availabilityZone", zone);
        });
    }
}

fn market_xml(xml: &mut Xml, data: &LaunchData) {
    let Some(market) = &data.market else { return };
    xml.node("instanceMarketOptions", |xml| match market {
        None => {
            xml.text("marketType", "on-demand");
        }
        Some(spot) => {
            xml.text("marketType", "spot").node("spotOptions", |xml| {
                xml.optional("maxPrice", spot.max_price.as_deref()).text("spotInstanceType", "one-time");
                xml.text("instanceInterruptionBehavior", "terminate");
            });
        }
    });
}

fn metadata_xml(xml: &mut Xml, data: &LaunchData) {
    let metadata = &data.metadata;
    if *metadata == MetadataRequest::default() {
        return;
    }
    xml.node("metadataOptions", |xml| {
        xml.optional("httpTokens", metadata.http_tokens);
        xml.optional("httpPutResponseHopLimit", metadata.hop_limit.map(|limit| limit.to_string()));
        xml.optional("httpEndpoint", metadata.http_endpoint);
        xml.optional("instanceMetadataTags", metadata.instance_metadata_tags);
    });
}
