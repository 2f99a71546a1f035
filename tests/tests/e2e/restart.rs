//! The coordinator may end at any time: instances keep running, the next coordinator takes them over from the ledger
//! and launches nothing twice; and of two coordinators only the leader acts.

use std::collections::BTreeSet;
use std::time::Duration;

use spillway_brain::{Config, Controller};
use spillway_coordinator::clock;
use spillway_coordinator::ledger::{LEASE, Lease, LeaseChange, Ledger, LedgerProblem};
use spillway_coordinator::redis_client::Redis;
use spillway_emulator::{Delay, InstanceState};
use spillway_proto::v1;
use spillway_tests::coordinator::Coordinator;
use spillway_tests::coordinator::ServingStatus::{NotServing, Serving};
use spillway_tests::process::text;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage, directory};
use spillway_tests::{authority, jobs, other_client, ports, wait};
use tokio::time::Instant;

/// The unit says five seconds; a busy host gets more.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_stopped_leaves_instances_at_work_and_the_next_one_adopts_them() {
    let mut stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 14, 2.0);
    let ready = stage.until_ready(1).await;
    let mut first = stage.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGTERM);
    let status = first.process.end_within(STOPS_WITHIN).await;
    assert_eq!(status.code(), Some(0), "{}", first.process.tail());
    let leader: bool = stage.redis.ask(&["EXISTS", "spillway:pool:spillway:leader"]);
    assert!(!leader, "the lease is released");

    let before = jobs::completed(&stage.redis);
    stage.until("jobs complete without a coordinator", || jobs::completed(&stage.redis) >= before + 2).await;
    assert_eq!(stage.instance(&ready[0]).state, InstanceState::Running);
    stage.start_coordinator().await;
    assert_eq!(stage.until_ready(1).await, ready, "the same instance");
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 14).await;
    stage.until_zero().await;
    assert_eq!((stage.calls("RunInstances").len(), stage.calls("TerminateInstances").len()), (1, 1));
    assert_eq!(stage.coordinator().status()["launched_total"], 1);
    stage.assert_each_ran_once(14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_killed_while_it_launches_doubles_nothing() {
    let mut stage = Stage::start(Setup::default()).await;
    // Two are launched at once from an image that has run here.
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    stage.until_zero().await;
    let before = stage.instances();
    assert_eq!(before.len(), 1, "{before:?}");
    let slow = Delay { action: "RunInstances".to_owned(), milliseconds: 8_000, calls: 2 };
    stage.emulator().delay(slow).expect("a fault");
    jobs::add(&stage.redis, 20, 2.0);
    let intended: BTreeSet<String> = stage
        .until_pool("two launches are under way", |pool| {
            let alive = pool.instances.iter().filter(|instance| instance.phase != "gone");
            let tokens: BTreeSet<String> = alive.map(|instance| instance.token.clone()).collect();
            (tokens.len() == 2).then_some(tokens)
        })
        .await;
    assert_eq!(stage.instances().len(), 1, "EC2 has not answered yet");
    let mut first = stage.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGKILL);
    first.process.end_within(STOPS_WITHIN).await;

    stage.start_coordinator().await;
    stage
        .until_async("it leads once the killed coordinator's lease has expired", async || {
            stage.coordinator().try_health("spillway.leader").await == Some(Serving)
        })
        .await;
    stage.until_ready(2).await;
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 26).await;
    stage.until_zero().await;
    let since = stage.instances().split_off(1);
    let launched: BTreeSet<String> = since.iter().filter_map(|record| record.client_token.clone()).collect();
    assert_eq!(launched, intended, "{}", stage.diagnosis().await);
    assert_eq!(since.len(), 2, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(26);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_coordinators_one_acts_and_the_other_takes_over() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let environment = vec![("SPILLWAY_POOL_BOOT_TIMEOUT", "25s".to_owned())];
    let mut stage = Stage::start(Setup { user_data, environment, ..Setup::default() }).await;
    let leads = async |coordinator: &Coordinator| coordinator.try_health("spillway.leader").await == Some(Serving);
    stage.until_async("the first leads", async || leads(stage.coordinator()).await).await;
    let second = stage.another_coordinator().await;
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("an instance is launched", || stage.instances().len() == 1).await;
    stage.throughout(Duration::from_secs(5), "one launch, by one of them", || stage.acts() == 1).await;
    assert_eq!(second.health("spillway.leader").await, NotServing);
    assert_eq!(second.health("").await, Serving, "a standby is healthy");
    assert_eq!(second.json(&["status"])["leader"], false);
    let explained = text(&second.command(&["explain"]).stdout);
    assert!(explained.contains("this coordinator is a standby") && explained.contains("leader's host"), "{explained}");
    assert!(text(&second.command(&["status"]).stdout).contains("STANDBY: this coordinator is not the leader"));
    let refused = second.command(&["hold"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("not the leader"), "{}", text(&refused.stderr));

    let mut first = stage.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGTERM);
    assert_eq!(first.process.end_within(STOPS_WITHIN).await.code(), Some(0), "{}", first.process.tail());
    stage.coordinator = Some(second);
    stage.until_async("the second leads", async || leads(stage.coordinator()).await).await;
    let id = stage.instances()[0].id.clone();
    assert_eq!(stage.coordinator().status()["instances"][0]["id"], id.as_str(), "known from the ledger");
    wait::until(
        "it acts: the boot deadline passes",
        async || stage.diagnosis().await,
        async || stage.instance(&id).ending_ms,
    )
    .await;
    assert_eq!(stage.calls("TerminateInstances").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_and_a_ledger_that_vanish_are_made_anew_and_nothing_is_forgotten() {
    let idle = ("SPILLWAY_POOL_POLICY_IDLE", "10m".to_owned());
    let mut stage = Stage::without_coordinator(Setup { environment: vec![idle], ..Setup::default() }).await;
    // There were leaders before.
    let _: String = stage.redis.ask(&["SET", "spillway:epoch", "5"]);
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 5, 0.5);
    let ready = stage.until_ready(1).await;
    // As after a Redis that came back without its data: the ledger accepts no save without the lease.
    let keys = ["spillway:pool:spillway:leader", "spillway:pool:spillway:epoch", "spillway:pool:spillway:state"];
    let removed: u64 = stage.redis.ask(&["DEL", keys[0], keys[1], keys[2]]);
    assert_eq!(removed, 3);
    let are_back = || stage.redis.ask::<u64>(&["EXISTS", keys[0], keys[1], keys[2]]) == 3;
    stage.until("lease and ledger exist again", are_back).await;
    assert_eq!(stage.until_ready(1).await, ready);
    assert_eq!(stage.acts(), 1, "{}", stage.diagnosis().await);
    // It still acts. On a busy host, too, the first does not work them off before the threshold is sustained.
    jobs::add(&stage.redis, 20, 3.0);
    stage.until_ready(2).await;
    assert_eq!(stage.calls("RunInstances").len(), 2, "{}", stage.diagnosis().await);
    // And agents obey it: its epoch is not older than the one that they know.
    stage.coordinator().json(&["drain", &ready[0]]);
    let drained = || stage.coordinator().explained("drained (operator): agent and Redis both show no job left");
    stage.until("the agent drains", drained).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_ledger_knows_is_reported_and_only_what_carries_a_launch_token_is_ended() {
    let environment = vec![
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "4s".to_owned()),
        ("EC2_SPOT_MAX_COUNT", "3".to_owned()),
        ("SPILLWAY_INSTALLATION", "prod-1".to_owned()),
    ];
    let mut stage = Stage::without_coordinator(Setup { environment, ..Setup::default() }).await;
    let tags = [("Name", "spillway"), ("ManagedBy", "auto-scaler"), ("spillway:pool", "spillway")];
    jobs::add(&stage.redis, 1, 0.1);
    // One launched by hand, and one of a deleted ledger, whose agent never registers.
    assert!(other_client::launch(&stage, &tags).await);
    let by_hand = stage.instances()[0].id.clone();
    let lost: Vec<(&str, &str)> =
        tags.into_iter().chain([("spillway:token", "spillway-0-1"), ("spillway:installation", "prod-1")]).collect();
    assert!(other_client::launch(&stage, &lost).await);
    let of_a_ledger = stage.instances().into_iter().find(|it| it.id != by_hand).expect("two were launched").id;
    stage.start_coordinator().await;
    let carries_none = format!("{by_hand} has the pool's tag but no launch token");
    stage.until("the first is reported", || stage.coordinator().explained(&carries_none)).await;
    let is_known = |pool: &v1::Pool| pool.instances.iter().any(|it| it.id == of_a_ledger).then_some(());
    stage.until_pool("the second is adopted", is_known).await;
    stage.until("the second is terminated after its grace", || stage.instance(&of_a_ledger).ending_ms.is_some()).await;
    let drained = format!("drain {of_a_ledger}");
    assert!(stage.coordinator().explained("its agent never registered"), "{drained}: {}", stage.diagnosis().await);
    stage
        .throughout(Duration::from_secs(5), "the first is still running", || {
            stage.instance(&by_hand).ending_ms.is_none()
        })
        .await;
    assert_eq!(stage.calls("TerminateInstances").len(), 1, "{}", stage.diagnosis().await);
}

/// Three times the lease.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_find_the_leader_through_the_standby_and_the_standby_when_the_leader_is_killed() {
    let idle = ("SPILLWAY_POOL_POLICY_IDLE", "10m".to_owned());
    let mut stage = Stage::without_coordinator(Setup { environment: vec![idle], ..Setup::default() }).await;
    // On a machine of its own, with the CA that agents pin.
    let elsewhere = directory();
    authority::share(&stage.ca_file(), elsewhere.path());
    let mut leader = Coordinator::start(elsewhere.path(), &stage.environment, ports::free()).await;
    let leads = async |coordinator: &Coordinator| coordinator.try_health("spillway.leader").await == Some(Serving);
    let until_leads = async |stage: &Stage, coordinator: &Coordinator| {
        stage.until_async("it leads", async || leads(coordinator).await).await;
    };
    until_leads(&stage, &leader).await;
    // At the address that the agents are given.
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 6, 1.0);
    let is_ready = async || {
        let pool = leader.try_pool().await?;
        pool.instances.into_iter().find(|instance| instance.phase == "ready" && instance.connected).map(|it| it.id)
    };
    let id = wait::until("the instance is ready at the leader", async || stage.diagnosis().await, is_ready).await;
    assert_eq!(stage.coordinator().health("spillway.leader").await, NotServing);
    let console = stage.emulator().console(&id).expect("a console");
    assert!(console.contains("another coordinator is the leader"), "{console}");
    assert!(console.contains(&format!("leader=https://{}", leader.server())), "{console}");

    let killed = Instant::now();
    leader.process.kill();
    until_leads(&stage, stage.coordinator()).await;
    assert!(killed.elapsed() < TAKES_OVER_WITHIN, "took {:?}", killed.elapsed());
    stage
        .until_pool("the agent is connected to the new leader", |pool| {
            pool.instances.iter().any(|it| it.id == id && it.connected && it.phase == "ready").then_some(())
        })
        .await;
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 6).await;
    assert_eq!(stage.instances().len(), 1, "{}", stage.diagnosis().await);
}

