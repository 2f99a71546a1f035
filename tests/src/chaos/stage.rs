//! What a run sets up for all rounds: two coordinators on one ledger, each behind proxies of its own, agents behind a
//! proxy that leads to the leader, a primary, and instances of other clients.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use spillway_emulator::{InstanceRecord, InstanceState, LaunchTemplate};
use spillway_stage::repository::coordinator_keys;

use super::Violation;
use super::draw::Who;
use super::proxy::Proxy;
use crate::coordinator::{Coordinator, Environment, ServingStatus};
use crate::process::{Process, command};
use crate::stage::{Setup, Stage, environment, profile};
use crate::{QUEUE, authority, binaries, other_client, ports, programs, recorded_worker};

pub const MAX_INSTANCES: usize = 3;
const BULLMQ: u32 = 5;
/// The shortest and the longest job.
const JOBS_MS: [&str; 2] = ["100", "6000"];
/// Of the reason why early ends hold launches.
const EARLY_ENDS: &str = "soon after becoming ready: ";
/// Concurrency of an instance's worker and of the primary's.
const CONCURRENCY: u32 = 2;

#[derive(Debug)]
pub struct ChaosStage {
    pub seats: [Seat; 2],
    pub agents: Proxy,
    _primary: Process,
    /// Instances of other clients.
    pub foreign: Vec<String>,
    /// Where two installations share an account: the image of its instances, by which they are told from the other's.
    image: Option<String>,
    /// Of the emulator's instances.
    instances: PathBuf,
    pub base: Stage,
}

/// One coordinator and its connections.
#[derive(Debug)]
pub struct Seat {
    pub name: &'static str,
    pub ec2: Proxy,
    pub redis: Proxy,
    /// None while it is not running.
    pub coordinator: RefCell<Option<Rc<Coordinator>>>,
    grpc_port: u16,
    environment: Environment,
    directory: PathBuf,
}

fn setup() -> Setup {
    Setup {
        files: recorded_worker::files("bun"),
        // The usual launch template is not used: see `user_data`.
        user_data: Some("#!/bin/sh\nexit 1\n"),
        redis: vec!["--appendonly", "yes"],
        ..Setup::default()
    }
}

impl ChaosStage {
    pub async fn start() -> Self {
        let base = Stage::without_coordinator(setup()).await;
        launch_foreign(&base).await;
        let instances = base.directory.path().join("ec2");
        Self::on(base, instances, None).await
    }

    /// Two installations in one account, with the same names everywhere: each has a Redis, a ledger and an identity of
    /// its own.
    pub async fn two() -> [Self; 2] {
        let first = Stage::without_coordinator(setup()).await;
        let second = first.beside(setup()).await;
        launch_foreign(&first).await;
        let instances = first.directory.path().join("ec2");
        let first = Self::on(first, instances.clone(), Some("ami-0000000000000001")).await;
        [first, Self::on(second, instances, Some("ami-0000000000000002")).await]
    }

    async fn on(base: Stage, instances: PathBuf, image: Option<&str>) -> Self {
        let foreign = base.instances().into_iter().map(|record| record.id).collect();
        let agents = Proxy::start(0, "").await;
        let (user_data, instance_profile) = (user_data(&base, agents.port()), profile());
        let mut template = LaunchTemplate { user_data, instance_profile, ..LaunchTemplate::default() };
        if let Some(image) = image {
            image.clone_into(&mut template.image_id);
        }
        let template = base
            .emulator()
            .create_launch_template(&format!("chaos-{}", agents.port()), template)
            .expect("a launch template");
        let seats = [Seat::new("first", &base, &template).await, Seat::new("second", &base, &template).await];
        seats.iter().for_each(|seat| authority::share(&base.ca_file(), &seat.directory));
        // No fault hits the primary.
        let primary = recorded_worker::primary(&base, BULLMQ, "bun", CONCURRENCY);
        let image = image.map(str::to_owned);
        let stage = ChaosStage { seats, agents, _primary: primary, foreign, image, instances, base };
        for seat in &stage.seats {
            seat.start().await;
        }
        stage
    }

