//! Watches the metadata service for notices. Owns the rhythm, the back-off and that each notice is told once; never
//! acts on one.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Imds, ImdsError, Notice, back_off};
use crate::clock;

/// Notices that are remembered, so that each is told once.
const TOLD_KEPT: usize = 64;

/// A notice, and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub notice: Notice,
    pub at: SystemTime,
}

/// Asks each `interval`, and sends each new notice at once. Ends when nobody listens any more.
pub async fn watch(mut imds: Imds, interval: Duration, to: mpsc::Sender<Seen>) {
    let mut told: Vec<Notice> = Vec::new();
    let mut failures = 0_u32;
    while !to.is_closed() {
        match imds.notices().await {
            Ok(notices) => {
                if failures > 0 {
                    tracing::info!(failures, "the metadata service answers again");
                }
                failures = 0;
                for notice in notices {
                    if told.contains(&notice) {
                        continue;
                    }
                    told.push(notice.clone());
                    if to.send(Seen { notice, at: clock::wall_now() }).await.is_err() {
                        return;
                    }
                }
                let excess = told.len().saturating_sub(TOLD_KEPT);
                told.drain(..excess);
            }
            Err(error) => {
                complain(&error, failures);
                failures = failures.saturating_add(1);
            }
        }
        sleep(back_off(interval, failures)).await;
    }
}

fn complain(error: &ImdsError, failures: u32) {
    match failures {
        0 | 1 => tracing::debug!(%error, "the metadata service gave no answer"),
        2 => tracing::warn!(%error, "the metadata service gives no answer: notices would not be seen; will retry"),
        _ => tracing::debug!(%error, failures, "the metadata service gives no answer"),
    }
}
