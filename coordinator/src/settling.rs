//! Settles which installation this is before anything is led: at the start where the ledger answers, or else as soon as
//! it does. What a person must decide ends the process with both values and the remedy.

use std::time::Duration;

use spillway_pool::lease::LEASE;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::acl::writes_ledger;
use crate::beside::Beside;
use crate::cloud::Cloud;
use crate::config::Settings;
use crate::installation::{Identity, IdentityProblem, StateDirectory, account_seen, home, settle};
use crate::redis_client::Redis;

/// Between two attempts while the ledger does not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

fn is_in_use(problem: &anyhow::Error) -> bool {
    matches!(problem.downcast_ref(), Some(IdentityProblem::InUse(_)))
}

/// What it takes to settle it.
#[derive(Debug)]
pub(crate) struct Settling {
    settings: Settings,
    directory: Option<StateDirectory>,
    ledger: Redis,
    cloud: Cloud,
    /// What kept the last attempt from an answer.
    problem: Option<String>,
}

impl Settling {
    /// # Errors
    /// The ledger's URL is invalid, or the state directory is another installation's.
    pub fn begin(settings: &Settings, cloud: Cloud) -> anyhow::Result<Self> {
        let ledger = Redis::new("ledger.url", &settings.ledger_url)?;
        let name = format!("{} {}", ledger.address(), settings.ledger_prefix);
        let open = |path: &std::path::PathBuf| StateDirectory::open(path, &name);
        // With the setting nothing needs to be kept: it is written in the configuration.
        let is_kept = settings.installation.is_none();
        let directory = settings.state_directory.as_ref().filter(|_| is_kept).map(open).transpose()?;
        if is_kept && settings.state_directory.is_none() {
            tracing::warn!(
                "no state_directory (HOME, XDG_STATE_HOME and STATE_DIRECTORY are unset): the installation is kept in the ledger \
                 alone, and is lost with it. Set SPILLWAY_STATE_DIRECTORY, or `installation`"
            );
        }
        Ok(Settling { settings: settings.clone(), directory, ledger, cloud, problem: None })
    }

    /// Which coordinator this is among those of the installation.
    pub fn home(&self) -> String {
        home(self.directory.as_ref())
    }

    /// Tries once; what goes on is for the rest of the process' life.
    ///
    /// # Errors
    /// It is clear already that a person must decide.
    pub async fn settle_first(
        mut self,
        known: watch::Sender<Option<String>>,
        beside: watch::Receiver<Beside>,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + 'static> {
        let began = Instant::now();
        let first = loop {
            match self.attempt().await {
                // The lease of a process that has just ended runs out by itself.
                Err(problem) if is_in_use(&problem) && began.elapsed() < LEASE + AGAIN_AFTER * 3 => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                answer => break answer?,
            }
        };
        Ok(self.go_on(first, known, beside))
    }

    /// None: the ledger does not answer.
    async fn attempt(&mut self) -> anyhow::Result<Option<Identity>> {
        let settled = settle(&self.settings, self.directory.as_ref(), &mut self.ledger, &self.cloud).await;
        match settled {
            Ok(identity) => Ok(Some(identity)),
            Err(IdentityProblem::Ledger(problem)) => {
                let problem = problem.to_string();
                // Once, until it is another.
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(
                        problem,
                        "the ledger does not tell which installation this is: nothing is led until it does"
                    );
                    self.problem = Some(problem);
                }
                Ok(None)
            }
            Err(refused) => Err(refused.into()),
        }
    }

    async fn go_on(
        mut self,
        first: Option<Identity>,
        known: watch::Sender<Option<String>>,
        mut beside: watch::Receiver<Beside>,
    ) -> anyhow::Result<()> {
        let mut settled = first;
        let identity = loop {
            match settled {
                Some(identity) => break identity,
                None => tokio::time::sleep(AGAIN_AFTER).await,
            }
            settled = self.attempt().await?;
        };
        tracing::info!(
            installation = identity.installation,
            by = identity.source,
            "this installation's instances carry its tag spillway:installation"
        );
        known.send_replace(Some(identity.installation));
        if let Some(user) = writes_ledger(&self.settings).await {
            tracing::warn!(
                user,
                "the Redis user of redis.url may write the ledger: whoever has the application's Redis password can have instances \
                 launched and terminated. `spillway acl` prints a user for BullMQ that cannot, and one for ledger.url"
            );
        }
        // EC2's answers tell the account, which never changes while credentials stay; the ledger keeps it.
        let account = beside.wait_for(|beside| beside.account.is_some()).await?.account.clone();
        while let Err(problem) = account_seen(&self.settings, &mut self.ledger, account.as_deref()).await {
            if let IdentityProblem::Refused(_) = problem {
                return Err(problem.into());
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        std::future::pending().await
    }
}
