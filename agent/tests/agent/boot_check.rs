//! `check --boot`: a real boot with a Redis of its own, while the real one keeps its jobs. Each test has a network of
//! its own, in which the real Redis has an address that is not loopback.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::namespace::{self, REMOTE};
use crate::stage::{PATIENCE, Stage};

/// With the real Redis at [`REMOTE`], as it is for a worker, and one job waiting in it.
fn stage(worker: &str) -> Stage {
    let mut stage = Stage::new(worker);
    stage.start_coordinator();
    stage.redis(&["CONFIG", "SET", "protected-mode", "no"]);
    stage.redis(&["CONFIG", "SET", "bind", &format!("127.0.0.1 {REMOTE}")]);
    real_url(&stage, "redis://", "");
    run_install(&stage);
    stage.add_jobs(&[0]);
    stage
}

fn real_url(stage: &Stage, before: &str, after: &str) {
    let url = format!("{before}{REMOTE}:{}{after}", stage.redis_port);
    fs::write(stage.path("app/.env"), format!("REDIS_URL={url}\n")).expect(".env");
}

/// A job can be added only where bullmq is installed.
fn run_install(stage: &Stage) {
    let cache = std::env::var("HOME").unwrap_or_default() + "/.bun/install/cache";
    let mut install = Command::new("bun");
    install.args(["install", "--frozen-lockfile"]).env("BUN_INSTALL_CACHE_DIR", cache).current_dir(stage.path("app"));
    assert!(install.output().expect("bun").status.success(), "bun install");
}

/// The exit status and stdout.
fn checked(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
    ended(&mut stage.program(&[&["check", "--boot"], arguments].concat()))
}

fn ended(command: &mut Command) -> (Option<i32>, String) {
    let out = command.output().expect("spillway-agent");
    println!("{}", String::from_utf8_lossy(&out.stderr));
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Nothing of the check runs or is blocked, and the real Redis has its job.
fn left_nothing(stage: &Stage) {
    assert_eq!(stage.pids(), Vec::<i32>::new(), "still running");
    assert_eq!(namespace::rules(), "");
    let left: Vec<_> = fs::read_dir(stage.path("state")).expect("state").flatten().map(|it| it.file_name()).collect();
    let ours =
        |name: &&std::ffi::OsString| ["boot-check", "fenced"].iter().any(|it| name.to_string_lossy().contains(it));
    assert_eq!(left.iter().find(ours), None);
    let count = |list: &str| stage.redis(&["LLEN", &format!("bull:q:{list}")]);
    assert_eq!((count("wait"), count("active"), stage.completed()), ("1".to_owned(), "0".to_owned(), 0));
}

fn says(out: &str, lines: &[&str]) {
    for line in lines {
        assert!(out.contains(line), "{out}\ndoes not say: {line}");
    }
}

#[test]
fn a_worker_is_booted_proven_and_stopped_and_the_real_job_waits_on() {
    namespace::run(|| {
        namespace::make_remote();
        let stage = stage("url.js");
        stage.redis(&["ACL", "SETUSER", "app", "on", ">p@ss \"word", "~*", "&*", "+@all"]);
        real_url(&stage, "redis://app:p%40ss%20%22word@", "/3");
        let (code, out) = checked(&stage, &["--json"]);
        assert_eq!(code, Some(0), "{out}");
        assert!(!out.contains("ss \\\"word") && !out.contains("p%40ss"), "{out}");
        let found: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
        let state =
            |what: &str| found.iter().filter(|it| it["what"] == what).map(|it| &it["state"]).collect::<Vec<_>>();
        for what in
            ["redis", "coordinator", "boot redis", "boot guard", "boot step pull", "boot step install", "boot worker"]
        {
            assert_eq!(state(what), ["ok"], "{what}: {out}");
        }
        let timed = |it: &&serde_json::Value| it["seconds"].as_f64().is_some();
        let timed: Vec<&str> = found.iter().filter(timed).filter_map(|it| it["what"].as_str()).collect();
        let steps = ["boot step pull", "boot step install", "boot step start", "boot step save", "boot worker"];
        assert_eq!(timed, steps);
        left_nothing(&stage);
    });
}

#[test]
fn the_worker_and_its_redis_run_as_the_applications_user() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("worker.js");
        stage.environment("HOME", &stage.path("home").display().to_string());
        let redis = "redis-cli -u $REDIS_URL info server | tr -d '\\r' | sed -n 's/^process_id://p'";
        let run =
            format!("id -un > $HOME/users; ps -o user= -p $({redis}) >> $HOME/users; pm2 start ecosystem.config.js");
        stage.configure(&format!("user = \"nobody\"\nsteps = [{{ name = \"start\", run = {run:?} }}]"), "");
        fs::create_dir(stage.path("pm2")).expect("a directory");
        fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o755)).expect("a mode");
        let mut own = Command::new("chown");
        own.args(["-R", "nobody"]).args(["app", "home", "pm2"].map(|name| stage.path(name)));
        assert!(own.status().expect("chown").success());
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(0), "{out}");
        says(&out, &["ok       boot worker: "]);
        assert_eq!(stage.log("home/users"), "nobody\nnobody\n");
        left_nothing(&stage);
    });
}

