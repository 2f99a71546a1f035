//! `spillway demo`: from flood to zero with every job done once, also when an instance is interrupted; and Ctrl-C at
//! any moment leaves no process, no port and no file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use spillway_tests::process::{Process, command, end_of, output, text};
use spillway_tests::stage::directory;
use spillway_tests::{binaries, programs, wait};
use tempfile::TempDir;

const KEYS: [&str; 10] = [
    "jobs_added",
    "jobs_completed",
    "jobs_failed",
    "jobs_run_twice",
    "instances_launched",
    "instances_terminated",
    "instances_peak",
    "max_instances",
    "seconds_to_first_ready",
    "seconds_total",
];

/// Ends by itself after ten minutes at the latest.
const ENDS_WITHIN: Duration = Duration::from_secs(660);
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// A demo whose files are in a directory of its own.
struct Demo {
    process: Process,
    /// Its TMPDIR is `t` in here.
    place: TempDir,
    mark: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        for program in ["redis-server", "git", "bun", "pm2", "node"] {
            programs::program(program);
        }
        let place = directory();
        let temporary = place.path().join("t");
        fs::create_dir(&temporary).expect("a directory");
        let mark = format!("DEMO_OF_TEST={}", place.path().display());
        let mut demo = command(binaries::spillway());
        demo.arg("demo").args(arguments).env("TMPDIR", &temporary).env("DEMO_OF_TEST", place.path());
        let process = Process::start("demo", &mut demo, &place.path().join("log"));
        Demo { process, place, mark }
    }

    fn temporary(&self) -> std::path::PathBuf {
        self.place.path().join("t")
    }

    /// Other processes that are of this demo: by the mark, which children inherit, or by a path in its directory, since
    /// instances have an environment of their own.
    fn processes(&self) -> Vec<(u32, String)> {
        let directory = self.place.path().to_string_lossy().into_owned();
        let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let (environment, arguments) = (read("environ"), read("cmdline"));
            let inside = |link: &str| fs::read_link(entry.path().join(link)).is_ok_and(|to| to.starts_with(&directory));
            let ours = has(&environment, &self.mark) || has(&environment, &directory) || has(&arguments, &directory);
            if (ours || inside("cwd")) && i64::from(pid) != i64::from(self.process.pid()) {
                found.push((pid, String::from_utf8_lossy(&arguments).replace('\0', " ")));
            }
        }
        found
    }

    /// Sockets on which it or its processes listen, by their inode.
    fn listening(&self) -> BTreeSet<String> {
        let pids = self.processes().into_iter().map(|(pid, _)| pid.to_string());
        let own = std::iter::once(self.process.pid().to_string());
        let mut sockets = BTreeSet::new();
        for pid in pids.chain(own) {
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let link = fs::read_link(entry.path()).unwrap_or_default();
                let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
                sockets.extend(inode.map(str::to_owned));
            }
        }
        all_listening().intersection(&sockets).cloned().collect()
    }

    /// Runs a command that the demo shows, as from another terminal: in another directory, with an empty environment.
    fn paste(&self, what: &str) -> (bool, String) {
        let log = self.process.log();
        let shown = log.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{what}: ")));
        let shown = shown.unwrap_or_else(|| panic!("no command to {what}\n{}", end_of(&log)));
        // No instance comes by itself: a game day need not wait for one.
        let shown = if what == "gameday" { format!("{shown} --wait 1s") } else { shown.to_owned() };
        let mut shell = command("/bin/sh");
        shell.args(["-c", &shown]).current_dir("/").env_clear().env("PATH", std::env::var_os("PATH").expect("PATH"));
        let out = output(&mut shell);
        (out.status.success(), text(&[out.stdout, out.stderr].concat()))
    }

    async fn until_said(&mut self, words: &str) {
        let look = async || {
            let log = self.process.log();
            if log.contains(words) {
                return Some(());
            }
            assert!(self.process.ended().is_none(), "ended before it said \"{words}\"\n{}", end_of(&log));
            None
        };
        wait::until(
            words,
            async || end_of(&fs::read_to_string(self.place.path().join("log")).unwrap_or_default()),
            look,
        )
        .await;
    }

    fn assert_nothing_is_left(&self, listened: &BTreeSet<String>) {
        assert_eq!(self.processes(), [], "processes are left\n{}", self.process.tail());
        let still: Vec<String> = all_listening().intersection(listened).cloned().collect();
        assert!(still.is_empty(), "sockets still listen: {still:?}");
        let files: Vec<_> = fs::read_dir(self.temporary()).expect("TMPDIR").flatten().map(|it| it.path()).collect();
        assert!(files.is_empty(), "files are left: {files:?}\n{}", self.process.tail());
    }
}

