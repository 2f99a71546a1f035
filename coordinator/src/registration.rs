//! Whether an agent is the instance that it says it is. With `grpc.trust = "aws"` by challenge and proof: the agent
//! signs the one request that there is (`spillway_proto::sts`), STS says whose signature it is, and only that counts.
//!
//! ```text
//!   size of each field ─► nonce ─► date ─► ledger, address ─► budget ─► STS ─► whose signature it is
//! ```
//!
//! Owns the order of the checks, and what the proof must show. Which instances are expected is told by the ledger, and
//! what becomes of a proven one is `rpc`'s.

mod answer;
mod budget;
mod nonces;
mod sts;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spillway_brain::InstanceId;
use spillway_proto::sts::{Endpoint, Malformed, Question, check};
use spillway_proto::v1::{Challenge, StsProof};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;

use crate::clock;
use crate::config::Proxies;
use answer::Caller;
pub use budget::Budget;
use nonces::Nonces;
use sts::{Sts, StsError};

/// How far an agent's clock may be off: as far as STS allows.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// What EC2 says of an instance that is expected: its proof must show the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub account: String,
    /// The name of its instance profile.
    pub profile: String,
    /// Its private address.
    pub address: IpAddr,
}

/// Why a proof proves nothing.
#[derive(Debug, Error)]
pub enum Unproven {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(
        "no challenge waits for this proof: it was used, is older than a minute, or was another connection's. Ask for one"
    )]
    NoChallenge,
    #[error(
        "the proof was signed at a time {0} from this coordinator's: set the instance's clock (chrony, 169.254.169.123)"
    )]
    Skewed(String),
    #[error("{0}")]
    NotExpected(String),
    #[error("EC2 has not told the address of {0} yet: retry")]
    NoAddressYet(InstanceId),
    #[error(
        "the connection comes from {peer}, and {id} has the address {expected}: its agent must connect from that, with no proxy \
         or address translation in between"
    )]
    Elsewhere { id: InstanceId, peer: IpAddr, expected: IpAddr },
    #[error("too many proofs at once: retry")]
    Busy,
    #[error("{0}: retry")]
    Unavailable(String),
    #[error("{0}")]
    Refused(String),
    #[error("the proof is of {shown}, and {id} is expected to be {expected}{remedy}")]
    AnotherIdentity { id: InstanceId, shown: String, expected: String, remedy: &'static str },
}

impl Unproven {
    /// What the agent is answered.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::InvalidArgument,
            Self::NoChallenge => Code::FailedPrecondition,
            Self::NotExpected(_) | Self::NoAddressYet(_) | Self::Busy | Self::Unavailable(_) => Code::Unavailable,
            Self::Skewed(_) | Self::Refused(_) => Code::Unauthenticated,
            Self::Elsewhere { .. } | Self::AnotherIdentity { .. } => Code::PermissionDenied,
        }
    }
}

/// Challenges, and the judgement of what answers them.
#[derive(Debug)]
pub struct Proofs {
    sts: Sts,
    /// The worker's role where it is not named as its profile.
    role: Option<String>,
    /// This installation, once it is known.
    audience: watch::Receiver<Option<String>>,
    nonces: Mutex<Nonces>,
    budget: Mutex<Budget>,
}

impl Proofs {
    /// `connects_to`: where connections to STS go, instead of its own address.
    ///
    /// # Errors
    /// A proxy's URL cannot be used.
    pub fn new(
        endpoint: Endpoint,
        connects_to: Option<String>,
        proxies: &Proxies,
        role: Option<String>,
        audience: watch::Receiver<Option<String>>,
    ) -> anyhow::Result<Self> {
        let sts = Sts::new(endpoint, connects_to, proxies)?;
        let budget = Mutex::new(Budget::new(Instant::now()));
        Ok(Proofs { sts, role, audience, nonces: Mutex::default(), budget })
    }

    /// A challenge for the agent of this instance, over this connection.
    ///
    /// # Errors
    /// It is not known yet which installation this is.
    pub fn challenge(&self, peer: SocketAddr, id: &InstanceId) -> Result<Challenge, Unproven> {
        let audience = self.audience()?;
        let nonce = lock(&self.nonces).make(peer, id, Instant::now()).to_vec();
        Ok(Challenge { nonce, audience })
    }

