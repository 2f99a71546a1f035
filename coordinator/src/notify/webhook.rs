//! One message to the webhook, once. Over the proxies and the TLS that calls of AWS take; follows no redirection, waits
//! for a bounded time and reads a bounded answer. No error shows the URL.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use http_body::Body as _;
use percent_encoding::percent_decode_str;
use serde_json::json;
use spillway_words::shown;
use thiserror::Error;

use crate::config::{Proxies, WebhookUrl};
use crate::{clock, cloud};

/// A webhook that hangs is given up after that.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(8);
/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 2048;
/// Of an answer's words, and of what kept it from coming.
const LONGEST_WORDS: usize = 200;
/// Bytes of a part of the URL's path that may be a secret.
const LEAST_SECRET: usize = 4;

/// Why a message was not taken: what to do about it.
#[derive(Debug, Error)]
pub enum WebhookProblem {
    #[error("the webhook cannot be reached: {0}. Are its host, the routes and HTTPS_PROXY right?")]
    Unreachable(String),
    #[error("the webhook did not answer within {}", spillway_words::in_words(ANSWERS_WITHIN))]
    Hangs,
    #[error("the webhook asks to wait: it was sent too many messages (HTTP 429)")]
    TooMany { retry_after: Option<Duration> },
    #[error("the webhook answered HTTP {status}{words}: it does not work now, and is asked again")]
    Fails { status: u16, words: Words, retry_after: Option<Duration> },
    #[error(
        "the webhook answered with a redirection (HTTP {0}), which is not followed: set notify.webhook_url to where it leads"
    )]
    Redirects(u16),
    #[error(
        "the webhook refused the message (HTTP {status}{words}): is notify.webhook_url whole and not revoked? Make a new \
         one where the messages are to arrive"
    )]
    Refused { status: u16, words: Words },
    #[error("the webhook's URL cannot be used: {0}")]
    BadUrl(String),
}

impl WebhookProblem {
    /// For how long it asked not to be sent anything.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            WebhookProblem::TooMany { retry_after } | WebhookProblem::Fails { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// What it said, behind a colon; nothing where it said nothing.
#[derive(Debug, Default)]
pub struct Words(String);

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Where messages go.
#[derive(Clone, Debug)]
pub struct Webhook {
    http: SharedHttpConnector,
    url: WebhookUrl,
}

impl Webhook {
    /// # Errors
    /// A proxy's URL cannot be used.
    pub fn new(url: WebhookUrl, proxies: &Proxies) -> anyhow::Result<Self> {
        Ok(Webhook { http: cloud::connector(proxies)?, url })
    }

    /// Sends a text, as Slack takes it. The same `key`: the same message. Returns the status with what was said.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn send(&self, text: &str, key: &str) -> Result<String, WebhookProblem> {
        let request = self.request(text, key).map_err(|words| WebhookProblem::BadUrl(self.bare(&words)))?;
        let answered = async {
            let unreachable = |error: &dyn std::error::Error| WebhookProblem::Unreachable(self.bare(&in_words(error)));
            let mut response = self.http.call(request).await.map_err(|error| unreachable(&error))?;
            let body = read(&mut response).await;
            let asked = response.headers().get("retry-after").and_then(|it| asked_wait(it, clock::system_now()));
            judged(response.status().as_u16(), asked, Words(self.bare(&String::from_utf8_lossy(&body))))
        };
        tokio::time::timeout(ANSWERS_WITHIN, answered).await.map_err(|_| WebhookProblem::Hangs)?
    }

    fn request(&self, text: &str, key: &str) -> Result<HttpRequest, String> {
        let mut request = HttpRequest::new(SdkBody::from(json!({ "text": text }).to_string()));
        request.set_method("POST").map_err(|error| error.to_string())?;
        request.set_uri(self.url.expose()).map_err(|error| error.to_string())?;
        let agent = concat!("spillway/", env!("CARGO_PKG_VERSION"));
        for (name, value) in [("content-type", "application/json"), ("idempotency-key", key), ("user-agent", agent)] {
            let (name, value) = (name.to_owned(), value.to_owned());
            request.headers_mut().try_insert(name, value).map_err(|error| error.to_string())?;
        }
        Ok(request)
    }

    /// On one line, without the URL: whoever knows its path can write there.
    fn bare(&self, words: &str) -> String {
        let words = masked(words, self.url.expose());
        shown::cut(&shown::visible_line(words.trim()), LONGEST_WORDS)
    }
}

