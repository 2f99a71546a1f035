//! Redis fails over behind one name: the old master lives on as a replica, and answers whoever is still connected to
//! it.

use std::time::Duration;

use spillway_coordinator::ledger::LEASE;
use spillway_proto::v1;
use spillway_tests::coordinator::ServingStatus::Serving;
use spillway_tests::forward::Forward;
use spillway_tests::jobs;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage, directory};

const EPOCH: &[&str] = &["GET", "spillway:pool:spillway:epoch"];

fn demand(pool: &v1::Pool) -> Option<u64> {
    pool.backlog.as_ref().map(|backlog| backlog.demand).filter(|_| pool.observation_problem.is_empty())
}

fn replicates(redis: &RedisServer, master: &RedisServer) {
    let _: String = redis.ask(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_it_still_leads_and_acts_on_the_new_masters_queues() {
    let mut stage = Stage::without_coordinator(Setup::default()).await;
    let place = directory();
    let second = RedisServer::start(place.path());
    replicates(&second, &stage.redis);
    let is_replica =
        |redis: &RedisServer| redis.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up");
    stage.until("the replica has it all", || is_replica(&second)).await;
    let name = Forward::to(stage.redis.port()).await;
    stage.environment.insert("REDIS_URL".to_owned(), name.url());
    jobs::add(&stage.redis, 2, 1.0);
    stage.start_coordinator().await;
    stage.until_pool("two jobs are ready to run", |pool| (demand(pool) == Some(2)).then_some(())).await;
    let epoch: u64 = stage.redis.ask(EPOCH);

    let _: String = second.ask(&["REPLICAOF", "NO", "ONE"]);
    name.lead_to(second.port());
    replicates(&stage.redis, &second);
    stage.until("the old master is a replica", || is_replica(&stage.redis)).await;
    // The old master shows this job too: only a lease that is renewed and a state that is saved are at the new one
    // alone.
    jobs::add(&second, 8, 1.0);
    stage.until_pool("ten jobs are ready to run", |pool| (demand(pool) == Some(10)).then_some(())).await;
    stage.until("an instance is launched", || !stage.calls("RunInstances").is_empty()).await;
    let token = stage.calls("RunInstances")[0].client_token.clone().expect("a launch token");
    let state: String = second.ask(&["GET", "spillway:pool:spillway:state"]);
    assert!(state.contains(&token), "{token} is not in the new master's ledger: {state}");

    // Beyond the lease that it had at the old master.
    let until = tokio::time::Instant::now() + LEASE + Duration::from_secs(3);
    while tokio::time::Instant::now() < until {
        assert_eq!(stage.coordinator().health("spillway.leader").await, Serving);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(second.ask::<u64>(EPOCH), epoch, "it never lost the lease\n{}", stage.diagnosis().await);
    assert!(second.ask::<i64>(&["PTTL", "spillway:pool:spillway:leader"]) > 0);
}
