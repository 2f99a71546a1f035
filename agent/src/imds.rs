//! The instance metadata service, version 2. Owns its token and the reading of its answers; never retries by itself
//! but for a token that is no longer valid.

pub mod poll;

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

const DEFAULT_ENDPOINT: &str = "http://169.254.169.254";
const TOKEN_LIFE: Duration = Duration::from_secs(21_600);
/// A token is renewed this long before it expires.
const TOKEN_MARGIN: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(2);

/// The longest wait after errors.
const MAX_BACK_OFF: Duration = Duration::from_secs(15);

/// How long to wait before the metadata service is polled again: `first`, and twice as long after each failure in a row.
pub(crate) fn back_off(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(8)).min(MAX_BACK_OFF.max(first))
}

/// Why the metadata service returned nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// Retry, with back-off.
    #[error("the instance metadata service does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// Retry, with back-off.
    #[error("the instance metadata service answered {0}")]
    Refused(StatusCode),
    /// It is switched off: enable it for this instance.
    #[error(
        "the instance metadata service is disabled: set HttpEndpoint=enabled in the launch template's metadata options"
    )]
    Disabled,
    /// Its answer cannot be parsed.
    #[error("cannot parse {0} of the instance metadata service")]
    Unreadable(&'static str),
}

type Parse = fn(&str) -> Option<Vec<Notice>>;

/// The paths of notices, and their parsers.
const NOTICES: [(&str, Parse); 3] = [
    ("meta-data/spot/instance-action", |text| interruption(text).map(|notice| vec![notice])),
    ("meta-data/events/recommendations/rebalance", |text| rebalance(text).map(|notice| vec![notice])),
    ("meta-data/events/maintenance/scheduled", maintenance),
];

/// Who this instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Document {
    /// `i-…`.
    pub instance_id: String,
    /// The account's number.
    pub account_id: String,
    /// As `us-east-1`.
    pub region: String,
    /// As `us-east-1a`.
    pub availability_zone: String,
    /// `ami-…`.
    pub image_id: String,
    /// As `c6i.xlarge`.
    pub instance_type: String,
    /// Within the VPC.
    pub private_ip: String,
    /// When it was launched, in ISO 8601.
    pub pending_time: String,
}

impl Document {
    /// How old the instance is; zero where that is unknown.
    pub fn age(&self) -> Duration {
        rfc3339(&self.pending_time).and_then(|at| crate::clock::wall_now().duration_since(at).ok()).unwrap_or_default()
    }
}

/// A notice from EC2 for this instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It will interrupt the instance.
    Interruption {
        /// terminate, stop or hibernate.
        action: String,
        at: SystemTime,
    },
    /// It may soon: a rebalance recommendation.
    Rebalance {
        /// When it was recommended.
        at: SystemTime,
    },
    /// Scheduled maintenance of the host.
    Maintenance {
        /// As `system-reboot`.
        code: String,
        at: SystemTime,
    },
}

/// A client of the metadata service.
#[derive(Debug)]
pub struct Imds {
    client: reqwest::Client,
    endpoint: String,
    token: Option<(String, Instant)>,
}

impl Imds {
    /// At this endpoint; the one that every EC2 instance has where none is given.
    pub fn new(endpoint: Option<&str>) -> Result<Self, ImdsError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(ImdsError::Unreachable)?;
        let endpoint = endpoint.unwrap_or(DEFAULT_ENDPOINT).trim_end_matches('/').to_owned();
        Ok(Self { client, endpoint, token: None })
    }

    /// Who this instance is.
    pub async fn document(&mut self) -> Result<Document, ImdsError> {
        const WHAT: &str = "identity document";
        let text = self.get("dynamic/instance-identity/document").await?.ok_or(ImdsError::Unreadable(WHAT))?;
        let document: Document = serde_json::from_str(&text).map_err(|_| ImdsError::Unreadable(WHAT))?;
        if document.instance_id.is_empty() { Err(ImdsError::Unreadable(WHAT)) } else { Ok(document) }
    }

    /// The current notices, most urgent first. An error further down does not hide what was found before it.
    pub async fn notices(&mut self) -> Result<Vec<Notice>, ImdsError> {
        let mut found = Vec::new();
        for (path, read) in NOTICES {
            let answer = self.get(path).await.and_then(|answer| match answer {
                None => Ok(Vec::new()),
                Some(text) => read(&text).ok_or(ImdsError::Unreadable(path)),
            });
            match answer {
                Ok(notices) => found.extend(notices),
                Err(error) if found.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(found)
    }

    /// One path; `None` where there is nothing.
    async fn get(&mut self, path: &str) -> Result<Option<String>, ImdsError> {
        let had_token = self.token.is_some();
        match self.try_get(path).await {
            // An old token may have been revoked; a fresh one cannot.
            Err(ImdsError::Refused(StatusCode::UNAUTHORIZED)) if had_token => {
                self.token = None;
                self.try_get(path).await
            }
            answer => answer,
        }
    }

    async fn try_get(&mut self, path: &str) -> Result<Option<String>, ImdsError> {
        let token = self.token().await?;
        let url = format!("{}/latest/{path}", self.endpoint);
        let request = self.client.get(url).header("X-aws-ec2-metadata-token", token);
        let answer = request.send().await.map_err(ImdsError::Unreachable)?;
        match answer.status() {
            StatusCode::OK => answer.text().await.map(Some).map_err(ImdsError::Unreachable),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::FORBIDDEN => Err(ImdsError::Disabled),
            other => Err(ImdsError::Refused(other)),
        }
    }

    async fn token(&mut self) -> Result<String, ImdsError> {
        if let Some((token, until)) = &self.token
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let request = self
            .client
            .put(format!("{}/latest/api/token", self.endpoint))
            .header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE.as_secs());
        let answer = request.send().await.map_err(ImdsError::Unreachable)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => return Err(ImdsError::Disabled),
            other => return Err(ImdsError::Refused(other)),
        }
        let token = answer.text().await.map_err(ImdsError::Unreachable)?;
        self.token = Some((token.clone(), Instant::now() + TOKEN_LIFE - TOKEN_MARGIN));
        Ok(token)
    }
}

