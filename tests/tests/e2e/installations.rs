//! Whose instance is it: several installations in one account, several coordinators on one Redis, a pool that was
//! renamed, a ledger that was wiped, forged, or made for something else.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use serde_json::Value;
use spillway_emulator::{InstanceState, Lose};
use spillway_proto::v1;
use spillway_tests::coordinator::{Coordinator, Environment, ServingStatus::Serving, spillway};
use spillway_tests::neighbor::Neighbor;
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{jobs, other_client, ports, wait};

fn one_at_most() -> Setup {
    Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())], ..Setup::default() }
}

/// `spillway run` in this environment, which must refuse to start: what it says.
fn refused(stage: &Stage, environment: &Environment) -> String {
    let mut command = spillway(environment);
    command.arg("run").current_dir(stage.directory.path());
    command.env("SPILLWAY_GRPC_LISTEN", format!("127.0.0.1:{}", ports::free()));
    command.env("SPILLWAY_HTTP_LISTEN", format!("127.0.0.1:{}", ports::free()));
    if !environment.contains_key("SPILLWAY_STATE_DIRECTORY") {
        command.env("SPILLWAY_STATE_DIRECTORY", stage.directory.path().join("state"));
    }
    let out = output(&mut command);
    assert_eq!(out.status.code(), Some(2), "{}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stderr)
}

async fn stop(stage: &mut Stage) {
    let mut coordinator = stage.coordinator.take().expect("it runs");
    coordinator.process.signal(libc::SIGTERM);
    coordinator.process.end_within(Duration::from_secs(20)).await;
}

/// The value of a tag of an instance's.
fn tag(stage: &Stage, id: &str, key: &str) -> Option<String> {
    stage.instance(id).tags.get(key).cloned()
}

async fn leads(coordinator: &Coordinator) {
    let diagnosis = async || coordinator.process.tail();
    let is_leader = async || (coordinator.try_health("spillway.leader").await == Some(Serving)).then_some(());
    wait::until("it leads", diagnosis, is_leader).await;
}

/// Two installations, one account and region, each its own Redis, the same pool name, a cap of one each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_installations_with_the_same_names_work_side_by_side_and_both_say_so() {
    let stage = Stage::start(one_at_most()).await;
    jobs::add(&stage.redis, 12, 2.0);
    let ours = stage.until_ready(1).await.remove(0);
    let neighbor = Neighbor::start(&stage, &[]).await;
    let installation = tag(&stage, &ours, "spillway:installation").expect("it has the tag");
    neighbor.until_explained(&format!("another installation, {installation} by the tag spillway:installation")).await;
    assert!(neighbor.coordinator.process.log().contains(&ours), "named in the journal");
    // Its cap is its own.
    jobs::add(&neighbor.redis, 12, 2.0);
    let ready = |pool: &v1::Pool| in_phase(pool, "ready").next().map(|it| it.id.clone());
    let theirs = neighbor.until_pool("the neighbor's own instance is ready", ready).await;
    assert_ne!(theirs, ours);
    stage.until("the first says so too", || stage.coordinator().process.log().contains(&theirs)).await;
    let status = text(&stage.coordinator().command(&["status"]).stdout);
    assert!(status.contains(&format!("{theirs} has this pool's name, but is another installation's")), "{status}");

    stage
        .until("both floods are worked off", || {
            jobs::completed(&stage.redis) == 12 && jobs::completed(&neighbor.redis) == 12
        })
        .await;
    stage.until("both are at zero", || stage.instances().iter().all(|it| it.state == InstanceState::Terminated)).await;
    assert_eq!(stage.instances().len(), 2, "{}", stage.diagnosis().await);
    assert_eq!(stage.calls("TerminateInstances").len(), 2, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(12);
    jobs::assert_each_ran_once(&neighbor.redis, 12);
    let known = |pool: v1::Pool| pool.instances.into_iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(known(stage.coordinator().pool().await), [ours]);
    assert_eq!(known(neighbor.coordinator.pool().await), [theirs]);
}

/// Either of ledger and directory is enough to find it again; where they disagree nothing is started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_ledger_or_a_lost_directory_finds_its_own_and_two_that_disagree_are_refused() {
    let idle = ("SPILLWAY_POOL_POLICY_IDLE", "10m".to_owned());
    let mut stage = Stage::start(Setup { environment: vec![idle], ..one_at_most() }).await;
    jobs::add(&stage.redis, 6, 0.5);
    let ready = stage.until_ready(1).await;
    let installation = tag(&stage, &ready[0], "spillway:installation").expect("it has the tag");
    let file = stage.directory.path().join("state/installation");
    assert_eq!(fs::read_to_string(&file).expect("it is kept").trim(), installation);
    assert_eq!(stage.redis.ask::<String>(&["GET", "spillway:installation"]), installation);

    stop(&mut stage).await;
    let _: String = stage.redis.ask(&["FLUSHALL"]);
    jobs::add(&stage.redis, 1, 0.1);
    stage.start_coordinator().await;
    assert_eq!(stage.until_ready(1).await, ready, "found again by the directory");
    assert!(stage.coordinator().process.log().contains("by=\"state_directory\""));
    stop(&mut stage).await;
    fs::remove_dir_all(stage.directory.path().join("state")).expect("removed");
    stage.start_coordinator().await;
    assert_eq!(stage.until_ready(1).await, ready, "found again by the ledger");
    assert_eq!(fs::read_to_string(&file).expect("it is written again").trim(), installation);
    stop(&mut stage).await;

    fs::write(&file, "another\n").expect("written");
    let said = refused(&stage, &stage.environment);
    for part in [&installation, "another", "state/installation", "delete that file", "`installation`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let mut environment = stage.environment.clone();
    environment.insert("SPILLWAY_INSTALLATION".to_owned(), "staging".to_owned());
    let said = refused(&stage, &environment);
    assert!(said.contains(&format!("belongs to installation {installation}, and this one is staging")), "{said}");
    assert_eq!(stage.calls("RunInstances").len(), 1);
    assert_eq!(stage.calls("TerminateInstances").len(), 0, "{}", stage.diagnosis().await);
}

/// Two coordinators on one Redis: with different pools both lead and scale; with one name and other queues the second
/// is refused, and so is one that names a queue of the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_with_different_pools_share_a_redis_and_no_one_takes_the_others_ledger() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, ..one_at_most() }).await;
    leads(stage.coordinator()).await;
    let mut environment = stage.environment.clone();
    environment.insert("QUEUE_NAMES".to_owned(), "other-queue".to_owned());
    let said = refused(&stage, &environment);
    assert!(said.contains("the ledger of pool \"spillway\" belongs to other queues: bull:video-processing"), "{said}");
    assert!(said.contains("Give this pool another pool.name"), "{said}");
    environment.insert("SPILLWAY_POOL_NAME".to_owned(), "second".to_owned());
    environment.insert("QUEUE_NAMES".to_owned(), "other-queue,video-processing".to_owned());
    let said = refused(&stage, &environment);
    assert!(
        said.contains("queue bull:video-processing of pool \"second\" is worked by pool \"spillway\" already"),
        "{said}"
    );

    environment.insert("QUEUE_NAMES".to_owned(), "other-queue".to_owned());
    let second = Coordinator::start(stage.directory.path(), &environment, ports::free()).await;
    leads(&second).await;
    leads(stage.coordinator()).await;
    jobs::add_to(&stage.redis, "other-queue", 6, 1.0);
    let of = |pool: &str| {
        let names = stage.instances().into_iter().filter_map(|it| it.tags.get("spillway:pool").cloned());
        names.filter(|name| name == pool).count()
    };
    stage.until("the second launches for its queue", || of("second") == 1).await;
    assert_eq!(of("spillway"), 0);
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("the first launches for its own", || of("spillway") == 1).await;
    let _: u64 = stage.redis.ask(&["DEL", "spillway:leader"]);
    stage.throughout(Duration::from_secs(6), "each has its own", || of("spillway") == 1 && of("second") == 1).await;
}

