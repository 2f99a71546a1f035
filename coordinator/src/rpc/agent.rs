//! AgentService: registers agents, receives their reports, sends them commands.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use spillway_brain::{AgentPhase, InstanceId, Report};
use spillway_pool::FromAgent;
use spillway_proto::sts::BOOT_KEY;
use spillway_proto::v1::agent_service_server::AgentService;
use spillway_proto::v1::session_request::Message as AgentMessage;
use spillway_proto::v1::session_response::Command;
use spillway_proto::{ToldBy, times, v1};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::refusals::Refusals;
use super::{Context, bounds, log_tail, schedule};
use crate::agents::{AgentRecord, Agents};
use crate::doors::{self, Peer};
use crate::reconcile::{Message, PoolHandle};
use crate::{clock, wire_time};

/// Commands that may be queued for an agent.
const COMMANDS_WAITING: usize = 16;

/// The action of a notice that an operator has rehearsed.
const REHEARSAL: &str = "rehearsal";

#[derive(Debug)]
pub(super) struct Service {
    pub(super) context: Context,
    pub(super) refusals: Refusals,
}

impl Service {
    pub(super) fn new(context: Context) -> Self {
        Service { context, refusals: Refusals::default() }
    }

    /// Fails on a standby, because the leader would not learn what an agent reports there. The error names the leader's
    /// address in its message and in the metadata `spillway-leader: HOST:PORT`.
    pub(super) fn require_leader(&self, pool: &PoolHandle) -> Result<(), Status> {
        if pool.status.borrow().leading {
            return Ok(());
        }
        let leader = pool.leader.borrow().clone();
        let Some(leader) = leader else {
            return Err(Status::unavailable(
                "this coordinator is not the leader, and the leader's address is unknown: retry",
            ));
        };
        let mut status =
            Status::unavailable(format!("this coordinator is not the leader: connect to the leader at {leader}"));
        if let Ok(value) = leader.parse() {
            status.metadata_mut().insert("spillway-leader", value);
        }
        Err(status)
    }

    /// The pool that admits this instance's agent.
    pub(super) fn pool_of(&self, id: &InstanceId) -> Option<PoolHandle> {
        self.context.pools.all().into_iter().find(|pool| pool.status.borrow().admission.check(id).is_ok())
    }

    /// Of an instance that no pool led here admits: the pool that another coordinator leads, if there is one. By EC2's
    /// list a standby knows the instance too.
    pub(super) fn pool_led_elsewhere(&self, id: &InstanceId) -> Option<PoolHandle> {
        let standby: Vec<&PoolHandle> =
            self.context.pools.configured().iter().filter(|pool| !pool.status.borrow().leading).collect();
        let knows = |pool: &&&PoolHandle| pool.status.borrow().view.instances.iter().any(|it| it.id == id.0);
        standby.iter().find(knows).or(standby.first()).map(|pool| PoolHandle::clone(pool))
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let peer = request.remote_addr();
        let outcome = Some(self.registers(peer, request.into_inner()).await?);
        Ok(Response::new(v1::RegisterResponse { outcome }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = request.remote_addr().map(|peer| peer.ip());
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let pools = self.context.pools.configured();
        if let Some(pool) = pools.first().filter(|_| pools.iter().all(|pool| !pool.status.borrow().leading)) {
            self.require_leader(pool)?;
        }
        let boot = request.metadata().get(BOOT_KEY).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (id, pool, grant) = self.holder(token, peer, boot).await?;
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING);
        let welcome = v1::Welcome { coordinator_version: crate::VERSION.to_owned() };
        let epoch = pool.status.borrow().epoch;
        let first = v1::SessionResponse { epoch, command: Some(Command::Welcome(welcome)), ..Default::default() };
        // The channel is new, so it is not full.
        let _ = commands.try_send(Box::new(first));
        let (number, replaced) = self.context.agents.opened(&id, &grant, commands).ok_or_else(|| {
            Status::unauthenticated("the instance registered again since: this session token is no longer good")
        })?;
        tracing::info!(pool = pool.name, instance = %id, "agent connected");
        let agents = self.context.agents.clone();
        // The connection is the agent's from now on: no other takes its place.
        let _connection = request.extensions().get::<Peer>().map(Peer::holds_session);
        let session = Session { agents, pool, id, number, _connection };
        tokio::spawn(session.run(request.into_inner(), replaced));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(|message| Ok(*message)))))
    }
}

/// An agent's open session: receives its messages until it ends.
struct Session {
    agents: Agents,
    pool: PoolHandle,
    id: InstanceId,
    number: u64,
    _connection: Option<doors::Session>,
}

impl Session {
    async fn run(self, stream: Streaming<v1::SessionRequest>, replaced: Arc<Notify>) {
        let ended = self.receive_all(stream, replaced).await;
        self.agents.closed(&self.id, self.number);
        tracing::info!(pool = self.pool.name, instance = %self.id, ended, "agent disconnected");
    }