fn interruption(text: &str) -> Option<Notice> {
    #[derive(Deserialize)]
    struct Answer {
        action: String,
        time: String,
    }
    let answer: Answer = serde_json::from_str(text).ok()?;
    Some(Notice::Interruption { action: answer.action, at: rfc3339(&answer.time)? })
}

fn rebalance(text: &str) -> Option<Notice> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        notice_time: String,
    }
    let answer: Answer = serde_json::from_str(text).ok()?;
    Some(Notice::Rebalance { at: rfc3339(&answer.notice_time)? })
}

fn maintenance(text: &str) -> Option<Vec<Notice>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Event {
        not_before: String,
        code: String,
        #[serde(default)]
        state: String,
    }
    let events: Vec<Event> = serde_json::from_str(text).ok()?;
    let open = events.into_iter().filter(|event| !matches!(event.state.as_str(), "completed" | "canceled"));
    open.map(|event| Some(Notice::Maintenance { code: event.code, at: spelled_out(&event.not_before)? })).collect()
}

fn rfc3339(text: &str) -> Option<SystemTime> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format).ok().map(SystemTime::from)
}

/// `21 Jan 2019 09:00:43 GMT`
fn spelled_out(text: &str) -> Option<SystemTime> {
    let format =
        time::macros::format_description!("[day padding:none] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    time::PrimitiveDateTime::parse(text, format).ok().map(|at| SystemTime::from(at.assume_utc()))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_a_limit() {
        let seconds = |first, failures| back_off(Duration::from_secs(first), failures).as_secs();
        let all: Vec<u64> = [0, 1, 3, 4, u32::MAX].map(|failures| seconds(1, failures)).into();
        assert_eq!(all, [1, 2, 8, 15, 15]);
        assert_eq!(seconds(60, 3), 60);
    }

    #[test]
    fn reads_the_services_own_examples() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(
            interruption(r#"{"action":"terminate","time":"2017-09-18T08:22:00Z"}"#),
            Some(Notice::Interruption { action: "terminate".into(), at: at(1_505_722_920) })
        );
        assert_eq!(
            rebalance(r#"{"noticeTime":"2020-11-05T08:22:00Z"}"#),
            Some(Notice::Rebalance { at: at(1_604_564_520) })
        );
        let events = r#"[{"NotBefore":"21 Jan 2019 09:00:43 GMT","Code":"system-reboot","Description":"x","EventId":"e",
            "NotAfter":"21 Jan 2019 09:17:23 GMT","State":"active"},
            {"NotBefore":"1 Jan 2019 09:00:43 GMT","Code":"instance-stop","State":"completed"}]"#;
        assert_eq!(
            maintenance(events),
            Some(vec![Notice::Maintenance { code: "system-reboot".into(), at: at(1_548_061_243) }])
        );
        assert_eq!(maintenance("[]"), Some(vec![]));
        assert_eq!(maintenance(r#"[{"NotBefore":"soon","Code":"x"}]"#), None);
        assert_eq!(interruption("<html>"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_a_notice_or_nothing(
            text in "[\\[\\]{}\":,a-zA-Z0-9 -]{0,120}",
            time in "([0-9]{1,9}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))|\\PC{0,30}",
        ) {
            for text in [&text, &serde_json::json!({ "action": text, "time": time, "noticeTime": time }).to_string()] {
                let _ = (interruption(text), rebalance(text), maintenance(text));
            }
            let events = serde_json::json!([{ "NotBefore": time, "Code": text, "State": text }]).to_string();
            let _ = maintenance(&events);
            let document = Document { pending_time: time, ..Document::default() };
            let _ = document.age();
            let _ = serde_json::from_str::<Document>(&text);
        }
    }
}