fn judged(status: u16, retry_after: Option<Duration>, words: Words) -> Result<String, WebhookProblem> {
    match status {
        200..300 => Ok(format!("HTTP {status}{words}")),
        300..400 => Err(WebhookProblem::Redirects(status)),
        429 => Err(WebhookProblem::TooMany { retry_after }),
        408 | 425 | 500.. => Err(WebhookProblem::Fails { status, words, retry_after }),
        _ => Err(WebhookProblem::Refused { status, words }),
    }
}

/// How long `Retry-After` asks to wait: seconds, or until a time by the receiver's clock.
fn asked_wait(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    let until = || httpdate::parse_http_date(header).ok().map(|at| at.duration_since(now).unwrap_or_default());
    header.parse().ok().map(Duration::from_secs).or_else(until)
}

/// Words without the URL and without what is secret in it: each part of its path and each value of its query, however
/// the receiver puts them together. As JSON, its words may have `\/` for each slash.
fn masked(words: &str, url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let (path, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let values = query.split(['?', '&', '#']).map(|it| it.split_once('=').map_or(it, |(_, value)| value));
    let whole = [url, rest.trim_start_matches('/'), path.trim_start_matches('/')];
    let written = whole.into_iter().chain(path.split('/')).filter(|part| part.len() >= LEAST_SECRET).chain(values);
    let read = |written| [Cow::Borrowed(written), percent_decode_str(written).decode_utf8_lossy()];
    let mut secrets: Vec<Cow<'_, str>> = written.flat_map(read).filter(|secret| !secret.is_empty()).collect();
    // The longest first: of one whose part was masked before, the rest would stay.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(words.replace("\\/", "/"), |words, secret| words.replace(secret.as_ref(), "…"))
}

/// What is longer is not read to its end.
async fn read(response: &mut HttpResponse) -> Vec<u8> {
    let (mut body, mut bytes) = (response.take_body(), Vec::new());
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(&data);
        if bytes.len() > LONGEST_ANSWER {
            bytes.truncate(LONGEST_ANSWER);
            break;
        }
    }
    bytes
}

/// An error and what caused it.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_until_a_date_and_by_whatever_does_not_work_now() {
        let now = httpdate::parse_http_date("Sun, 29 Nov 2026 07:28:00 GMT").expect("a date");
        for (header, seconds) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 29 Nov 2026 07:30:00 GMT", Some(120)),
            ("Sunday, 29-Nov-26 07:30:00 GMT", Some(120)),
            ("Sun, 29 Nov 2026 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            assert_eq!(asked_wait(header, now), seconds.map(Duration::from_secs), "{header}");
        }
        let wait = Some(Duration::from_secs(120));
        for status in [429, 503] {
            let problem = judged(status, wait, Words::default()).expect_err("it was not taken");
            assert_eq!(problem.retry_after(), wait, "{status}");
        }
        assert_eq!(judged(404, wait, Words::default()).expect_err("it was refused").retry_after(), None);
    }

    #[test]
    fn no_part_of_the_urls_path_and_no_value_of_its_query_is_in_its_receivers_words() {
        let url = "https://hooks.example/services/T0AB/Zk9x%2BQ?sig=s3cret=&v=17";
        for words in [
            "no webhook services/T0AB/Zk9x%2BQ",
            r#"{"path":"\/services\/T0AB\/Zk9x%2BQ"}"#,
            "team T0AB has no hook Zk9x%2BQ",
            "no hook Zk9x+Q of this team",
            "bad signature s3cret= of version 17",
            "POST https://hooks.example/services/T0AB/Zk9x%2BQ?sig=s3cret=&v=17",
            r#"{"url":"https:\/\/hooks.example\/services\/T0AB\/Zk9x%2BQ?sig=s3cret=\u0026v=17"}"#,
        ] {
            let shown = masked(words, url);
            let leaks = ["T0AB", "Zk9x", "s3cret", "17"].into_iter().find(|secret| shown.contains(secret));
            assert_eq!(leaks, None, "{shown}");
        }
        assert_eq!(masked("no_service /services/T0AB", "https://h/services/T0AB"), "no_service /…");
        assert_eq!(masked("invalid a/b", "https://h/a/"), "invalid a/b");
        assert_eq!(masked("ok", "https://h"), "ok");
    }
}