    /// Returns why the session ended.
    async fn receive_all(&self, mut stream: Streaming<v1::SessionRequest>, replaced: Arc<Notify>) -> String {
        let (mut status, mut given_up) = (self.pool.status.clone(), self.pool.status.clone());
        loop {
            let message = tokio::select! {
                message = stream.next() => message,
                () = replaced.notified() => return REPLACED.to_owned(),
                // The agent reconnects, and is redirected to the new leader.
                _ = status.wait_for(|status| !status.leading) => return "no longer the leader".to_owned(),
                // Whoever is given up must know that nobody looks after it: its dead-man's switch ends it.
                _ = given_up.wait_for(|status| status.leading && status.admission.check(&self.id).is_err()) => {
                    return GIVEN_UP.to_owned();
                }
            };
            match message {
                Some(Ok(request)) => {
                    let Some(message) = request.message else { continue };
                    let Ok(permits) = self.pool.messages.reserve_many(2).await else { return CLOSED.to_owned() };
                    let on_message = |record: &mut AgentRecord| {
                        let said = receive(record, &self.pool, &self.id, bounds::message(message));
                        let two = record.shows_two_agents().then_some(FromAgent::RegisteredTwice);
                        for (permit, input) in permits.zip(said.into_iter().chain(two)) {
                            permit.send(Message::Agent(self.id.clone(), input));
                        }
                    };
                    if self.agents.receive(&self.id, self.number, on_message).is_none() {
                        return REPLACED.to_owned();
                    }
                }
                Some(Err(status)) => return status.message().to_owned(),
                None => return CLOSED.to_owned(),
            }
        }
    }
}

/// Why a session ends that the agent closed, or whose pool stops.
const CLOSED: &str = "stream closed";
/// Why the session of an instance ends that is not expected any more.
const GIVEN_UP: &str = "the instance is gone for the coordinator: its agent has no coordinator any more";
/// Why an older session of an instance ends.
const REPLACED: &str = "replaced: the instance registered again, or opened a newer session";

/// Reserves room for one message to the pool. Done first, so that an agent's message is checked and passed on in one
/// step.
pub(super) async fn reserve(pool: &PoolHandle) -> Result<mpsc::Permit<'_, Message>, Status> {
    pool.messages.reserve().await.map_err(|_| Status::unavailable("the coordinator is stopping: reconnect"))
}

/// Records the details of an agent's message for operators, and returns what the pool must know.
pub(super) fn receive(
    record: &mut AgentRecord,
    pool: &PoolHandle,
    id: &InstanceId,
    message: AgentMessage,
) -> Option<FromAgent> {
    match message {
        AgentMessage::Heartbeat(mut heartbeat) => {
            let log = heartbeat.worker.as_mut().map(|worker| &mut worker.log_tail).filter(|log| !log.is_empty());
            let worker_log = log.map(|log| {
                *log = log_tail::harmless(log);
                log.clone()
            });
            works_for_this_pool(&mut heartbeat, &pool.prefix, &pool.queues);
            let now = clock::now();
            if let Some(schedule) = &heartbeat.schedule
                && record.scheduled(&schedule.events, now)
            {
                tracing::warn!(pool = pool.name, instance = %id, events = ?codes(schedule), "EC2 has scheduled events");
            }
            let schedule = schedule::read(heartbeat.schedule.as_ref(), &record.notices);
            let report = phase(heartbeat.phase()).map(|phase| Report {
                id: id.clone(),
                phase,
                proven: heartbeat.worker.as_ref().is_some_and(|worker| worker.proven),
                // The shim puts the instance's id into the locks of its jobs.
                named: heartbeat.shims > 0 || heartbeat.worker.as_ref().is_some_and(is_told_by_name),
                active_jobs: heartbeat.active_jobs,
                is_rate_limited: heartbeat.worker.as_ref().is_some_and(|it| it.waits_for.starts_with("rate limited")),
                limiter_max: limiter_max(&heartbeat.queues),
                slots: slots(&heartbeat.queues, &pool.prefix, &pool.queues),
                problem: Some(heartbeat.problem.clone()).filter(|problem| !problem.is_empty()),
                worker_log,
                schedule,
            });
            record.beat(now, heartbeat);
            report.map(FromAgent::Reported)
        }
        AgentMessage::BootStep(step) => {
            tracing::debug!(instance = %id, step = step.name, state = step.state().as_str_name(), "boot step");
            record.step(step);
            None
        }
        AgentMessage::Notice(notice) => {
            let (kind, at) = (notice.kind(), notice.at);
            let left = notice.left.as_ref().and_then(times::from_duration);
            let is_rehearsal = notice.action == REHEARSAL;
            // A repeated notice is passed on as well, because another leader may have received the first: the pool
            // ignores the ones that it knows.
            if record.notice(notice) {
                tracing::warn!(pool = pool.name, instance = %id, kind = kind.as_str_name(), "notice received");
            }
            let at = wire_time::from_timestamp(&at?);
            match kind {
                v1::NoticeKind::Interruption => Some(FromAgent::Notice { at, left, is_rehearsal }),
                v1::NoticeKind::Rebalance => Some(FromAgent::RebalanceRecommended { at }),
                _ => None,
            }
        }
        AgentMessage::Drained(drained) => {
            tracing::info!(pool = pool.name, instance = %id, clean = drained.clean, jobs_left = drained.jobs_left, handed_back = drained.jobs_handed_back, "the agent reports the instance drained");
            let v1::Drained { jobs_left, jobs_handed_back, .. } = drained;
            Some(FromAgent::Drained { jobs_left, jobs_handed_back })
        }
        AgentMessage::CommandResult(result) => {
            if !result.accepted {
                tracing::warn!(instance = %id, problem = result.problem, "the agent rejected a command");
            }
            None
        }
        AgentMessage::Farewell(farewell) => {
            tracing::info!(instance = %id, reason = farewell.reason, "the agent is stopping");
            None
        }
    }
}

