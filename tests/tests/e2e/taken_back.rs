//! What EC2 accepts and takes back: the instance is terminated before it ever runs, and EC2's StateReason says why. A
//! refusal that came late: shown with EC2's words, backed off by its class, and no failed boot.

use spillway_emulator::FailLaunch;
use spillway_tests::coordinator::ServingStatus::{NotServing, Serving};
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

use crate::refusals::{alerts, launches, metrics, until_health};

fn fail(stage: &Stage, code: &str, message: &str, launches: u32) {
    let fault = FailLaunch { code: code.to_owned(), message: Some(message.to_owned()), launches };
    stage.emulator().fail_launch(fault).expect("a fault");
}

fn status(stage: &Stage) -> String {
    String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text")
}

async fn assert_metrics(stage: &Stage, expected: &[String]) {
    let said = metrics(stage).await;
    for line in expected {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
}

fn blocked(class: &str, is_blocked: u8) -> String {
    format!("spillway_launches_blocked{{pool=\"spillway\",class=\"{class}\"}} {is_blocked}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_capacity_after_the_launch_was_accepted_is_no_capacity_and_no_failed_boot() {
    let environment = vec![("SPILLWAY_POOL_CAPACITY_BACKOFF", "2s".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    // As many as open the breaker, if they were failed boots.
    fail(&stage, "Server.InsufficientInstanceCapacity", "Insufficient capacity to satisfy instance request", 3);
    jobs::add(&stage.redis, 6, 1.0);
    let words = "Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request";
    let explained = |plan: &serde_json::Value| {
        let notes = plan["notes"].as_array().expect("notes");
        let says = |note: &&serde_json::Value| {
            note.as_str().is_some_and(|note| note.contains(&format!("(no capacity: {words})")))
        };
        notes.iter().any(|note| says(&note))
    };
    stage.until("explain says why", || stage.coordinator().explain().iter().any(explained)).await;
    assert_metrics(&stage, &[blocked("capacity", 1), blocked("breaker", 0)]).await;
    let said = status(&stage);
    assert!(said.contains(&format!("ended the instance before anything ran there ({words})")), "{said}");
    stage.until_ready(1).await;
    assert_metrics(
        &stage,
        &[
            blocked("capacity", 0),
            blocked("breaker", 0),
            format!("{} 4", launches("accepted")),
            format!("{} 3", launches("taken_back_capacity")),
            format!("{} 0", launches("refused_capacity")),
        ],
    )
    .await;
    let calls = stage.calls("RunInstances");
    for (pair, wait) in calls.windows(2).zip([2_000, 4_000, 8_000]) {
        assert!(pair[1].at_ms - pair[0].at_ms >= wait, "{calls:?}");
    }
    assert_eq!(alerts(&stage, ""), 0, "{}", stage.diagnosis().await);
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 4);
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_ends_for_its_encrypted_volume_is_told_with_ec2s_words_and_tried_again() {
    let environment = vec![("SPILLWAY_POOL_QUOTA_BACKOFF", "5s".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    fail(&stage, "Client.InternalError", "Client error on launch", 2);
    jobs::add(&stage.redis, 6, 1.0);
    until_health(&stage, "spillway.launches", NotServing).await;
    let pool = stage.coordinator().status();
    let told = &pool["launches_blocked"][0];
    let expected = ["configuration", "Client.InternalError", "Client error on launch"];
    assert_eq!(["class", "code", "message"].map(|key| told[key].as_str().expect("text")), expected, "{pool}");
    assert_eq!(told["after_accept"], true, "{pool}");
    let said = status(&stage);
    let problem = "launching is stopped: EC2 accepted the last one, and ended it before anything ran there \
                   (Client.InternalError, configuration)";
    assert!(said.contains(problem), "{said}");
    stage.until("it is tried again", || stage.calls("RunInstances").len() == 2).await;
    let calls = stage.calls("RunInstances");
    assert!(calls[1].at_ms - calls[0].at_ms >= 5_000, "{calls:?}");
    let taken_back = |times: u32| format!("{} {times}", launches("taken_back_configuration"));
    stage.until_async("it is taken back again", async || metrics(&stage).await.contains(&taken_back(2))).await;
    assert_metrics(&stage, &[blocked("configuration", 1), blocked("breaker", 0)]).await;
    assert_eq!(alerts(&stage, "(wrong configuration: Client.InternalError: Client error on launch)"), 1);
    assert_eq!(alerts(&stage, ""), 1, "{}", stage.diagnosis().await);

    let said = String::from_utf8(stage.coordinator().command(&["resume"]).stdout).expect("text");
    assert!(said.contains("the back-off after Client.InternalError (wrong configuration"), "{said}");
    stage.until_ready(1).await;
    until_health(&stage, "spillway.launches", Serving).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 3);
    stage.assert_each_ran_once(6);
}
