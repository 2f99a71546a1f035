//! Registration, and the session that it is good for: which proof is asked for, what a proven agent is granted, and
//! whose a session token is. Whether a proof proves anything is `registration`'s.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::counter;
use spillway_brain::InstanceId;
use spillway_pool::FromAgent;
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::register_response::Outcome;
use spillway_proto::{times, v1};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::agent::{Service, reserve};
use super::bounds;
use crate::agents::{Place, equal_in_constant_time};
use crate::clock;
use crate::ledger::{Claim, Grant, Leadership, Sessions, digest};
use crate::reconcile::{Message, PoolHandle};
use crate::redis_client::RedisProblem;
use crate::registration::{Budget, Proofs, Unproven, random_token};

/// What registration requires and returns.
#[derive(Clone, Debug)]
pub struct Registration {
    pub trust: Trust,
    pub heartbeat_interval: Duration,
    pub sessions: Sessions,
    /// Open sessions at the most, of all pools together: more are none of ours, whatever the ledger holds.
    pub max_sessions: usize,
}

/// By what an agent is known.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever shows this, and is in the ledger. None: being in the ledger is enough. Only so often: nothing else holds
    /// up who registers again and again.
    Token(Option<String>, Arc<Mutex<Budget>>),
    /// A proof by the instance profile.
    Aws(Arc<Proofs>),
}

/// What a registration was found to be worth.
struct Admitted {
    id: InstanceId,
    pool: PoolHandle,
    epoch: u64,
    /// The session's record as it was before the proof was judged.
    before: String,
    /// Where its connections must come from, and in which boot: where that is known for certain.
    peer: Option<IpAddr>,
    boot: String,
    /// When the challenge was made that it answered.
    challenged_at: Option<Instant>,
}

impl Service {
    pub(super) async fn registers(
        &self,
        peer: Option<SocketAddr>,
        request: v1::RegisterRequest,
    ) -> Result<Outcome, Status> {
        let identity = request.identity.unwrap_or_default();
        let version = bounds::name(&request.agent_version);
        if let Err(status) = bounds::identity(&identity) {
            self.refused(peer, &identity.instance_id, &status).await;
            return Err(status);
        }
        let id = InstanceId(identity.instance_id.clone());
        let admitted = match (&self.context.registration.trust, request.proof) {
            (Trust::Token(expected, budget), proof) => {
                if let Err(status) = check_token(expected.as_deref(), proof.as_ref()) {
                    self.refused(peer, &id.0, &status).await;
                    return Err(status);
                }
                let pool = self.expecting(peer, &id).await?;
                if !budget.lock().unwrap_or_else(PoisonError::into_inner).take(&id, Instant::now()) {
                    let status =
                        Status::unavailable(format!("too many registrations of {id}, or of all instances: retry"));
                    return Err(self.unproven(peer, &id, status).await);
                }
                self.admitted(&id, pool, None, String::new()).await?
            }
            (Trust::Aws(proofs), Some(Proof::StsProof(proof))) => {
                let proven = self.proven(proofs, peer, &identity, &proof).await;
                match proven {
                    Ok(admitted) => admitted,
                    Err(status) => return Err(self.unproven(peer, &id, status).await),
                }
            }
            (Trust::Aws(proofs), _) if request.can_prove => {
                self.expecting(peer, &id).await?;
                let peer = peer.ok_or_else(no_peer)?;
                let challenge = proofs.challenge(peer, &id).map_err(|why| status(&why))?;
                return Ok(Outcome::Challenge(challenge));
            }
            (Trust::Aws(_), _) => {
                let status = Status::unauthenticated(
                    "this coordinator asks for a proof by the instance profile (grpc.trust = \"aws\"), which this agent does not \
                     give: update the agent, or set grpc.trust = \"token\"",
                );
                self.refused(peer, &id.0, &status).await;
                return Err(status);
            }
        };
        self.grants(admitted, identity, version).await
    }