/// A coordinator of a version with one lease for all pools is not led beside, in either order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_a_version_before_is_honoured() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let mut stage = Stage::without_coordinator(Setup { user_data, ..one_at_most() }).await;
    let _: String = stage.redis.ask(&["SET", "spillway:leader", "an-earlier-version", "PX", "8000"]);
    jobs::add(&stage.redis, 6, 1.0);
    stage.start_coordinator().await;
    let held =
        || stage.redis.ask::<Option<String>>(&["GET", "spillway:leader"]).as_deref() == Some("an-earlier-version");
    while held() {
        assert_eq!(stage.instances().len(), 0, "it leads beside the holder\n{}", stage.diagnosis().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    leads(stage.coordinator()).await;
    stage.until("it launches", || stage.instances().len() == 1).await;
    // Taken with SET NX, as those versions do.
    let taken: Option<String> = stage.redis.ask(&["SET", "spillway:leader", "an-earlier-version", "NX", "PX", "15000"]);
    assert_eq!(taken, None, "that version must not lead now");
}

/// `pool.name` is changed: the instances of the old name finish their jobs and end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_instances_of_a_pool_that_was_renamed_are_shown_drained_and_ended() {
    let idle = ("SPILLWAY_POOL_POLICY_IDLE", "10m".to_owned());
    let grace = ("SPILLWAY_POOL_CONSISTENCY_GRACE", "5s".to_owned());
    let mut stage = Stage::start(Setup { environment: vec![idle, grace], ..one_at_most() }).await;
    jobs::add(&stage.redis, 8, 1.0);
    let old = stage.until_ready(1).await.remove(0);
    stop(&mut stage).await;
    stage.environment.insert("SPILLWAY_POOL_NAME".to_owned(), "renamed".to_owned());
    stage.start_coordinator().await;
    let shown = || {
        let pools = stage.coordinator().json(&["status"])["pools"].clone();
        let old_pool = pools.as_array().into_iter().flatten().find(|pool| pool["name"] == "spillway").cloned();
        old_pool.is_some_and(|pool| pool["instances"][0]["id"] == old.as_str())
    };
    stage.until("the old pool is shown", shown).await;
    stage.until("its instance is terminated", || stage.instance(&old).state == InstanceState::Terminated).await;
    assert!(stage.coordinator().process.log().contains("this pool is in no settings any more"));
    let pools = || {
        let status = stage.coordinator().json(&["status"]);
        status["pools"].as_array().into_iter().flatten().map(|pool| pool["name"].clone()).collect::<Vec<Value>>()
    };
    stage.until("nothing of it is left", || pools() == ["renamed"]).await;
    assert!(jobs::runs(&stage.redis).values().all(|times| *times == 1), "{:?}", jobs::runs(&stage.redis));
    assert!(tag(&stage, &old, "spillway:pool").as_deref() == Some("spillway"));
}

