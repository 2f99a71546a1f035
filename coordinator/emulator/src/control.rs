//! The control API under `/_emulator/`: what EC2 does not offer, in JSON. Each path calls a function of
//! `instance_control`, `faults`, `iam` or `quotas`.

use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::ControlError;
use crate::faults::{Canned, Capacity, Delay, FailLaunch, Lose, RefuseOrder};
use crate::http::{Answer, respond};
use crate::iam;
use crate::instance_control::{self, ImageDevice, Interrupt, Rebalance, ScheduleMaintenance};
use crate::quotas;
use crate::shared::Shared;

const PREFIX: &str = "/_emulator";

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Stale {
    seconds: f64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Date {
    /// How far answers are ahead of the time, or behind it.
    seconds: i64,
}

/// Who may assume a role.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Trust {
    role: String,
    policy: Value,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Quota {
    code: String,
    value: f64,
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
    let segments: Vec<&str> = path.split('/').collect();
    if let Some(reply) = read(shared, parts, &segments)? {
        return Ok(reply);
    }
    let change: fn(&Shared, &Bytes) -> Result<Reply, ControlError> = match segments.as_slice() {
        ["interrupt"] => |shared, body| json_reply(instance_control::interrupt(shared, &parse::<Interrupt>(body)?)?),
        ["rebalance"] => |shared, body| json_reply(instance_control::rebalance(shared, &parse::<Rebalance>(body)?)?),
        ["maintenance"] => {
            |shared, body| json_reply(instance_control::maintenance(shared, parse::<ScheduleMaintenance>(body)?)?)
        }
        ["refuse"] => |shared, body| done(shared.state().faults.refuse(parse::<RefuseOrder>(body)?)),
        ["image-device"] => |shared, body| done(instance_control::image_device(shared, &parse::<ImageDevice>(body)?)),
        ["fail-launch"] => |shared, body| done(shared.state().faults.fail_launch(parse::<FailLaunch>(body)?)),
        ["lose"] => |shared, body| done(shared.state().faults.lose(parse::<Lose>(body)?)),
        ["delay"] => |shared, body| done(shared.state().faults.delay(parse::<Delay>(body)?)),
        ["answer"] => |shared, body| done(shared.state().faults.answer(parse::<Canned>(body)?)),
        ["stale"] => |shared, body| done(shared.state().faults.stale(parse::<Stale>(body)?.seconds)),
        ["date"] => |shared, body| done(shared.state().faults.date(parse::<Date>(body)?.seconds)),
        ["trust"] => |shared, body| {
            let Trust { role, policy } = parse(body)?;
            done(iam::set_trust(shared, &role, &policy))
        },
        ["quota"] => |shared, body| {
            let Quota { code, value } = parse(body)?;
            done(quotas::set(shared, &code, value))
        },
        ["pages"] => |shared, body| done(shared.state().faults.pages(parse::<Pages>(body)?.size)),
        ["capacity"] => |shared, body| done(shared.state().faults.capacity(parse::<Capacity>(body)?)),
        _ => {
            let paths = PATHS.join(", ");
            return Err(ControlError::NoSuchPath(format!("{}; the paths are: {paths}", parts.uri.path())));
        }
    };
    expect(parts, &Method::POST)?;
    change(shared, body)
}

/// The paths that are read with GET, and `faults`, which DELETE clears. None for every other path.
fn read(shared: &Shared, parts: &Parts, segments: &[&str]) -> Result<Option<Reply>, ControlError> {
    if segments == ["faults"] && parts.method == Method::DELETE {
        shared.state().faults = crate::faults::Faults::default();
        return done(Ok(())).map(Some);
    }
    let get = || expect(parts, &Method::GET);
    let reply = match segments {
        [""] => get().and_then(|()| json_reply(json!({ "paths": PATHS }))),
        ["instances"] => get().and_then(|()| json_reply(instance_control::records(shared))),
        ["instances", id] => get().and_then(|()| json_reply(instance_control::record(shared, id)?)),
        ["instances", id, "console"] => get().and_then(|()| Ok(Reply::Text(instance_control::console(shared, id)?))),
        ["volumes"] => get().and_then(|()| json_reply(instance_control::volumes(shared))),
        ["calls"] => get().and_then(|()| json_reply(&shared.state().calls)),
        ["faults"] => get().and_then(|()| json_reply(&shared.state().faults)),
        _ => return Ok(None),
    };
    reply.map(Some)
}

const PATHS: &[&str] = &[
    "GET /_emulator/instances",
    "GET /_emulator/instances/{id}",
    "GET /_emulator/instances/{id}/console",
    "GET /_emulator/volumes",
    "GET /_emulator/calls",
    "GET /_emulator/faults",
    "DELETE /_emulator/faults",
    "POST /_emulator/interrupt {instance, notice_seconds, action?}",
    "POST /_emulator/rebalance {instance}",
    "POST /_emulator/maintenance {instance, code?, description?, not_before_seconds?, not_after_seconds?, cancel?}",
    "POST /_emulator/image-device {image, device, delete_on_termination}",
    "POST /_emulator/refuse {action, code, calls, message?, status?}",
    "POST /_emulator/fail-launch {code, launches, message?}",
    "POST /_emulator/lose {action, calls}",
    "POST /_emulator/delay {action, milliseconds, calls}",
    "POST /_emulator/answer {action, calls, status, body, content_type?, location?}",
    "POST /_emulator/stale {seconds}",
    "POST /_emulator/pages {size}",
    "POST /_emulator/date {seconds}",
    "POST /_emulator/trust {role, policy}",
    "POST /_emulator/quota {code, value}",
    "POST /_emulator/capacity {instance_type?, availability_zone?, lifecycle?, available}",
];

fn expect(parts: &Parts, method: &Method) -> Result<(), ControlError> {
    if parts.method == *method { Ok(()) } else { Err(ControlError::Method(parts.method.to_string())) }
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|error| ControlError::BadRequest(error.to_string()))
}

fn json_reply(value: impl Serialize) -> Result<Reply, ControlError> {
    serde_json::to_value(value).map(Reply::Json).map_err(|error| ControlError::BadRequest(error.to_string()))
}

fn done(result: Result<(), ControlError>) -> Result<Reply, ControlError> {
    result.and_then(|()| json_reply(json!({ "done": true })))
}