    /// The pool that expects this instance's agent, led here.
    async fn expecting(&self, peer: Option<SocketAddr>, id: &InstanceId) -> Result<PoolHandle, Status> {
        match self.pool_that_expects(id) {
            Ok(pool) => Ok(pool),
            Err(status) => {
                if status.metadata().is_empty() {
                    self.refusals.asked_in_vain(peer.map(|peer| peer.ip())).await;
                }
                Err(status)
            }
        }
    }

    fn pool_that_expects(&self, id: &InstanceId) -> Result<PoolHandle, Status> {
        let Some(pool) = self.pool_of(id) else {
            if let Some(pool) = self.pool_led_elsewhere(id) {
                self.require_leader(&pool)?;
            }
            return Err(Status::unavailable(format!(
                "{id} is not in the ledger: retry, its launch may not be saved yet"
            )));
        };
        self.require_leader(&pool)?;
        Ok(pool)
    }

    /// Has the proof judged.
    async fn proven(
        &self,
        proofs: &Proofs,
        peer: Option<SocketAddr>,
        identity: &v1::Identity,
        proof: &v1::StsProof,
    ) -> Result<Admitted, Status> {
        let id = InstanceId(identity.instance_id.clone());
        let peer = peer.ok_or_else(no_peer)?;
        if identity.boot_id.is_empty() {
            return Err(Status::invalid_argument("identity.boot_id is empty: a session is good for one boot"));
        }
        let mut before = String::new();
        let noted = &mut before;
        let expected = async {
            let pool =
                self.pool_that_expects(&id).map_err(|status| Unproven::NotExpected(status.message().to_owned()))?;
            let placed = pool.status.borrow().placed.get(&id).cloned();
            let placed = placed.ok_or_else(|| Unproven::NoAddressYet(id.clone()))?;
            // Read before the proof is judged: of several that are judged at once one alone finds it unchanged.
            let read = self.context.registration.sessions.read(&pool.name, &id).await;
            *noted = read.map_err(|problem| Unproven::Unavailable(no_ledger(&problem).message().to_owned()))?;
            Ok(placed)
        };
        let challenged_at = proofs.prove(peer, &id, proof, expected).await.map_err(|why| status(&why))?;
        // It took a moment: the instance may be gone by now, or another may lead.
        let pool = self.pool_that_expects(&id)?;
        let epoch = pool.status.borrow().epoch;
        self.only_one(&pool, &id)?;
        let (peer, boot) = (Some(peer.ip().to_canonical()), identity.boot_id.clone());
        Ok(Admitted { id, pool, epoch, before, peer, boot, challenged_at: Some(challenged_at) })
    }

    /// Fails while an agent of this instance holds a session: one of the two is not what it says. The one that is there
    /// says by its next heartbeat that it lives.
    fn only_one(&self, pool: &PoolHandle, id: &InstanceId) -> Result<(), Status> {
        let silent_after = self.context.registration.heartbeat_interval * 2;
        match self.context.agents.place(id, Instant::now(), silent_after) {
            Place::Free => Ok(()),
            Place::BeingTried => {
                tracing::warn!(pool = pool.name, instance = %id, "a second agent proves to be an instance whose session is open");
                Err(Status::unavailable(format!(
                    "an agent of {id} has a session: retry, it is replaced if it does not beat any more"
                )))
            }
            Place::Taken => Err(Status::permission_denied(format!(
                "an agent of {id} has a session and lives: the instance is replaced, since one of the two is not its agent"
            ))),
        }
    }

    /// By a join token, or by the ledger alone.
    async fn admitted(
        &self,
        id: &InstanceId,
        pool: PoolHandle,
        peer: Option<IpAddr>,
        boot: String,
    ) -> Result<Admitted, Status> {
        let before = self.context.registration.sessions.read(&pool.name, id).await.map_err(|it| no_ledger(&it))?;
        let epoch = pool.status.borrow().epoch;
        Ok(Admitted { id: id.clone(), pool, epoch, before, peer, boot, challenged_at: None })
    }