/// Somebody writes a ledger without instances, and takes the lease away, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_ledger_launches_nothing_before_ec2_is_listed() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, ..Setup::default() }).await;
    jobs::add(&stage.redis, 20, 1.0);
    // It is never ready, so it tries the image alone: a second one would be launched by a ledger that does not know it.
    stage.until("one is launched", || stage.instances().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..3 {
        let state: String = stage.redis.ask(&["GET", "spillway:pool:spillway:state"]);
        let mut forged: Value = serde_json::from_str(&state).expect("JSON");
        forged["state"]["instances"] = Value::Array(Vec::new());
        forged["epoch"] = 1.into();
        let _: String = stage.redis.ask(&["SET", "spillway:pool:spillway:state", &forged.to_string()]);
        let _: u64 = stage.redis.ask(&["DEL", "spillway:pool:spillway:leader", "spillway:leader"]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(stage.instances().len(), 1, "{}", stage.diagnosis().await);
    }
    let pool = stage.coordinator().pool().await;
    let known: BTreeSet<String> = pool.instances.into_iter().map(|it| it.id).collect();
    assert_eq!(known, stage.instances().into_iter().map(|it| it.id).collect(), "found again by their tag");
}

/// EC2's answers to a launch are lost, and its tags are changed before any list shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_without_an_answer_is_found_by_its_client_token_whatever_its_tags_are() {
    let mut setup = Setup { user_data: Some("#!/bin/sh\nexec sleep 100000\n"), ..one_at_most() };
    let short = ["SPILLWAY_POOL_LAUNCH_TIMEOUT", "SPILLWAY_POOL_CONSISTENCY_GRACE"];
    setup.environment.extend(short.map(|name| (name, "4s".to_owned())));
    let stage = Stage::start(setup).await;
    stage.emulator().stale(Duration::from_secs(30)).expect("a fault");
    stage.emulator().lose(Lose { action: "RunInstances".to_owned(), calls: 1000 }).expect("a fault");
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("it is launched", || stage.instances().len() == 1).await;
    let id = stage.instances()[0].id.clone();
    let tag = [("Action", "CreateTags"), ("ResourceId.1", &id), ("Tag.1.Key", "ManagedBy"), ("Tag.1.Value", "me")];
    assert!(other_client::call(&stage, &tag).await, "{tag:?}");
    stage.emulator().stale(Duration::ZERO).expect("no fault");
    let booting = |pool: &v1::Pool| in_phase(pool, "booting").next().map(|it| it.id.clone());
    assert_eq!(stage.until_pool("it is known", booting).await, id);
    stage.throughout(Duration::from_secs(12), "it is the only one", || stage.instances().len() == 1).await;
    stage.until("its tags are told", || stage.coordinator().process.log().contains("somebody changed the tags")).await;
}

/// The setting `installation` is the same for two coordinators, each with a ledger and a pool of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_this_ledger_never_had_is_not_wound_up() {
    let mut setup = one_at_most();
    setup.environment.push(("SPILLWAY_INSTALLATION", "prod".to_owned()));
    setup.environment.push(("SPILLWAY_POOL_POLICY_IDLE", "10m".to_owned()));
    let stage = Stage::start(setup).await;
    let neighbor = Neighbor::start(&stage, &[("SPILLWAY_POOL_NAME", "theirs")]).await;
    jobs::add(&neighbor.redis, 6, 1.0);
    let ready = |pool: &v1::Pool| in_phase(pool, "ready").next().map(|it| it.id.clone());
    let theirs = neighbor.until_pool("the neighbor's own instance is ready", ready).await;
    stage.until("it is told", || stage.coordinator().process.log().contains("this ledger never had it")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.instance(&theirs).state, InstanceState::Running, "{}", stage.diagnosis().await);
    assert_eq!(stage.calls("TerminateInstances").len(), 0);
}