    /// Our instances, in the order of their launch.
    pub fn ours(&self) -> Vec<InstanceRecord> {
        let is_ours = |record: &InstanceRecord| match &self.image {
            Some(image) => record.image_id == *image,
            None => !self.foreign.contains(&record.id),
        };
        self.base.instances().into_iter().filter(is_ours).collect()
    }

    /// Our instances that are running.
    pub fn running(&self) -> Vec<InstanceRecord> {
        self.ours().into_iter().filter(|record| record.state == InstanceState::Running).collect()
    }

    /// Installations in this account.
    pub fn installations(&self) -> usize {
        if self.image.is_some() { 2 } else { 1 }
    }

    /// Instances that a coordinator of this installation terminated, or tried to, and that are not its own.
    pub fn others_touched(&self) -> Vec<String> {
        let ours: Vec<String> = self.ours().into_iter().map(|record| record.id).collect();
        let terminated = self.seats.iter().flat_map(|seat| seat.ec2.terminated());
        terminated.filter(|id| !ours.contains(id)).collect()
    }

    /// Instances of other clients that are not running any more.
    pub fn foreign_touched(&self) -> Vec<&String> {
        let all = self.base.instances();
        let is_it = |id: &str, record: &InstanceRecord| {
            record.id == id && matches!(record.state, InstanceState::Pending | InstanceState::Running)
        };
        self.foreign.iter().filter(|id| !all.iter().any(|record| is_it(id, record))).collect()
    }

    /// The coordinator that serves as the leader; new connections of agents are led there from now on.
    pub async fn leader(&self) -> Option<&Seat> {
        for seat in &self.seats {
            if seat.leads().await {
                self.agents.lead_to(seat.grpc_port);
                return Some(seat);
            }
        }
        None
    }

    /// The leader's newest plan says that early ends hold launches, or all but one.
    pub async fn early_ends_hold_launches(&self) -> bool {
        let coordinator = self.leader().await.and_then(|seat| seat.coordinator.borrow().clone());
        let Some(coordinator) = coordinator else { return false };
        let plan = coordinator.try_pool().await.and_then(|pool| pool.plan);
        plan.is_some_and(|plan| plan.notes.iter().any(|note| note.contains(EARLY_ENDS)))
    }

    /// An operator has the leader forget what the faults made it wait for; true once it has.
    pub async fn operator_resumes(&self) -> bool {
        let coordinator = self.leader().await.and_then(|seat| seat.coordinator.borrow().clone());
        coordinator.is_some_and(|coordinator| coordinator.command(&["resume"]).status.success())
    }

    /// Number of instances that are ready and connected at the leader.
    pub async fn ready(&self) -> usize {
        let Some(seat) = self.leader().await else { return 0 };
        let Some(coordinator) = seat.coordinator.borrow().clone() else { return 0 };
        let Some(pool) = coordinator.try_pool().await else { return 0 };
        pool.instances.iter().filter(|it| it.phase == "ready" && it.connected).count()
    }

    /// The leader or the standby; None while there is no leader.
    pub async fn seat(&self, who: Who) -> Option<&Seat> {
        let leader = self.leader().await?;
        match who {
            Who::Leader => Some(leader),
            Who::Standby => self.seats.iter().find(|seat| seat.name != leader.name),
        }
    }

    /// Boots fail while this file exists.
    pub fn boots_fail_mark(&self) -> PathBuf {
        boots_fail_mark(&self.base)
    }

    pub fn home(&self, instance: &str) -> PathBuf {
        self.instances.join(instance).join("home")
    }

    /// The process of this instance whose id is in that file of its home directory; None if there is none (any more).
    pub fn process(&self, instance: &InstanceRecord, file: &str) -> Option<i32> {
        let pid = fs::read_to_string(self.home(&instance.id).join(file)).ok()?.trim().parse().ok()?;
        let init = i32::try_from(instance.init_pid?).ok()?;
        descends_from(pid, init).then_some(pid)
    }

