//! No drain costs a job: an operator's, which can be cancelled, and that of an interruption notice, after which the
//! instance is no capacity and is replaced. A held pool launches nothing until it is resumed.

use std::time::Duration;

use spillway_proto::v1;
use spillway_tests::jobs;
use spillway_tests::process::{end_of, text};
use spillway_tests::stage::{Setup, Stage, in_phase};

/// Waits until Redis shows an instance with a job of so many seconds, most of it left; returns both ids.
async fn busy(stage: &Stage, seconds: f64) -> (String, String) {
    stage
        .until_pool("an instance runs a job with most of it left", |pool| {
            let active = jobs::active(&stage.redis);
            active.into_iter().find_map(|id| {
                let job = jobs::job(&stage.redis, &id);
                let by = job.by.clone().filter(|_| job.has_long_to_go(&stage.redis, seconds))?;
                in_phase(pool, "ready").any(|instance| instance.id == by).then_some((by, id))
            })
        })
        .await
}

/// Each change of the instance's phase has one line, and so has what an operator asked for, with the account that
/// asked.
fn assert_log_tells_the_life_of(stage: &Stage, id: &str) {
    let log = stage.coordinator().process.log();
    let lines = |parts: &[&str]| log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    for parts in [
        &["instance booting", id][..],
        &["instance ready", id, "after="],
        // EC2 has one code for this and for a colleague's click.
        &[
            "instance gone",
            id,
            "after=",
            "reason=\"terminated: requested by an operator: a new image, by ",
            "; drained (operator)",
        ],
        &["operator's request ", "action=\"drain\"", id, "by=", "(uid ", "a new image"],
        &["decided ", "decision=\"drain\"", "instance=", id, "requested by an operator"],
        &["decided ", "decision=\"terminate\"", "instance=", id],
        &["desired capacity changed", "from=0 to=1"],
    ] {
        assert_eq!(lines(parts), 1, "{parts:?}:\n{}", end_of(&log));
    }
    let is_info = |line: &&str| line.contains(" INFO ");
    assert!(log.lines().filter(is_info).count() < 60, "a line each tick?\n{}", end_of(&log));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_drain_lets_the_job_finish_and_the_instance_is_replaced() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 6, 5.0);
    let (id, job) = busy(&stage, 5.0).await;
    let said = stage.coordinator().json(&["drain", &id, "--reason", "a new image"]);
    let promised = format!("{id} takes no new job; it is terminated once its jobs are finished");
    assert_eq!(said["message"], promised.as_str());
    stage.until_pool("it drains", |pool| in_phase(pool, "draining").find(|it| it.id == id).map(drop)).await;
    stage.until("the instance is terminated", || stage.instance(&id).ending_ms.is_some()).await;
    let finished = jobs::job(&stage.redis, &job).finished_ms.expect("the job was finished first");
    assert!(Some(finished) <= stage.instance(&id).ending_ms, "{}", stage.diagnosis().await);
    assert!(stage.coordinator().explained("requested by an operator: a new image"), "{}", stage.diagnosis().await);
    stage.until("another instance completes the rest", || jobs::completed(&stage.redis) == 6).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 2, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(6);
    assert_log_tells_the_life_of(&stage, &id);

    let again = stage.coordinator().command(&["drain", &id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("only a booting or ready instance can be drained"), "{}", text(&again.stderr));
    let unknown = stage.coordinator().command(&["drain", "i-0"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no instance i-0 here"), "{}", text(&unknown.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_taken_back_leaves_the_instance_at_work() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 6, 5.0);
    let (id, _) = busy(&stage, 5.0).await;
    // Held, so that no replacement is launched meanwhile.
    stage.coordinator().json(&["hold", "--reason", "a look at it"]);
    stage.coordinator().json(&["drain", &id]);
    stage
        .until_pool("the agent drains", |pool| {
            let drains =
                |it: &v1::Instance| it.heartbeat.as_ref().is_some_and(|beat| beat.phase() == v1::AgentPhase::Draining);
            in_phase(pool, "draining").find(|it| it.id == id && drains(it)).map(drop)
        })
        .await;
    let completed_before = jobs::completed(&stage.redis);
    let said = stage.coordinator().json(&["drain", &id, "--cancel"]);
    assert_eq!(said["message"], format!("{id} goes back to work").as_str());
    stage.until_ready(1).await;
    stage.coordinator().json(&["resume"]);
    stage.until("it works on", || jobs::completed(&stage.redis) >= completed_before + 3).await;
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 6).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 1, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pool_launches_nothing_until_it_is_resumed() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 6, 1.0);
    stage.coordinator().json(&["hold", "--reason", "moving house"]);
    stage.throughout(Duration::from_secs(10), "nothing is launched", || stage.acts() == 0).await;
    let status = stage.coordinator().status();
    let why = status["hold_reason"].as_str().unwrap_or_default();
    assert!(status["held"] == true && why.starts_with("moving house, by "), "{status}");
    assert_eq!(status["desired"], 1, "desired capacity is shown regardless");
    assert!(
        stage.coordinator().explained("an operator holds the pool (moving house, by "),
        "{}",
        stage.diagnosis().await
    );
    stage.coordinator().json(&["resume"]);
    stage.until_ready(1).await;
    stage.until_zero().await;
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interruption_in_the_middle_of_a_job_costs_no_job_and_the_instance_is_replaced() {
    let setup = Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "3".to_owned())], ..Setup::default() };
    let stage = Stage::start(setup).await;
    jobs::add(&stage.redis, 40, 2.0);
    stage.until_ready(2).await;
    let (id, job) = busy(&stage, 2.0).await;
    stage.emulator().interrupt(&id, Duration::from_secs(20)).expect("a notice");
    stage
        .until_pool("the instance no longer counts as capacity", |pool| {
            in_phase(pool, "draining").find(|it| it.id == id && !it.notices.is_empty()).map(drop)
        })
        .await;
    let demand = stage.coordinator().pool().await.backlog.map_or(0, |backlog| backlog.demand);
    assert!(demand > 0, "there must be demand left for a replacement");
    stage.until("the instance is replaced", || stage.instances().len() == 3).await;
    stage.until("it is gone", || stage.instance(&id).ending_ms.is_some()).await;
    let finished = jobs::job(&stage.redis, &job).finished_ms.expect("the job was finished first");
    assert!(Some(finished) <= stage.instance(&id).ending_ms, "{}", stage.diagnosis().await);
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 40).await;
    stage.until_zero().await;
    assert!(stage.coordinator().explained("EC2 reclaims the instance in"), "{}", stage.diagnosis().await);
    assert_eq!(stage.instances().len(), 3, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(40);
}
