//! All of it around one queue: Redis, EC2's emulator, the application, and the coordinator that is configured by the
//! plan's environment with spans shortened. Whatever was started ends with it, in order.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spillway_emulator::{Call, Emulator, InstanceRecord, InstanceState, LaunchTemplate};
use spillway_proto::v1;
use spillway_stage::repository::{Instance, Repository};
use spillway_stage::{ec2, primary};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::coordinator::{Coordinator, Environment};
use crate::process::Process;
use crate::redis_server::RedisServer;
use crate::{QUEUE, app, binaries, jobs, ports, wait};

/// How a world differs from the usual one.
#[derive(Debug, Default)]
pub struct Setup {
    /// Files of the application instead of the demo's.
    pub files: Vec<(&'static str, String)>,
    /// More of the agent's configuration, from its table `boot` on; `$REDIS` is the world's own.
    pub agent: String,
    /// Keys of the agent's configuration that stand before its first table.
    pub agent_keys: &'static str,
    /// User data instead of what starts the agent.
    pub user_data: Option<&'static str>,
    /// More of the coordinator's environment.
    pub environment: Vec<(&'static str, String)>,
    /// More arguments of redis-server's.
    pub redis: Vec<&'static str>,
}

#[derive(Debug)]
pub struct World {
    pub coordinator: Option<Coordinator>,
    primary: Option<Process>,
    emulator: Option<Emulator>,
    pub redis: RedisServer,
    pub environment: Environment,
    grpc_port: u16,
    app: Repository,
    /// A failure has shown the story already.
    told: AtomicBool,
    pub directory: TempDir,
}

/// A directory with a short path: programs put sockets there.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("sw").tempdir_in("/tmp").expect("a directory")
}

impl World {
    /// The usual one, with its coordinator running.
    pub async fn start(setup: Setup) -> Self {
        let mut world = World::without_coordinator(setup).await;
        world.start_coordinator().await;
        world
    }

    /// One more on the same Redis, reached on ports of its own.
    pub async fn another_coordinator(&self) -> Coordinator {
        Coordinator::start(self.directory.path(), &self.environment, ports::free()).await
    }

    /// Everything but the coordinator.
    pub async fn without_coordinator(setup: Setup) -> Self {
        let directory = directory();
        let redis = RedisServer::with(directory.path(), &setup.redis);
        let app = app::commit(directory.path(), &setup.files).await;
        let grpc_port = ports::free();
        let init = vec![binaries::spillway().into(), "instance-init".into()];
        let mut options = ec2::options(directory.path(), init);
        (options.pending, options.shutting_down) = (Duration::from_millis(500), Duration::from_secs(1));
        let emulator = spillway_emulator::start(options).await.expect("the emulator");
        let usual = || {
            let (redis_url, more) = (&redis.url(), &setup.agent.replace("$REDIS", &redis.url()));
            let instance = Instance { redis_url, grpc_port, agent: &binaries::agent(), keys: setup.agent_keys, more };
            app.user_data(instance).unwrap_or_else(|error| panic!("{error:#}"))
        };
        let user_data = setup.user_data.map_or_else(usual, str::to_owned);
        let template = LaunchTemplate { user_data, ..LaunchTemplate::default() };
        let template = emulator.create_launch_template("worker", template).expect("a launch template");
        let environment = environment(&redis.url(), &emulator.endpoint(), &template, setup.environment);
        World {
            coordinator: None,
            primary: None,
            emulator: Some(emulator),
            redis,
            environment,
            grpc_port,
            app,
            told: AtomicBool::new(false),
            directory,
        }
    }

    pub async fn start_coordinator(&mut self) {
        let started = Coordinator::start(self.directory.path(), &self.environment, self.grpc_port).await;
        self.coordinator = Some(started);
    }

    /// The machine that always works the queue, and whose workers take back what others let fall.
    pub async fn start_primary(&mut self) {
        let directory = self.directory.path();
        let copy = directory.join("primary");
        self.app.copy_to(&copy, directory).await.unwrap_or_else(|error| panic!("{error:#}"));
        let primary = primary::start(&copy, &self.redis.url(), &directory.join("primary.log"));
        self.primary = Some(primary.unwrap_or_else(|error| panic!("{error:#}")).into());
    }

    pub fn emulator(&self) -> &Emulator {
        self.emulator.as_ref().expect("it runs until the end")
    }

    pub fn coordinator(&self) -> &Coordinator {
        self.coordinator.as_ref().expect("it was started")
    }

    /// All instances so far, in the order of their launch.
    pub fn instances(&self) -> Vec<InstanceRecord> {
        self.emulator().instances()
    }

    pub fn instance(&self, id: &str) -> InstanceRecord {
        self.instances().into_iter().find(|record| record.id == id).unwrap_or_else(|| panic!("no {id}"))
    }

    /// Instances that bill.
    pub fn billing(&self) -> usize {
        let bills = |record: &&InstanceRecord| matches!(record.state, InstanceState::Pending | InstanceState::Running);
        self.instances().iter().filter(bills).count()
    }

    /// Calls of one action, as far back as they are kept.
    pub fn calls(&self, action: &str) -> Vec<Call> {
        self.emulator().calls().calls.into_iter().filter(|call| call.action == action).collect()
    }

