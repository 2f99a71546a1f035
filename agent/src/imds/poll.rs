//! Polls the metadata service for notices and scheduled events. Owns the interval, the back-off, that each notice is
//! sent once and the schedule when it changes; never acts on one.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Imds, ImdsError, Notice, ScheduledEvent, back_off};
use crate::clock;

/// Notices that are remembered, so that each is sent once.
const SENT_KEPT: usize = 64;

/// A notice, and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadNotice {
    pub notice: Notice,
    pub at: SystemTime,
}

/// What the metadata service has that is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Notice(ReadNotice),
    /// All that EC2 has scheduled and is not over.
    Schedule(Vec<ScheduledEvent>),
}

/// Polls each `interval`, and sends at once what is new. Ends when the receiver is dropped.
pub async fn poll(mut imds: Imds, interval: Duration, to: mpsc::Sender<Seen>) {
    let mut sent: Vec<Notice> = Vec::new();
    let (mut schedule, mut unreadable) = (None, Vec::new());
    let mut failures = 0_u32;
    while !to.is_closed() {
        match imds.outlook().await {
            Ok(outlook) => {
                if failures > 0 {
                    tracing::info!(failures, "the instance metadata service answers again");
                }
                failures = 0;
                if outlook.unreadable != unreadable {
                    unreadable = outlook.unreadable;
                    unreadable.iter().for_each(|problem| tracing::warn!(problem, "ignored"));
                }
                for notice in outlook.notices {
                    if sent.contains(&notice) {
                        continue;
                    }
                    sent.push(notice.clone());
                    if to.send(Seen::Notice(ReadNotice { notice, at: clock::wall_now() })).await.is_err() {
                        return;
                    }
                }
                if let Some(events) = outlook.schedule.filter(|events| schedule.as_ref() != Some(events)) {
                    schedule = Some(events.clone());
                    if to.send(Seen::Schedule(events)).await.is_err() {
                        return;
                    }
                }
                let excess = sent.len().saturating_sub(SENT_KEPT);
                sent.drain(..excess);
            }
            Err(error) => {
                log_failure(&error, failures);
                failures = failures.saturating_add(1);
            }
        }
        sleep(back_off(interval, failures)).await;
    }
}

fn log_failure(error: &ImdsError, failures: u32) {
    match failures {
        0 | 1 => tracing::debug!(problem = %error, "no answer from the instance metadata service"),
        2 => {
            tracing::warn!(problem = %error, "no answer from the instance metadata service: interruption notices are not seen; \
                will retry")
        }
        _ => tracing::debug!(problem = %error, failures, "no answer from the instance metadata service"),
    }
}