/// The check's own Redis sees it come from loopback, as it would see everybody.
#[test]
fn a_worker_without_a_name_and_without_the_shim_is_proven_by_its_address() {
    namespace::run(|| {
        namespace::make_remote();
        let stage = stage("elsewhere.js");
        stage.configure("", "shim = false");
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(0), "{out}");
        says(&out, &["ok       boot worker: "]);
        left_nothing(&stage);
    });
}

#[test]
fn an_application_with_a_fixed_address_reaches_no_job_and_is_told_so() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("fixed.js");
        stage.environment("QUEUE_AT", &format!("{REMOTE} {}", stage.redis_port));
        let (code, out) = checked(&stage, &["--within", "12s"]);
        assert_eq!(code, Some(1), "{out}");
        let blocked = format!("{REMOTE}:{}", stage.redis_port);
        says(
            &out,
            &[
                &format!("ok       boot guard: {blocked} cannot be reached from here"),
                "FAILED   boot worker: the worker never connected to the check's own Redis: it takes its Redis address from \
                 somewhere else than REDIS_URL",
                &format!("Nothing real was reached, since {blocked} was blocked"),
            ],
        );
        left_nothing(&stage);
        // The same worker would have taken it.
        let log = fs::File::create(stage.path("fixed.log")).expect("a file");
        let mut worker = Command::new("bun");
        worker.arg("fixed.js").current_dir(stage.path("app")).env("QUEUE_AT", blocked.replace(':', " ")).stderr(log);
        let mut worker = worker.stdout(Stdio::null()).spawn().expect("bun");
        stage.wait("the job to be taken", |stage| stage.completed() == 1);
        worker.kill().expect("it runs");
        worker.wait().expect("it ran");
    });
}

/// It is at an address that nobody configured, so that nothing blocks it.
#[test]
fn a_worker_that_reaches_another_redis_takes_no_job_there() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("fixed.js");
        stage.environment("QUEUE_AT", &format!("127.0.0.1 {}", stage.redis_port));
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(1), "{out}");
        says(
            &out,
            &[
                &format!(
                    "FAILED   boot worker: the worker is connected to another Redis or database at 127.0.0.1:{}",
                    stage.redis_port
                ),
                "It was fenced from its start, so that it took no job there",
            ],
        );
        left_nothing(&stage);
    });
}

