//! Signature Version 4 of a request. For EC2's API it is checked with the emulator's key as the secret access key, and
//! any access key id will do; STS has secrets of its own. After "Create a signed AWS API request" in the IAM User
//! Guide. Presigned URLs are not understood.

use hmac::Mac as _;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use sha2::{Digest as _, Sha256};

use crate::clock::basic;
use crate::error::ApiError;
use crate::key::{Key, mac};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The header with a signature's date.
pub(crate) const DATE: &str = "x-amz-date";
/// How far a client's clock may be off; later the request can be sent again by whoever overheard it.
const MAX_SKEW_MS: u64 = 15 * 60 * 1000;

/// The parts of an `Authorization` header.
#[derive(Clone, Debug)]
pub(crate) struct Authorization<'a> {
    pub(crate) access_key_id: &'a str,
    /// `date/region/service/aws4_request`.
    scope: &'a str,
    /// In their order.
    pub(crate) headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    pub(crate) fn region(&self) -> Option<&'a str> {
        self.scope.split('/').nth(1)
    }

    pub(crate) fn service(&self) -> Option<&'a str> {
        self.scope.split('/').nth(2)
    }

    /// Of this date's day, and of this service, in any region.
    pub(crate) fn is_scope(&self, date: &str, service: &str) -> bool {
        let parts: Vec<&str> = self.scope.split('/').collect();
        matches!(parts[..], [day, _, of, "aws4_request"] if of == service && day.len() == 8 && date.starts_with(day))
    }
}

/// The request's `Authorization`; None where it has none of this kind.
pub(crate) fn of(parts: &Parts) -> Option<Authorization<'_>> {
    parse(parts.headers.get(AUTHORIZATION)?.to_str().ok()?)
}

/// Whether the request is signed for EC2 with this key, not long ago.
pub(crate) fn check(key: &Key, parts: &Parts, body: &[u8], now_ms: u64) -> Result<(), ApiError> {
    check_for("ec2", key, parts, body, now_ms)
}

/// The same for another service.
pub(crate) fn check_for(service: &str, key: &Key, parts: &Parts, body: &[u8], now_ms: u64) -> Result<(), ApiError> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let header =
        header.ok_or_else(|| ApiError::new("MissingAuthenticationToken", "Request is missing Authentication Token"))?;
    let signed = parse(header).ok_or_else(wrong)?;
    let date = parts.headers.get(DATE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !["host", DATE].iter().all(|name| signed.headers.contains(name)) || !signed.is_scope(date, service) {
        return Err(wrong());
    }
    if !is_of(key.expose(), &signed, date, parts, body) {
        return Err(wrong());
    }
    // Only now: who has no key learns nothing of the clock.
    match basic(date).map(|at_ms| at_ms.abs_diff(now_ms)) {
        Some(skew) if skew <= MAX_SKEW_MS => Ok(()),
        _ => Err(ApiError::new(
            "RequestExpired",
            "Request has expired: the client's clock is off by more than 15 minutes",
        )),
    }
}

/// Whether the request was signed with this secret, over what it says was signed.
pub(crate) fn is_of(secret: &str, signed: &Authorization<'_>, date: &str, parts: &Parts, body: &[u8]) -> bool {
    let text =
        format!("{ALGORITHM}\n{date}\n{}\n{}", signed.scope, hex(&Sha256::digest(canonical(signed, parts, body))));
    let mut signing = format!("AWS4{secret}").into_bytes();
    for part in signed.scope.split('/') {
        signing = mac(&signing, part.as_bytes()).finalize().into_bytes().to_vec();
    }
    from_hex(signed.signature).is_some_and(|given| mac(&signing, text.as_bytes()).verify_slice(&given).is_ok())
}

fn wrong() -> ApiError {
    let message = "AWS was not able to validate the provided access credentials: sign with the emulator's key (--key-file) as the \
                   secret access key";
    ApiError::new("AuthFailure", message)
}

fn parse(header: &str) -> Option<Authorization<'_>> {
    let fields = header.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
    let field = |name: &str| fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
    let (access_key_id, scope) = field("Credential")?.split_once('/')?;
    let headers = field("SignedHeaders")?.split(';').collect();
    Some(Authorization { access_key_id, scope, headers, signature: field("Signature")? })
}

/// The request in the form that both sides sign.
fn canonical(signed: &Authorization<'_>, parts: &Parts, body: &[u8]) -> String {
    let headers: String =
        signed.headers.iter().map(|name| format!("{name}:{}\n", value(&parts.headers, name))).collect();
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        parts.method,
        parts.uri.path(),
        query(parts.uri.query().unwrap_or_default()),
        signed.headers.join(";"),
        hex(&Sha256::digest(body))
    )
}

/// All values of a header, with single blanks.
fn value(headers: &HeaderMap, name: &str) -> String {
    let text = |value: &hyper::header::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    headers.get_all(name).iter().map(text).collect::<Vec<_>>().join(",")
}

/// Sorted by name and value, each byte encoded that RFC 3986 does not leave alone.
fn query(raw: &str) -> String {
    let encode = |text: &str| -> String {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let mut pairs: Vec<(String, String)> =
        form_urlencoded::parse(raw.as_bytes()).map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
