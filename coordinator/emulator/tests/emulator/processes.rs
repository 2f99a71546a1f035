//! Instances as processes: what they run, and that nothing of them is left in the end, however that comes.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spillway_emulator::InstanceState;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;

use crate::support::{
    Client, DAEMON, NEVER, PROGRAM, SOON, SPOT, World, eventually, exists, file, processes_of, running,
};

#[tokio::test]
async fn user_data_runs_in_an_environment_of_its_own() {
    let world = running().await;
    let script = "#!/bin/sh -e
echo printed
env >\"$HOME/env\"
pwd >\"$HOME/pwd\"
exit 3
";
    let id = world.launch(script, &[]).await;
    let console = async || world.emulator().console(&id).expect("an instance");
    eventually("the console tells the end", || async { console().await.contains("exit status 3") }).await;
    assert!(console().await.contains("printed\n"));
    let home = std::fs::canonicalize(world.home(&id)).expect("a home");
    assert_eq!(world.home_file(&id, "pwd").await, home.display().to_string());
    let env = world.home_file(&id, "env").await;
    let port = world.record(&id).imds_port;
    for expected in [
        format!("HOME={}", home.display()),
        format!("PM2_HOME={}/.pm2", home.display()),
        format!("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:{port}"),
        format!("SPILLWAY_EMULATOR_INSTANCE={id}"),
    ] {
        assert!(env.lines().any(|line| line == expected), "{expected} in {env}");
    }
    assert!(!env.contains("CARGO"), "{env}");
    // The end of the script is not the end of the instance.
    assert_eq!(world.record(&id).state, InstanceState::Running);
    world.stop().await;
}

#[tokio::test]
async fn empty_instances_live_by_the_hundred_and_nothing_runs_in_them() {
    let world = World::start_with(|options| options.empty = true).await;
    let user_data = BASE64.encode("#!/bin/sh\nshutdown now\n");
    let many = [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "300"), ("MaxCount", "300")];
    world.client.ok("RunInstances", &[&many[..], &[("UserData", &user_data)]].concat()).await;
    let all_run = || async { world.emulator().instances().iter().all(|it| it.state == InstanceState::Running) };
    eventually("all are running", all_run).await;
    let id = world.emulator().instances()[0].id.clone();
    assert_eq!(processes_of(&id).len(), 0);
    world.client.ok("TerminateInstances", &[("InstanceId.1", &*id)]).await;
    world.until(&id, InstanceState::Terminated).await;
    let others = world.emulator().instances();
    let running = others.iter().filter(|record| record.state == InstanceState::Running).count();
    assert_eq!((others.len(), running), (300, 299), "the user data was not run");
    world.stop().await;
}

#[tokio::test]
async fn more_environment_does_not_hide_the_power_switch() {
    let world = World::start_with(|options| {
        options.environment = vec![("MORE".into(), "more".into()), ("PATH".into(), "/usr/bin:/bin".into())];
    })
    .await;
    let id = world.launch("#!/bin/sh\necho \"$MORE $PATH\" >\"$HOME/env\"\nshutdown now\n", &[]).await;
    let env = world.home_file(&id, "env").await;
    let bin = std::fs::canonicalize(world.home(&id)).expect("a home").with_file_name("bin");
    assert_eq!(env, format!("more {}:/usr/bin:/bin", bin.display()));
    world.until(&id, InstanceState::Stopped).await;
    world.stop().await;
}

#[tokio::test]
async fn user_data_that_is_no_script_is_not_run() {
    let world = running().await;
    let id = world.launch("#cloud-config\nruncmd: [ls]\n", &[]).await;
    eventually("the console tells it", || async {
        world.emulator().console(&id).expect("an instance").contains("cannot run the user data: it is a #cloud-config")
    })
    .await;
    assert_eq!(world.record(&id).state, InstanceState::Running);
    world.stop().await;
}

