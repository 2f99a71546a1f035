//! The dashboard in Chromium, on a real coordinator: a flood, a drain by its button, a restart.

use std::process::Stdio;
use std::time::Duration;

use spillway_tests::binaries::workspace;
use spillway_tests::forward::Forward;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, programs};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

/// The browser's own waits are shorter.
const LIMIT: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_follows_a_flood_acts_and_recovers_from_a_restart() {
    let tests = workspace().join("tests/browser");
    if let Some(missing) = programs::missing_of_browser(&tests) {
        println!("NOT RUN: the dashboard in a browser: {missing} (tests/setup)");
        return;
    }
    let environment = vec![("SPILLWAY_POOL_POLICY_IDLE", "1h".to_owned())];
    let mut stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    // A page stays at its address, whichever coordinator answers there.
    let front = Forward::to(stage.coordinator().http_port).await;
    let mut browser = Command::new("node");
    browser.arg("real.js").arg(format!("http://127.0.0.1:{}/", front.port())).current_dir(&tests);
    let browser = browser.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut browser = browser.spawn().expect("node");
    let mut steps = BufReader::new(browser.stdout.take().expect("its output")).lines();
    let mut problems = browser.stderr.take().expect("its errors");
    let mut seen = Vec::new();
    loop {
        let step = tokio::time::timeout(LIMIT, steps.next_line()).await.expect("in time").expect("a line");
        let Some(step) = step else { break };
        match step.as_str() {
            "live" => jobs::add(&stage.redis, 30, 2.0),
            "draining" => {
                let mut coordinator = stage.coordinator.take().expect("a coordinator");
                coordinator.process.signal(libc::SIGTERM);
                coordinator.process.end_within(LIMIT).await;
            }
            "cut" => {
                stage.start_coordinator().await;
                front.lead_to(stage.coordinator().http_port);
            }
            _ => {}
        }
        seen.push(step);
    }
    let mut said = String::new();
    let _ = problems.read_to_string(&mut said).await;
    let status = browser.wait().await.expect("its end");
    assert!(status.success(), "after {seen:?}: {said}");
    assert_eq!(seen, ["live", "backlog", "booting", "ready", "draining", "cut", "done"], "{said}");
    assert!(
        stage
            .coordinator()
            .json(&["explain", "--since", "1h", "--limit", "200"])
            .to_string()
            .contains("a browser asked")
    );
}
