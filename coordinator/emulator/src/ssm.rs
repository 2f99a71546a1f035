//! Parameter Store of Systems Manager, as far as an image's id needs it: parameters with their history, which launch
//! templates and launches name by `resolve:ssm:NAME` or `resolve:ssm:NAME:VERSION`. A request is meant for it by the
//! service that its signature names, and is signed with the emulator's key.
//!
//! As with AWS, a template may name only a parameter that exists and has the data type `aws:ec2:image`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::http::{Answer, Lost, respond};
use crate::launch_data::check_image_id;
use crate::region::ACCOUNT_ID;
use crate::service;
use crate::shared::{Shared, State};

const SERVICE: &str = "ssm";
const TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "AmazonSSM.";
const CONTENT: &str = "application/x-amz-json-1.1";
/// What an image's id may stand behind.
const RESOLVE: &str = "resolve:ssm:";
pub(crate) const IMAGE: &str = "aws:ec2:image";
/// As many as AWS keeps of one parameter.
const MOST_VERSIONS: usize = 100;

/// A parameter's value at one time.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    number: u64,
    value: String,
    data_type: String,
    at_ms: u64,
}

/// Versions of each parameter by its name, the newest one last.
pub(crate) type Parameters = BTreeMap<String, Arc<Vec<Version>>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    name: String,
    value: String,
    #[serde(default)]
    overwrite: bool,
    data_type: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AllNamed {
    names: Vec<String>,
}

/// Every action that it has.
const ACTIONS: [&str; 5] = ["DeleteParameter", "GetParameter", "GetParameterHistory", "GetParameters", "PutParameter"];

pub(crate) fn is_action(name: &str) -> bool {
    ACTIONS.contains(&name)
}

/// Whether the request's signature is for Systems Manager.
pub(crate) fn is_meant(parts: &Parts) -> bool {
    service::is_meant(parts, SERVICE)
}

pub(crate) async fn handle(shared: &Arc<Shared>, parts: &Parts, body: &Bytes) -> Result<Answer, Lost> {
    let target = parts.headers.get(TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let action = service::action_name(target.strip_prefix(TARGET_PREFIX).unwrap_or_default());
    let effect = || shared.change(|state, now_ms| call(state, now_ms, &action, body));
    let write = |result: &Result<Value, ApiError>| match result {
        Ok(value) => respond(StatusCode::OK, CONTENT, value.to_string()),
        Err(error) => refused(error),
    };
    service::call(shared, SERVICE, action.clone(), (parts, body), effect, write).await
}

fn call(state: &mut State, now_ms: u64, action: &str, body: &[u8]) -> Result<Value, ApiError> {
    let parameters = &mut state.resources.parameters;
    match action {
        "PutParameter" => put(parameters, now_ms, read(body)?),
        "GetParameter" => {
            let Named { name } = read(body)?;
            Ok(json!({ "Parameter": shown(&name, found(parameters, &name)?) }))
        }
        "GetParameters" => {
            let AllNamed { names } = read(body)?;
            let (known, unknown): (Vec<_>, Vec<_>) = names.iter().partition(|name| found(parameters, name).is_ok());
            let known: Vec<Value> =
                known.into_iter().filter_map(|name| Some(shown(name, found(parameters, name).ok()?))).collect();
            Ok(json!({ "Parameters": known, "InvalidParameters": unknown }))
        }
        "GetParameterHistory" => {
            let Named { name } = read(body)?;
            let versions = parameters.get(&name).ok_or_else(|| not_found(&name))?;
            Ok(json!({ "Parameters": versions.iter().map(|version| shown(&name, version)).collect::<Vec<_>>() }))
        }
        "DeleteParameter" => {
            let Named { name } = read(body)?;
            parameters.remove(&name).ok_or_else(|| not_found(&name))?;
            Ok(json!({}))
        }
        _ => Err(ApiError::new("UnknownOperationException", format!("The emulator's Parameter Store has no {action}"))),
    }
}

fn put(parameters: &mut Parameters, now_ms: u64, put: Put) -> Result<Value, ApiError> {
    if put.kind.is_some_and(|kind| kind != "String") {
        return Err(ApiError::new("UnsupportedParameterType", "The emulator keeps parameters of type String alone"));
    }
    let data_type = put.data_type.unwrap_or_else(|| "text".to_owned());
    if data_type == IMAGE && check_image_id(&put.value).is_err() {
        return Err(ApiError::new("ValidationException", format!("\"{}\" is not the id of an image", put.value)));
    }
    let versions = Arc::make_mut(parameters.entry(put.name.clone()).or_default());
    if !versions.is_empty() && !put.overwrite {
        return Err(ApiError::new(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set Overwrite.",
        ));
    }
    let number = versions.last().map_or(1, |version| version.number + 1);
    versions.push(Version { number, value: put.value, data_type, at_ms: now_ms });
    if versions.len() > MOST_VERSIONS {
        versions.remove(0);
    }
    Ok(json!({ "Version": number, "Tier": "Standard" }))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::new("ValidationException", error.to_string()))
}

/// The newest version, or the one behind the colon.
fn found<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a Version, ApiError> {
    let (name, wanted) = name.split_once(':').map_or((name, None), |(name, version)| (name, Some(version)));
    let versions = parameters.get(name).ok_or_else(|| not_found(name))?;
    let found = match wanted {
        None => versions.last(),
        Some(wanted) => versions.iter().find(|version| version.number.to_string() == wanted),
    };
    found.ok_or_else(|| ApiError::new("ParameterVersionNotFound", format!("{name} has no such version")))
}

fn not_found(name: &str) -> ApiError {
    ApiError::new("ParameterNotFound", format!("There is no parameter {name}"))
}

fn shown(name: &str, version: &Version) -> Value {
    let name = name.split(':').next().unwrap_or(name);
    json!({
        "Name": name,
        "Type": "String",
        "Value": version.value,
        "Version": version.number,
        "LastModifiedDate": version.at_ms as f64 / 1000.0,
        "ARN": format!("arn:aws:ssm:us-east-1:{ACCOUNT_ID}:parameter{name}"),
        "DataType": version.data_type,
    })
}

fn refused(error: &ApiError) -> Answer {
    let body = json!({ "__type": error.code, "message": error.message });
    respond(StatusCode::BAD_REQUEST, CONTENT, body.to_string())
}

/// Whether it could be what an `ImageId` names: an image, or a parameter with one.
///
/// # Errors
/// It is neither.
pub(crate) fn check(image: &str) -> Result<(), ApiError> {
    if image.starts_with(RESOLVE) { Ok(()) } else { check_image_id(image) }
}

/// The image that a template's or a launch's `ImageId` means.
///
/// # Errors
/// It is neither an image's id nor a parameter with one.
pub(crate) fn resolved(parameters: &Parameters, image: &str) -> Result<String, ApiError> {
    let Some(name) = image.strip_prefix(RESOLVE) else {
        return check_image_id(image).map(|()| image.to_owned());
    };
    // EC2's own words, as users of it report them.
    let invalid = |message: String| ApiError::new("SsmInvalidParameter", message);
    let version = found(parameters, name).map_err(|_| invalid(format!("The following aliases are invalid: {name}")))?;
    if version.data_type != IMAGE {
        let message = "Unsupported data type. The following parameter data types are supported: aws:ec2:image";
        return Err(invalid(message.to_owned()));
    }
    Ok(version.value.clone())
}
