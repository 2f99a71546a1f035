//! Everything around one test: Redis, an application with a BullMQ of its own, its workers, and the agent's socket.
//! Owns what it starts, and ends it by its process group.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{Connection, FromRedisValue};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::redis_server;

/// For anything that should happen: generous, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a worker is run: the program, and the ending of its file.
pub type Runtime = (&'static str, &'static str);

pub struct Stage {
    directory: TempDir,
    redis: Child,
    redis_port: u16,
    pub agent: Agent,
    /// Of tests/js: 50 is 5.0.0, 512 is 5.12.0.
    pub bullmq: &'static str,
}

impl Stage {
    pub fn new(bullmq: &'static str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = here.join("../tests/js/node_modules").join(format!("bullmq{bullmq}"));
        let installed = installed.canonicalize().unwrap_or_else(|_| panic!("no {installed:?}: run tests/setup"));
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("node_modules")).expect("node_modules");
        // The directory's name is an alias there, the package's is bullmq.
        symlink(installed, directory.path().join("node_modules/bullmq")).expect("bullmq");
        for entry in fs::read_dir(here.join("tests/agent/shim/app")).expect("tests/agent/shim/app") {
            let entry = entry.expect("tests/agent/shim/app");
            fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("copy");
        }
        fs::write(directory.path().join("shim.cjs"), spillway_agent::shim::SOURCE).expect("shim.cjs");
        let (redis, redis_port) = redis_server::start(directory.path());
        let agent = Agent::at(directory.path().join("s"));
        Self { directory, redis, redis_port, agent, bullmq }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn major(&self) -> u32 {
        self.bullmq[..1].parse().expect("a version")
    }

    /// With what the agent sets for the application's commands.
    pub fn command(&self, program: &str, instance: &str) -> Command {
        let shim = self.path("shim.cjs");
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env("NODE_OPTIONS", format!("--require {}", shim.display()))
            .env("BUN_OPTIONS", format!("--preload={}", shim.display()))
            .env("SPILLWAY_INSTANCE_ID", instance)
            .env("SPILLWAY_WORKER_SOCKET", &self.agent.path)
            .env("REDIS_PORT", self.redis_port.to_string());
        command
    }

    /// `worker.EXTENSION` of these queues, ready, and its connection to the agent.
    pub fn worker(&self, (program, extension): Runtime, instance: &str, queues: &str) -> (Process, Arc<Shim>) {
        self.worker_with((program, extension), instance, queues, &[])
    }

    pub fn worker_with(
        &self,
        (program, extension): Runtime,
        instance: &str,
        queues: &str,
        environment: &[(&str, &str)],
    ) -> (Process, Arc<Shim>) {
        let mut command = self.command(program, instance);
        command.arg(format!("worker.{extension}")).env("QUEUES", queues).envs(environment.iter().copied());
        let process = Process::start(&mut command);
        process.until("ready", |words| words[0] == "ready");
        let shim = self.agent.of(process.pid());
        (process, shim)
    }