    /// Writes the grant to the ledger, and answers with its token.
    async fn grants(&self, of: Admitted, identity: v1::Identity, version: String) -> Result<Outcome, Status> {
        let Admitted { id, pool, epoch, before, peer, boot, challenged_at } = of;
        let came_first = || Status::aborted(format!("another registration of {id} came first: retry"));
        // Of those that were challenged at once one alone is registered, however late the others are judged.
        if challenged_at.is_some_and(|at| self.context.agents.is_granted_since(&id, at)) {
            return Err(came_first());
        }
        let max_sessions = self.context.registration.max_sessions;
        if self.context.agents.open_sessions_beside(&id) >= max_sessions {
            let status = Status::unavailable(format!(
                "{max_sessions} agents have sessions already, the max_instances of all pools and a margin: retry when some have ended"
            ));
            counted("unavailable");
            self.refusals.refused(peer, &id.0, status.message()).await;
            return Err(status);
        }
        let session_token = format!("{id}.{}", random_token());
        let token_sha256 = digest(&session_token);
        let grant = Grant { token_sha256, boot, peer, agent_version: version.clone(), at_ms: clock::now().0 };
        let leadership = Leadership { pool: &pool.name, holder: &pool.holder, epoch };
        let claim = self.context.registration.sessions.claim(leadership, &id, &before, &grant).await;
        match claim.map_err(|problem| no_ledger(&problem))? {
            Claim::Won => self.context.agents.granted(&id),
            Claim::Lost => return Err(came_first()),
            Claim::NotLeader => {
                return Err(Status::unavailable("this coordinator is not the leader any more: retry"));
            }
        }
        let permit = reserve(&pool).await?;
        let registered = Message::Agent(id.clone(), FromAgent::Registered);
        tracing::info!(pool = pool.name, instance = %id, version, "agent registered");
        counted("accepted");
        self.context.agents.registered(&id, identity, (grant, epoch), || permit.send(registered));
        Ok(Outcome::Registered(v1::Registered {
            session_token,
            pool: pool.name.clone(),
            heartbeat_interval: Some(times::duration(self.context.registration.heartbeat_interval)),
        }))
    }

    /// The instance that a session token was given to, with the pool that it is in and what it was granted.
    pub(super) async fn holder(
        &self,
        token: &str,
        peer: Option<IpAddr>,
        boot: &str,
    ) -> Result<(InstanceId, PoolHandle, Grant), Status> {
        let no_session =
            || Status::unauthenticated("unknown session token: register again (it may be of another boot or address)");
        let Some((id, _)) = token.split_once('.') else {
            self.refusals.asked_in_vain(peer).await;
            return Err(no_session());
        };
        let id = InstanceId(id.to_owned());
        let Some(pool) = self.pool_of(&id) else {
            self.refusals.asked_in_vain(peer).await;
            let id = bounds::name(&id.0);
            return Err(Status::unauthenticated(format!("{id} is gone, or no longer in the ledger")));
        };
        let epoch = pool.status.borrow().epoch;
        if let Some(grant) = self.context.agents.grant(&id, epoch).filter(|grant| grant.is_for(token, peer, boot)) {
            return Ok((id, pool, grant));
        }
        // Of before a restart of this process, or of another leader.
        let sessions = &self.context.registration.sessions;
        let grant = sessions.grant(&pool.name, &id).await.map_err(|problem| no_ledger(&problem))?;
        let Some(grant) = grant.filter(|grant| grant.is_for(token, peer, boot)) else {
            self.refusals.asked_in_vain(peer).await;
            return Err(no_session());
        };
        sessions.keep(&pool.name, &id).await;
        self.context.agents.restored(&id, (grant.clone(), epoch));
        Ok((id, pool, grant))
    }

    async fn unproven(&self, peer: Option<SocketAddr>, id: &InstanceId, status: Status) -> Status {
        counted(if status.code() == Code::Unavailable { "unavailable" } else { "refused" });
        self.refused(peer, &id.0, &status).await;
        status
    }

    async fn refused(&self, peer: Option<SocketAddr>, instance: &str, status: &Status) {
        self.refusals.refused(peer.map(|peer| peer.ip()), &bounds::name(instance), status.message()).await;
    }
}