    /// Starts a process that adds so many jobs at this rate, and ends.
    pub fn flood(&self, number: u32, jobs: u32, per_second: f64, seed: u32) -> Process {
        let mut node = command(programs::program("node"));
        node.arg(binaries::workspace().join("tests/src/chaos/flood.mjs")).arg(programs::script("bullmq.mjs"));
        node.args([&BULLMQ.to_string(), QUEUE, &jobs.to_string(), &per_second.to_string()])
            .args(JOBS_MS)
            .arg(seed.to_string());
        node.env("REDIS_URL", self.base.redis.url());
        Process::start("flood", &mut node, &self.base.directory.path().join(format!("flood-{number}.log")))
    }

    /// Logs, plans and status of both coordinators, and what the stage shows.
    pub async fn diagnosis(&self) -> String {
        let mut diagnosis = String::new();
        for seat in &self.seats {
            let coordinator = seat.coordinator.borrow();
            let Some(coordinator) = &*coordinator else { continue };
            diagnosis += &format!("--- the {} one\n{}", seat.name, coordinator.diagnosis());
        }
        diagnosis + &self.base.diagnosis().await
    }
}

impl Seat {
    async fn new(name: &'static str, base: &Stage, template: &str) -> Self {
        let ec2 = Proxy::start(base.emulator().address().port(), "Action=RunInstances").await;
        let redis = Proxy::start(base.redis.port(), "").await;
        let steps = "[{ jobs = 2, for = \"1s\", instances = 1 }, { jobs = 6, for = \"1s\", instances = 2 }, \
                     { jobs = 12, for = \"1s\", instances = 3 }]";
        let more = [
            ("EC2_SPOT_MAX_COUNT", MAX_INSTANCES.to_string().as_str()),
            ("SPILLWAY_POOL_LAUNCHES_PER_TICK", "3"),
            ("SPILLWAY_POOL_LAUNCH_TIMEOUT", "15s"),
            ("SPILLWAY_POOL_BOOT_TIMEOUT", "45s"),
            ("SPILLWAY_POOL_HEARTBEAT_TIMEOUT", "6s"),
            ("SPILLWAY_POOL_DRAIN_TIMEOUT", "30s"),
            ("SPILLWAY_POOL_TERMINATE_TIMEOUT", "8s"),
            ("SPILLWAY_POOL_CONSISTENCY_GRACE", "10s"),
            ("SPILLWAY_POOL_BREAKER_BACKOFF", "5s"),
            ("SPILLWAY_POOL_CAPACITY_BACKOFF", "2s"),
            ("SPILLWAY_POOL_QUOTA_BACKOFF", "3s"),
            ("SPILLWAY_POOL_REBALANCE_LIMIT", "20"),
            ("SPILLWAY_POOL_POLICY_STEPS", steps),
            ("SPILLWAY_POOL_POLICY_IDLE", "3s"),
            ("SPILLWAY_GRPC_TLS_MODE", "on"),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let at = |proxy: &Proxy, scheme: &str| format!("{scheme}://127.0.0.1:{}", proxy.port());
        let ec2_at = (&*at(&ec2, "http"), spillway_stage::ec2::secret(base.emulator()));
        let environment = environment(&at(&redis, "redis"), ec2_at, template, more.to_vec());
        let directory = base.directory.path().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        Seat { name, ec2, redis, coordinator: RefCell::new(None), grpc_port: ports::free(), environment, directory }
    }

    pub async fn start(&self) {
        let coordinator = Coordinator::start(&self.directory, &self.environment, self.grpc_port).await;
        self.coordinator.replace(Some(Rc::new(coordinator)));
    }

    /// kill -9; false if it was not running.
    pub fn kill(&self) -> bool {
        // Nothing else holds it between two calls: dropping it waits for its end.
        self.coordinator.take().map(|coordinator| coordinator.process.signal(libc::SIGKILL)).is_some()
    }

    pub fn take(&mut self) -> Option<Coordinator> {
        self.coordinator.take().and_then(Rc::into_inner)
    }

    pub fn is_dead(&self) -> bool {
        self.coordinator.borrow().is_none()
    }

    /// A coordinator that was not killed must be running.
    pub fn check_alive(&self) -> Result<(), Violation> {
        let Some(coordinator) = self.coordinator.borrow().clone() else { return Ok(()) };
        let stat = fs::read_to_string(format!("/proc/{}/stat", coordinator.process.pid())).unwrap_or_default();
        let has_ended = stat.is_empty() || stat.contains(") Z ");
        if has_ended { Err(Violation(format!("the {} coordinator has ended by itself", self.name))) } else { Ok(()) }
    }

    async fn leads(&self) -> bool {
        let Some(coordinator) = self.coordinator.borrow().clone() else { return false };
        let asked = tokio::time::timeout(Duration::from_secs(2), coordinator.try_health("spillway.leader")).await;
        asked.ok().flatten() == Some(ServingStatus::Serving)
    }
}

fn boots_fail_mark(base: &Stage) -> PathBuf {
    base.directory.path().join("boots-fail")
}

/// Starts the worker as `Repository::user_data` does, and the agent in a loop in place of systemd: it is restarted
/// after `restart-after` seconds, and not while the file `stays-dead` exists.
fn user_data(base: &Stage, agents_port: u16) -> String {
    let link = recorded_worker::link(BULLMQ);
    let redis = base.redis.url();
    format!(
        "#!/bin/sh\n\
         [ -e '{mark}' ] && exit 1\n\
         set -e\n\
         git clone -q '{origin}' \"$HOME/app\"\n\
         printf 'REDIS_URL={redis}\\nQUEUE_NAMES={QUEUE}\\n' > \"$HOME/app/.env\"\n\
         cat > \"$HOME/agent.toml\" <<END\n\
         {coordinator}\n\
         env_file = \"$HOME/app/.env\"\n\
         state_directory = \"$HOME/state\"\n\
         [worker]\n\
         queues = [\"{QUEUE}\"]\n\
         [boot]\n\
         directory = \"$HOME/app\"\n\
         environment = {{ WORKER_REDIS = \"{redis}\", WORKER_QUEUE = \"{QUEUE}\", WORKER_CONCURRENCY = \"{CONCURRENCY}\" }}\n\
         steps = [{{ name = \"link\", run = {link:?} }}, {{ name = \"start\", run = \"pm2 start ecosystem.config.js\" }}]\n\
         [drain]\n\
         margin = \"1s\"\n\
         END\n\
         set +e\n\
         while :; do\n\
         '{agent}' run --config \"$HOME/agent.toml\" &\n\
         echo $! > \"$HOME/agent.pid\"\n\
         wait $!\n\
         [ $? = 2 ] && exit 2\n\
         while [ -e \"$HOME/stays-dead\" ]; do sleep 0.3; done\n\
         sleep \"$(cat \"$HOME/restart-after\" 2> /dev/null || echo 2)\"\n\
         done\n",
        coordinator = coordinator_keys(agents_port, Some(&base.ca_file())),
        mark = boots_fail_mark(base).display(),
        origin = base.directory.path().join("origin").display(),
        agent = binaries::agent().display(),
    )
}

/// An instance without tags, one with the pool's name, and one of another pool: all must still run at the end.
async fn launch_foreign(base: &Stage) {
    let tags: [&[(&str, &str)]; 3] = [
        &[],
        &[("Name", "spillway")],
        &[("Name", "other"), ("ManagedBy", "auto-scaler"), ("spillway:pool", "other"), ("spillway:token", "other-1")],
    ];
    for tags in tags {
        assert!(other_client::launch(base, tags).await, "EC2 launches instances of other clients");
    }
}

/// Whether a process is a descendant of another; an instance's processes are descendants of its init.
fn descends_from(mut pid: i32, ancestor: i32) -> bool {
    let parent = |pid: i32| -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    while let Some(next) = parent(pid).filter(|next| *next > 1) {
        if next == ancestor {
            return true;
        }
        pid = next;
    }
    false
}

/// Processes whose arguments or environment contain this text: a directory or an instance's id.
pub fn processes_with(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        let text = |file: &str| String::from_utf8_lossy(&read(file)).replace('\0', " ");
        if text("cmdline").contains(name) || text("environ").contains(name) {
            found.push(format!("{} {}", entry.file_name().to_string_lossy(), text("cmdline")));
        }
    }
    found
}
