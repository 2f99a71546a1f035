//! Service Quotas, as far as vCPUs of instances need it: `GetServiceQuota` of EC2. Quotas are those of an account that
//! has been in use, until the control API says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ApiError, ControlError};
use crate::http::{Answer, Lost, respond};
use crate::region::ACCOUNT_ID;
use crate::service;
use crate::shared::Shared;

const SERVICE: &str = "servicequotas";
const TARGET: &str = "x-amz-target";
const TARGET_PREFIX: &str = "ServiceQuotasV20190624.";
const CONTENT: &str = "application/x-amz-json-1.1";
/// The one action.
pub(crate) const ACTION: &str = "GetServiceQuota";

/// Each quota's code, its name, and its value in an account that has been in use.
const USUAL: [(&str, &str, f64); 4] = [
    ("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 256.0),
    ("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 256.0),
    ("L-3819A6DF", "All G and VT Spot Instance Requests", 0.0),
    ("L-DB2E81BA", "Running On-Demand G and VT instances", 0.0),
];

/// Values that are not the usual ones, by code.
pub(crate) type Quotas = BTreeMap<String, f64>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    service_code: String,
    quota_code: String,
}

pub(crate) fn is_meant(parts: &Parts) -> bool {
    service::is_meant(parts, SERVICE)
}

/// What a quota is from now on.
///
/// # Errors
/// There is no quota of this code, or it cannot have that value.
pub(crate) fn set(shared: &Shared, code: &str, value: f64) -> Result<(), ControlError> {
    if !USUAL.iter().any(|(known, ..)| *known == code) {
        let known: Vec<&str> = USUAL.iter().map(|(known, ..)| *known).collect();
        return Err(ControlError::BadRequest(format!("there is no quota {code}: there are {}", known.join(", "))));
    }
    if !value.is_finite() || value < 0.0 {
        return Err(ControlError::BadRequest("value must be a number, and not negative".to_owned()));
    }
    shared.state().quotas.insert(code.to_owned(), value);
    Ok(())
}

pub(crate) async fn handle(shared: &Arc<Shared>, parts: &Parts, body: &Bytes) -> Result<Answer, Lost> {
    let target = parts.headers.get(TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let action = service::action_name(target.strip_prefix(TARGET_PREFIX).unwrap_or_default());
    let effect = || match &*action {
        ACTION => quota(&shared.state().quotas, &shared.region.name, body),
        _ => Err(ApiError::new("UnknownOperationException", format!("The emulator's Service Quotas has no {action}"))),
    };
    service::call(shared, SERVICE, action.clone(), (parts, body), effect, written).await
}

fn quota(quotas: &Quotas, region: &str, body: &[u8]) -> Result<Value, ApiError> {
    let asked: Asked =
        serde_json::from_slice(body).map_err(|error| ApiError::new("SerializationException", error.to_string()))?;
    let found = USUAL.iter().find(|(code, ..)| asked.service_code == "ec2" && *code == asked.quota_code);
    let Some((code, name, usual)) = found else {
        let message = "The request failed because the specified resource does not exist.";
        return Err(ApiError::new("NoSuchResourceException", message));
    };
    Ok(json!({ "Quota": {
        "ServiceCode": "ec2",
        "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
        "QuotaArn": format!("arn:aws:servicequotas:{region}:{ACCOUNT_ID}:ec2/{code}"),
        "QuotaCode": code,
        "QuotaName": name,
        "Value": quotas.get(*code).unwrap_or(usual),
        "Unit": "None",
        "Adjustable": true,
        "GlobalQuota": false,
    } }))
}

fn written(result: &Result<Value, ApiError>) -> Answer {
    match result {
        Ok(value) => respond(StatusCode::OK, CONTENT, value.to_string()),
        Err(error) => {
            let body = json!({ "__type": error.code, "Message": error.message });
            respond(StatusCode::BAD_REQUEST, CONTENT, body.to_string())
        }
    }
}
