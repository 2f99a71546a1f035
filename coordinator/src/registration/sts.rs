//! The only request that is ever sent to STS: built here from a proof, to STS of this coordinator's own region. Owns
//! the connection and the bounds of the answer; follows no redirection and sends nothing twice.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpConnector as _, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http_body::Body as _;
use spillway_proto::sts::{self, Endpoint, Question};
use spillway_proto::v1::StsProof;
use thiserror::Error;

use super::answer::{self, Caller, Unreadable};
use crate::cloud;
use crate::config::Proxies;

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Of an answer: STS' own has some hundred bytes.
const LONGEST_ANSWER: usize = 8 * 1024;

/// Of what kept STS from answering, for the log.
const LONGEST_WORDS: usize = 200;

/// STS of one region.
#[derive(Debug)]
pub(super) struct Sts {
    pub endpoint: Endpoint,
    /// Where the connection goes; nowhere else is it said.
    connects_to: String,
    pub answers_within: Duration,
    http: SharedHttpConnector,
}

/// Why STS has not said whose signature it is.
#[derive(Debug, Error)]
pub(super) enum StsError {
    /// It does not answer, or has no time: retry.
    #[error("STS did not answer: {0}")]
    Unavailable(String),
    /// It does not know the signature.
    #[error("STS refused the proof ({0})")]
    Refused(String),
    /// Nobody is let in by that.
    #[error("STS answered something else than expected: {0}")]
    NotUnderstood(String),
}

impl From<Unreadable> for StsError {
    fn from(why: Unreadable) -> Self {
        StsError::NotUnderstood(why.to_string())
    }
}

impl Sts {
    /// `connects_to`: instead of the endpoint's own address.
    ///
    /// # Errors
    /// A proxy's URL cannot be used.
    pub(super) fn new(endpoint: Endpoint, connects_to: Option<String>, proxies: &Proxies) -> anyhow::Result<Self> {
        let connects_to = connects_to.unwrap_or_else(|| endpoint.url());
        let http = cloud::connector(proxies)?;
        Ok(Sts { endpoint, connects_to, answers_within: ANSWERS_WITHIN, http })
    }

    /// Whose signature it is, by STS. The proof must be within its bounds.
    ///
    /// # Errors
    /// STS has not said so.
    pub(super) async fn ask(&self, question: &Question<'_>, proof: &StsProof) -> Result<Caller, StsError> {
        let request = self.request(question, proof).map_err(StsError::NotUnderstood)?;
        let answered = async {
            let unreachable = |error: ConnectorError| StsError::Unavailable(in_words(&error));
            let mut response = self.http.call(request).await.map_err(unreachable)?;
            let body = read(&mut response).await?;
            judged(&response, &body)
        };
        let late = |_| StsError::Unavailable("no answer in time".to_owned());
        tokio::time::timeout(self.answers_within, answered).await.map_err(late)?
    }

    fn request(&self, question: &Question<'_>, proof: &StsProof) -> Result<HttpRequest, String> {
        let mut request = HttpRequest::new(SdkBody::from(sts::BODY));
        request.set_method(sts::METHOD).map_err(|error| error.to_string())?;
        request.set_uri(self.connects_to.as_str()).map_err(|error| error.to_string())?;
        let headers = question.headers().into_iter().chain(question.headers_of(proof));
        for (name, value) in headers {
            request.headers_mut().try_insert(name, value).map_err(|_| format!("{name} is no header"))?;
        }
        Ok(request)
    }
}

/// The body, where it is not too long.
async fn read(response: &mut HttpResponse) -> Result<Vec<u8>, StsError> {
    let mut body = response.take_body();
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| StsError::Unavailable(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > LONGEST_ANSWER {
            return Err(StsError::NotUnderstood("its answer is too long".to_owned()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn judged(response: &HttpResponse, body: &[u8]) -> Result<Caller, StsError> {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").unwrap_or_default();
    match status {
        200 if kind.split(';').next() != Some("application/json") => {
            Err(StsError::NotUnderstood("its answer is no JSON".to_owned()))
        }
        200 => Ok(answer::read(body)?),
        400 | 401 | 403 => match error_code(body) {
            Some(code) if code.contains("Throttl") || code == "RequestLimitExceeded" => {
                Err(StsError::Unavailable(code))
            }
            code => Err(StsError::Refused(code.unwrap_or_else(|| format!("HTTP {status}")))),
        },
        300..400 => Err(StsError::NotUnderstood(format!("a redirection (HTTP {status}), which is not followed"))),
        429 | 500.. => Err(StsError::Unavailable(format!("HTTP {status}"))),
        _ => Err(StsError::NotUnderstood(format!("HTTP {status}"))),
    }
}

/// An error and what caused it.
fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ").chars().take(LONGEST_WORDS).collect()
}

/// AWS's code of an error, where it is a word: it goes into the log.
fn error_code(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = value.get("Error")?.get("Code")?.as_str()?;
    let is_word = (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_word.then(|| code.to_owned())
}