    /// Calls that launch or terminate.
    pub fn acts(&self) -> usize {
        ["RunInstances", "CreateFleet", "TerminateInstances"].iter().map(|action| self.calls(action).len()).sum()
    }

    /// Waits until the pool is so, and gives what was found in it.
    pub async fn until_pool<T>(&self, what: &str, mut found: impl FnMut(&v1::Pool) -> Option<T>) -> T {
        let look = async || self.coordinator().try_pool().await.and_then(|pool| found(&pool));
        wait::until(what, async || self.story().await, look).await
    }

    /// Waits until something else is so.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        wait::until(what, async || self.story().await, async || is_so().then_some(())).await;
    }

    /// The same for what can be asked only with patience.
    pub async fn until_async(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        wait::until(what, async || self.story().await, async || is_so().await.then_some(())).await;
    }

    /// It must hold for so long.
    pub async fn throughout(&self, span: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        wait::throughout(span, what, async || self.story().await, async || holds()).await;
    }

    /// Waits until so many instances are ready at once, and gives their ids.
    pub async fn until_ready(&self, count: usize) -> Vec<String> {
        self.until_pool(&format!("{count} ready"), |pool| {
            let ready: Vec<String> = in_phase(pool, "ready").map(|instance| instance.id.clone()).collect();
            (ready.len() == count).then_some(ready)
        })
        .await
    }

    /// Waits until every instance that was ever launched is terminated, and the coordinator knows.
    pub async fn until_zero(&self) {
        self.until_pool("the fleet is at zero", |pool| {
            let gone = |record: &InstanceRecord| record.state == InstanceState::Terminated;
            let known = pool.instances.iter().all(|instance| instance.phase == "gone");
            (self.instances().iter().all(gone) && known && pool.desired == Some(0)).then_some(())
        })
        .await;
    }

    /// What a reader of a failure wants to see.
    pub async fn story(&self) -> String {
        self.tell()
    }

    fn tell(&self) -> String {
        self.told.store(true, Ordering::Relaxed);
        let mut story = String::new();
        if let Some(coordinator) = &self.coordinator {
            story += &coordinator.process.tail();
            let explain = coordinator.command(&["explain", "--limit", "10"]);
            let status = coordinator.command(&["status"]);
            for out in [explain, status] {
                story += &String::from_utf8_lossy(&[out.stdout, out.stderr].concat());
            }
        }
        story += &self.primary.as_ref().map(Process::tail).unwrap_or_default();
        for record in self.instances() {
            let console = self.emulator().console(&record.id).unwrap_or_default();
            let lines: Vec<&str> = console.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            let _ = writeln!(story, "--- {} {:?} {:?}\n{tail}", record.id, record.state, record.state_reason);
        }
        let acts: Vec<String> = self
            .emulator()
            .calls()
            .calls
            .iter()
            .filter(|call| !call.action.starts_with("Describe"))
            .map(|call| format!("{call:?}"))
            .collect();
        let _ = writeln!(story, "--- calls\n{}", acts.join("\n"));
        story
    }

    /// The whole flood was worked off by instances that are gone again.
    pub fn assert_each_ran_once(&self, count: u64) {
        jobs::assert_each_ran_once(&self.redis, count);
    }
}

/// The pool's instances in one phase.
pub fn in_phase<'a>(pool: &'a v1::Pool, phase: &'a str) -> impl Iterator<Item = &'a v1::Instance> {
    pool.instances.iter().filter(move |instance| instance.phase == phase)
}

/// The plan's variables, where EC2 is, and what is shortened.
pub fn environment(redis: &str, ec2: &str, template: &str, more: Vec<(&'static str, String)>) -> Environment {
    let steps = "[{ jobs = 5, for = \"3s\", instances = 1 }, { jobs = 15, for = \"3s\", instances = 2 }]";
    let plan = [
        ("REDIS_URL", redis),
        ("AWS_REGION", "us-east-1"),
        ("EC2_LAUNCH_TEMPLATE_ID", template),
        ("EC2_SPOT_MAX_COUNT", "2"),
        ("QUEUE_NAMES", QUEUE),
        ("AWS_ENDPOINT_URL_EC2", ec2),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("SPILLWAY_POOL_INTERVAL", "1s"),
        ("SPILLWAY_POOL_LISTING_INTERVAL", "1s"),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "90s"),
        ("SPILLWAY_POOL_POLICY_STEPS", steps),
        ("SPILLWAY_POOL_POLICY_IDLE", "4s"),
        ("SPILLWAY_GRPC_HEARTBEAT_INTERVAL", "1s"),
    ];
    let mut environment: Environment =
        plan.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    environment.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    environment
}

impl Drop for World {
    /// A failure that has not shown the story shows it now. The coordinator ends first: it must not see its instances go.
    /// Then every instance with its processes.
    fn drop(&mut self) {
        if std::thread::panicking() && !self.told.load(Ordering::Relaxed) {
            eprintln!("{}", self.tell());
        }
        self.coordinator = None;
        self.primary = None;
        let Some(emulator) = self.emulator.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        // This thread may be in the middle of a failed test: the end is awaited on another.
        let ending = std::thread::spawn(move || runtime.block_on(emulator.stop()));
        let _ = ending.join();
    }
}
