//! IAM, as far as a check of roles needs it: `GetRole` and `GetInstanceProfile`. Every instance profile that is asked
//! for exists, with a role of its name that EC2 alone may assume, until the control API says otherwise; so does the
//! service-linked role for spot.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::http::request::Parts;
use quick_xml::escape::escape;
use serde_json::{Value, json};

use crate::error::{ApiError, ControlError};
use crate::http::{Answer, Lost, respond};
use crate::query::Params;
use crate::region::ACCOUNT_ID;
use crate::service;
use crate::shared::Shared;

const SERVICE: &str = "iam";
const VERSION: &str = "2010-05-08";
/// By which EC2 launches spot instances.
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// Roles whose trust the control API has set.
const MAX_TRUSTS: usize = 100;

/// Who may assume a role, where it is not EC2 alone.
pub(crate) type Trusts = BTreeMap<String, String>;

/// Every action that it has.
const ACTIONS: [&str; 2] = ["GetInstanceProfile", "GetRole"];

pub(crate) fn is_action(name: &str) -> bool {
    ACTIONS.contains(&name)
}

pub(crate) fn is_meant(parts: &Parts) -> bool {
    service::is_meant(parts, SERVICE)
}

pub(crate) async fn handle(shared: &Arc<Shared>, parts: &Parts, body: &Bytes) -> Result<Answer, Lost> {
    let read = Params::parse(body);
    let named = read.as_ref().ok().and_then(|params| params.clone().take("Action")).unwrap_or_default();
    let action = service::action_name(&named);
    let effect = || {
        let mut params = read?;
        let (action, version) = (params.take("Action").unwrap_or_default(), params.take("Version"));
        if version.as_deref() != Some(VERSION) {
            return Err(ApiError::new("InvalidAction", format!("The emulator's IAM speaks version {VERSION}")));
        }
        let answer = call(&shared.state().trusts, &action, &mut params)?;
        params.finish()?;
        Ok(answer)
    };
    service::call(shared, SERVICE, action.clone(), (parts, body), effect, |result| written(&action, result)).await
}

/// Who may assume a role from now on, whatever the document says.
///
/// # Errors
/// It has no name.
pub(crate) fn set_trust(shared: &Shared, role: &str, policy: &Value) -> Result<(), ControlError> {
    if role.is_empty() || role.len() > 64 {
        return Err(ControlError::BadRequest("role must be the name of a role".to_owned()));
    }
    let mut state = shared.state();
    if state.trusts.len() >= MAX_TRUSTS && !state.trusts.contains_key(role) {
        return Err(ControlError::BadRequest(format!("at most {MAX_TRUSTS} roles can have a trust of their own")));
    }
    state.trusts.insert(role.to_owned(), policy.to_string());
    Ok(())
}

fn call(trusts: &Trusts, action: &str, params: &mut Params) -> Result<String, ApiError> {
    match action {
        "GetRole" => Ok(format!("<Role>{}</Role>", role(trusts, &params.require("RoleName")?))),
        "GetInstanceProfile" => {
            let name = params.require("InstanceProfileName")?;
            let arn = format!("arn:aws:iam::{ACCOUNT_ID}:instance-profile/{name}");
            Ok(format!(
                "<InstanceProfile><Path>/</Path><InstanceProfileName>{}</InstanceProfileName>\
                 <InstanceProfileId>AIPAEMULATEDPROFILE01</InstanceProfileId><Arn>{}</Arn>\
                 <CreateDate>2026-01-01T00:00:00Z</CreateDate><Roles><member>{}</member></Roles></InstanceProfile>",
                escape(&name),
                escape(&arn),
                role(trusts, &name)
            ))
        }
        _ => Err(ApiError::new("InvalidAction", format!("The emulator's IAM knows {}", ACTIONS.join(", ")))),
    }
}

/// What stands in a `Role`.
fn role(trusts: &Trusts, name: &str) -> String {
    let (path, by) = match name {
        SPOT_ROLE => ("/aws-service-role/spot.amazonaws.com/", "spot.amazonaws.com"),
        _ => ("/", "ec2.amazonaws.com"),
    };
    let usual = || {
        let statement = json!({ "Effect": "Allow", "Principal": { "Service": by }, "Action": "sts:AssumeRole" });
        json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
    };
    let trust = trusts.get(name).cloned().unwrap_or_else(usual);
    format!(
        "<Path>{path}</Path><RoleName>{0}</RoleName><RoleId>AROAEMULATEDROLE00001</RoleId>\
         <Arn>arn:aws:iam::{ACCOUNT_ID}:role{path}{0}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>\
         <AssumeRolePolicyDocument>{1}</AssumeRolePolicyDocument>",
        escape(name),
        // As IAM sends it: percent-encoded.
        encoded(&trust)
    )
}

fn encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn written(action: &str, result: &Result<String, ApiError>) -> Answer {
    const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
    let request_id = uuid::Uuid::new_v4().to_string();
    let (status, text) = match result {
        Ok(body) => (
            StatusCode::OK,
            format!(
                "<{action}Response xmlns=\"{NAMESPACE}\"><{action}Result>{body}</{action}Result>\
                 <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
            ),
        ),
        Err(error) => {
            let status = match error.code.as_str() {
                "NoSuchEntity" => StatusCode::NOT_FOUND,
                "AccessDenied" => StatusCode::FORBIDDEN,
                _ => error.http_status(),
            };
            let (code, message) = (escape(&error.code), escape(&error.message));
            let text = format!(
                "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
            );
            (status, text)
        }
    };
    respond(status, "text/xml", text)
}
