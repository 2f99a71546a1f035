//! The stage of a test, around one queue: Redis, the emulator, the application, and the coordinator with the plan's
//! environment and shortened durations. Whatever was started is stopped with it, in order.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spillway_emulator::{Call, Emulator, InstanceRecord, InstanceState, LaunchTemplate, Refuse};
use spillway_proto::v1;
use spillway_stage::repository::{Instance, Repository};
use spillway_stage::{ec2, primary};
use spillway_words::excerpt;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::coordinator::{self, Coordinator, Environment};
use crate::process::Process;
use crate::redis_server::RedisServer;
use crate::{QUEUE, app, binaries, jobs, ports, wait};

/// Instances that have ended whose consoles a failure shows.
const ENDED_SHOWN: usize = 3;

/// How a stage differs from the usual one.
#[derive(Debug, Default)]
pub struct Setup {
    /// Files of the application instead of the demo's.
    pub files: Vec<(&'static str, String)>,
    /// More of the agent's configuration, from its table `boot` on; `$REDIS` is the stage's own.
    pub agent: String,
    /// Keys of the agent's configuration that stand before its first table.
    pub agent_keys: &'static str,
    /// User data instead of the one that starts the agent.
    pub user_data: Option<&'static str>,
    /// Instead of the one that was built.
    pub agent_program: Option<PathBuf>,
    /// The coordinator's port for agents, where they are to go through another.
    pub agent_port: Option<u16>,
    /// Agents and coordinator speak plaintext, as programs of earlier versions do.
    pub is_plaintext: bool,
    /// Instead of the one that was built.
    pub coordinator_program: Option<PathBuf>,
    /// More of the coordinator's environment.
    pub environment: Vec<(&'static str, String)>,
    /// Agents are known by the ledger alone: those of a test's own, and of programs of before.
    pub trusts: bool,
    /// Nothing runs in instances: for many of them, whose agents are the test's own.
    pub empty: bool,
    /// Further arguments of redis-server.
    pub redis: Vec<&'static str>,
}

#[derive(Debug)]
pub struct Stage {
    pub coordinator: Option<Coordinator>,
    primary: Option<Process>,
    /// Shared with a stage beside it.
    emulator: Option<Arc<Emulator>>,
    pub redis: RedisServer,
    pub environment: Environment,
    /// What is started as the coordinator.
    pub coordinator_program: PathBuf,
    grpc_port: u16,
    pub(crate) app: Repository,
    /// A failure has shown logs, plans and calls already.
    is_shown: AtomicBool,
    pub directory: TempDir,
}

/// A directory with a short path: programs put sockets there.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("sw").tempdir_in("/tmp").expect("a directory")
}

impl Stage {
    /// Starts everything, with the coordinator.
    pub async fn start(setup: Setup) -> Self {
        let mut stage = Stage::without_coordinator(setup).await;
        stage.start_coordinator().await;
        stage
    }

    /// Another coordinator on the same Redis, on ports of its own.
    pub async fn another_coordinator(&self) -> Coordinator {
        Coordinator::start(self.directory.path(), &self.environment, ports::free()).await
    }

    /// Starts everything but the coordinator.
    pub async fn without_coordinator(setup: Setup) -> Self {
        let directory = directory();
        let init = vec![binaries::spillway().into(), "instance-init".into()];
        let mut options = ec2::options(directory.path(), init).unwrap_or_else(|error| panic!("{error:#}"));
        (options.pending, options.shutting_down) = (Duration::from_millis(500), Duration::from_secs(1));
        options.empty = setup.empty;
        let emulator = spillway_emulator::start(options).await.expect("the emulator");
        Self::in_account(setup, directory, Arc::new(emulator)).await
    }

    /// The same in the account of this stage: whoever works there is another installation.
    pub async fn beside(&self, setup: Setup) -> Self {
        let emulator = self.emulator.clone().expect("the emulator runs until the stage is dropped");
        Self::in_account(setup, directory(), emulator).await
    }

