//! STS, as far as an instance's identity needs it: `GetCallerIdentity`, in JSON or XML as the request accepts it. A
//! request is meant for it by the service that its signature names; the signature is checked over exactly what it says
//! was signed, with the secret of the instance whose access key it names.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use quick_xml::escape::escape;
use serde_json::json;

use crate::calls::Call;
use crate::clock::{basic, wall_clock_ms};
use crate::error::ApiError;
use crate::faults::Canned;
use crate::http::{Answer, Lost, respond};
use crate::query::Params;
use crate::region::ACCOUNT_ID;
use crate::shared::Shared;
use crate::signature::{self, Authorization};

/// The one action.
pub(crate) const ACTION: &str = "GetCallerIdentity";
const SERVICE: &str = "sts";
const VERSION: &str = "2011-06-15";
const SESSION_TOKEN: &str = "x-amz-security-token";
/// How far a signature's date may be off.
const MAX_SKEW_MS: u64 = 5 * 60 * 1000;

/// Who a signature is of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Caller {
    arn: String,
    user_id: String,
}

/// Whether the request's signature is for STS.
pub(crate) fn is_meant(parts: &Parts) -> bool {
    signature::of(parts).is_some_and(|signed| signed.service() == Some(SERVICE))
}

pub(crate) async fn handle(shared: &Arc<Shared>, parts: &Parts, body: &Bytes) -> Result<Answer, Lost> {
    let delay = shared.state().faults.take_delay(ACTION);
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let refusal = shared.state().faults.take_refusal(ACTION);
    let result = match refusal {
        Some(error) => Err(error),
        None => caller(shared, parts, body),
    };
    let (canned, lost) = {
        let mut state = shared.state();
        (result.is_ok().then(|| state.faults.take_canned(ACTION)).flatten(), state.faults.take_loss(ACTION))
    };
    let is_json = parts.headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == b"application/json");
    let request_id = uuid::Uuid::new_v4().to_string();
    let answer = match (&canned, &result) {
        (Some(canned), _) => verbatim(canned),
        (None, Ok(caller)) => told(caller, &request_id, is_json),
        (None, Err(error)) => refused(error, &request_id, is_json),
    };
    let code = result.err().map_or_else(|| "OK".to_owned(), |error| error.code);
    tracing::debug!(action = ACTION, code, lost, "STS call");
    let (at_ms, status) = (shared.clock.now_ms(), answer.status().as_u16());
    let call = Call { number: 0, at_ms, action: ACTION.to_owned(), client_token: None, code, status, lost };
    shared.state().calls.record(call);
    if lost { Err(Lost) } else { Ok(answer) }
}

/// Who signed the request.
fn caller(shared: &Shared, parts: &Parts, body: &Bytes) -> Result<Caller, ApiError> {
    if parts.method != Method::POST {
        return Err(ApiError::new("InvalidAction", "The emulator's STS takes POST"));
    }
    let mut params = Params::parse(body)?;
    let (action, version) = (params.take("Action"), params.take("Version"));
    params.finish()?;
    if action.as_deref() != Some(ACTION) || version.as_deref() != Some(VERSION) {
        return Err(ApiError::new("InvalidAction", format!("The emulator's STS knows {ACTION} of {VERSION} alone")));
    }
    let wrong = || {
        ApiError::new(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method.",
        )
    };
    let signed = signature::of(parts).ok_or_else(wrong)?;
    let (secret, caller) = known(shared, parts, &signed)?;
    let date = parts.headers.get(signature::DATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_scoped = signed.is_scope(date, SERVICE) && signed.region() == Some(&*shared.region.name);
    let covers = |name: &str| signed.headers.contains(&name);
    let is_covered = parts.headers.keys().all(|name| !name.as_str().starts_with("x-amz-") || covers(name.as_str()));
    if !is_scoped || !is_covered || !covers("host") || !signature::is_of(&secret, &signed, date, parts, body) {
        return Err(wrong());
    }
    match basic(date).map(|at_ms| at_ms.abs_diff(wall_clock_ms())) {
        Some(skew) if skew <= MAX_SKEW_MS => Ok(caller),
        _ => Err(ApiError::new("SignatureDoesNotMatch", "Signature expired: it is not of within 5 minutes from now")),
    }
}

/// Whose access key it is, and what must have been signed with.
fn known(shared: &Shared, parts: &Parts, signed: &Authorization<'_>) -> Result<(String, Caller), ApiError> {
    let token = parts.headers.get(SESSION_TOKEN).and_then(|value| value.to_str().ok());
    let state = shared.state();
    let mut instances = state.resources.instances.values();
    let found = instances.find(|instance| instance.credentials.access_key_id == signed.access_key_id);
    match (found, &shared.options.key) {
        (Some(instance), _) => {
            let profile = instance.profile.as_ref().filter(|_| token == Some(&*instance.credentials.session_token));
            let (role, _) = profile.ok_or_else(unknown)?;
            let arn = format!("arn:aws:sts::{ACCOUNT_ID}:assumed-role/{role}/{}", instance.id);
            let user_id = format!("AROAEMULATEDROLE00001:{}", instance.id);
            Ok((instance.credentials.secret_access_key.clone(), Caller { arn, user_id }))
        }
        // The owner of the emulator, by any other access key.
        (None, Some(key)) if token.is_none() => {
            let arn = format!("arn:aws:iam::{ACCOUNT_ID}:user/emulator");
            Ok((key.expose().to_owned(), Caller { arn, user_id: "AIDAEMULATEDUSER00001".to_owned() }))
        }
        (None, _) => Err(unknown()),
    }
}

fn unknown() -> ApiError {
    ApiError::new("InvalidClientTokenId", "The security token included in the request is invalid.")
}

fn told(caller: &Caller, request_id: &str, is_json: bool) -> Answer {
    let Caller { arn, user_id } = caller;
    if is_json {
        let result = json!({ "Account": ACCOUNT_ID, "Arn": arn, "UserId": user_id });
        let whole = json!({ "GetCallerIdentityResponse": {
            "GetCallerIdentityResult": result, "ResponseMetadata": { "RequestId": request_id }
        } });
        return respond(StatusCode::OK, "application/json", whole.to_string());
    }
    let (arn, user_id) = (escape(arn), escape(user_id));
    let text = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{arn}</Arn><UserId>{user_id}</UserId><Account>{ACCOUNT_ID}</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
    respond(StatusCode::OK, "text/xml", text)
}

fn refused(error: &ApiError, request_id: &str, is_json: bool) -> Answer {
    let ApiError { code, message, .. } = error;
    let status = error.http_status();
    let side = if status.is_server_error() { "Receiver" } else { "Sender" };
    if is_json {
        let whole = json!({ "Error": { "Code": code, "Message": message, "Type": side }, "RequestId": request_id });
        return respond(status, "application/json", whole.to_string());
    }
    let (code, message) = (escape(code), escape(message));
    let text = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{side}</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    );
    respond(status, "text/xml", text)
}

/// As a test wants it.
fn verbatim(canned: &Canned) -> Answer {
    let status = StatusCode::from_u16(canned.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = respond(status, "application/json", canned.body.clone());
    for (name, value) in [(CONTENT_TYPE, &canned.content_type), (LOCATION, &canned.location)] {
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