    /// Whether the proof shows that the connection is this instance's; when its challenge was made. `expected` is
    /// awaited once the proof is worth it.
    ///
    /// # Errors
    /// It does not, or nobody can tell.
    pub async fn prove(
        &self,
        peer: SocketAddr,
        id: &InstanceId,
        proof: &StsProof,
        expected: impl Future<Output = Result<Expected, Unproven>>,
    ) -> Result<Instant, Unproven> {
        let signed_at = check(proof)?;
        let (nonce, challenged_at) = lock(&self.nonces).take(peer, id, Instant::now()).ok_or(Unproven::NoChallenge)?;
        let skew = Duration::from_millis(clock::now().0.abs_diff(signed_at.saturating_mul(1000)));
        if skew > MAX_SKEW {
            return Err(Unproven::Skewed(spillway_words::in_words(Duration::from_secs(skew.as_secs()))));
        }
        let expected = expected.await?;
        let from = peer.ip().to_canonical();
        if from != expected.address {
            return Err(Unproven::Elsewhere { id: id.clone(), peer: from, expected: expected.address });
        }
        let audience = self.audience()?;
        let question = Question::new(&self.sts.endpoint, &audience, &nonce);
        let question = question.map_err(|error| Unproven::Unavailable(error.to_string()))?;
        if !lock(&self.budget).take(id, Instant::now()) {
            return Err(Unproven::Busy);
        }
        match self.sts.ask(&question, proof).await {
            Ok(caller) => self.is_expected(id, &caller, &expected).map(|()| challenged_at),
            Err(error @ (StsError::Unavailable(_) | StsError::NotUnderstood(_))) => {
                Err(Unproven::Unavailable(error.to_string()))
            }
            Err(error @ StsError::Refused(_)) => Err(Unproven::Refused(error.to_string())),
        }
    }

    /// Whether STS has named this instance, in the account and with the role that EC2 says it has.
    fn is_expected(&self, id: &InstanceId, caller: &Caller, expected: &Expected) -> Result<(), Unproven> {
        let Caller { account, partition, role, session } = caller;
        let wanted_role = self.role.as_ref().unwrap_or(&expected.profile);
        let other = |shown: String, wanted: String, remedy| {
            Err(Unproven::AnotherIdentity { id: id.clone(), shown, expected: wanted, remedy })
        };
        let shown = |text: &str| -> String { text.chars().filter(|it| !it.is_control()).take(64).collect() };
        if *session != id.0 {
            return other(shown(session), "itself".to_owned(), "");
        }
        if partition != self.sts.endpoint.partition() || *account != expected.account {
            return other(format!("account {}", shown(account)), format!("in account {}", expected.account), "");
        }
        if role != wanted_role {
            let remedy = ": where the role of its instance profile has another name, set grpc.role to it";
            let role = format!("role \"{}\"", shown(role));
            return other(role, format!("of role \"{wanted_role}\""), remedy);
        }
        Ok(())
    }

    fn audience(&self) -> Result<String, Unproven> {
        let unknown = || Unproven::Unavailable("it is not known yet which installation this is".to_owned());
        self.audience.borrow().clone().ok_or_else(unknown)
    }
}

/// Whether STS can be asked, by a proof that is nobody's: that it is refused is an answer.
///
/// # Errors
/// It does not answer; says why.
pub async fn reaches_sts(endpoint: Endpoint, connects_to: Option<String>, proxies: &Proxies) -> Result<(), String> {
    let sts = Sts::new(endpoint, connects_to, proxies).map_err(|error| error.to_string())?;
    let question = Question::new(&sts.endpoint, "doctor", &nonces::random()).map_err(|error| error.to_string())?;
    let nobody = StsProof {
        access_key_id: "ASIA0000000000000000".to_owned(),
        session_token: "bm9ib2R5".to_owned(),
        amz_date: "20260101T000000Z".to_owned(),
        signature: "0".repeat(64),
    };
    match sts.ask(&question, &nobody).await {
        Ok(_) | Err(StsError::Refused(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// 32 random bytes, in hex.
pub fn random_token() -> String {
    nonces::random().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