fn all_listening() -> BTreeSet<String> {
    listening_ports().into_keys().collect()
}

/// The port of each socket that listens, by its inode.
fn listening_ports() -> BTreeMap<String, u16> {
    const LISTEN: &str = "0A";
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(Path::new(path)).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let sockets = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    sockets
        .filter(|fields| fields.get(3) == Some(&LISTEN))
        .filter_map(|fields| {
            let port = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
            Some(((*fields.get(9)?).to_owned(), port))
        })
        .collect()
}

/// What this port answers to these bytes, as far as it does within a second.
fn answer(port: u16, bytes: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(bytes.as_bytes());
    let mut said = Vec::new();
    let mut part = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut part) {
        said.extend_from_slice(&part[..n]);
    }
    text(&said)
}

/// The result in the last line of a demo that succeeded.
async fn result(demo: &mut Demo) -> Value {
    let status = demo.process.end_within(ENDS_WITHIN).await;
    let log = demo.process.log();
    assert_eq!(status.code(), Some(0), "{}", end_of(&log));
    let last = log.lines().last().unwrap_or_default();
    let score: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {last}\n{}", end_of(&log)));
    let keys: BTreeSet<&str> = score.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    score
}

fn number(score: &Value, key: &str) -> u64 {
    score[key].as_u64().unwrap_or_else(|| panic!("{key} in {score}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_worked_off_by_two_instances_and_nothing_is_left() {
    let mut demo = Demo::start(&["--json", "--jobs", "30", "--job-seconds", "1"]);
    demo.until_said("is ready").await;
    let listened = demo.listening();
    assert!(listened.len() >= 4, "Redis, emulator, gRPC and HTTP listen: {listened:?}");
    let score = result(&mut demo).await;
    let of = |key: &str| number(&score, key);
    assert_eq!((of("jobs_added"), of("jobs_completed"), of("jobs_failed"), of("jobs_run_twice")), (30, 30, 0, 0));
    assert_eq!((of("instances_launched"), of("instances_terminated")), (2, 2), "{score}");
    assert_eq!((of("instances_peak"), of("max_instances")), (2, 2));
    let (first, total) = (score["seconds_to_first_ready"].as_f64(), score["seconds_total"].as_f64());
    assert!(first > Some(0.0) && first < total, "{score}");
    demo.assert_nothing_is_left(&listened);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_instance_costs_no_job() {
    let mut demo = Demo::start(&["--json", "--jobs", "40", "--job-seconds", "2", "--interrupt"]);
    let score = result(&mut demo).await;
    let log = demo.process.log();
    assert!(log.contains("EC2 interrupts i-"), "{}", end_of(&log));
    let of = |key: &str| number(&score, key);
    assert_eq!((of("jobs_completed"), of("jobs_failed"), of("jobs_run_twice")), (40, 0, 0), "{}", end_of(&log));
    assert_eq!(of("instances_peak"), 2, "{score}");
    assert_eq!(of("instances_launched"), of("instances_terminated"), "{score}");
    demo.assert_nothing_is_left(&BTreeSet::new());
}

/// What another user of the machine can try, at every port and in every command line of the demo.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_of_the_machine_cannot_command_it() {
    let mut demo = Demo::start(&["--keep", "--jobs", "30", "--job-seconds", "1"]);
    demo.until_said("is ready").await;
    let own = demo.listening();
    let ports: Vec<u16> =
        listening_ports().into_iter().filter(|(inode, _)| own.contains(inode)).map(|it| it.1).collect();
    let http =
        |port, first: &str, more: &str| answer(port, &format!("{first} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"));
    let all = |ask: &dyn Fn(u16) -> String| ports.iter().map(|port| ask(*port)).collect::<Vec<_>>().join("\n---\n");
    let redis = all(&|port| answer(port, "CONFIG SET dir /tmp\r\n"));
    assert!(redis.contains("-NOAUTH") && !redis.contains("+OK"), "{redis}");
    let emulator = all(&|port| http(port, "GET /_emulator/instances", ""));
    assert!(emulator.contains(" 401 ") && !emulator.contains("i-0"), "{emulator}");
    let run = "GET /?Action=DescribeInstances&Version=2016-11-15";
    let ec2 = all(&|port| {
        http(port, run, "Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/ec2/aws4_request\r\n")
    });
    assert!(ec2.contains("AuthFailure") && !ec2.contains("<instanceId>"), "{ec2}");
    let user_data = all(&|port| {
        let token =
            http(port, "PUT /latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60\r\nConnection: close\r\n");
        let token = token.lines().last().unwrap_or_default().to_owned();
        http(port, "GET /latest/user-data", &format!("X-aws-ec2-metadata-token: {token}\r\nConnection: close\r\n"))
    });
    assert!(user_data.contains("boot-instance'"), "metadata is there to be read: {user_data}");

    let place = fs::read_dir(demo.temporary()).expect("TMPDIR").flatten().next().expect("its directory").path();
    assert_eq!(fs::metadata(&place).expect("its directory").permissions().mode() & 0o077, 0);
    let config = fs::read_to_string(place.join("coordinator.toml")).expect("the settings");
    let setting = |key: &str| config.lines().find_map(|it| it.strip_prefix(key)?.split('"').nth(1)).expect("a setting");
    let password = setting("url = ").split([':', '@']).nth(2).expect("a password");
    let key = fs::read_to_string(place.join("emulator.key")).expect("the key");
    for secret in [password, key.trim()] {
        assert!(secret.len() >= 32, "{secret}");
        let arguments = demo.processes().into_iter().find(|(_, arguments)| arguments.contains(secret));
        assert_eq!(arguments, None);
        assert!(!user_data.contains(secret) && !demo.process.log().contains(secret));
    }
    demo.process.signal(libc::SIGINT);
    demo.process.end_within(STOPS_WITHIN).await;
    demo.assert_nothing_is_left(&own);
}

/// Ctrl-C from the first process to the last, and at the moments at which most is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_at_any_moment_leaves_nothing_behind() {
    for moment in [
        "starting a private Redis",
        "installing the primary's copy",
        "starting the coordinator",
        "flooding the queue",
        "is booting",
        "3/4",
        "is ready",
    ] {
        let mut demo = Demo::start(&["--json", "--jobs", "100", "--job-seconds", "1"]);
        demo.until_said(moment).await;
        let listened = demo.listening();
        demo.process.signal(libc::SIGINT);
        let status = demo.process.end_within(STOPS_WITHIN).await;
        let log = demo.process.log();
        assert_eq!(status.code(), Some(1), "at \"{moment}\":\n{}", end_of(&log));
        assert!(log.contains("stopped before its end; nothing is left behind"), "at \"{moment}\":\n{}", end_of(&log));
        demo.assert_nothing_is_left(&listened);
    }
}

/// `--keep` shows commands early that work as they are pasted, stays when all is done, and Ctrl-C then ends it as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_when_it_is_told_to() {
    let mut demo = Demo::start(&["--keep", "--jobs", "3", "--job-seconds", "0.2"]);
    demo.until_said("this stays until Ctrl-C").await;
    let listened = demo.listening();
    assert!(demo.process.ended().is_none(), "{}", demo.process.tail());
    let log = demo.process.log();
    let (tried, flooded) = (log.find("try in another terminal"), log.find("flooding the queue"));
    assert!(tried.is_some() && tried < flooded, "commands are shown early\n{}", end_of(&log));
    let (ok, said) = demo.paste("add jobs");
    assert!(ok && said.contains("added 3 jobs of 0.2 s"), "{said}");
    let (ok, said) = demo.paste("status");
    assert!(ok && said.contains("\ndemo: 0 desired, max 2\n"), "{said}");
    // There is no instance: the command finds the coordinator, and gives the reason.
    let (ok, said) = demo.paste("gameday");
    assert!(!ok && said.contains("no ready instance"), "{said}");
    let (ok, said) = demo.paste("drain");
    assert!(!ok && said.contains("INSTANCE_ID") && !said.contains("no coordinator"), "{said}");
    demo.process.signal(libc::SIGINT);
    demo.process.end_within(STOPS_WITHIN).await;
    demo.assert_nothing_is_left(&listened);
}
