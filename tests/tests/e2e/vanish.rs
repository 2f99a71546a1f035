//! An instance ends without a notice, in the middle of a job: the coordinator hands the job back, and another worker
//! runs it at once, without waiting for a stall check and without spending an attempt or a stall.

use std::time::Duration;

use spillway_emulator::InstanceState;
use spillway_proto::v1;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{QUEUE, jobs, other_client, wait};

/// One instance at the most, so that nothing but the primary can run what is handed back.
fn setup() -> Setup {
    Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())], ..Setup::default() }
}

/// An instance in the middle of a job, which nothing will replace: its id and the job's.
async fn busy(stage: &Stage, seconds: f64) -> (String, String) {
    jobs::add(&stage.redis, 5, seconds);
    let id = stage.until_ready(1).await.remove(0);
    let job = stage
        .until_pool("the instance runs a job with most of it left", |_| {
            let mine = |job: &String| {
                let job = jobs::job(&stage.redis, job);
                job.by.as_deref() == Some(&*id) && job.has_long_to_go(&stage.redis, seconds)
            };
            jobs::active(&stage.redis).into_iter().find(mine)
        })
        .await;
    stage.coordinator().json(&["hold", "--reason", "no replacement"]);
    (id, job)
}

/// A call of another client to EC2.
async fn another_client(stage: &Stage, form: &[(&str, &str)]) {
    assert!(other_client::call(stage, form).await, "{form:?}");
}

fn field(stage: &Stage, job: &str, name: &str) -> Option<u32> {
    stage.redis.ask(&["HGET", &format!("bull:{QUEUE}:{job}"), name])
}

/// Asserts that the primary ran the job again from its start, and that neither an attempt nor a stall was spent.
async fn assert_run_again(stage: &Stage, id: &str, job: &str) {
    let status = stage.coordinator().status();
    let instances = status["instances"].as_array().expect("a list");
    let gone = instances.iter().find(|it| it["id"] == id).expect("it is shown");
    assert_eq!(gone["jobs_handed_back"], 1, "{status}");
    assert_eq!(status["jobs_handed_back_total"], 1, "{status}");
    let words = String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text");
    assert!(words.contains("1 job handed back"), "{words}");
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 5).await;
    assert_eq!(jobs::job(&stage.redis, job).by.as_deref(), Some("primary"));
    assert_eq!(jobs::runs(&stage.redis)[&format!("{QUEUE}:{job}")], 2);
    assert_eq!((field(stage, job, "atm"), field(stage, job, "stc")), (Some(1), None), "attempts and stalls");
    assert!(jobs::stalls(&stage.redis).is_empty(), "BullMQ found {:?}", jobs::stalls(&stage.redis));
    assert_eq!(jobs::failed(&stage.redis), 0);
    let http = stage.coordinator().http_port;
    let metrics = reqwest::get(format!("http://127.0.0.1:{http}/metrics")).await.expect("metrics");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.lines().any(|line| line == "spillway_jobs_handed_back_total{pool=\"spillway\"} 1"), "{metrics}");
}

