//! What operators ask for by the page's buttons: the same requests as the command line's, by the same way.

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use spillway_brain::InstanceId;
use spillway_pool::Wish;

use super::Context;
use super::guard::{refused, viewers_only};
use crate::doors::Peer;
use crate::requests::{self, Rejected, signed};
use crate::rpc::caller;

/// A header that no form and no other site's page sends.
const OWN: &str = "x-spillway";
const NOTICES: std::ops::RangeInclusive<u64> = 1..=3600;
const LONGEST_REASON: usize = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[serde(default)]
    pool: String,
    #[serde(default)]
    instance: String,
    #[serde(default)]
    reason: String,
    /// Of a rehearsed interruption, in seconds.
    #[serde(default)]
    notice: Option<u64>,
}

pub(super) async fn act(
    State(context): State<Context>,
    Path(action): Path<String>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    asked: Result<axum::Json<Asked>, JsonRejection>,
) -> Response {
    if let Some(why) = viewers_only(context.served.listen, context.served.operators) {
        return refused(StatusCode::FORBIDDEN, "this page only shows", why);
    }
    if headers.get(OWN).is_none_or(|value| value != "1") {
        return refused(
            StatusCode::FORBIDDEN,
            "the request was not made by this page",
            "use its buttons, or the command line",
        );
    }
    let asked = match asked {
        Ok(axum::Json(asked)) => asked,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.body_text(), "send JSON, as the page does"),
    };
    let by = peer.address().map_or_else(|| "unknown".to_owned(), caller::of_peer);
    let by = format!("{by}, by the page");
    match wish(&context, &action, asked, by).await {
        Ok(message) => axum::Json(json!({ "message": message })).into_response(),
        Err(response) => response,
    }
}

async fn wish(context: &Context, action: &str, asked: Asked, by: String) -> Result<String, Response> {
    let pools = &context.served.pools;
    let reason: String = asked.reason.chars().filter(|it| !it.is_control()).take(LONGEST_REASON).collect();
    let id = InstanceId(asked.instance);
    let of_pool = match action {
        "hold" => Some(Wish::Hold { reason: signed(&by, &reason) }),
        "resume" => Some(Wish::Resume { by: signed(&by, "") }),
        _ => None,
    };
    if let Some(wish) = of_pool {
        return requests::request_of_all(pools, &asked.pool, &by, &wish).await.map_err(rejected);
    }
    let notice = asked.notice.unwrap_or(120);
    let wish = match action {
        "drain" => Wish::Drain { id: id.clone(), reason: signed(&by, &reason) },
        "cancel-drain" => Wish::CancelDrain { id: id.clone(), by: signed(&by, "") },
        "rehearse" if NOTICES.contains(&notice) => {
            Wish::Rehearse { id: id.clone(), notice: Duration::from_secs(notice) }
        }
        "rehearse" => return Err(refused(StatusCode::BAD_REQUEST, "notice must be between 1 s and 1 h", "")),
        _ => return Err(refused(StatusCode::NOT_FOUND, "there is no such action", "")),
    };
    let pool = requests::pool_of(pools, &id.0).map_err(rejected)?;
    Ok(requests::request(&pool, by, wish).await.map_err(rejected)?.to_string())
}

fn rejected(why: Rejected) -> Response {
    let status = match &why {
        Rejected::NoPool { .. } | Rejected::NoInstance(_) => StatusCode::NOT_FOUND,
        Rejected::Denied(_) => StatusCode::CONFLICT,
        Rejected::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    refused(status, &why.to_string(), "")
}