#[test]
fn a_worker_that_throws_fails_with_the_end_of_its_log_without_secrets() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("throws.js");
        stage.environment("DB_PASSWORD", "open-sesame");
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(1), "{out}");
        says(
            &out,
            &[
                "ok       boot step save: ",
                "FAILED   boot worker: the worker crash-loops: error: cannot log in as ***",
                "the worker's log ends with:\n    ",
            ],
        );
        assert!(!out.contains("open-sesame") && !out.contains('\u{1b}'), "{out}");
        left_nothing(&stage);
    });
}

#[test]
fn a_worker_that_connects_and_then_falls_over_is_not_proven() {
    namespace::run(|| {
        namespace::make_remote();
        let stage = stage("crash.js");
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(1), "{out}");
        says(&out, &["FAILED   boot worker: the worker crash-loops"]);
        left_nothing(&stage);
    });
}

#[test]
fn no_job_that_the_application_adds_at_its_start_is_run() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("adds.js");
        let note = stage.path("note");
        stage.environment("NOTE", &note.display().to_string());
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(0), "{out}");
        assert!(!note.exists(), "a job ran");
        left_nothing(&stage);
    });
}

#[test]
fn a_step_that_fails_is_retried_and_shows_the_end_of_its_output() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("worker.js");
        stage.environment("API_TOKEN", "open-sesame");
        let note = stage.path("ran");
        let run = format!("(sleep 300 & echo $API_TOKEN is wrong >&2; echo x >> {}; exit 3)", note.display());
        let steps = format!(
            "steps = [{{ name = \"log in\", run = {run:?}, retries = 1 }}, {{ run = \"echo no >> {}\" }}]",
            note.display()
        );
        stage.configure(&steps, "");
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(1), "{out}");
        says(
            &out,
            &[
                "warning  boot step log in: attempt 1: exit status 3 after ",
                "; trying again; its output ends with:\n    *** is wrong\n",
                "FAILED   boot step log in: attempt 2: exit status 3 after ",
                "FAILED   boot worker: not started: a boot step failed",
            ],
        );
        assert_eq!(stage.log("ran"), "x\nx\n");
        left_nothing(&stage);
    });
}

#[test]
fn without_a_redis_server_nothing_is_started_and_it_says_what_to_install() {
    namespace::run(|| {
        namespace::make_remote();
        let stage = stage("worker.js");
        let bin = stage.path("few");
        fs::create_dir(&bin).expect("a directory");
        for name in ["sh", "git", "bun", "pm2", "node", "ip"] {
            let path = std::env::var("PATH").expect("PATH");
            let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|it| it.is_file());
            symlink(found.expect(name), bin.join(name)).expect("a link");
        }
        let note = stage.path("ran");
        stage.configure(&format!("steps = [{{ run = \"echo x >> {}\" }}]", note.display()), "");
        let (code, out) = ended(stage.program(&["check", "--boot"]).env("PATH", &bin));
        assert_eq!(code, Some(1), "{out}");
        says(
            &out,
            &[
                "FAILED   boot redis: redis-server: command not found: install redis-server in the image, the boot \
            check needs one of its own",
                "No boot step was run",
            ],
        );
        assert!(!note.exists(), "{out}");
        left_nothing(&stage);
    });
}

