//! Tags: how they are read and what EC2 allows.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::model::Tags;
use crate::query::Params;

const MAX_TAGS: usize = 50;
const MAX_KEY_CHARS: usize = 128;
const MAX_VALUE_CHARS: usize = 256;

/// Resource types that a launch can tag.
const TAGGABLE: &[&str] = &[
    "instance",
    "volume",
    "spot-instances-request",
    "network-interface",
    "launch-template",
    "fleet",
    "image",
    "snapshot",
    "security-group",
];

/// `TagSpecification.N`: tags by resource type.
pub(crate) fn read_specifications(params: &mut Params) -> Result<BTreeMap<String, Tags>, ApiError> {
    let mut all: BTreeMap<String, Tags> = BTreeMap::new();
    for mut specification in params.structures("TagSpecification") {
        let Some(kind) = specification.one_of("ResourceType", TAGGABLE)? else {
            return Err(ApiError::new("MissingParameter", "Tag specification resource type must have a value"));
        };
        let tags = read(&mut specification)?;
        specification.finish()?;
        if all.insert(kind.to_owned(), tags).is_some() {
            return Err(ApiError::invalid_value(format!(
                "The same resource type may not be specified more than once in tag specifications: {kind}"
            )));
        }
    }
    Ok(all)
}

/// `Tag.N.Key` and `Tag.N.Value`.
pub(crate) fn read(params: &mut Params) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for mut tag in params.structures("Tag") {
        let key = tag.require("Key")?;
        let value = tag.take("Value").unwrap_or_default();
        tag.finish()?;
        check(&key, &value)?;
        if tags.insert(key.clone(), value).is_some() {
            return Err(ApiError::invalid_value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    check_count(&tags)?;
    Ok(tags)
}

pub(crate) fn check_count(tags: &Tags) -> Result<(), ApiError> {
    if tags.keys().filter(|key| !is_reserved(key)).count() > MAX_TAGS {
        return Err(ApiError::new("TagLimitExceeded", format!("A resource has at most {MAX_TAGS} tags")));
    }
    Ok(())
}

/// Keys that only AWS itself sets.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

fn check(key: &str, value: &str) -> Result<(), ApiError> {
    if is_reserved(key) {
        return Err(ApiError::invalid_value("Tag keys starting with 'aws:' are reserved for internal use"));
    }
    if key.chars().count() > MAX_KEY_CHARS {
        return Err(ApiError::invalid_value(format!(
            "Tag key exceeds the maximum length of {MAX_KEY_CHARS} characters"
        )));
    }
    if value.chars().count() > MAX_VALUE_CHARS {
        return Err(ApiError::invalid_value(format!(
            "Tag value exceeds the maximum length of {MAX_VALUE_CHARS} characters"
        )));
    }
    Ok(())
}

/// Tags that are shown in the metadata become path elements there.
pub(crate) fn check_for_metadata(tags: &Tags) -> Result<(), ApiError> {
    match tags.keys().find(|key| key.contains(['/', ' ']) || matches!(key.as_str(), "." | ".." | "_index")) {
        None => Ok(()),
        Some(key) => Err(ApiError::invalid_value(format!(
            "'{key}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name ('.', '..', '_index')"
        ))),
    }
}
