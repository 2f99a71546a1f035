//! CreateLaunchTemplate, CreateLaunchTemplateVersion, ModifyLaunchTemplate, DeleteLaunchTemplate.

use std::sync::Arc;

use super::template_xml::{template_xml, version_xml};
use super::{Change, register_image};
use crate::error::ApiError;
use crate::idempotency::Outcome;
use crate::launch_data::{LaunchData, check_image_id};
use crate::query::Params;
use crate::shared::{State, new_id};
use crate::ssm;
use crate::tags;
use crate::templates::{Template, TemplateName, TemplateVersion, check_name};
use crate::xml::Xml;

const MAX_TEMPLATES: usize = 1_000;
const MAX_VERSIONS: usize = 10_000;

pub(super) fn create(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let token = params.take("ClientToken").filter(|token| !token.is_empty());
    let fingerprint = params.fingerprint();
    if let Some(Outcome::Template(id)) =
        change.state.tokens.earlier("CreateLaunchTemplate", token.as_deref(), &fingerprint)?
    {
        return answer(TemplateName::Id(id).find(&change.state.resources)?);
    }
    let name = params.require("LaunchTemplateName")?;
    let description = params.take("VersionDescription");
    let mut tags = tags::read_specifications(&mut params)?;
    let data = read_data(&mut params)?;
    params.finish()?;
    check_new(change.state, &name)?;
    check_image(change.state, &data)?;
    change.stop_if_dry_run()?;
    let template = add(change.state, change.now_ms, name, description, data, tags.remove("launch-template"));
    let outcome = Outcome::Template(template.id.clone());
    change.state.tokens.remember("CreateLaunchTemplate", token.as_deref(), fingerprint, outcome);
    answer(&template)
}

/// Whether a template of this name can be created.
pub(crate) fn check_new(state: &State, name: &str) -> Result<(), ApiError> {
    check_name(name)?;
    if state.resources.templates.values().any(|template| template.name == name) {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    if state.resources.templates.len() >= MAX_TEMPLATES {
        return Err(ApiError::new("LaunchTemplateLimitExceeded", format!("At most {MAX_TEMPLATES} launch templates")));
    }
    Ok(())
}

/// A parameter that the template names for its image exists, and is of the right type.
fn check_image(state: &State, data: &LaunchData) -> Result<(), ApiError> {
    let image = data.image_id.as_deref();
    image.map_or(Ok(()), |image| ssm::resolved(&state.resources.parameters, image).map(drop))
}

/// Registers the image that a template names, if it is no parameter: an image is there as soon as somebody names it.
fn register_named(state: &mut State, now_ms: u64, data: &LaunchData) {
    if let Some(image_id) = data.image_id.as_deref().filter(|image_id| check_image_id(image_id).is_ok()) {
        register_image(state, now_ms, image_id);
    }
}

/// Adds a template with its first version.
pub(crate) fn add(
    state: &mut State,
    now_ms: u64,
    name: String,
    description: Option<String>,
    data: LaunchData,
    tags: Option<crate::model::Tags>,
) -> Arc<Template> {
    register_named(state, now_ms, &data);
    let template = Arc::new(Template {
        seq: state.next_seq(),
        id: new_id("lt-"),
        name,
        create_ms: now_ms,
        default_version: 1,
        versions: vec![TemplateVersion { number: 1, description, create_ms: now_ms, data }],
        tags: tags.unwrap_or_default(),
    });
    state.resources.templates.insert(template.id.clone(), Arc::clone(&template));
    template
}

pub(super) fn create_version(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let token = params.take("ClientToken").filter(|token| !token.is_empty());
    let fingerprint = params.fingerprint();
    let earlier = change.state.tokens.earlier("CreateLaunchTemplateVersion", token.as_deref(), &fingerprint)?;
    if let Some(Outcome::TemplateVersion(id, number)) = earlier {
        let template = TemplateName::Id(id).find(&change.state.resources)?;
        return answer_version(template, template.version(&number.to_string())?);
    }
    let name = TemplateName::require(&mut params)?;
    let source = params.take("SourceVersion");
    let description = params.take("VersionDescription");
    let data = read_data(&mut params)?;
    params.boolean("ResolveAlias")?;
    params.finish()?;
    let mut template = Arc::clone(name.find(&change.state.resources)?);
    let data = match source {
        None => data,
        Some(source) => data.over(&template.version(&source)?.data),
    };
    check_image(change.state, &data)?;
    if template.versions.len() >= MAX_VERSIONS {
        return Err(ApiError::new("LaunchTemplateVersionLimitExceeded", format!("At most {MAX_VERSIONS} versions")));
    }
    change.stop_if_dry_run()?;
    register_named(change.state, change.now_ms, &data);
    let version =
        TemplateVersion { number: template.latest_version() + 1, description, create_ms: change.now_ms, data };
    Arc::make_mut(&mut template).versions.push(version.clone());
    let outcome = Outcome::TemplateVersion(template.id.clone(), version.number);
    change.state.tokens.remember("CreateLaunchTemplateVersion", token.as_deref(), fingerprint, outcome);
    change.state.resources.templates.insert(template.id.clone(), Arc::clone(&template));
    answer_version(&template, &version)
}

pub(super) fn modify(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    params.without_effect(&["ClientToken"]);
    let name = TemplateName::require(&mut params)?;
    // The service model calls it SetDefaultVersion; some clients send DefaultVersion.
    let wanted = params.take("SetDefaultVersion").or_else(|| params.take("DefaultVersion"));
    params.finish()?;
    let wanted = wanted.ok_or_else(|| ApiError::missing("SetDefaultVersion"))?;
    let mut template = Arc::clone(name.find(&change.state.resources)?);
    let number = template.version(&wanted)?.number;
    change.stop_if_dry_run()?;
    Arc::make_mut(&mut template).default_version = number;
    change.state.resources.templates.insert(template.id.clone(), Arc::clone(&template));
    answer(&template)
}

pub(super) fn delete(change: &mut Change<'_>, mut params: Params) -> Result<Xml, ApiError> {
    let name = TemplateName::require(&mut params)?;
    params.finish()?;
    let template = Arc::clone(name.find(&change.state.resources)?);
    change.stop_if_dry_run()?;
    change.state.resources.templates.remove(&template.id);
    answer(&template)
}

fn read_data(params: &mut Params) -> Result<LaunchData, ApiError> {
    let mut data = params.structure("LaunchTemplateData");
    if data.is_empty() {
        return Err(ApiError::missing("LaunchTemplateData"));
    }
    let read = LaunchData::read(&mut data)?;
    data.finish()?;
    Ok(read)
}

fn answer(template: &Template) -> Result<Xml, ApiError> {
    let mut xml = Xml::new();
    xml.node("launchTemplate", |xml| template_xml(xml, template));
    Ok(xml)
}

fn answer_version(template: &Template, version: &TemplateVersion) -> Result<Xml, ApiError> {
    let mut xml = Xml::new();
    xml.node("launchTemplateVersion", |xml| version_xml(xml, template, version));
    Ok(xml)
}