#[test]
fn where_the_real_redis_stays_reachable_no_step_is_run() {
    namespace::run(|| {
        let stage = stage("worker.js");
        let note = stage.path("ran");
        stage.configure(&format!("steps = [{{ run = \"echo x >> {}\" }}]", note.display()), "");
        // An address of this machine's own, which no rule concerns.
        let (code, out) = checked(&stage, &[]);
        assert_eq!(code, Some(1), "{out}");
        says(
            &out,
            &[
                "FAILED   boot guard: the real Redis at 10.9.9.7:",
                "is reachable in spite of the rule",
                "No boot step was run",
            ],
        );
        left_nothing(&stage);
        // Where no rule can be made.
        let program = stage.program(&["check", "--boot"]);
        let mut weak = Command::new("setpriv");
        weak.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
            .arg(program.get_program())
            .args(program.get_args());
        weak.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (code, out) = ended(&mut weak);
        assert_eq!(code, Some(1), "{out}");
        says(
            &out,
            &[
                "FAILED   boot guard: cannot make the real Redis at 10.9.9.7:",
                "Operation not permitted",
                "No boot step was run",
            ],
        );
        left_nothing(&stage);
        // A name that leads nowhere, and a Redis on this machine that answers.
        real_url(&stage, "redis://no-such-host.invalid/?was=", "");
        let (_, out) = checked(&stage, &[]);
        says(&out, &["FAILED   boot guard: no-such-host.invalid cannot be resolved", "No boot step was run"]);
        fs::write(stage.path("app/.env"), format!("REDIS_URL=redis://127.0.0.1:{}\n", stage.redis_port)).expect(".env");
        let (_, out) = checked(&stage, &[]);
        says(
            &out,
            &["FAILED   boot guard: a Redis answers at 127.0.0.1:", "on this machine itself", "No boot step was run"],
        );
        assert!(!note.exists(), "a step was run");
        left_nothing(&stage);
    });
}

#[test]
fn where_an_agent_or_a_worker_lives_nothing_is_started() {
    namespace::run(|| {
        namespace::make_remote();
        let mut stage = stage("worker.js");
        stage.redis(&["DEL", "bull:q:wait"]);
        stage.start_agent();
        stage.wait("a worker", |stage| !stage.worker_pids().is_empty());
        let refused = |stage: &Stage, why: &str| {
            let before = stage.worker_pids();
            let (code, out) = checked(stage, &[]);
            assert_eq!(code, Some(1), "{out}");
            says(&out, &[&format!("FAILED   boot worker: {why}"), "No boot step was run"]);
            assert!(!out.contains("boot redis"), "{out}");
            assert_eq!((stage.worker_pids(), namespace::rules()), (before, String::new()));
        };
        stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == spillway_proto::v1::AgentPhase::Ready);
        refused(&stage, "an agent is active here");
        stage.kill_agent();
        refused(&stage, "PM2 already runs worker here");
        stage.configure("", "");
        let without_shim = fs::read_to_string(stage.path("agent.toml"))
            .expect("agent.toml")
            .replace("[worker]\n", "[worker]\nshim = false\n");
        fs::write(stage.path("agent.toml"), without_shim).expect("agent.toml");
        stage.start_agent();
        refused(&stage, "an agent is active here");
    });
}

#[test]
fn a_check_that_is_told_to_leave_leaves_nothing() {
    namespace::run(|| {
        namespace::make_remote();
        for (worker, step) in [("worker.js", Some("sleep 300")), ("fixed.js", None)] {
            let mut stage = stage(worker);
            stage.environment("QUEUE_AT", &format!("{REMOTE} {}", stage.redis_port));
            if let Some(step) = step {
                stage.configure(&format!("steps = [{{ name = \"long\", run = {step:?} }}]"), "");
            }
            let mut check = stage.program(&["check", "--boot"]).stdout(Stdio::piped()).spawn().expect("a check");
            let is_under_way = |stage: &Stage| match step {
                Some(step) => stage.pids().iter().any(|pid| {
                    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    line.replace('\0', " ").trim() == step
                }),
                None => !stage.worker_pids().is_empty(),
            };
            stage.wait("the boot to be under way", is_under_way);
            assert_ne!(namespace::rules(), "");
            let pid = rustix::process::Pid::from_child(&check);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
            let begun = tokio::time::Instant::now();
            while check.try_wait().expect("a check").is_none() {
                assert!(begun.elapsed() < PATIENCE, "it does not leave");
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            let out = check.wait_with_output().expect("a check");
            assert_eq!(out.status.code(), Some(1));
            says(
                &String::from_utf8_lossy(&out.stdout),
                &["FAILED   boot worker: the check was interrupted: the agent received SIGTERM"],
            );
            left_nothing(&stage);
        }
    });
}
