//! Standard output that nobody reads (`spillway status | head -1`): every program ends quietly, with the exit status
//! that it has where its output is read.

use std::fs::File;
use std::io::{Read as _, pipe};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use spillway_tests::coordinator::{Coordinator, Environment, spillway};
use spillway_tests::process::{command, output, text};
use spillway_tests::stage::{Setup, Stage, directory};
use spillway_tests::{binaries, jobs, wait};

/// `demo` first ends what it has started.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// Runs it with a standard output whose reading end is closed: its exit status and what it said on standard error.
async fn unread(mut command: Command) -> (ExitStatus, String) {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    run(command.stdout(writer).stderr(Stdio::piped())).await
}

async fn run(command: &mut Command) -> (ExitStatus, String) {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stderr = child.stderr.take().expect("it is piped");
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.read_to_end(&mut said);
        text(&said)
    });
    let what = format!("{command:?} ends");
    let ended = async || child.try_wait().expect("its status");
    let status = tokio::time::timeout(ENDS_WITHIN, wait::until(&what, async || String::new(), ended)).await;
    (status.unwrap_or_else(|_| panic!("{what} within {ENDS_WITHIN:?}")), said.join().expect("no panic"))
}

/// Every command that `--help` names.
fn commands(help: &str) -> Vec<String> {
    let named = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A description goes on in lines that are indented further.
    let named = named.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    named.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// `make` makes the command with these arguments. Each ends without its reader as it does with one.
async fn end_quietly(make: impl Fn(&[&str]) -> Command, all: &[&[&str]]) {
    for arguments in all {
        let read = output(&mut make(arguments));
        assert!(read.stdout.contains(&b'\n'), "{arguments:?} prints nothing: {}", text(&read.stderr));
        let (status, said) = unread(make(arguments)).await;
        assert_eq!(status, read.status, "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{arguments:?}: {said}");
        // `2>&1`: there is nowhere to complain.
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let mut command = make(arguments);
        command.stdout(writer.try_clone().expect("the same pipe")).stderr(writer);
        let status = command.status().unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(status, read.status, "{arguments:?} 2>&1");
    }
}

async fn helps_end_quietly(make: impl Fn(&[&str]) -> Command, least: usize) {
    let help = output(make(&["--help"]).stderr(Stdio::inherit()));
    let commands = commands(&text(&help.stdout));
    assert!(commands.len() >= least, "{commands:?}");
    end_quietly(&make, &[&["--help"], &["--version"]]).await;
    for command in commands.iter().filter(|command| *command != "help") {
        end_quietly(&make, &[&[command, "--help"]]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spillway_ends_quietly_where_nobody_reads_what_it_prints() {
    let set = [("QUEUE_NAMES", "video"), ("REDIS_URL", "redis://127.0.0.1:1")];
    let environment = Environment::from(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let make = |arguments: &[&str]| {
        let mut command = spillway(&environment);
        command.args(arguments);
        command
    };
    helps_end_quietly(make, 11).await;
    end_quietly(make, &[&["help"], &["acl"]]).await;

    // A full disk is no reader that went away.
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let (status, said) = run(make(&["acl"]).stdout(full).stderr(Stdio::piped())).await;
    assert!(status.code() == Some(1) && said.contains("cannot write to standard output: No space left"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_that_nobody_reads_ends_as_by_control_c_and_leaves_nothing_behind() {
    let temporary = directory();
    let mut demo = spillway(&Environment::from([("TMPDIR".to_owned(), temporary.path().display().to_string())]));
    demo.arg("demo");
    let (status, said) = unread(demo).await;
    assert!(status.code() == Some(1) && said.contains("nothing is left behind"), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let left: Vec<_> = temporary.path().read_dir().expect("its directory").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_ends_quietly_where_nobody_reads_what_it_prints() {
    let directory = directory();
    let file = directory.path().join("agent.toml");
    let application = directory.path().join("app");
    std::fs::create_dir(&application).expect("app");
    std::fs::write(application.join(".env"), "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI\n").expect(".env");
    let settings = "coordinator = \"http://127.0.0.1:1\"\n[worker]\nqueues = [\"q\"]\n";
    std::fs::write(&file, format!("{settings}[boot]\ndirectory = {application:?}\n")).expect("agent.toml");
    let make = |arguments: &[&str]| {
        let mut command = command(binaries::agent());
        command.env_clear().env("SPILLWAY_INSTANCE_ID", "i-1").env("REDIS_URL", "redis://127.0.0.1:1").args(arguments);
        command
    };
    helps_end_quietly(make, 4).await;
    let file = file.display().to_string();
    for command in ["check", "check-image"] {
        for arguments in [[command, "--config", &file].as_slice(), &[command, "--json", "--config", &file]] {
            let read = output(&mut make(arguments));
            assert_eq!(read.status.code(), Some(1), "something is wrong: {}", text(&read.stderr));
            end_quietly(make, &[arguments]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_coordinator_answers_may_go_unread() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 1, 1.0);
    let has_plan = async || stage.coordinator().try_pool().await.is_some_and(|pool| pool.plan.is_some());
    stage.until_async("a plan is shown", has_plan).await;
    let coordinator: &Coordinator = stage.coordinator();
    let make = |arguments: &[&str]| {
        let mut command = spillway(&Environment::from([("QUEUE_NAMES".to_owned(), "video".to_owned())]));
        command.args(arguments).env("SPILLWAY_SERVER", coordinator.server());
        command
    };
    let all: [&[&str]; 6] =
        [&["status"], &["status", "--json"], &["explain"], &["explain", "--json"], &["hold"], &["resume"]];
    end_quietly(make, &all).await;
    // What would go on for ever ends too.
    for arguments in [["status", "--watch"].as_slice(), &["status", "--watch", "--json"]] {
        let (status, said) = unread(make(arguments)).await;
        assert!(status.success() && said.is_empty(), "{status}: {said}");
    }
}