    pub fn feeder(&self) -> Feeder {
        // Without the shim: not a worker of an instance.
        let mut command = Command::new("node");
        command.current_dir(self.directory.path()).arg("feeder.cjs").env("REDIS_PORT", self.redis_port.to_string());
        Feeder(Process::start(&mut command), 0)
    }

    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(&mut self.connect()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn connect(&self) -> Connection {
        let client = redis::Client::open(("127.0.0.1", self.redis_port)).expect("an address");
        client.get_connection_with_timeout(PATIENCE).expect("Redis")
    }

    /// Ends what carries this pair in its environment: processes that PM2 started.
    pub fn kill_with(&self, pair: &str) {
        for _ in 0..50 {
            let pids: Vec<i32> = fs::read_dir("/proc")
                .expect("/proc")
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .filter(|pid| {
                    fs::read(format!("/proc/{pid}/environ"))
                        .is_ok_and(|all| all.split(|byte| *byte == 0).any(|found| found == pair.as_bytes()))
                })
                .collect();
            if pids.is_empty() {
                return;
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.agent.leave();
        let _ = self.redis.kill();
        let _ = self.redis.wait();
    }
}

/// A process and all that it started, unless that made groups of its own.
struct Group(Child);

impl Group {
    fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/setup")))
    }

    fn kill(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

/// A process that says lines of words.
pub struct Process {
    group: Group,
    input: ChildStdin,
    lines: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut group = Group::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let input = group.0.stdin.take().expect("stdin");
        let output = BufReader::new(group.0.stdout.take().expect("stdout"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                to.lock().expect("lines").push(line.split(' ').map(str::to_owned).collect::<Vec<_>>());
            }
        });
        Self { group, input, lines }
    }

    pub fn pid(&self) -> u32 {
        self.group.0.id()
    }

    pub fn lines(&self) -> Vec<Vec<String>> {
        self.lines.lock().expect("lines").clone()
    }

    /// What it said of this kind: `start`, `end`.
    pub fn said(&self, word: &str) -> Vec<Vec<String>> {
        self.lines().into_iter().filter(|words| words[0] == word).collect()
    }

    pub fn started(&self, queue: &str, id: &str) -> Option<Vec<String>> {
        self.said("start").into_iter().find(|words| words[1] == queue && words[2] == id)
    }

    pub fn until(&self, what: &str, met: impl Fn(&[String]) -> bool) -> Vec<String> {
        until(what, || self.lines().into_iter().find(|words| met(words)))
    }

    /// `pause`, `resume`, `close`, `more QUEUE`.
    pub fn tell(&mut self, word: &str) {
        let before = self.said("did").len();
        self.write(word);
        until(&format!("did {word}"), || (self.said("did").len() > before).then_some(()));
    }

    fn write(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).expect("its stdin");
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.group.0), signal).expect("it is gone");
    }

    /// `S`, `R`, `T` (stopped), …
    pub fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it is gone");
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a state")
    }

    /// How it ended by itself.
    pub fn exit(&mut self) -> Option<i32> {
        until("its end", || self.group.0.try_wait().expect("it")).code()
    }

    pub fn kill(&mut self) {
        self.group.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.lines();
            eprintln!("a process said at last: {:?}", &lines[lines.len().saturating_sub(8)..]);
        }
        self.kill();
    }
}

/// Adds jobs, by the BullMQ of the stage.
pub struct Feeder(Process, usize);

impl Feeder {
    /// Returns their ids.
    pub fn add(&mut self, queue: &str, jobs: Value) -> Vec<String> {
        serde_json::from_value(self.ask(&json!({ "add": [queue, jobs] }))).expect("ids")
    }

    /// One that takes so long.
    pub fn add_one(&mut self, queue: &str, ms: u64) -> String {
        self.add(queue, json!([{ "name": "encode", "data": { "ms": ms } }])).remove(0)
    }

    /// Short jobs without end: some fail, some have a priority.
    pub fn flood(&mut self, queue: &str) {
        self.ask(&json!({ "flood": queue }));
    }

    /// How many it were.
    pub fn stop(&mut self) -> u64 {
        self.ask(&json!({ "stop": true })).as_u64().expect("a number")
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.0.write(&command.to_string());
        let line = until("the feeder's answer", || self.0.lines().get(self.1).cloned());
        self.1 += 1;
        serde_json::from_str(&line.join(" ")).expect("JSON")
    }
}

/// The agent's end of the socket.
pub struct Agent {
    pub path: PathBuf,
    shims: Arc<Mutex<Vec<Arc<Shim>>>>,
    here: Option<Arc<Mutex<bool>>>,
}

impl Agent {
    fn at(path: PathBuf) -> Self {
        let mut agent = Self { path, shims: Arc::default(), here: None };
        agent.come();
        agent
    }

