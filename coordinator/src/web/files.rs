//! The page's files, compressed where the browser takes that, and asked for again only when they have changed.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use spillway_web::{Asset, PAGE, RUNBOOK};

use crate::ledger::digest;

pub(super) fn page(headers: &HeaderMap) -> Response {
    send(PAGE, headers)
}

pub(super) async fn runbook(headers: HeaderMap) -> Response {
    send(RUNBOOK, &headers)
}

pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    send(&name, &headers)
}

fn send(name: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = spillway_web::asset(name) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tag = tag(asset);
    let common = [
        (header::ETAG, tag.clone()),
        // Asked each time, answered in a line: a new version of the coordinator has new files.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::VARY, "accept, accept-encoding".to_owned()),
    ];
    if text(header::IF_NONE_MATCH).split(',').any(|known| known.trim() == tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, asset.content_type())];
    let takes_gzip = text(header::ACCEPT_ENCODING).split(',').any(|it| it.trim().starts_with("gzip"));
    match takes_gzip {
        true => (common, kind, [(header::CONTENT_ENCODING, "gzip")], asset.gzip).into_response(),
        false => (common, kind, asset.plain).into_response(),
    }
}

fn tag(asset: &Asset) -> String {
    // Of what is sent: the same file has the same tag in every version.
    let length = asset.gzip.len();
    format!("\"{}-{length:x}\"", &digest(&String::from_utf8_lossy(asset.plain))[..16])
}