    async fn in_account(setup: Setup, directory: TempDir, emulator: Arc<Emulator>) -> Self {
        let redis = RedisServer::with(directory.path(), &setup.redis);
        let app = app::commit(directory.path(), &setup.files).await;
        let grpc_port = ports::free();
        let has_tls = !(setup.is_plaintext || setup.agent_program.is_some() || setup.coordinator_program.is_some());
        let ca_file = has_tls.then(|| spillway_stage::coordinator::ca_file(directory.path()));
        let usual = || {
            let (redis_url, more) = (&redis.url(), &setup.agent.replace("$REDIS", &redis.url()));
            let (grpc_port, agent) = (setup.agent_port.unwrap_or(grpc_port), setup.agent_program.clone());
            let agent = &agent.unwrap_or_else(binaries::agent);
            let ca_file = ca_file.as_deref();
            let instance = Instance { redis_url, grpc_port, ca_file, agent, keys: setup.agent_keys, more };
            app.user_data(instance).unwrap_or_else(|error| panic!("{error:#}"))
        };
        let user_data = setup.user_data.map_or_else(usual, str::to_owned);
        let template = LaunchTemplate { user_data, instance_profile: profile(), ..LaunchTemplate::default() };
        let template =
            emulator.create_launch_template(&format!("worker-{grpc_port}"), template).expect("a launch template");
        let ec2 = (&*emulator.endpoint(), ec2::secret(&emulator));
        let mut more = setup.environment;
        more.extend(has_tls.then(|| ("SPILLWAY_GRPC_TLS_MODE", "on".to_owned())));
        let mut environment = environment(&redis.url(), ec2, &template, more);
        if setup.trusts {
            environment.remove("SPILLWAY_GRPC_TRUST");
        }
        Stage {
            coordinator: None,
            primary: None,
            emulator: Some(emulator),
            redis,
            environment,
            coordinator_program: setup.coordinator_program.unwrap_or_else(binaries::spillway),
            grpc_port,
            app,
            is_shown: AtomicBool::new(false),
            directory,
        }
    }

    /// EC2 does not tell which image launches take: instances are launched together, and none of them tries a new image
    /// for the others.
    pub fn hide_launch_image(&self) {
        let (action, code) = ("DescribeLaunchTemplateVersions".to_owned(), "UnauthorizedOperation".to_owned());
        let refusal = Refuse { action, code, calls: u32::MAX, message: None };
        self.emulator().refuse(refusal).expect("a fault");
    }

    /// A launch template whose workers and agents use Redis by this URL.
    pub fn template(&self, redis_url: &str) -> String {
        let (ca_file, agent) = (self.ca_file(), &binaries::agent());
        let ca_file = Some(&*ca_file);
        let instance = Instance { redis_url, grpc_port: self.grpc_port, ca_file, agent, keys: "", more: "" };
        let user_data = self.app.user_data(instance).unwrap_or_else(|error| panic!("{error:#}"));
        let template = LaunchTemplate { user_data, instance_profile: profile(), ..LaunchTemplate::default() };
        self.emulator().create_launch_template("another", template).expect("a launch template")
    }

    /// The CA of its coordinators, once one has started.
    pub fn ca_file(&self) -> PathBuf {
        spillway_stage::coordinator::ca_file(self.directory.path())
    }

    pub async fn start_coordinator(&mut self) {
        let command = coordinator::program(&self.coordinator_program, &self.environment);
        let started = Coordinator::launch(command, self.directory.path(), self.grpc_port).await;
        self.coordinator = Some(started);
    }

    /// Starts the primary, whose workers also run BullMQ's stall check.
    pub async fn start_primary(&mut self) {
        let directory = self.directory.path();
        let copy = self.copy_of_app("primary").await;
        let primary = primary::start(&copy, &self.redis.url(), &directory.join("primary.log"));
        self.primary = Some(primary.unwrap_or_else(|error| panic!("{error:#}")).into());
    }

    /// A clone of the application's repository in a directory of this name, with its packages.
    pub async fn copy_of_app(&self, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        let copied = self.app.copy_to(&copy, self.directory.path()).await;
        copied.unwrap_or_else(|error| panic!("{error:#}"));
        copy
    }

    pub fn emulator(&self) -> &Emulator {
        self.emulator.as_deref().expect("the emulator runs until the stage is dropped")
    }

    pub fn coordinator(&self) -> &Coordinator {
        self.coordinator.as_ref().expect("the coordinator was started")
    }

