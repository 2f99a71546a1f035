//! `spillway-agent check`: whether a boot can succeed here, found out without one. Owns the checks and their
//! order; changes nothing. With `--boot` it is found out with one: [`boot`].

pub mod boot;

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use tonic::Code;

use crate::boot::account::Account;
use crate::boot::launcher::Launcher;
use crate::config::Config;
use crate::identity::Origin;
use crate::identity::proof::ProofError;
use crate::report;
use crate::secret::Secret;
use crate::session::{self, SessionError, messages};
use crate::worker::clients::WorkerIdentity;
use crate::worker::evidence::Redis;
use crate::worker::pm2::Pm2;
use crate::worker::{Baseline, Observer, Pace};
use crate::{clock::Clock, imds::Document};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub what: String,
    /// How it is.
    pub state: State,
    /// In the reader's words.
    pub detail: String,
    /// How long it took, where that is of interest: of a boot step, and of the proof of the worker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Finding {
    fn new(what: impl Into<String>, state: State, detail: impl Into<String>) -> Self {
        Self { what: what.into(), state, detail: detail.into(), seconds: None }
    }

    fn took(self, took: Duration) -> Self {
        Self { seconds: Some((took.as_secs_f64() * 10.0).round() / 10.0), ..self }
    }
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but has a limit that the operator should know.
    Warning,
    /// An agent would not get ready.
    Failed,
}

/// Checks everything that a configuration names.
pub async fn check(config: &Config, origin: &Origin) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.add("configuration", Ok("valid".to_owned()));
    findings.add("directory", directory(config));
    findings.add("user", user(config));
    let document = identity(&mut findings, origin).await;
    match Launcher::new(&config.boot, &document.instance_id, std::env::vars_os()) {
        Ok(launcher) => {
            commands(&mut findings, config, &launcher);
            worker(&mut findings, config, &document, launcher).await;
        }
        Err(error) => findings.add("commands", Err(error.to_string())),
    }
    coordinator(&mut findings, config, origin).await;
    match nix::unistd::Uid::effective().is_root() {
        true => findings.add(
            "power-off",
            Ok("runs as root: it can power off an instance that has lost its \
            coordinator"
                .to_owned()),
        ),
        false => findings.warn(
            "power-off",
            "not root, so it cannot power off: an instance that loses its coordinator keeps billing; run the agent \
             as root"
                .to_owned(),
        ),
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &str, found: Result<String, String>) {
        let (state, detail) = match found {
            Ok(detail) => (State::Ok, detail),
            Err(detail) => (State::Failed, detail),
        };
        self.0.push(Finding::new(what, state, detail));
    }

    fn warn(&mut self, what: &str, detail: String) {
        self.0.push(Finding::new(what, State::Warning, detail));
    }
}

fn directory(config: &Config) -> Result<String, String> {
    let directory = &config.boot.directory;
    match directory.metadata() {
        Ok(data) if data.is_dir() => Ok(directory.display().to_string()),
        Ok(_) => Err(format!(
            "{} is not a directory: set boot.directory to the application's directory",
            directory.display()
        )),
        Err(error) => {
            Err(format!("cannot use {}: {error}: clone the application there in the image", directory.display()))
        }
    }
}

fn user(config: &Config) -> Result<String, String> {
    match &config.boot.user {
        None => Ok("boot steps run as this user".to_owned()),
        Some(name) => Account::find(name)
            .map(|account| format!("{name}, uid {}, home {}", account.uid, account.home.display()))
            .map_err(|error| error.to_string()),
    }
}

async fn identity(findings: &mut Findings, origin: &Origin) -> Document {
    let found = match (origin.imds(), origin) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(Some(mut imds)), _) => imds.document().await.map_err(|error| error.to_string()),
        (Ok(None), Origin::Given(name)) => {
            findings.warn("metadata", "SPILLWAY_INSTANCE_ID is set: interruption notices are not polled".to_owned());
            Ok(Document { instance_id: name.clone(), ..Document::default() })
        }
        (Ok(None), _) => {
            Err("AWS_EC2_METADATA_DISABLED is set and SPILLWAY_INSTANCE_ID is not: the instance id is unknown"
                .to_owned())
        }
    };
    match found {
        Ok(document) => {
            findings
                .add("identity", Ok(format!("{} {}", document.instance_id, document.instance_type).trim().to_owned()));
            document
        }
        Err(error) => {
            findings.add("identity", Err(format!("{error}: off EC2, set SPILLWAY_INSTANCE_ID")));
            Document { instance_id: "unknown".to_owned(), ..Document::default() }
        }
    }
}

fn commands(findings: &mut Findings, config: &Config, launcher: &Launcher) {
    for step in &config.boot.steps {
        let what = format!("step {}", step.name);
        // A line that begins with more than a plain word is the shell's business.
        let word = step.run.split_whitespace().next().unwrap_or_default();
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        match (plain, launcher.find(word)) {
            (false, _) => findings.add(&what, Ok("a shell expression: not checked".to_owned())),
            (true, Some(path)) => findings.add(&what, Ok(path.display().to_string())),
            (true, None) if ["cd", "exec", "test", "export", ".", "set"].contains(&word) => {
                findings.add(&what, Ok("a shell expression: not checked".to_owned()));
            }
            (true, None) => {
                findings
                    .add(&what, Err(format!("{word}: command not found: install it, or set PATH in boot.environment")));
            }
        }
    }
}