#[tokio::test]
async fn an_interruption_kills_a_detached_daemon() {
    let world = running().await;
    let id = world.launch(DAEMON, &[SPOT]).await;
    let daemon = world.home_file(&id, "daemon").await;
    assert!(exists(&daemon));
    world.emulator().interrupt(&id, Duration::ZERO).expect("interrupted");
    let ended = world.until(&id, InstanceState::Terminated).await;
    assert!(!exists(&daemon));
    assert_eq!(processes_of(&id), [""; 0]);
    assert_eq!(ended.state_reason.expect("a reason").code, "Server.SpotInstanceTermination");
    assert_eq!(ended.notice, None, "unannounced");
    let request = world.client.ok("DescribeSpotInstanceRequests", &[]).await;
    assert_eq!(
        (request.one("code"), request.one("state")),
        ("instance-terminated-no-capacity".into(), "closed".into())
    );
    world.stop().await;
}

#[tokio::test]
async fn a_notice_comes_first_when_it_is_asked_for() {
    let world = running().await;
    let id = world.launch(DAEMON, &[SPOT]).await;
    let noticed = world.emulator().interrupt(&id, Duration::from_millis(300)).expect("interrupted");
    let ended = world.until(&id, InstanceState::Terminated).await;
    assert!(ended.ending_ms >= noticed.notice.map(|notice| notice.at_ms), "not before the announced time");
    world.stop().await;
}

#[tokio::test]
async fn termination_is_orderly_first() {
    let world = World::start(SOON, NEVER).await;
    let script = "#!/bin/sh
trap 'echo bye >\"$HOME/bye\"; exit' TERM
echo ready >\"$HOME/ready\"
while :; do sleep 0.05; done
";
    let id = world.launch(script, &[]).await;
    world.home_file(&id, "ready").await;
    world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!(world.home_file(&id, "bye").await, "bye");
    assert_eq!(world.record(&id).state, InstanceState::ShuttingDown);
    eventually("all processes are gone", || async { processes_of(&id).is_empty() }).await;
    world.stop().await;
}

#[tokio::test]
async fn termination_does_not_wait_for_ever() {
    let world = running().await;
    let id = world.launch(DAEMON, &[]).await;
    let daemon = world.home_file(&id, "daemon").await;
    world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    world.until(&id, InstanceState::Terminated).await;
    assert!(!exists(&daemon));
    world.stop().await;
}

#[tokio::test]
async fn shutdown_from_within_ends_the_instance_as_it_was_launched() {
    let world = running().await;
    let check = async |command: &str, behavior: &str, state: InstanceState| {
        let script = DAEMON.replacen('\n', &format!("\n{command} || echo refused\n"), 1);
        let id = world.launch(&script, &[SPOT, ("InstanceInitiatedShutdownBehavior", behavior)]).await;
        let ended = world.until(&id, state).await;
        assert_eq!(ended.state_reason.expect("a reason").code, "Client.InstanceInitiatedShutdown", "{command}");
        assert_eq!(processes_of(&id), [""; 0], "{command}");
        id
    };
    check("shutdown -h now", "terminate", InstanceState::Terminated).await;
    check("sudo -n poweroff", "terminate", InstanceState::Terminated).await;
    check("systemctl --no-block poweroff", "terminate", InstanceState::Terminated).await;
    let stopped = check("shutdown now", "stop", InstanceState::Stopped).await;
    world.client.ok("TerminateInstances", &[("InstanceId.1", &stopped)]).await;
    world.until(&stopped, InstanceState::Terminated).await;
    world.stop().await;
}

#[tokio::test]
async fn a_shutdown_for_later_can_be_cancelled() {
    let world = running().await;
    let script = "#!/bin/sh
shutdown +1; shutdown -c; shutdown -r now; systemctl start nothing
echo done >\"$HOME/done\"
";
    let id = world.launch(script, &[]).await;
    world.home_file(&id, "done").await;
    // Its output takes a way of its own.
    eventually("the console says what is not emulated", async || {
        let console = world.emulator().console(&id).expect("an instance");
        console.contains("reboot is not emulated") && console.contains("no systemd")
    })
    .await;
    assert_eq!(world.record(&id).state, InstanceState::Running);
    world.stop().await;
}

