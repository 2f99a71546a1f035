//! Who may look at the page and act by it. The page has no password: it is on loopback. So no other page of the same
//! browser may reach it: not by a name that leads here (DNS rebinding: the Host is another one), not by a form or a
//! script of its own (the Origin is).

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::config::OperatorsKind;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// A refusal, as the page shows it.
pub(super) fn refused(status: StatusCode, error: &str, remedy: &str) -> Response {
    (status, axum::Json(json!({ "error": error, "remedy": remedy }))).into_response()
}

/// Around every page: refuses what another site's page sends, and says to browsers what these pages may do.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match judge(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            refused(StatusCode::FORBIDDEN, why, "open the page by 127.0.0.1 or localhost (ssh -L keeps that name)")
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn judge(headers: &HeaderMap) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = text(header::HOST) else { return Err("the request names no Host") };
    if !is_an_address(host) {
        return Err("this page is not served under that name");
    }
    match text(header::ORIGIN) {
        None => {}
        Some(origin) if origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host)) => {}
        Some(_) => return Err("the request comes from another site's page"),
    }
    match text(HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err("the request comes from another site's page"),
    }
}

/// `localhost`, or an IP address, with or without a port: no name that somebody else's DNS could answer for.
fn is_an_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) && !name.contains(':') => name,
        Some((name, _)) if name.starts_with('[') => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').split(']').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Why nobody acts by the page; None: whoever sees it may.
pub(super) fn viewers_only(listen: SocketAddr, operators: OperatorsKind) -> Option<&'static str> {
    if !listen.ip().is_loopback() {
        return Some(
            "http.listen is not on loopback, and HTTP has no password: act by the command line on the primary",
        );
    }
    match operators {
        OperatorsKind::Loopback => None,
        OperatorsKind::Token => Some(
            "operators are known by account or token here (grpc.operators = \"token\"): act by the command line on the primary",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(&'static str, &str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value")));
        judge(&headers.collect()).is_ok()
    }

    #[test]
    fn only_addresses_and_localhost_are_hosts_and_only_their_own_pages_origins() {
        for host in ["127.0.0.1:7480", "localhost:9999", "LOCALHOST", "[::1]:7480", "10.0.0.5:7480", "127.0.0.1"] {
            assert!(judged(&[("host", host)]), "{host}");
        }
        for host in
            ["evil.example", "evil.example:7480", "127.0.0.1.evil.example:7480", "localhost.evil", "", "a:b:7480"]
        {
            assert!(!judged(&[("host", host)]), "{host}");
        }
        assert!(!judged(&[]));
        let of = |origin| judged(&[("host", "127.0.0.1:7480"), ("origin", origin)]);
        assert!(of("http://127.0.0.1:7480"));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:7481", "http://localhost:7480", ""] {
            assert!(!of(origin), "{origin}");
        }
        for (site, is_allowed) in [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false)] {
            assert_eq!(judged(&[("host", "127.0.0.1:7480"), ("sec-fetch-site", site)]), is_allowed, "{site}");
        }
    }

    #[test]
    fn nobody_acts_from_the_network_or_without_a_token_where_one_is_asked_for() {
        let (here, network) = (SocketAddr::from(([127, 0, 0, 1], 7480)), SocketAddr::from(([0, 0, 0, 0], 7480)));
        assert_eq!(viewers_only(here, OperatorsKind::Loopback), None);
        assert!(viewers_only(network, OperatorsKind::Loopback).is_some());
        assert!(viewers_only(here, OperatorsKind::Token).is_some());
    }
}