async fn worker(findings: &mut Findings, config: &Config, document: &Document, launcher: Launcher) {
    let pm2 = Pm2::new(launcher, config.worker.processes.clone());
    let mut redis = Redis::new(config, WorkerIdentity::new(&document.instance_id, &document.private_ip));
    let queues = redis.missing_queues().await;
    findings.add("redis", queues.as_ref().map(|_| config.redis.to_string()).map_err(Clone::clone));
    if queues.is_ok() {
        match redis.may_hand_back().await {
            Ok(()) => findings.add("hand-back", Ok("the jobs of a dead worker can be handed back".to_owned())),
            Err(problem) => findings.warn("hand-back", problem),
        }
    }
    match (config.worker.shim, shim_problem(config)) {
        (true, None) => findings.add("shim", Ok("loaded into the worker's bun and node processes".to_owned())),
        (true, Some(problem)) => findings.warn("shim", problem),
        (false, _) => findings.warn(
            "shim",
            "worker.shim is false: a drain only signals the worker, and a job that cannot finish in time is killed \
             and then handed back by the agent, which needs each Worker named process.env.SPILLWAY_INSTANCE_ID \
             (BullMQ 5.3)"
                .to_owned(),
        ),
    }
    for queue in queues.iter().flatten() {
        findings.warn("queue", format!("{queue} does not exist in Redis yet: check its spelling and worker.prefix"));
    }
    let is_up = pm2.daemon().is_some();
    let check =
        Observer::new(pm2, redis, Clock::start(), config.mask.clone(), Baseline::Now).check(Pace::Proving).await;
    match check.observation.worker.as_ref().filter(|worker| worker.processes > 0) {
        Some(worker) => {
            findings.add("worker", Ok(format!("pm2 shows {} processes online", worker.processes)));
            for words in report::unprotected(worker, config.drain.signal, &check.not_graceful) {
                findings.warn("drain", words);
            }
        }
        None if check.pm2_problem.is_some() => findings.add("worker", check.pm2_problem.map_or(Ok(String::new()), Err)),
        None if is_up => findings.warn("worker", "pm2's daemon is running, without a worker".to_owned()),
        None => {
            findings.add("worker", Ok("not running yet: what a drain protects can be checked once it is".to_owned()))
        }
    }
}

/// Why the application's bun or node would not load the shim.
fn shim_problem(config: &Config) -> Option<String> {
    let own = ["BUN_OPTIONS", "NODE_OPTIONS"].into_iter().find(|name| config.boot.environment.contains_key(*name))?;
    Some(format!("boot.environment sets {own}: the shim is added to it; check that each boot step passes it on"))
}

/// By what this instance can prove itself: its profile, or the image's join token.
async fn proof(findings: &mut Findings, config: &Config, origin: &Origin) {
    let profile = match origin.imds() {
        Ok(Some(mut imds)) => imds.credentials().await.ok().flatten(),
        Ok(None) | Err(_) => None,
    };
    match (profile, &config.join_token) {
        (Some(_), _) => findings.add("proof", Ok("the instance profile's credentials sign a challenge".to_owned())),
        (None, Some(_)) => findings.add("proof", Ok("a join token, where grpc.trust is \"token\"".to_owned())),
        (None, None) => findings.warn(
            "proof",
            "the instance has no instance profile, and no join token: give the launch template an IamInstanceProfile, or set \
             join_token_file to the coordinator's grpc.join_token"
                .to_owned(),
        ),
    }
}

async fn coordinator(findings: &mut Findings, config: &Config, origin: &Origin) {
    proof(findings, config, origin).await;
    // A registration without an instance id is answered without any effect: its argument is invalid.
    let join_token = config.join_token.as_ref().map(Secret::expose);
    let request = messages::register(&Document::default(), "", join_token, matches!(origin, Origin::Imds(_)));
    let (here, prove) = (session::Here::default(), async |_| Err(ProofError::NoMetadata));
    let asked = session::register(&config.coordinator, &here, request, prove);
    let found = match timeout(Duration::from_secs(15), asked).await {
        Err(_) => Err("no answer in time: check the coordinator, the port and the security group".to_owned()),
        Ok(Err(SessionError::Unreachable(_))) => {
            Err(format!("cannot reach {}: check the port and the security group", config.coordinator))
        }
        Ok(Err(SessionError::Refused(status))) if status.code() != Code::InvalidArgument => {
            Err(SessionError::Refused(status).to_string())
        }
        Ok(Err(error @ (SessionError::UnknownProof | SessionError::Untrusted(_)))) => Err(error.to_string()),
        Ok(_) => Ok(format!("{} answers", config.coordinator)),
    };
    findings.add("coordinator", found);
}
