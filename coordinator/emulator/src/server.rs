//! The EC2 port: the EC2 API at `/`, and STS, Systems Manager, IAM and Service Quotas for what is signed for them; the
//! control API under `/_emulator/`.
//!
//! Where the emulator has a key, nothing is done for a request that does not prove it. Then faults meet calls: a
//! delay, then a refusal or the effect, then perhaps the loss of the answer.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, DATE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use crate::api;
use crate::calls::Call;
use crate::clock::{http_date, wall_clock_ms};
use crate::control;
use crate::error::ApiError;
use crate::http::{Answer, Lost, respond, text};
use crate::iam;
use crate::query::Params;
use crate::quotas;
use crate::shared::Shared;
use crate::signature;
use crate::ssm;
use crate::sts;
use crate::xml;

const VERSION: &str = "2016-11-15";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

pub(crate) async fn handle(shared: Arc<Shared>, parts: Parts, body: Bytes) -> Result<Answer, Lost> {
    let mut answer = route(&shared, parts, body).await?;
    let off = shared.state().faults.date_off_seconds();
    if off != 0
        && let Ok(date) = HeaderValue::from_str(&http_date(wall_clock_ms().saturating_add_signed(off * 1000)))
    {
        answer.headers_mut().insert(DATE, date);
    }
    Ok(answer)
}

async fn route(shared: &Arc<Shared>, parts: Parts, body: Bytes) -> Result<Answer, Lost> {
    if parts.uri.path().starts_with("/_emulator") {
        if let Some(refused) = not_the_owner(shared, &parts) {
            return Ok(refused);
        }
        return Ok(control::handle(shared, &parts, &body));
    }
    if parts.uri.path() != "/" {
        return Ok(text(StatusCode::NOT_FOUND, "The EC2 API is at /, the control API under /_emulator/"));
    }
    if sts::is_meant(&parts) {
        return sts::handle(shared, &parts, &body).await;
    }
    if ssm::is_meant(&parts) {
        return ssm::handle(shared, &parts, &body).await;
    }
    if iam::is_meant(&parts) {
        return iam::handle(shared, &parts, &body).await;
    }
    if quotas::is_meant(&parts) {
        return quotas::handle(shared, &parts, &body).await;
    }
    let form: &[u8] = match parts.method {
        Method::POST => &body,
        Method::GET => parts.uri.query().unwrap_or_default().as_bytes(),
        _ => return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "The EC2 API takes POST")),
    };
    if let Some(key) = &shared.options.key
        && let Err(error) = signature::check(key, &parts, &body, wall_clock_ms())
    {
        // Neither in the log of calls nor counted by a fault: it is not the owner's.
        tracing::debug!(code = error.code, "EC2 call without the key");
        let request_id = uuid::Uuid::new_v4().to_string();
        return Ok(xml_answer(error.http_status(), xml::error(&error.code, &error.message, &request_id), &request_id));
    }
    ec2(shared, &parts, form).await
}

/// The answer to a request for the control API that does not have the key.
fn not_the_owner(shared: &Shared, parts: &Parts) -> Option<Answer> {
    let key = shared.options.key.as_ref()?;
    let given = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given.is_some_and(|given| key.is_bearer(given)) {
        return None;
    }
    let error =
        "this emulator has a key (--key-file): send the header \"Authorization: Bearer KEY\" with what is in that file";
    let mut answer =
        respond(StatusCode::UNAUTHORIZED, "application/json", serde_json::json!({ "error": error }).to_string());
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(answer)
}

fn xml_answer(status: StatusCode, document: String, request_id: &str) -> Answer {
    let mut answer = respond(status, "text/xml;charset=UTF-8", document);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    answer
}

async fn ec2(shared: &Arc<Shared>, parts: &Parts, form: &[u8]) -> Result<Answer, Lost> {
    let (action, token, request) = match read(parts, form) {
        Ok((action, params)) => {
            let token = params.fingerprint().remove("ClientToken");
            (action, token, Ok(params))
        }
        Err((action, error)) => (action, None, Err(error)),
    };
    let delay = shared.state().faults.take_delay(&action);
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let mut lost = false;
    let result = match request {
        Err(error) => Err(error),
        Ok(params) => {
            let refusal = shared.state().faults.take_refusal(&action);
            match refusal {
                Some(error) => Err(error),
                None => {
                    lost = shared.state().faults.take_loss(&action);
                    api::call(shared, &action, params)
                }
            }
        }
    };
    let request_id = uuid::Uuid::new_v4().to_string();
    let (code, status, document) = match &result {
        Ok(body) => ("OK", StatusCode::OK, xml::answer(&action, &request_id, body)),
        Err(error) => (error.code.as_str(), error.http_status(), xml::error(&error.code, &error.message, &request_id)),
    };
    tracing::debug!(action, code, lost, "EC2 call");
    let at_ms = shared.clock.now_ms();
    let call =
        Call { number: 0, at_ms, action, client_token: token, code: code.to_owned(), status: status.as_u16(), lost };
    shared.state().calls.record(call);
    if lost {
        return Err(Lost);
    }
    Ok(xml_answer(status, document, &request_id))
}

/// The action and its parameters, if the call is one at all.
fn read(parts: &Parts, form: &[u8]) -> Result<(String, Params), (String, ApiError)> {
    let none = String::new();
    let mut params = Params::parse(form).map_err(|error| (none.clone(), error))?;
    let action = params
        .require("Action")
        .map_err(|_| (none, ApiError::new("MissingAction", "The request must contain the parameter Action")))?;
    // A name goes into the log, and into the answer.
    let action: String = action.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    let version = params.take("Version");
    let signed = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match signed {
        None => Err((action, ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token"))),
        Some(signed) if !signed.starts_with("AWS4-HMAC-SHA256 ") => {
            Err((action, ApiError::new("AuthFailure", "AWS was not able to validate the provided access credentials")))
        }
        Some(_) if version.as_deref() != Some(VERSION) => Err((
            action,
            ApiError::new("NoSuchVersion", format!("The emulator speaks version {VERSION} of the EC2 API")),
        )),
        Some(_) => Ok((action, params)),
    }
}