fn codes(schedule: &v1::Schedule) -> Vec<&str> {
    schedule.events.iter().map(|event| event.code.as_str()).collect()
}

/// A worker that is ready for other queues' jobs is not ready here: it is not proven, and says why.
fn works_for_this_pool(heartbeat: &mut v1::Heartbeat, prefix: &str, queues: &[String]) {
    if !matches!(heartbeat.phase(), v1::AgentPhase::Proving | v1::AgentPhase::Ready) {
        return;
    }
    let Some(problem) = other_queues(&heartbeat.queues, prefix, queues) else { return };
    heartbeat.set_phase(v1::AgentPhase::Proving);
    if let Some(worker) = &mut heartbeat.worker {
        (worker.proven, worker.missing) = (false, problem.clone());
    }
    heartbeat.problem = problem;
}

/// How many of the pool's jobs run there at a time; None where that is not told of each of its queues.
fn slots(theirs: &[v1::WorkerQueue], prefix: &str, ours: &[String]) -> Option<u32> {
    let is_ours = |it: &&v1::WorkerQueue| it.prefix == prefix && ours.contains(&it.queue);
    let told: Option<u64> = theirs.iter().filter(is_ours).map(|it| it.concurrency).sum();
    told.and_then(|jobs| u32::try_from(jobs).ok()).filter(|jobs| *jobs > 0)
}

/// By queue.
fn limiter_max(queues: &[v1::WorkerQueue]) -> BTreeMap<String, u64> {
    queues.iter().filter_map(|it| Some((it.queue.clone(), it.limiter_max?))).collect()
}

/// Why its worker does none of the pool's jobs: it works other queues, or under another prefix. Agents that do not tell
/// what their workers work are believed. Whose queues are another pool's was looked at before.
fn other_queues(theirs: &[v1::WorkerQueue], prefix: &str, ours: &[String]) -> Option<String> {
    const SHOWN: usize = 8;
    let is_ours = |it: &v1::WorkerQueue| it.prefix == prefix && ours.contains(&it.queue);
    if theirs.is_empty() || ours.is_empty() || theirs.iter().any(is_ours) {
        return None;
    }
    let name = |queue: &str, prefix: &str| format!("\"{queue}\" (prefix {prefix})");
    let theirs: Vec<String> = theirs.iter().take(SHOWN).map(|it| name(&it.queue, &it.prefix)).collect();
    let ours: Vec<String> = ours.iter().take(SHOWN).map(|queue| name(queue, prefix)).collect();
    Some(format!(
        "its worker works queue {}, but this pool's is {}: use the same names in the worker, the agent's worker.queues and \
         worker.prefix, and the pool's queues and prefix",
        theirs.join(", "),
        ours.join(", ")
    ))
}

fn is_told_by_name(worker: &v1::WorkerProof) -> bool {
    ToldBy::from_wire(&worker.by) == Some(ToldBy::Name)
}

fn phase(phase: v1::AgentPhase) -> Option<AgentPhase> {
    Some(match phase {
        v1::AgentPhase::Unspecified => return None,
        v1::AgentPhase::Booting => AgentPhase::Booting,
        v1::AgentPhase::Proving => AgentPhase::Proving,
        v1::AgentPhase::Ready => AgentPhase::Ready,
        v1::AgentPhase::Draining => AgentPhase::Draining,
        v1::AgentPhase::Drained => AgentPhase::Drained,
        v1::AgentPhase::Failed => AgentPhase::Failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_of_other_queues_is_named_with_the_pools() {
        let works = |queue: &str, prefix: &str| v1::WorkerQueue {
            queue: queue.to_owned(),
            prefix: prefix.to_owned(),
            ..v1::WorkerQueue::default()
        };
        let ours = ["video".to_owned(), "audio".to_owned()];
        let check = |theirs: &[v1::WorkerQueue]| other_queues(theirs, "bull", &ours);
        assert_eq!(check(&[]), None, "an agent that does not tell");
        assert_eq!(check(&[works("mail", "bull"), works("audio", "bull")]), None);
        let typo = check(&[works("vidoe", "bull")]).expect("it works none of ours");
        assert!(
            typo.starts_with(
                "its worker works queue \"vidoe\" (prefix bull), but this pool's is \"video\" (prefix bull), "
            ),
            "{typo}"
        );
        assert!(check(&[works("video", "{bull}")]).expect("another prefix").contains("\"video\" (prefix {bull})"));
    }
}
