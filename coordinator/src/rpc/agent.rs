//! AgentService: who an agent is, its reports in, commands out.

use std::pin::Pin;
use std::time::Duration;

use spillway_brain::{AgentPhase, InstanceId, Report};
use spillway_pool::FromAgent;
use spillway_proto::v1::agent_service_server::AgentService;
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::session_request::Message as Said;
use spillway_proto::v1::session_response::Command;
use spillway_proto::{ToldBy, times, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::Context;
use crate::agents::{AgentRecord, equal_in_constant_time};
use crate::reconcile::{Message, PoolHandle};
use crate::{clock, view};

/// Commands that may wait for an agent to read them.
const COMMANDS_WAITING: usize = 16;

/// Who is let in.
#[derive(Clone, Debug)]
pub struct AgentDoor {
    /// None: to be an instance that this coordinator launched and still expects is enough.
    pub join_token: Option<String>,
    pub heartbeat_interval: Duration,
}

#[derive(Debug)]
pub(super) struct Service {
    context: Context,
}

impl Service {
    pub(super) fn new(context: Context) -> Self {
        Service { context }
    }

    /// A standby knows the fleet only by EC2's list: what it is told would be lost on the leader. It says where that is, in
    /// words and in the metadata `spillway-leader: HOST:PORT`.
    fn only_of_the_leader(&self, pool: &PoolHandle) -> Result<(), Status> {
        if pool.status.borrow().leading {
            return Ok(());
        }
        let leader = self.context.leader_at.borrow().clone();
        let Some(leader) = leader else {
            return Err(Status::unavailable("this coordinator is not the leader (yet): ask again"));
        };
        let mut status = Status::unavailable(format!("this coordinator is not the leader: ask the one at {leader}"));
        if let Ok(value) = leader.parse() {
            status.metadata_mut().insert("spillway-leader", value);
        }
        Err(status)
    }

    /// Whether this proof lets in whoever gives it.
    fn check_proof(&self, proof: Option<&Proof>) -> Result<(), Status> {
        let given = match proof {
            Some(Proof::JoinToken(token)) => token.as_str(),
            Some(Proof::StsProof(_)) => {
                return Err(Status::unimplemented(
                    "this coordinator cannot verify an sts:GetCallerIdentity proof: use a join token \
                     (grpc.join_token of the coordinator, join_token or join_token_file of the agent)",
                ));
            }
            None => "",
        };
        match &self.context.door.join_token {
            Some(wanted) if !equal_in_constant_time(wanted, given) => Err(Status::unauthenticated(
                "wrong join token: compare grpc.join_token of the coordinator with join_token of the agent",
            )),
            _ => Ok(()),
        }
    }

    /// The pool whose ledger expects this instance.
    fn pool_of(&self, id: &InstanceId) -> Option<PoolHandle> {
        let expects = |pool: &&PoolHandle| pool.status.borrow().admission.check(id).is_ok();
        self.context.pools.iter().find(expects).cloned()
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let peer = request.remote_addr();
        let request = request.into_inner();
        let identity = request.identity.ok_or_else(|| Status::invalid_argument("identity is missing"))?;
        if let Err(status) = self.check_proof(request.proof.as_ref()) {
            tracing::warn!(instance = identity.instance_id, ?peer, why = status.message(), "registration refused");
            return Err(status);
        }
        let id = InstanceId(identity.instance_id.clone());
        let Some(pool) = self.pool_of(&id) else {
            if let Some(pool) = self.context.pools.first() {
                self.only_of_the_leader(pool)?;
            }
            return Err(Status::unavailable(format!("{id} is not in the ledger (yet): ask again")));
        };
        self.only_of_the_leader(&pool)?;
        let session_token = uuid::Uuid::new_v4().to_string();
        let room = room(&pool).await?;
        let registered = Message::Agent(id.clone(), FromAgent::Registered);
        self.context.agents.registered(&id, identity, session_token.clone(), || room.send(registered));
        tracing::info!(pool = pool.name, %id, version = request.agent_version, "agent registered");
        let registered = v1::Registered {
            session_token,
            pool: pool.name.clone(),
            heartbeat_interval: Some(times::duration(self.context.door.heartbeat_interval)),
        };
        Ok(Response::new(v1::RegisterResponse {
            outcome: Some(v1::register_response::Outcome::Registered(registered)),
        }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if let Some(pool) = self.context.pools.first() {
            self.only_of_the_leader(pool)?;
        }
        let no_session =
            || Status::unauthenticated("no such session: register again (the coordinator may have been restarted)");
        let id = self.context.agents.holder(token).ok_or_else(no_session)?;
        let pool =
            self.pool_of(&id).ok_or_else(|| Status::unauthenticated(format!("{id} is not expected any more")))?;
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING);
        let welcome = v1::Welcome { coordinator_version: env!("CARGO_PKG_VERSION").to_owned() };
        let epoch = pool.status.borrow().epoch;
        let first = v1::SessionResponse { epoch, command: Some(Command::Welcome(welcome)), ..Default::default() };
        // The channel is new: there is room.
        let _ = commands.try_send(first);
        let (number, replaced) = self.context.agents.opened(&id, token, commands).ok_or_else(no_session)?;
        tracing::info!(pool = pool.name, %id, "agent connected");
        let agents = self.context.agents.clone();
        let mut stream = request.into_inner();
        let mut status = pool.status.clone();
        tokio::spawn(async move {
            let mut ended = "stream closed".to_owned();
            loop {
                let said = tokio::select! {
                    said = stream.next() => said,
                    () = replaced.notified() => {
                        REPLACED.clone_into(&mut ended);
                        break;
                    }
                    // Whoever leads now must hear the agent, and be heard by it: it comes again, and finds the way there.
                    _ = status.wait_for(|status| !status.leading) => {
                        "no longer the leader".clone_into(&mut ended);
                        break;
                    }
                };
                match said {
                    Some(Ok(message)) => {
                        let Some(said) = message.message else { continue };
                        let Ok(room) = room(&pool).await else { break };
                        let hear = |record: &mut AgentRecord| {
                            if let Some(said) = heard(record, &pool, &id, said) {
                                room.send(Message::Agent(id.clone(), said));
                            }
                        };
                        if agents.from(&id, number, hear).is_none() {
                            REPLACED.clone_into(&mut ended);
                            break;
                        }
                    }
                    Some(Err(status)) => {
                        status.message().clone_into(&mut ended);
                        break;
                    }
                    None => break,
                }
            }
            agents.closed(&id, number);
            tracing::info!(pool = pool.name, %id, ended, "agent disconnected");
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(Ok))))
    }
}

/// Why a session ends whose instance has a newer one.
const REPLACED: &str = "the instance registered again, or opened another session: this one is not heard any more";

/// Room for one message to the pool. Waited for first, so that what an agent says is checked and passed on at once.
async fn room(pool: &PoolHandle) -> Result<mpsc::Permit<'_, Message>, Status> {
    pool.messages.reserve().await.map_err(|_| Status::unavailable("the coordinator is stopping: connect again"))
}

