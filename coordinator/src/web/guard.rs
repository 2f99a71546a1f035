//! Who may look at the page and act by it. The page has no password: it is on loopback. So no other page of the same
//! browser may reach it: not by a name that leads here (DNS rebinding: the Host is another one), not by a form or a
//! script of its own (the Origin is).

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
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
    let is_page = request.method() == Method::GET && ["/", "/runbook"].contains(&request.uri().path());
    let mut response = match judge(request.headers(), is_page) {
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

/// `is_page`: one that may be linked to from anywhere; it cannot be put into a frame, and does nothing by itself.
fn judge(headers: &HeaderMap, is_page: bool) -> Result<(), &'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if [header::HOST, header::ORIGIN].iter().any(|name| headers.get_all(name).iter().count() > 1) {
        return Err("the request names more than one Host or Origin");
    }
    let Some(host) = text(header::HOST) else { return Err("the request names no Host") };
    if !is_an_address(host) {
        return Err("this page is not served under that name");
    }
    match text(header::ORIGIN) {
        None => {}
        Some(origin) if is_of(origin, host) => {}
        Some(_) => return Err("the request comes from another site's page"),
    }
    match text(HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) if is_page && text(HeaderName::from_static("sec-fetch-dest")) == Some("document") => Ok(()),
        Some(_) => Err("the request comes from another site's page"),
    }
}

/// `localhost`, or an IP address, with or without a port: no name that somebody else's DNS could answer for.
fn is_an_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if host.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    name.eq_ignore_ascii_case("localhost") && port.parse::<u16>().is_ok()
}

/// An origin is that of this host's pages.
fn is_of(origin: &str, host: &str) -> bool {
    let of = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    of.is_some_and(|of| of.eq_ignore_ascii_case(host))
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
        judge(&headers.collect(), false).is_ok()
    }

    #[test]
    fn only_addresses_and_localhost_are_hosts_and_only_their_own_pages_origins() {
        for host in ["127.0.0.1:7480", "localhost:9999", "LOCALHOST", "[::1]:7480", "10.0.0.5:7480", "127.0.0.1"] {
            assert!(judged(&[("host", host)]), "{host}");
        }
        let strange =
            ["127.0.0.1]evil.example:80", "[::1]evil.example:80", "[127.0.0.1", "localhost:x", "", "a:b:7480"];
        let foreign = ["evil.example", "evil.example:7480", "127.0.0.1.evil.example:7480", "localhost.evil"];
        for host in strange.into_iter().chain(foreign) {
            assert!(!judged(&[("host", host)]), "{host}");
        }
        assert!(!judged(&[]));
        let of = |origin| judged(&[("host", "127.0.0.1:7480"), ("origin", origin)]);
        assert!(of("http://127.0.0.1:7480"));
        for origin in [
            "http://evil.example",
            "ftp://127.0.0.1:7480",
            "null",
            "http://127.0.0.1:7481",
            "http://localhost:7480",
            "",
        ] {
            assert!(!of(origin), "{origin}");
        }
        for (site, is_allowed) in [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false)] {
            assert_eq!(judged(&[("host", "127.0.0.1:7480"), ("sec-fetch-site", site)]), is_allowed, "{site}");
        }
        let link = [("host", "127.0.0.1:7480"), ("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")];
        let pairs = link.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = pairs.into_iter().collect();
        assert!(judge(&headers, true).is_ok(), "a link to the page, from a wiki");
        assert!(judge(&headers, false).is_err(), "and to nothing else");
    }

    #[test]
    fn nobody_acts_from_the_network_or_without_a_token_where_one_is_asked_for() {
        let (here, network) = (SocketAddr::from(([127, 0, 0, 1], 7480)), SocketAddr::from(([0, 0, 0, 0], 7480)));
        assert_eq!(viewers_only(here, OperatorsKind::Loopback), None);
        assert!(viewers_only(network, OperatorsKind::Loopback).is_some());
        assert!(viewers_only(here, OperatorsKind::Token).is_some());
    }
}