/// Fails if the proof does not match the join token, or is of another kind.
fn check_token(expected: Option<&str>, proof: Option<&Proof>) -> Result<(), Status> {
    let given = match proof {
        Some(Proof::JoinToken(token)) => token.as_str(),
        Some(Proof::StsProof(_)) => {
            return Err(Status::unimplemented(
                "this coordinator does not judge proofs (grpc.trust = \"token\"): use a join token \
                 (grpc.join_token of the coordinator, join_token or join_token_file of the agent)",
            ));
        }
        None => "",
    };
    match expected {
        Some(expected) if !equal_in_constant_time(expected, given) => Err(Status::unauthenticated(
            "wrong join token: compare grpc.join_token of the coordinator with join_token of the agent",
        )),
        _ => Ok(()),
    }
}

fn status(why: &Unproven) -> Status {
    Status::new(why.code(), why.to_string())
}

fn no_peer() -> Status {
    Status::unavailable("it is not known where this connection comes from")
}

/// Without the ledger nobody can tell whether another registration came first.
fn no_ledger(problem: &RedisProblem) -> Status {
    tracing::warn!(%problem, "cannot read or write the ledger: no agent can register");
    Status::unavailable("the ledger does not answer: retry")
}

fn counted(outcome: &'static str) {
    counter!("spillway_registrations_total", "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::Agents;
    use crate::pools::PoolList;
    use crate::redis_client::Redis;
    use crate::rpc::{Context, Operators};

    /// No ledger knows an instance, so none is asked.
    fn service(join_token: Option<&str>, max_sessions: usize) -> Service {
        let redis = Redis::new("ledger.url", "redis://127.0.0.1:1").expect("a URL");
        let registration = Registration {
            trust: Trust::Token(join_token.map(str::to_owned), Arc::default()),
            heartbeat_interval: Duration::from_secs(5),
            sessions: Sessions::new(redis, "spillway:"),
            max_sessions,
        };
        let (pools, agents, operators) = (PoolList::default(), Agents::default(), Operators::Loopback);
        Service::new(Context { pools, agents, registration, operators, operator_accounts: [].into() })
    }

    async fn register(join_token: Option<&str>, proof: Option<Proof>) -> Status {
        let identity = Some(v1::Identity { instance_id: "i-1".to_owned(), ..Default::default() });
        let request = v1::RegisterRequest { identity, proof, ..Default::default() };
        service(join_token, 1).registers(None, request).await.expect_err("no ledger knows it")
    }

    /// Has an open session here.
    fn opened(service: &Service, id: &str) {
        let (id, grant) = (InstanceId(id.to_owned()), Grant::default());
        service.context.agents.registered(&id, v1::Identity::default(), (grant.clone(), 1), || ());
        service.context.agents.opened(&id, &grant, tokio::sync::mpsc::channel(1).0).expect("opened");
    }

    #[tokio::test]
    async fn sessions_are_so_many_and_an_instance_that_has_one_registers_all_the_same() {
        let service = service(None, 2);
        let (pool, _messages) = PoolHandle::without_loop("p");
        let grants = async |id: &str| {
            let admitted = Admitted {
                id: InstanceId(id.to_owned()),
                pool: pool.clone(),
                epoch: 1,
                before: String::new(),
                peer: None,
                boot: String::new(),
                challenged_at: None,
            };
            service.grants(admitted, v1::Identity::default(), String::new()).await.expect_err("there is no ledger")
        };
        let is_one_too_many = |refused: Status| refused.message().starts_with("2 agents have sessions already");
        opened(&service, "i-1");
        assert!(!is_one_too_many(grants("i-2").await));
        opened(&service, "i-2");
        assert!(is_one_too_many(grants("i-3").await));
        assert!(!is_one_too_many(grants("i-2").await), "its agent was restarted");
        service.context.agents.closed(&InstanceId("i-1".to_owned()), 1);
        assert!(!is_one_too_many(grants("i-3").await));
    }

    #[tokio::test]
    async fn where_the_token_is_trusted_a_proof_is_refused_with_what_to_use_instead() {
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