/// Takes in what an agent said: details for people; what is left is for the pool.
fn heard(record: &mut AgentRecord, pool: &PoolHandle, id: &InstanceId, said: Said) -> Option<FromAgent> {
    match said {
        Said::Heartbeat(heartbeat) => {
            let report = phase(heartbeat.phase()).map(|phase| Report {
                id: id.clone(),
                phase,
                proven: heartbeat.worker.as_ref().is_some_and(|worker| worker.proven),
                // The worker shim puts the name into the locks of its jobs.
                named: heartbeat.shims > 0 || heartbeat.worker.as_ref().is_some_and(told_by_name),
                active_jobs: heartbeat.active_jobs,
                problem: Some(heartbeat.problem.clone()).filter(|problem| !problem.is_empty()),
            });
            record.beat(clock::now(), heartbeat);
            report.map(FromAgent::Reported)
        }
        Said::BootStep(step) => {
            tracing::debug!(%id, step = step.name, state = step.state().as_str_name(), "boot step");
            record.step(step);
            None
        }
        Said::Notice(notice) => {
            let (kind, at) = (notice.kind(), notice.at);
            // A repeated one is passed on as well: another leader may have heard the first. The pool tells what is news.
            if record.notice(notice) {
                tracing::warn!(pool = pool.name, %id, kind = kind.as_str_name(), "notice");
            }
            let at = view::from_timestamp(&at?);
            match kind {
                v1::NoticeKind::Interruption => Some(FromAgent::Notice { at }),
                v1::NoticeKind::Rebalance => Some(FromAgent::RebalanceRecommended { at }),
                _ => None,
            }
        }
        Said::Drained(drained) => {
            tracing::info!(pool = pool.name, %id, clean = drained.clean, jobs_left = drained.jobs_left, handed_back = drained.jobs_handed_back, "drained");
            let v1::Drained { jobs_left, jobs_handed_back, .. } = drained;
            Some(FromAgent::Drained { jobs_left, jobs_handed_back })
        }
        Said::CommandResult(result) => {
            if !result.accepted {
                tracing::warn!(%id, problem = result.problem, "the agent refused a command");
            }
            None
        }
        Said::Farewell(farewell) => {
            tracing::info!(%id, reason = farewell.reason, "the agent leaves");
            None
        }
    }
}

fn told_by_name(worker: &v1::WorkerProof) -> bool {
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
    use tokio::sync::watch;
    use tonic::Code;

    use super::*;
    use crate::agents::Agents;

    async fn register(join_token: Option<&str>, proof: Option<Proof>) -> Status {
        let door = AgentDoor { join_token: join_token.map(str::to_owned), heartbeat_interval: Duration::from_secs(5) };
        let context = Context { pools: Vec::new(), agents: Agents::default(), door, leader_at: watch::channel(None).1 };
        let identity = Some(v1::Identity { instance_id: "i-1".to_owned(), ..Default::default() });
        let request = v1::RegisterRequest { identity, proof, ..Default::default() };
        Service::new(context).register(Request::new(request)).await.expect_err("no ledger knows it")
    }

    #[tokio::test]
    async fn a_proof_that_cannot_be_verified_is_refused_with_what_to_use_instead() {
        let proof = || {
            Some(Proof::StsProof(v1::StsProof {
                access_key_id: "ASIA0000000000000000".to_owned(),
                session_token: "c2VjcmV0".to_owned(),
                amz_date: "20261127T103000Z".to_owned(),
                signature: "0".repeat(64),
            }))
        };
        for join_token in [None, Some("wanted")] {
            let refused = register(join_token, proof()).await;
            assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
            assert!(refused.message().contains("use a join token"), "{refused}");
            assert!(!refused.message().contains("c2VjcmV0"), "{refused}");
        }
        let token = |token: &str| Some(Proof::JoinToken(token.to_owned()));
        assert_eq!(register(Some("wanted"), token("another")).await.code(), Code::Unauthenticated);
        assert_eq!(register(Some("wanted"), token("wanted")).await.code(), Code::Unavailable);
        assert_eq!(register(None, None).await.code(), Code::Unavailable);
    }
}