#[tokio::test]
async fn the_ledger_says_how_long_the_lease_lasts_and_an_epoch_is_newer_than_any_before() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let connect = || Redis::new("ledger.url", &redis.url()).expect("a URL");
    let mut lease = Lease::new(connect(), "spillway:", "pool", "a");
    let mut ledger = Ledger::new(connect(), "spillway:", "pool");
    let controller = Controller::new(Config::default(), "nonce");
    let state = (clock::now(), controller.state());
    let gained = async |lease: &mut Lease| {
        // An epoch is a millisecond of Redis' clock.
        tokio::time::sleep(Duration::from_millis(5)).await;
        match lease.renew(true).await {
            (LeaseChange::Gained { epoch }, None) => epoch,
            other => panic!("{other:?}"),
        }
    };
    let first = gained(&mut lease).await;
    let asked_at = clock::up();
    let until = ledger.save("a", first, state, None).await.expect("it leads");
    assert!(until > asked_at + LEASE / 2 && until <= clock::up() + LEASE, "{:?}", until - asked_at);
    // A delayed save of the same holder arrives after that.
    let mut held_up = Ledger::new(connect(), "spillway:", "pool");
    let refused = held_up.save("a", first, state, None).await.expect_err("a later one is there");
    assert!(matches!(refused, LedgerProblem::Overtaken), "{refused}");
    // What is left of the lease, not what a renewal would give.
    let _: u64 = redis.ask(&["PEXPIRE", "spillway:pool:pool:leader", "700"]);
    let until = ledger.save("a", first, state, None).await.expect("it leads");
    assert!(until <= clock::up() + Duration::from_millis(700), "{:?}", until - asked_at);
    wait::until(
        "the lease runs out",
        async || format!("{} ms of it are left", redis.ask::<i64>(&["PTTL", "spillway:pool:pool:leader"])),
        async || (redis.ask::<u64>(&["EXISTS", "spillway:pool:pool:leader"]) == 0).then_some(()),
    )
    .await;
    let refused = ledger.save("a", first, state, None).await.expect_err("the lease is not held");
    assert!(matches!(refused, LedgerProblem::NotLeader), "{refused}");
    // The epoch is deleted with everything, deleted alone while the lease is held, and ahead of Redis' clock.
    let _: String = redis.ask(&["FLUSHALL"]);
    let second = gained(&mut lease).await;
    assert!(second > first, "{first} {second}");
    let _: u64 = redis.ask(&["DEL", "spillway:pool:pool:epoch"]);
    let third = gained(&mut lease).await;
    assert!(third > second, "{second} {third}");
    let ahead = third + 1_000_000_000;
    let _: String = redis.ask(&["SET", "spillway:pool:pool:epoch", &ahead.to_string()]);
    let _: u64 = redis.ask(&["DEL", "spillway:pool:pool:leader"]);
    assert_eq!(gained(&mut lease).await, ahead + 1);
}
