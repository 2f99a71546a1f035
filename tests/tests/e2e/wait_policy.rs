//! The `wait` policy with real parts: jobs are looked at one by one in Redis, and an instance is launched for those
//! that would start too late.

use spillway_tests::jobs;
use spillway_tests::process::text;
use spillway_tests::stage::{Setup, Stage};

fn promising(target: &str) -> Setup {
    let key = |name: &'static str, value: &str| (name, value.to_owned());
    let environment = vec![
        key("SPILLWAY_POOL_POLICY_KIND", "wait"),
        key("SPILLWAY_POOL_POLICY_TARGET", target),
        key("SPILLWAY_POOL_POLICY_IDLE", "3s"),
    ];
    Setup { environment, ..Setup::default() }
}

fn explained(stage: &Stage) -> String {
    text(&stage.coordinator().command(&["explain", "--limit", "100"]).stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_launched_for_jobs_that_would_start_too_late_and_given_back() {
    let mut stage = Stage::start(promising("20s")).await;
    stage.start_primary().await;
    // Too few for its steps, which decide until it is known how long jobs take.
    jobs::add(&stage.redis, 4, 0.3);
    stage.until("the primary has run them", || jobs::completed(&stage.redis) == 4).await;
    // Nobody knows yet how long an instance boots: 2 min are assumed, and 140 s are the first multiple of the target in
    // which a launch can help. The primary, which runs one job at a time, needs longer than that.
    jobs::add(&stage.redis, 600, 0.3);
    stage.until("an instance is launched", || stage.billing() > 0).await;
    let said = explained(&stage);
    let is_said = said.contains("job in the queue would start after") && said.contains("target 20 s");
    assert!(is_said, "{said}");
    // They are given back as soon as the primary alone keeps the promise.
    stage.until_zero().await;
    stage.until("the primary has run the rest", || jobs::completed(&stage.redis) == 604).await;
    stage.assert_each_ran_once(604);
    let said = explained(&stage);
    assert!(said.contains("not needed for 3 s"), "{said}");
    // What was measured is in the ledger, and the next coordinator goes on from there.
    let measured: String = stage.redis.ask(&["GET", "spillway:pool:spillway:state"]);
    assert!(measured.contains("boots_ms"), "{measured}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_decide_while_nothing_tells_how_long_jobs_take() {
    let stage = Stage::start(promising("60s")).await;
    // No worker runs, so that no job ends.
    jobs::add(&stage.redis, 6, 0.5);
    stage.until_ready(1).await;
    let said = explained(&stage);
    assert!(said.contains("6 jobs ready to run; 1 instance desired"), "{said}");
    stage.until_zero().await;
    stage.assert_each_ran_once(6);
}