    /// All instances so far, in the order of their launch.
    pub fn instances(&self) -> Vec<InstanceRecord> {
        self.emulator().instances()
    }

    pub fn instance(&self, id: &str) -> InstanceRecord {
        self.instances().into_iter().find(|record| record.id == id).unwrap_or_else(|| panic!("no instance {id}"))
    }

    /// Number of billable instances.
    pub fn billing(&self) -> usize {
        let bills = |record: &&InstanceRecord| matches!(record.state, InstanceState::Pending | InstanceState::Running);
        self.instances().iter().filter(bills).count()
    }

    /// Calls of one action that the emulator still has in its record.
    pub fn calls(&self, action: &str) -> Vec<Call> {
        self.emulator().calls().calls.into_iter().filter(|call| call.action == action).collect()
    }

    /// Number of calls that launch or terminate.
    pub fn acts(&self) -> usize {
        ["RunInstances", "CreateFleet", "TerminateInstances"].iter().map(|action| self.calls(action).len()).sum()
    }

    /// Waits until `found` returns something of the pool, and returns that.
    pub async fn until_pool<T>(&self, what: &str, mut found: impl FnMut(&v1::Pool) -> Option<T>) -> T {
        let poll = async || self.coordinator().try_pool().await.and_then(|pool| found(&pool));
        wait::until(what, async || self.diagnosis().await, poll).await
    }

    /// Waits until a condition is true.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        wait::until(what, async || self.diagnosis().await, async || is_so().then_some(())).await;
    }

    /// Waits until an asynchronous condition is true.
    pub async fn until_async(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        wait::until(what, async || self.diagnosis().await, async || is_so().await.then_some(())).await;
    }

    /// Asserts that `holds` stays true for `duration`.
    pub async fn throughout(&self, duration: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        wait::throughout(duration, what, async || self.diagnosis().await, async || holds()).await;
    }

    /// Waits until an instance is booting; returns its id.
    pub async fn until_booting(&self) -> String {
        self.until_pool("an instance boots", |pool| in_phase(pool, "booting").next().map(|it| it.id.clone())).await
    }

    /// Waits until so many instances are ready at once; returns their ids.
    pub async fn until_ready(&self, count: usize) -> Vec<String> {
        self.until_pool(&format!("{count} ready"), |pool| {
            let ready: Vec<String> = in_phase(pool, "ready").map(|instance| instance.id.clone()).collect();
            (ready.len() == count).then_some(ready)
        })
        .await
    }

    /// Waits until this instance drains, which it must not before another is ready in its place, and is terminated; the
    /// other's id.
    pub async fn until_replaced(&self, first: &str) -> String {
        let second = self
            .until_pool("the first drains once the second is ready", |pool| {
                let second = in_phase(pool, "ready").find(|it| it.id != first).map(|it| it.id.clone());
                let works = in_phase(pool, "ready").any(|it| it.id == first);
                assert!(works || second.is_some(), "it drains before its replacement is ready: {pool:?}");
                second.filter(|_| in_phase(pool, "draining").any(|it| it.id == first))
            })
            .await;
        self.until("the instance is terminated", || self.instance(first).ending_ms.is_some()).await;
        second
    }

    /// Waits until every instance that was ever launched is terminated, and Gone at the coordinator.
    pub async fn until_zero(&self) {
        self.until_pool("the pool is at zero", |pool| {
            let gone = |record: &InstanceRecord| record.state == InstanceState::Terminated;
            let known = pool.instances.iter().all(|instance| instance.phase == "gone");
            (self.instances().iter().all(gone) && known && pool.desired == Some(0)).then_some(())
        })
        .await;
    }

    /// For a failure: the end of the coordinator's log, its last plans and status, the end of each instance's console
    /// (of those that ended, the last ones), launches and terminations; the rest is counted.
    pub async fn diagnosis(&self) -> String {
        self.diagnose()
    }

