//! The instance metadata service, version 2. Owns its token and the reading of its answers; never retries by itself
//! but for a token that is no longer valid.

pub mod credentials;
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

/// How long to wait before the metadata service is polled again: `first`, and twice as long after each failure in a
/// row.
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

type Parse = fn(&str) -> Option<Notice>;

/// The paths of notices, and their parsers.
const NOTICES: [(&str, Parse); 2] =
    [("meta-data/spot/instance-action", interruption), ("meta-data/events/recommendations/rebalance", rebalance)];
/// The path of the scheduled events.
const SCHEDULE: &str = "meta-data/events/maintenance/scheduled";

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

/// What the metadata service says of the instance's future.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Most urgent first.
    pub notices: Vec<Notice>,
    /// None where it could not be read.
    pub schedule: Option<Vec<ScheduledEvent>>,
    /// What could not be parsed, in words: it keeps nothing else from being read.
    pub unreadable: Vec<String>,
}

/// An event that EC2 has scheduled for this instance, and that is neither completed nor cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledEvent {
    /// As `instance-retirement`; empty where there is none.
    pub code: String,
    /// EC2's NotBefore; `None` where it cannot be parsed.
    pub at: Option<SystemTime>,
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

    /// The current notices and scheduled events. An error further down does not hide what was found before it.
    pub async fn outlook(&mut self) -> Result<Outlook, ImdsError> {
        let mut found = Outlook::default();
        for (path, parse) in NOTICES {
            match self.get(path).await {
                Ok(None) => {}
                Ok(Some(text)) => match parse(&text) {
                    Some(notice) => found.notices.push(notice),
                    None => found.unreadable.push(ImdsError::Unreadable(path).to_string()),
                },
                Err(error) if found.notices.is_empty() => return Err(error),
                Err(_) => return Ok(found),
            }
        }
        match self.get(SCHEDULE).await {
            Ok(None) => found.schedule = Some(Vec::new()),
            Ok(Some(text)) => {
                let (events, unreadable) = schedule(&text);
                found.unreadable.extend(unreadable);
                let notice = |event: &ScheduledEvent| {
                    Some(Notice::Maintenance { code: event.code.clone(), at: event.at? })
                        .filter(|_| !event.code.is_empty())
                };
                found.notices.extend(events.iter().flatten().filter_map(notice));
                found.schedule = events;
            }
            Err(error) if found.notices.is_empty() => return Err(error),
            Err(_) => {}
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

/// The events that are not over, the first one first; None where the answer is no list. With what could not be parsed:
/// such an event hides no other, and stays in the list with what is known of it, since a list without it says that it
/// was cancelled.
fn schedule(text: &str) -> (Option<Vec<ScheduledEvent>>, Vec<String>) {
    let Ok(entries) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return (None, vec![ImdsError::Unreadable(SCHEDULE).to_string()]);
    };
    let (mut events, mut unreadable) = (Vec::new(), Vec::new());
    for entry in entries {
        let word = |key: &str| entry.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().trim();
        if is_over(word("State"), word("Description")) {
            continue;
        }
        let (code, not_before) = (word("Code"), word("NotBefore"));
        let at = spelled_out(not_before).or_else(|| rfc3339(not_before));
        if at.is_none() || code.is_empty() {
            unreadable.push(format!("cannot parse a scheduled event of the instance metadata service: {entry}"));
        }
        events.push(ScheduledEvent { code: code.to_owned(), at });
    }
    events.sort_by_key(|event| (event.at.is_none(), event.at));
    (Some(events), unreadable)
}

/// EC2 leaves what is over in the list for a while, with a word in front of its description.
fn is_over(state: &str, description: &str) -> bool {
    let description = description.to_ascii_lowercase();
    let says = |word: &str| state.eq_ignore_ascii_case(word) || description.starts_with(&format!("[{word}]"));
    ["completed", "canceled", "cancelled"].into_iter().any(says)
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
        let event = |code: &str, seconds| ScheduledEvent { code: code.into(), at: Some(at(seconds)) };
        assert_eq!(schedule(events), (Some(vec![event("system-reboot", 1_548_061_243)]), vec![]));
        assert_eq!(schedule("[]"), (Some(vec![]), vec![]));
        assert_eq!(interruption("<html>"), None);
    }

    #[test]
    fn an_event_that_is_over_is_left_out_and_one_that_cannot_be_read_is_told_without_its_time() {
        let events = r#"[{"NotBefore":"soon","Code":"instance-stop"}, 7, {"Code":"instance-stop"},
            {"NotBefore":"21 Jan 2019 09:00:43 GMT"},
            {"NotBefore":"20 Jan 2019 09:00:43 GMT","Code":"instance-stop","Description":"[Completed] The instance is on degraded hardware"},
            {"NotBefore":"19 Jan 2019 09:00:43 GMT","Code":"system-reboot","Description":"[Canceled] scheduled reboot","State":"active"},
            {"NotBefore":"2 Jan 9999 00:00:00 GMT","Code":"system-maintenance","State":"active"},
            {"NotBefore":"21 Jan 2019 09:00:43 GMT","Code":"instance-retirement","State":"active"}]"#;
        let (found, unreadable) = schedule(events);
        let found = found.expect("a list");
        let said: Vec<(&str, bool)> = found.iter().map(|event| (event.code.as_str(), event.at.is_some())).collect();
        let with_time = [("", true), ("instance-retirement", true), ("system-maintenance", true)];
        assert_eq!(said, [&with_time[..], &[("instance-stop", false), ("", false), ("instance-stop", false)]].concat());
        // Nor is the coordinator told that nothing is scheduled.
        let told = crate::session::messages::schedule(&found[3..4]).events;
        let told: Vec<_> =
            told.iter().map(|it| (it.code.as_str(), it.not_before.is_some(), it.left.is_some())).collect();
        assert_eq!(told, [("instance-stop", false, false)]);
        assert_eq!(unreadable.len(), 4, "{unreadable:?}");
        let (found, unreadable) = schedule("<html>");
        assert_eq!((found, unreadable.len()), (None, 1));
    }

    proptest::proptest! {
        #[test]
        fn any_answer_is_a_notice_or_nothing(
            text in "[\\[\\]{}\":,a-zA-Z0-9 -]{0,120}",
            time in "([0-9]{1,9}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}))|\\PC{0,30}",
        ) {
            for text in [&text, &serde_json::json!({ "action": text, "time": time, "noticeTime": time }).to_string()] {
                let _ = (interruption(text), rebalance(text), schedule(text));
            }
            let events = serde_json::json!([{ "NotBefore": time, "Code": text, "State": text, "Description": text }]);
            let _ = schedule(&events.to_string());
            let document = Document { pending_time: time, ..Document::default() };
            let _ = document.age();
            let _ = serde_json::from_str::<Document>(&text);
        }
    }
}