#[tokio::test]
async fn an_instance_whose_init_is_killed_is_terminated_with_all_its_processes() {
    let world = running().await;
    let id = world.launch(&DAEMON.replacen('\n', "\necho $PPID >\"$HOME/init\"\n", 1), &[]).await;
    let daemon = world.home_file(&id, "daemon").await;
    let init = world.home_file(&id, "init").await;
    kill("-KILL", &init).await;
    let ended = world.until(&id, InstanceState::Terminated).await;
    assert_eq!(ended.state_reason.expect("a reason").code, "Server.InternalError");
    assert!(!exists(&daemon));
    world.stop().await;
}

#[tokio::test]
async fn stopping_the_emulator_leaves_no_process_and_no_port() {
    // An address that nobody else listens on.
    let address = std::net::SocketAddr::from(([127, 9, 8, 7], 0));
    let world = World::start_with(|options| (options.listen, options.shutting_down) = (address, NEVER)).await;
    let id = world.launch(DAEMON, &[]).await;
    world.home_file(&id, "daemon").await;
    let shutting_down = world.launch(DAEMON, &[]).await;
    world.client.ok("TerminateInstances", &[("InstanceId.1", &shutting_down)]).await;
    let address = world.emulator().address();
    let metadata = ("127.0.0.1", world.record(&id).imds_port);
    let mut metadata = TcpStream::connect(metadata).await.expect("its metadata service listens");
    world.stop().await;
    assert_eq!(processes_of(&id), [""; 0]);
    assert_eq!(processes_of(&shutting_down), [""; 0]);
    assert!(TcpStream::connect(address).await.is_err(), "{address} is closed");
    assert!(matches!(metadata.read(&mut [0]).await, Ok(0) | Err(_)), "connections to it are closed");
}

#[tokio::test]
async fn a_killed_emulator_takes_its_instances_along() {
    ends_with_the_program("-KILL", None).await;
}

#[tokio::test]
async fn a_terminated_emulator_ends_cleanly() {
    ends_with_the_program("-TERM", Some(0)).await;
    ends_with_the_program("-INT", Some(0)).await;
}

/// Runs the emulator as a program, sends it the signal, and checks that its instance is gone.
async fn ends_with_the_program(signal: &str, code: Option<i32>) {
    let directory = tempfile::Builder::new().prefix("e").tempdir().expect("a temporary directory");
    let mut emulator = tokio::process::Command::new(PROGRAM)
        .args(["run", "--listen", "127.0.0.1:0", "--pending", "10ms", "--json", "--directory"])
        .arg(directory.path())
        .arg("--key-file")
        .arg(directory.path().join("key"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(emulator.stdout.take().expect("piped")).lines();
    let line = lines.next_line().await.expect("readable").expect("a line");
    let told: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let key = std::fs::read_to_string(directory.path().join("key")).expect("the key").trim().to_owned();
    let client = Client::new(told["endpoint"].as_str().expect("an endpoint").to_owned(), Some(key));
    let user_data = BASE64.encode(DAEMON);
    let id = client.run(&[("UserData", &user_data)]).await;
    let daemon = file(directory.path().join(&id).join("home/daemon")).await;
    kill(signal, &emulator.id().expect("runs").to_string()).await;
    let status = emulator.wait().await.expect("ended");
    assert_eq!(status.code(), code, "{signal}");
    if code.is_some() {
        assert_eq!(processes_of(&id), [""; 0], "{signal}: none is left when it has ended");
    }
    eventually("no process is left", || async { processes_of(&id).is_empty() && !exists(&daemon) }).await;
}

async fn kill(signal: &str, pid: &str) {
    let status = tokio::process::Command::new("kill").args([signal, pid]).status().await.expect("kill runs");
    assert!(status.success());
}