    fn diagnose(&self) -> String {
        self.is_shown.store(true, Ordering::Relaxed);
        let mut diagnosis = String::new();
        if let Some(coordinator) = &self.coordinator {
            diagnosis += &coordinator.diagnosis();
        }
        diagnosis += &self.primary.as_ref().map(Process::tail).unwrap_or_default();
        diagnosis += &consoles(&self.instances(), |id| self.emulator().console(id).unwrap_or_default());
        let calls = self.emulator().calls();
        let acts = calls.calls.iter().filter(|call| !call.action.starts_with("Describe"));
        let acts: Vec<String> = acts.map(|call| format!("{call:?}")).collect();
        let of_all: Vec<String> = calls.counts.iter().map(|(action, count)| format!("{count} {action}")).collect();
        diagnosis += &excerpt::end(&format!("calls (of {})", of_all.join(", ")), &acts.join("\n"));
        diagnosis
    }

    /// Asserts that all jobs completed and each was started once.
    pub fn assert_each_ran_once(&self, count: u64) {
        jobs::assert_each_ran_once(&self.redis, count);
    }
}

/// The pool's instances in one phase.
pub fn in_phase<'a>(pool: &'a v1::Pool, phase: &'a str) -> impl Iterator<Item = &'a v1::Instance> {
    pool.instances.iter().filter(move |instance| instance.phase == phase)
}

/// The consoles of the instances that run and of the last that ended, by `console`.
fn consoles(instances: &[InstanceRecord], console: impl Fn(&str) -> String) -> String {
    let (ended, mut shown): (Vec<_>, Vec<_>) =
        instances.iter().partition(|record| record.state == InstanceState::Terminated);
    let earlier = ended.len().saturating_sub(ENDED_SHOWN);
    shown.extend(&ended[earlier..]);
    let mut text = String::new();
    for record in shown {
        let InstanceRecord { id, state, state_reason, .. } = record;
        text += &excerpt::end(&format!("{id} {state:?} {state_reason:?}"), &console(id));
    }
    if earlier > 0 {
        let _ = writeln!(text, "… {earlier} instances that ended before");
    }
    text
}

/// What instances prove themselves by; its role has the same name.
pub fn profile() -> Option<String> {
    Some("spillway-worker".to_owned())
}

/// The plan's environment, EC2's endpoint with the secret access key for it, and shortened durations.
pub fn environment(
    redis: &str,
    (ec2, secret): (&str, &str),
    template: &str,
    more: Vec<(&'static str, String)>,
) -> Environment {
    let steps = "[{ jobs = 5, for = \"3s\", instances = 1 }, { jobs = 15, for = \"3s\", instances = 2 }]";
    let plan = [
        ("REDIS_URL", redis),
        ("AWS_REGION", "us-east-1"),
        ("EC2_LAUNCH_TEMPLATE_ID", template),
        ("EC2_SPOT_MAX_COUNT", "2"),
        ("QUEUE_NAMES", QUEUE),
        ("AWS_ENDPOINT_URL_EC2", ec2),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("SPILLWAY_POOL_INTERVAL", "1s"),
        ("SPILLWAY_POOL_LISTING_INTERVAL", "1s"),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "90s"),
        ("SPILLWAY_POOL_POLICY_STEPS", steps),
        ("SPILLWAY_POOL_POLICY_IDLE", "4s"),
        ("SPILLWAY_GRPC_HEARTBEAT_INTERVAL", "1s"),
        ("SPILLWAY_GRPC_TRUST", "aws"),
    ];
    // The emulator answers for others too; STS is asked over plain HTTP on loopback alone.
    let others = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_SERVICE_QUOTAS"];
    let others = others.into_iter().filter(|_| ec2.starts_with("http://127.")).map(|name| (name, ec2));
    let mut environment: Environment =
        plan.into_iter().chain(others).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    environment.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    environment
}

impl Drop for Stage {
    /// A failure that has shown no logs yet shows them now. The coordinator stops first, so that it does not see its
    /// instances end; then every instance with its processes.
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_shown.load(Ordering::Relaxed) {
            eprintln!("{}", self.diagnose());
        }
        self.coordinator = None;
        self.primary = None;
        let Some(emulator) = self.emulator.take().and_then(Arc::into_inner) else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        // This thread may be panicking: another one waits for the end.
        let ending = std::thread::spawn(move || runtime.block_on(emulator.stop()));
        let _ = ending.join();
    }
}
