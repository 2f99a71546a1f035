//! The control API under `/_emulator/`: what EC2 does not offer, in JSON. Each path is one of `orders`' functions.

use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::ControlError;
use crate::faults::{Capacity, Delay, Lose, Refuse};
use crate::http::{Answer, respond};
use crate::orders::{self, Interrupt, Rebalance, ScheduleMaintenance};
use crate::shared::Shared;

const PREFIX: &str = "/_emulator";

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stale {
    seconds: f64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    /// 0: as many as EC2 allows.
    size: usize,
}

pub(crate) fn handle(shared: &Shared, parts: &Parts, body: &Bytes) -> Answer {
    match route(shared, parts, body) {
        Ok(Reply::Json(value)) => respond(StatusCode::OK, "application/json", value.to_string()),
        Ok(Reply::Text(text)) => respond(StatusCode::OK, "text/plain; charset=utf-8", text),
        Err(error) => {
            respond(error.http_status(), "application/json", json!({ "error": error.to_string() }).to_string())
        }
    }
}

enum Reply {
    Json(Value),
    Text(String),
}

fn route(shared: &Shared, parts: &Parts, body: &Bytes) -> Result<Reply, ControlError> {
    let path = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default().trim_matches('/');
    let words: Vec<&str> = path.split('/').collect();
    let get = || expect(parts, &Method::GET);
    let post = || expect(parts, &Method::POST);
    match words.as_slice() {
        [""] => {
            get()?;
            Ok(Reply::Json(json!({ "paths": PATHS })))
        }
        ["instances"] => {
            get()?;
            json_reply(orders::records(shared))
        }
        ["instances", id] => {
            get()?;
            json_reply(orders::record(shared, id)?)
        }
        ["instances", id, "console"] => {
            get()?;
            Ok(Reply::Text(orders::console(shared, id)?))
        }
        ["calls"] => {
            get()?;
            json_reply(&shared.state().calls)
        }
        ["faults"] if parts.method == Method::DELETE => {
            shared.state().faults = crate::faults::Faults::default();
            done()
        }
        ["faults"] => {
            get()?;
            json_reply(&shared.state().faults)
        }
        ["interrupt"] => {
            post()?;
            json_reply(orders::interrupt(shared, &read::<Interrupt>(body)?)?)
        }
        ["rebalance"] => {
            post()?;
            json_reply(orders::rebalance(shared, &read::<Rebalance>(body)?)?)
        }
        ["maintenance"] => {
            post()?;
            json_reply(orders::maintenance(shared, read::<ScheduleMaintenance>(body)?)?)
        }
        ["refuse"] => {
            post()?;
            shared.state().faults.refuse(read::<Refuse>(body)?)?;
            done()
        }
        ["lose"] => {
            post()?;
            shared.state().faults.lose(read::<Lose>(body)?)?;
            done()
        }
        ["delay"] => {
            post()?;
            shared.state().faults.delay(read::<Delay>(body)?)?;
            done()
        }
        ["stale"] => {
            post()?;
            shared.state().faults.stale(read::<Stale>(body)?.seconds)?;
            done()
        }
        ["pages"] => {
            post()?;
            shared.state().faults.pages(read::<Pages>(body)?.size)?;
            done()
        }
        ["capacity"] => {
            post()?;
            shared.state().faults.capacity(read::<Capacity>(body)?)?;
            done()
        }
        _ => Err(ControlError::NoSuchPath(format!("{}; there are: {}", parts.uri.path(), PATHS.join(", ")))),
    }
}

const PATHS: &[&str] = &[
    "GET /_emulator/instances",
    "GET /_emulator/instances/{id}",
    "GET /_emulator/instances/{id}/console",
    "GET /_emulator/calls",
    "GET /_emulator/faults",
    "DELETE /_emulator/faults",
    "POST /_emulator/interrupt {instance, notice_seconds, action?}",
    "POST /_emulator/rebalance {instance}",
    "POST /_emulator/maintenance {instance, code?, description?, not_before_seconds?, not_after_seconds?, cancel?}",
    "POST /_emulator/refuse {action, code, calls, message?}",
    "POST /_emulator/lose {action, calls}",
    "POST /_emulator/delay {action, milliseconds, calls}",
    "POST /_emulator/stale {seconds}",
    "POST /_emulator/pages {size}",
    "POST /_emulator/capacity {instance_type?, availability_zone?, lifecycle?, available}",
];

fn expect(parts: &Parts, method: &Method) -> Result<(), ControlError> {
    if parts.method == *method { Ok(()) } else { Err(ControlError::Method(parts.method.to_string())) }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|error| ControlError::BadRequest(error.to_string()))
}

fn json_reply(value: impl Serialize) -> Result<Reply, ControlError> {
    serde_json::to_value(value).map(Reply::Json).map_err(|error| ControlError::BadRequest(error.to_string()))
}

fn done() -> Result<Reply, ControlError> {
    Ok(Reply::Json(json!({ "done": true })))
}
