//! What EC2 refuses until a person acts: launching is stopped, visibly, and tried again; a used launch token is not
//! asked for again; an instance that EC2 does not terminate powers itself off.

use std::time::Duration;

use serde_json::Value;
use spillway_emulator::{InstanceState, Lose, Refuse};
use spillway_tests::coordinator::ServingStatus::{self, NotServing, Serving};
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

/// More than any test lets EC2 refuse.
const ALWAYS: u32 = 1_000_000;

fn refuse(stage: &Stage, action: &str, code: &str, calls: u32) {
    let message = Some(format!("what EC2 says about {code}"));
    stage
        .emulator()
        .refuse(Refuse { action: action.to_owned(), code: code.to_owned(), calls, message })
        .expect("a fault");
}

pub async fn until_health(stage: &Stage, service: &str, wanted: ServingStatus) {
    let what = format!("{service} is {wanted:?}");
    stage.until_async(&what, async || stage.coordinator().try_health(service).await == Some(wanted)).await;
}

pub async fn metrics(stage: &Stage) -> String {
    let url = format!("http://127.0.0.1:{}/metrics", stage.coordinator().http_port);
    reqwest::get(url).await.expect("metrics").text().await.expect("text")
}

/// The metric of EC2's answers to launches.
pub fn launches(outcome: &str) -> String {
    format!("spillway_launches_total{{pool=\"spillway\",capacity_type=\"spot\",outcome=\"{outcome}\"}}")
}

/// How many alerts have these words.
pub fn alerts(stage: &Stage, words: &str) -> usize {
    let plans = stage.coordinator().explain();
    let decisions = plans.iter().flat_map(|plan| plan["decisions"].as_array().cloned().unwrap_or_default());
    // On a busy host the queue's first job may come later than `policy.idle`, and an answer be late by as much.
    let is_late = |reason: &str| reason.contains("been unknown for");
    let is_it = |reason: &str| reason.contains(words) && !is_late(reason);
    let says = |decision: &Value| decision["reason"].as_str().is_some_and(is_it);
    decisions.filter(|decision| decision["kind"] == "alert" && says(decision)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_is_not_permitted_stops_launching_visibly_and_is_tried_again() {
    let environment = vec![("SPILLWAY_POOL_QUOTA_BACKOFF", "6s".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    refuse(&stage, "RunInstances", "UnauthorizedOperation", ALWAYS);
    jobs::add(&stage.redis, 6, 1.0);
    until_health(&stage, "spillway.launches", NotServing).await;
    assert_eq!(stage.coordinator().health("").await, Serving, "a restart would help nobody");
    let pool = stage.coordinator().status();
    let blocked = &pool["launches_blocked"][0];
    assert_eq!(
        (&blocked["class"], &blocked["code"]),
        (&"permission".into(), &"UnauthorizedOperation".into()),
        "{pool}"
    );
    let words = String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text");
    assert!(words.contains("launching is stopped: EC2 answered UnauthorizedOperation"), "{words}");
    let said = metrics(&stage).await;
    for line in [
        "spillway_launches_blocked{pool=\"spillway\",class=\"permission\"} 1".to_owned(),
        "spillway_launches_blocked{pool=\"spillway\",class=\"capacity\"} 0".to_owned(),
        format!("{} 1", launches("refused_permission")),
        format!("{} 0", launches("accepted")),
    ] {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
    stage.until("it is tried again", || stage.calls("RunInstances").len() == 2).await;
    let calls = stage.calls("RunInstances");
    assert!(calls[1].at_ms - calls[0].at_ms >= 6_000, "{calls:?}");
    assert_eq!(alerts(&stage, "not permitted: UnauthorizedOperation"), 1, "{}", stage.diagnosis().await);

    stage.emulator().clear_faults();
    stage.until_ready(1).await;
    until_health(&stage, "spillway.launches", Serving).await;
    let said = metrics(&stage).await;
    for line in [
        "spillway_launches_blocked{pool=\"spillway\",class=\"permission\"} 0".to_owned(),
        format!("{} 1", launches("accepted")),
    ] {
        assert!(said.lines().any(|found| found == line), "{line} is not in\n{said}");
    }
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(6);
}

/// A code that is in no list, and the default back-off of ten minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_forgets_a_back_off_and_says_so() {
    let stage = Stage::start(Setup::default()).await;
    refuse(&stage, "RunInstances", "SomethingNew", ALWAYS);
    jobs::add(&stage.redis, 6, 1.0);
    stage
        .until("an alert", || alerts(&stage, "unknown error: SomethingNew: what EC2 says about SomethingNew") == 1)
        .await;
    stage.emulator().clear_faults();
    let once = || stage.calls("RunInstances").len() == 1;
    stage.throughout(Duration::from_secs(8), "no launch in the back-off", once).await;
    let said = String::from_utf8(stage.coordinator().command(&["resume"]).stdout).expect("text");
    assert!(said.contains("the back-off after SomethingNew (unknown error"), "{said}");
    stage.until_ready(1).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_token_whose_instance_is_terminated_is_followed_by_the_next_at_once() {
    let stage = Stage::start(Setup::default()).await;
    stage.emulator().lose(Lose { action: "RunInstances".to_owned(), calls: 1 }).expect("a fault");
    // Otherwise the list would tell first.
    stage.emulator().stale(Duration::from_secs(6)).expect("a fault");
    // For longer than its agent waits for that list: an instance that is not needed any more is never ready.
    jobs::add(&stage.redis, 6, 5.0);
    stage.until("it is launched", || stage.instances().len() == 1).await;
    stage.emulator().interrupt(&stage.instances()[0].id, Duration::ZERO).expect("it runs");
    refuse(&stage, "RunInstances", "IdempotentInstanceTerminated", 1);
    // An instance is there a moment before its call is written down.
    let are_both_there = || stage.instances().len() == 2 && stage.calls("RunInstances").len() == 3;
    stage.until("the next token", are_both_there).await;
    let calls = stage.calls("RunInstances");
    assert_eq!((calls[0].client_token.clone(), calls.len()), (calls[1].client_token.clone(), 3), "{calls:?}");
    assert_ne!(calls[2].client_token, calls[0].client_token);
    assert!(calls[2].at_ms - calls[1].at_ms < 5_000, "{calls:?}");
    stage.until_ready(1).await;
    stage.until_zero().await;
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_ec2_does_not_terminate_is_shown_and_powers_itself_off() {
    let stage = Stage::start(Setup::default()).await;
    refuse(&stage, "TerminateInstances", "UnauthorizedOperation", ALWAYS);
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_ready(1).await.remove(0);
    stage.until("it ends", || stage.instance(&id).ending_ms.is_some()).await;
    let record = stage.instance(&id);
    assert!(format!("{:?}", record.state_reason).contains("Client.InstanceInitiatedShutdown"), "{record:?}");
    assert_eq!(alerts(&stage, &format!("EC2 refuses to terminate {id}")), 1, "{}", stage.diagnosis().await);
    stage.until("it is terminated", || stage.instance(&id).state == InstanceState::Terminated).await;
    stage.until_zero().await;
    until_health(&stage, "spillway.terminations", Serving).await;
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(6);
}
