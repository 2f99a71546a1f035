//! Memory of idle programs, how fast a notice arrives, and what a hundred and a thousand agents cost.

use std::fs;
use std::path::Path;
use std::time::Duration;

use spillway_proto::v1;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{binaries, jobs, secure};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{say, spread};

const NOTICES: u32 = 20;
const BEAT: Duration = Duration::from_secs(5);

fn setup(instances: u32) -> Setup {
    let steps = format!("[{{ jobs = 1, for = \"1s\", instances = {instances} }}]");
    let environment = vec![
        ("SPILLWAY_POOL_POLICY_STEPS", steps),
        ("SPILLWAY_POOL_POLICY_IDLE", "1h".to_owned()),
        ("SPILLWAY_POOL_MAX_INSTANCES", instances.to_string()),
        ("SPILLWAY_POOL_LAUNCHES_PER_TICK", instances.to_string()),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "1h".to_owned()),
        // The defaults: only the tests shorten them.
        ("SPILLWAY_POOL_INTERVAL", "10s".to_owned()),
        ("SPILLWAY_POOL_LISTING_INTERVAL", "15s".to_owned()),
        ("SPILLWAY_GRPC_HEARTBEAT_INTERVAL", "5s".to_owned()),
    ];
    Setup { environment, ..Setup::default() }
}

/// Memory with one instance whose worker is idle, then how fast a notice arrives at each of `NOTICES` instances.
pub(crate) async fn idle_memory_and_notices() {
    let stage = Stage::start(setup(1)).await;
    jobs::add(&stage.redis, 12, 1.0);
    stage.until_ready(1).await;
    stage.until("the jobs are done", || jobs::completed(&stage.redis) == 12).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    say("agent, resident while its worker is idle", &resident(&pids_of(&binaries::agent())));
    say("coordinator, resident with that one agent", &resident(&[stage.coordinator().process.pid()]));
    drop(stage);
    let stage = Stage::start(setup(NOTICES)).await;
    jobs::add(&stage.redis, 1, 600.0);
    let registered = |pool: &v1::Pool| {
        let connected = pool.instances.iter().filter(|instance| instance.connected).count();
        (connected == NOTICES as usize).then_some(())
    };
    stage.until_pool("all agents are connected", registered).await;
    let mut coordinator = operator(&stage).await;
    let mut samples = Vec::new();
    for record in stage.instances() {
        // At random moments between the agents' polls, not in step with them.
        tokio::time::sleep(Duration::from_millis(200 + u64::from(record.imds_port) * 37 % 1000)).await;
        let began = Instant::now();
        stage.emulator().interrupt(&record.id, Duration::from_secs(120)).expect("an interruption");
        loop {
            let fleet = coordinator.get_fleet(v1::GetFleetRequest::default()).await.expect("a fleet").into_inner();
            let mut all = fleet.pools.iter().flat_map(|pool| &pool.instances);
            if all.any(|instance| instance.id == record.id && !instance.notices.is_empty()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        samples.push(began.elapsed().as_secs_f64());
    }
    say("notice in the instance metadata to the coordinator's status", &spread(samples, "s"));
}

/// Agents that only register and send heartbeats, as the real ones do.
pub(crate) async fn many_agents(count: u32) {
    let mut stage = Stage::without_coordinator(Setup { empty: true, trusts: true, ..setup(count) }).await;
    stage.hide_launch_image();
    let usual = stage.environment.clone();
    // Launched as a fleet grows, some at a time, but soon; what is measured runs at its defaults, and began afterwards.
    for (name, value) in [("SPILLWAY_POOL_INTERVAL", "1s"), ("SPILLWAY_POOL_LAUNCHES_PER_TICK", "20")] {
        stage.environment.insert(name.to_owned(), value.to_owned());
    }
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 1, 1.0);
    let known = |pool: &v1::Pool| (in_phase(pool, "booting").count() == count as usize).then_some(());
    stage.until_pool("all instances are booting", known).await;
    let mut launcher = stage.coordinator.take().expect("it runs");
    launcher.process.signal(libc::SIGTERM);
    launcher.process.end_within(Duration::from_secs(20)).await;
    stage.environment = usual;
    stage.start_coordinator().await;
    stage.until_pool("they are known again", known).await;
    let mut agents = Vec::new();
    for record in stage.instances() {
        // Over TLS, as the real ones.
        let channel = secure::connect(&stage.coordinator().server(), &stage.ca_file()).await.expect("the coordinator");
        agents.push(tokio::spawn(beat(channel, record.id)));
    }
    stage.until_ready(count as usize).await;
    let pid = stage.coordinator().process.pid();
    let measure = async |with: &str| {
        let (before, span) = (cpu_seconds(pid), Duration::from_secs(60));
        tokio::time::sleep(span).await;
        let share = (cpu_seconds(pid) - before) / span.as_secs_f64() * 100.0;
        let (cpu, memory) = (format!("{share:.2} % of one core over 60 s"), resident(&[pid]));
        say(&format!("coordinator, CPU with {count} agents{with}, a heartbeat every 5 s each"), &cpu);
        say(&format!("coordinator, resident with {count} agents{with}"), &memory);
    };
    measure("").await;
    let page = tokio::spawn(look(stage.coordinator().http_port));
    measure(" and a page open").await;
    page.abort();
    agents.iter().for_each(tokio::task::JoinHandle::abort);
}

/// What an open page asks for: the stream, and the last hour each time that its newest interval is full.
async fn look(port: u16) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let mut stream = http.get(url("/api/v1/stream")).send().await.expect("a stream");
    tokio::spawn(async move { while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} });
    loop {
        for path in ["/api/v1/history?buckets=240", "/api/v1/money", "/api/v1/plans"] {
            let answer = http.get(url(path)).send().await.expect("an answer");
            answer.bytes().await.expect("a body");
        }
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
}

async fn beat(channel: Channel, id: String) {
    let identity = Some(v1::Identity { instance_id: id, ..v1::Identity::default() });
    let request = v1::RegisterRequest { identity, ..v1::RegisterRequest::default() };
    let AgentSession { sender, mut commands } = AgentSession::register_over(channel, request).await;
    tokio::spawn(async move { while commands.message().await.is_ok_and(|message| message.is_some()) {} });
    loop {
        let worker =
            v1::WorkerProof { proven: true, processes: 1, connections: 1, by: "name".to_owned(), ..Default::default() };
        let beat = v1::Heartbeat {
            phase: v1::AgentPhase::Ready.into(),
            worker: Some(worker),
            active_jobs: Some(1),
            git_commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            ..v1::Heartbeat::default()
        };
        let message = v1::SessionRequest { message: Some(v1::session_request::Message::Heartbeat(beat)) };
        if sender.send(message).await.is_err() {
            return;
        }
        tokio::time::sleep(BEAT).await;
    }
}

async fn operator(stage: &Stage) -> OperatorServiceClient<Channel> {
    let server = format!("http://{}", stage.coordinator().server());
    OperatorServiceClient::connect(server).await.expect("the coordinator")
}

/// Processes that run this program.
fn pids_of(program: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program)).collect()
}

fn resident(pids: &[i32]) -> String {
    let field = |status: &str, name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0.0) / 1024.0
    };
    let of = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let (all, file) = (field(&status, "VmRSS:"), field(&status, "RssFile:"));
        format!("{all:.1} MiB ({file:.1} of it file-backed)")
    };
    pids.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// User and system time so far.
fn cpu_seconds(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name in parentheses may have spaces; the fields after it do not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().expect("utime") + fields[12].parse::<f64>().expect("stime");
    // SAFETY: sysconf has no preconditions.
    ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}