/// Waits until the instance no longer holds the job, and prints how long that took from the instance's end.
async fn until_handed_back(stage: &Stage, id: &str, job: &str) {
    stage
        .until_pool("the job is handed back", |pool| {
            pool.instances.iter().find(|it| it.id == id && it.jobs_handed_back == 1).map(drop)
        })
        .await;
    let ended = stage.instance(id).ending_ms.expect("the instance has ended");
    println!("{id}: job {job} handed back {} ms after its end", jobs::now_ms(&stage.redis).saturating_sub(ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_client_terminates_costs_no_job() {
    let mut stage = Stage::start(setup()).await;
    let (id, job) = busy(&stage, 6.0).await;
    stage.start_primary().await;
    another_client(&stage, &[("Action", "TerminateInstances"), ("InstanceId.1", &id)]).await;
    until_handed_back(&stage, &id, &job).await;
    assert!(stage.coordinator().explained("its active jobs are handed back"), "{}", stage.diagnosis().await);
    assert_run_again(&stage, &id, &job).await;
    assert_eq!(stage.calls("RunInstances").len(), 1);
    let status = stage.coordinator().status();
    let gone = status["instances"].as_array().into_iter().flatten().find(|it| it["id"] == id).expect("it is shown");
    let why = "terminated by somebody else, not by this coordinator \
        (Client.UserInitiatedShutdown: User initiated shutdown)";
    assert_eq!(gone["phase_reason"], why, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interruption_without_a_notice_costs_no_job() {
    let mut stage = Stage::start(setup()).await;
    let (id, job) = busy(&stage, 6.0).await;
    stage.start_primary().await;
    stage.emulator().interrupt(&id, Duration::ZERO).expect("an end");
    until_handed_back(&stage, &id, &job).await;
    assert_run_again(&stage, &id, &job).await;
}

/// The coordinator is down while it happens, and learns of it from a listing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_while_the_coordinator_is_away_is_handed_back_when_it_is_back() {
    let mut stage = Stage::start(setup()).await;
    let (id, job) = busy(&stage, 6.0).await;
    let mut first = stage.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGKILL);
    first.process.end_within(Duration::from_secs(20)).await;
    stage.emulator().interrupt(&id, Duration::ZERO).expect("an end");
    stage.until("the instance is terminated", || stage.instance(&id).state == InstanceState::Terminated).await;
    // Without a worker there is no stall check: only the coordinator can requeue the job.
    stage.start_coordinator().await;
    stage
        .until_pool("the job is handed back", |pool| {
            pool.instances.iter().find(|it| it.id == id && it.jobs_handed_back == 1 && it.hand_back == "done").map(drop)
        })
        .await;
    stage.start_primary().await;
    assert_run_again(&stage, &id, &job).await;
}

/// Somebody deletes its tags: no filtered list shows it. It is found by its id, still counts, and a person is told;
/// once it has really ended its job is handed back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_whose_tags_are_deleted_still_counts_and_its_job_is_handed_back_when_it_ends() {
    let environment =
        vec![("EC2_SPOT_MAX_COUNT", "1".to_owned()), ("SPILLWAY_POOL_CONSISTENCY_GRACE", "2s".to_owned())];
    let mut stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    let (id, job) = busy(&stage, 60.0).await;
    stage.coordinator().json(&["resume"]);
    another_client(&stage, &[("Action", "DeleteTags"), ("ResourceId.1", &id)]).await;
    let told = format!("somebody changed the tags of {id}: ManagedBy is missing, spillway:pool is missing");
    stage.until("a person is told", || stage.coordinator().explained(&told)).await;
    assert!(stage.coordinator().process.log().contains(&told), "in the journal too");
    let counts = async || {
        let pool = stage.coordinator().try_pool().await;
        pool.is_none_or(|pool| in_phase(&pool, "ready").any(|it| it.id == id && it.connected))
    };
    wait::throughout(Duration::from_secs(8), "it still counts", async || stage.diagnosis().await, counts).await;
    assert_eq!(stage.calls("RunInstances").len(), 1, "{}", stage.diagnosis().await);
    assert!(jobs::active(&stage.redis).contains(&job));

    stage.coordinator().json(&["hold", "--reason", "no replacement"]);
    stage.start_primary().await;
    stage.emulator().interrupt(&id, Duration::ZERO).expect("an end");
    until_handed_back(&stage, &id, &job).await;
    assert_eq!((field(&stage, &job, "atm"), field(&stage, &job, "stc")), (None, None), "attempts and stalls");
}

/// Whoever reports for an instance that is gone has no coordinator any more: that is what its dead-man's switch waits
/// for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_of_an_instance_that_is_gone_is_closed() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, trusts: true, ..setup() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let mut session = AgentSession::open(&stage.coordinator().server(), &id).await;
    assert!(session.commands.message().await.expect("a welcome").is_some());
    stage.emulator().interrupt(&id, Duration::ZERO).expect("an end");
    let is_gone = |pool: &v1::Pool| in_phase(pool, "gone").find(|it| it.id == id).map(drop);
    stage.until_pool("the instance is gone", is_gone).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        while session.commands.message().await.is_ok_and(|it| it.is_some()) {}
    });
    ended.await.unwrap_or_else(|_| panic!("the session stays open\n{}", stage.coordinator().process.tail()));
    assert!(stage.coordinator().process.log().contains("its agent has no coordinator any more"));
}

/// The coordinator's Redis user may only read BullMQ's keys: status says so, and the job is handed back once it may
/// write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_user_that_may_not_hand_back_is_told_apart_from_one_that_may() {
    let mut stage = Stage::without_coordinator(setup()).await;
    let reads = "resetkeys resetchannels -@all %R~bull:* ~spillway:* +@read +time +ping +client|list +eval +evalsha \
                 +script|load +set +del +pexpire +xadd";
    let user: Vec<&str> = ["ACL", "SETUSER", "spillway", "on", ">secret"].into_iter().chain(reads.split(' ')).collect();
    let _: () = stage.redis.ask(&user);
    let url = format!("redis://spillway:secret@127.0.0.1:{}", stage.redis.port());
    stage.environment.insert("REDIS_URL".to_owned(), url);
    stage.start_coordinator().await;
    let (id, job) = busy(&stage, 6.0).await;
    stage.emulator().interrupt(&id, Duration::ZERO).expect("an end");
    let refused = "may not hand jobs back";
    stage.until("the plan says so", || stage.coordinator().explained(refused)).await;
    // In a screenful a sentence may be cut, and what is refused is at its begin.
    let short = String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text");
    assert!(short.contains("WARNING    the jobs of ") && short.contains(refused), "{short}");
    let status = || String::from_utf8(stage.coordinator().command(&["status", "--all"]).stdout).expect("text");
    assert!(status().contains(refused) && status().contains("+lrem"), "{}", status());
    assert!(!status().contains("secret"), "{}", status());
    // Redis' error is another one if the script may write the keys but not use the command.
    let _: () = stage.redis.ask(&["ACL", "SETUSER", "spillway", "~bull:*"]);
    let other = "The user executing the script can't run this command";
    stage.until("the script is rejected as well", || status().contains(other)).await;
    assert!(status().contains(refused) && status().contains("+lrem"), "{}", status());
    let writes = "+lrem +rpush +zadd +srem +hdel +hincrby";
    let user: Vec<&str> = ["ACL", "SETUSER", "spillway"].into_iter().chain(writes.split(' ')).collect();
    let _: () = stage.redis.ask(&user);
    stage
        .until_pool("the job is handed back", |pool| {
            pool.instances.iter().find(|it| it.id == id && it.jobs_handed_back == 1).map(drop)
        })
        .await;
    stage.start_primary().await;
    assert_run_again(&stage, &id, &job).await;
}