    pub fn come(&mut self) {
        let listener = UnixListener::bind(&self.path).expect("the socket");
        let here = Arc::new(Mutex::new(true));
        let (shims, still) = (Arc::clone(&self.shims), Arc::clone(&here));
        self.here = Some(here);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                if !*still.lock().expect("here") {
                    return;
                }
                let shim = Arc::new(Shim { stream, heard: Mutex::default() });
                shims.lock().expect("shims").push(Arc::clone(&shim));
                std::thread::spawn(move || shim.listen());
            }
        });
    }

    /// As an agent that dies: no socket, all connections closed.
    pub fn leave(&mut self) {
        if let Some(here) = self.here.take() {
            *here.lock().expect("here") = false;
            let _ = UnixStream::connect(&self.path);
            let _ = fs::remove_file(&self.path);
            for shim in self.shims.lock().expect("shims").drain(..) {
                let _ = shim.stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// The connection of this process, with a state.
    pub fn of(&self, pid: u32) -> Arc<Shim> {
        until(&format!("a hello of {pid}"), || {
            self.shims().into_iter().find(|shim| shim.hello()["pid"] == pid && !shim.state().is_null())
        })
    }

    pub fn shims(&self) -> Vec<Arc<Shim>> {
        self.shims.lock().expect("shims").clone()
    }
}

/// A connection of a shim, and what came by it.
pub struct Shim {
    stream: UnixStream,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// The kinds of the lines, in their order.
    kinds: Vec<String>,
    hello: Value,
    state: Value,
    done: BTreeMap<u64, (Value, f64)>,
    finished: Vec<Value>,
    problems: Vec<String>,
    orders: u64,
}

impl Shim {
    fn listen(&self) {
        for line in BufReader::new(&self.stream).lines().map_while(Result::ok) {
            let line: BTreeMap<String, Value> = serde_json::from_str(&line).expect("a JSON object");
            let (kind, value) = line.into_iter().next().expect("a kind");
            let mut heard = self.heard.lock().expect("heard");
            match kind.as_str() {
                "hello" => heard.hello = value,
                "state" => heard.state = value,
                "finished" => heard.finished.push(value),
                "problem" => heard.problems.push(value.as_str().expect("words").to_owned()),
                "done" => {
                    let id = value["id"].as_u64().expect("an id");
                    heard.done.insert(id, (value, wall_clock_ms()));
                }
                _ => panic!("unknown: {kind}"),
            }
            heard.kinds.push(kind);
        }
    }

    pub fn hello(&self) -> Value {
        self.heard.lock().expect("heard").hello.clone()
    }

    pub fn state(&self) -> Value {
        self.heard.lock().expect("heard").state.clone()
    }

    pub fn kinds(&self) -> Vec<String> {
        self.heard.lock().expect("heard").kinds.clone()
    }

    pub fn finished(&self) -> Vec<Value> {
        self.heard.lock().expect("heard").finished.clone()
    }

    pub fn problems(&self) -> Vec<String> {
        self.heard.lock().expect("heard").problems.clone()
    }

    /// The ids of the jobs that it runs, once these are all.
    pub fn runs(&self, ids: &[&str]) {
        until(&format!("a state with the jobs {ids:?}"), || {
            let jobs = self.state()["jobs"].as_array().cloned().unwrap_or_default();
            let running: Vec<&str> = jobs.iter().map(|job| job["id"].as_str().expect("an id")).collect();
            (running.len() == ids.len() && ids.iter().all(|id| running.contains(id))).then_some(())
        });
    }

    /// The answer, and when it came.
    pub fn order(&self, what: &str, more: Value) -> (Value, f64) {
        let mut order = json!({ "do": what });
        let id = {
            let mut heard = self.heard.lock().expect("heard");
            heard.orders += 1;
            heard.orders
        };
        order["id"] = id.into();
        if let (Some(order), Some(more)) = (order.as_object_mut(), more.as_object()) {
            order.extend(more.clone());
        }
        self.write(&order.to_string());
        until(&format!("done {order}"), || self.heard.lock().expect("heard").done.get(&id).cloned())
    }

    pub fn fence(&self) -> f64 {
        self.order("fence", Value::Null).1
    }

    pub fn unfence(&self) -> f64 {
        self.order("unfence", Value::Null).1
    }

    pub fn hand_back(&self) -> Value {
        self.order("hand_back", json!({ "freeze": true })).0
    }

    pub fn write(&self, line: &str) {
        (&self.stream).write_all(format!("{line}\n").as_bytes()).expect("the shim's connection");
    }
}

pub fn until<T>(what: &str, mut met: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = met() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Until so many workers wait in Redis.
pub fn blocked(stage: &Stage, workers: usize) {
    until("blocked workers", || {
        let clients = stage.ask::<String>(&["CLIENT", "LIST"]);
        (clients.lines().filter(|client| client.contains(" flags=b ")).count() == workers).then_some(())
    });
}

/// As the workers say it: milliseconds of the wall clock.
#[expect(clippy::disallowed_methods, reason = "compared with what other processes on this machine say")]
pub fn wall_clock_ms() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    now.as_secs_f64() * 1000.0
}

/// When a line `start QUEUE ID ATTEMPTS MS` was said.
pub fn at(words: &[String]) -> f64 {
    words.last().and_then(|ms| ms.parse().ok()).expect("a time")
}
