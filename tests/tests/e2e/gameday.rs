//! `spillway gameday`: the emulator interrupts an instance, or the coordinator has its agent rehearse an interruption;
//! its jobs are handed back, it is replaced, and the score says so.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use spillway_stage::ec2;
use spillway_tests::coordinator::spillway;
use spillway_tests::jobs;
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage};

/// What `spillway gameday` prints with these arguments, and whether it succeeded.
async fn gameday(stage: &Stage, emulator: bool, arguments: &[&str]) -> (bool, String, String) {
    with_key(stage, emulator, arguments, &ec2::key_file(stage.directory.path())).await
}

async fn with_key(stage: &Stage, emulator: bool, arguments: &[&str], key_file: &Path) -> (bool, String, String) {
    let mut environment = stage.environment.clone();
    if !emulator {
        environment.remove("AWS_ENDPOINT_URL_EC2");
    }
    let mut command = spillway(&environment);
    command.arg("gameday").args(arguments).env("SPILLWAY_SERVER", stage.coordinator().server());
    command.env(ec2::KEY_FILE, key_file);
    let out = tokio::task::spawn_blocking(move || output(&mut command)).await.expect("the command");
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_taken_and_its_jobs_run_elsewhere() {
    let setup = Setup {
        environment: vec![("EC2_SPOT_MAX_COUNT", "3".to_owned())],
        agent: "[drain]\nmargin = \"2s\"".to_owned(),
        ..Setup::default()
    };
    let mut stage = Stage::start(setup).await;
    let (ok, _, said) = gameday(&stage, true, &["--wait", "1s"]).await;
    assert!(!ok && said.contains("no ready instance has a running job: add jobs"), "{said}");
    jobs::add(&stage.redis, 36, 6.0);
    stage.start_primary().await;
    stage.until_ready(2).await;
    let (ok, _, said) = with_key(&stage, true, &["--notice", "5s"], Path::new("")).await;
    assert!(!ok && said.contains("has a key: set $SPILLWAY_EMULATOR_KEY_FILE"), "{said}");
    // What cannot tell whether it is the emulator is named, and is not waited for without bound.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("its address"));
    let own = stage.environment.insert("AWS_ENDPOINT_URL_EC2".to_owned(), silent);
    let (ok, _, said) = gameday(&stage, true, &["--notice", "0s"]).await;
    assert!(!ok && said.contains("it has not answered within 5 s"), "{said}");
    assert!(said.contains("only the emulator can interrupt without notice"), "{said}");
    stage.environment.extend(own.map(|own| ("AWS_ENDPOINT_URL_EC2".to_owned(), own)));
    for (emulator, notice, by) in [(true, "5s", "emulator"), (false, "5s", "agent"), (true, "0s", "emulator")] {
        let (ok, out, said) = gameday(&stage, emulator, &["--notice", notice, "--json"]).await;
        assert!(ok, "{out}{said}{}", stage.diagnosis().await);
        let score: Value = serde_json::from_str(out.lines().last().unwrap_or_default()).expect("a score");
        let n = |key: &str| score[key].as_u64().unwrap_or_else(|| panic!("{key} in {score}"));
        assert_eq!((score["by"].as_str(), n("jobs_stalled"), n("jobs_failed"), n("jobs_lost")), (Some(by), 0, 0, 0));
        assert!(n("jobs_on_box") > 0 && n("jobs_finished") + n("jobs_handed_back") == n("jobs_on_box"), "{score}");
        assert_eq!(n("jobs_run_twice"), 0, "{score}");
        assert_eq!(score["seconds_until_again"].as_array().map(Vec::len), Some(n("jobs_handed_back") as usize));
        let id = score["instance"].as_str().expect("an id").to_owned();
        stage.until("it is gone", || stage.instance(&id).ending_ms.is_some()).await;
    }
    let (ok, _, said) = gameday(&stage, false, &["--notice", "0s"]).await;
    assert!(!ok && said.contains("only the emulator can interrupt without notice"), "{said}");
    let (ok, _, said) = gameday(&stage, true, &["--instance", "i-0"]).await;
    assert!(!ok && said.contains("no instance i-0 here"), "{said}");
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 36).await;
    assert_eq!(jobs::failed(&stage.redis), 0);
}
