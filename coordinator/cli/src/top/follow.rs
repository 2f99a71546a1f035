//! The fleet as the coordinator tells it, again and again: connects anew where it was away, and asks for what its
//! record has of the time before.

use std::time::{Duration, SystemTime};

use spillway_console::client::{Address, Coordinator, connect, refused};
use spillway_console::times::system_time;
use spillway_console::top::WINDOW;
use spillway_proto::{times, v1};
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tonic::Streaming;

/// Between two tries to connect.
const RETRY: Duration = Duration::from_secs(2);
/// A coordinator tells its fleet after each tick: one that is silent for longer may be cut off without anybody's word.
const SILENT: Duration = Duration::from_secs(60);
/// The past is no reason to wait for the present.
const PAST_WITHIN: Duration = Duration::from_secs(5);
/// Plans that are asked for.
const PLANS: u32 = 1000;

/// What is new.
#[derive(Debug)]
pub(super) enum News {
    Fleet(Box<v1::GetFleetResponse>),
    /// Plans of the record since then, newest first.
    Past(Vec<v1::PlanRecord>, SystemTime),
    /// Why there is no answer any more; it is tried again.
    CutOff(String),
}

/// One connection, over which the fleet comes.
#[derive(Debug)]
pub(super) struct Session {
    coordinator: Coordinator,
    fleets: Streaming<v1::WatchFleetResponse>,
}

impl Session {
    /// # Errors
    /// Nothing answers there, or the coordinator refuses: in its words.
    pub(super) async fn open(server: &Address, pool: &str) -> anyhow::Result<Self> {
        let mut coordinator = connect(server).await?;
        let request = v1::WatchFleetRequest { pool: pool.to_owned() };
        let fleets = coordinator.watch_fleet(request).await.map_err(refused)?.into_inner();
        Ok(Self { coordinator, fleets })
    }

    /// Sends what comes until the connection ends; says why it did, and None where nobody listens any more.
    async fn pass_on(mut self, pool: &str, news: &Sender<News>) -> Option<String> {
        let mut has_past = false;
        loop {
            let fleet = match timeout(SILENT, self.fleets.message()).await {
                Ok(Ok(Some(fleet))) => v1::GetFleetResponse::from(fleet),
                Ok(Ok(None)) => return Some("the coordinator ended the connection".to_owned()),
                Ok(Err(status)) => return Some(refused(status).to_string()),
                Err(_) => return Some(format!("it said nothing for {} s", SILENT.as_secs())),
            };
            let at = system_time(fleet.at.as_ref());
            news.send(News::Fleet(Box::new(fleet))).await.ok()?;
            if !std::mem::replace(&mut has_past, true)
                && let Some(past) = self.past(pool, at).await
            {
                news.send(past).await.ok()?;
            }
        }
    }

    /// By the coordinator's clock. Of one that keeps no record, None.
    async fn past(&mut self, pool: &str, at: SystemTime) -> Option<News> {
        let since = at.checked_sub(WINDOW)?;
        let request = v1::ExplainRequest {
            pool: pool.to_owned(),
            limit: PLANS,
            since: Some(times::timestamp(since)),
            ..v1::ExplainRequest::default()
        };
        let plans = timeout(PAST_WITHIN, self.coordinator.explain(request)).await.ok()?.ok()?.into_inner().plans;
        (!plans.is_empty()).then_some(News::Past(plans, since))
    }
}

/// Until nobody listens any more.
pub(super) async fn follow(first: Session, server: &Address, pool: &str, news: Sender<News>) {
    let mut session = Some(first);
    loop {
        let problem = match session.take() {
            Some(session) => match session.pass_on(pool, &news).await {
                Some(problem) => problem,
                None => return,
            },
            // Through a tunnel whose far end is gone a call connects, and is never answered.
            None => match timeout(SILENT, Session::open(server, pool)).await {
                Ok(Ok(opened)) => {
                    session = Some(opened);
                    continue;
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no answer for {} s", SILENT.as_secs()),
            },
        };
        if news.send(News::CutOff(problem)).await.is_err() {
            return;
        }
        sleep(RETRY).await;
    }
}
