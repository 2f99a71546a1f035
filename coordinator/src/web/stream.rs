//! The status as it changes, by Server-Sent Events: made once for all who listen, and not at all while nobody does.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde_json::Value;
use spillway_proto::v1;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use super::Context;
use super::guard::refused;
use crate::fleet;
use crate::pools::PoolList;

/// Changes are gathered for so long: agents of a fleet report one after another.
const GATHERED: Duration = Duration::from_millis(500);
/// A comment is sent this often while nothing changes.
const ALIVE: Duration = Duration::from_secs(5);
/// Pages that listen at once.
const MOST: usize = 32;

/// The newest status as JSON, for all who listen.
#[derive(Clone, Debug)]
pub(super) struct Statuses {
    newest: watch::Sender<Arc<str>>,
    listeners: Arc<AtomicUsize>,
}

impl Statuses {
    /// Begins to watch the pools.
    pub(super) fn begin(pools: PoolList, write: fn(&v1::GetFleetResponse) -> Value) -> Self {
        let statuses = Statuses { newest: watch::channel(Arc::from("")).0, listeners: Arc::default() };
        let newest = statuses.newest.clone();
        tokio::spawn(async move {
            let mut before = Value::Null;
            loop {
                tokio::time::sleep(GATHERED).await;
                if newest.receiver_count() == 0 {
                    before = Value::Null;
                    continue;
                }
                let mut status = write(&fleet::shown(&pools));
                // When it was made is no change.
                let at = status["at"].take();
                if status == before {
                    continue;
                }
                before = status.clone();
                status["at"] = at;
                newest.send_replace(Arc::from(status.to_string()));
            }
        });
        statuses
    }
}

/// One page less.
struct Listening(Arc<AtomicUsize>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn stream(State(context): State<Context>) -> Response {
    let Statuses { newest, listeners } = context.statuses.clone();
    let listening = Listening(Arc::clone(&listeners));
    if listeners.fetch_add(1, Ordering::Relaxed) >= MOST {
        let error = "too many pages are open";
        return refused(StatusCode::SERVICE_UNAVAILABLE, error, "close some: each of them follows this coordinator");
    }
    // The first at once, whoever listens already.
    let first = (context.served.pages.status)(&fleet::shown(&context.served.pools)).to_string();
    let later = WatchStream::from_changes(newest.subscribe()).map(|text| text.to_string());
    let events = futures_util::stream::once(async { first }).chain(later).map(move |text| {
        let _ = &listening;
        Ok::<_, Infallible>(Event::default().event("status").data(text))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE).text("nothing new")).into_response()
}
