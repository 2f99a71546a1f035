//! Launch templates: their versions, and which version a launch means.

use std::sync::Arc;

use crate::error::ApiError;
use crate::launch_data::{LaunchData, is_id};
use crate::model::Tags;
use crate::query::Params;
use crate::resources::Resources;

/// One launch template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) create_ms: u64,
    pub(crate) default_version: u64,
    /// Never empty; in the order of their numbers, which start at 1.
    pub(crate) versions: Vec<TemplateVersion>,
    pub(crate) tags: Tags,
}

/// One version of a template; it never changes.
#[derive(Clone, Debug)]
pub(crate) struct TemplateVersion {
    pub(crate) number: u64,
    pub(crate) description: Option<String>,
    pub(crate) create_ms: u64,
    pub(crate) data: LaunchData,
}

impl Template {
    pub(crate) fn latest_version(&self) -> u64 {
        self.versions.last().map_or(1, |version| version.number)
    }

    /// `$Default`, `$Latest` or a number.
    pub(crate) fn version(&self, wanted: &str) -> Result<&TemplateVersion, ApiError> {
        let number = match wanted {
            "" | "$Default" => self.default_version,
            "$Latest" => self.latest_version(),
            number => number.parse().map_err(|_| {
                ApiError::new(
                    "InvalidLaunchTemplateId.VersionNotFound",
                    format!("The launch template version '{number}' is neither a number nor $Default or $Latest"),
                )
            })?,
        };
        self.versions.iter().find(|version| version.number == number).ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!("Could not find launch template version {number} for the template {}", self.id),
            )
        })
    }
}

/// How a request names a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateName {
    Id(String),
    Name(String),
}

impl TemplateName {
    /// Takes `LaunchTemplateId` or `LaunchTemplateName`; none when neither is there.
    pub(crate) fn read(params: &mut Params) -> Result<Option<Self>, ApiError> {
        match (params.take("LaunchTemplateId"), params.take("LaunchTemplateName")) {
            (None, None) => Ok(None),
            (Some(id), None) => Ok(Some(Self::Id(id))),
            (None, Some(name)) => Ok(Some(Self::Name(name))),
            (Some(_), Some(_)) => Err(ApiError::combination(
                "A launch template is named by LaunchTemplateId or by LaunchTemplateName, not by both",
            )),
        }
    }

    pub(crate) fn require(params: &mut Params) -> Result<Self, ApiError> {
        Self::read(params)?.ok_or_else(|| ApiError::missing(&params.name("LaunchTemplateId")))
    }

    pub(crate) fn find<'a>(&self, resources: &'a Resources) -> Result<&'a Arc<Template>, ApiError> {
        match self {
            Self::Id(id) if !is_id(id, "lt-") => Err(ApiError::new(
                "InvalidLaunchTemplateId.Malformed",
                format!("Invalid id: \"{id}\" (expecting \"lt-...\")"),
            )),
            Self::Id(id) => resources.templates.get(id).ok_or_else(|| {
                ApiError::new(
                    "InvalidLaunchTemplateId.NotFound",
                    format!("The specified launch template, with template ID {id}, does not exist."),
                )
            }),
            Self::Name(name) => resources.templates.values().find(|template| template.name == *name).ok_or_else(|| {
                ApiError::new(
                    "InvalidLaunchTemplateName.NotFoundException",
                    format!("The specified launch template, with template name {name}, does not exist."),
                )
            }),
        }
    }
}

/// 3 to 128 characters of those that EC2 allows.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()./_-".contains(c);
    if (3..=128).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        "InvalidLaunchTemplateName.MalformedException",
        "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _.",
    ))
}
