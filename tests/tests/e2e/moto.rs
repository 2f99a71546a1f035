//! Another implementation of EC2 understands the calls: the same coordinator launches, tags, counts and terminates at
//! moto, a server that knows nothing of Spillway.

use std::time::Duration;

use spillway_tests::coordinator::Coordinator;
use spillway_tests::moto::{Moto, all};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{directory, environment};
use spillway_tests::{jobs, ports, wait};

fn tag(xml: &str, key: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<key>{key}</key>"))?;
    all(rest, "value").into_iter().next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_launches_tags_counts_and_terminates_at_moto() {
    let directory = directory();
    let moto = Moto::start(directory.path()).await;
    let redis = RedisServer::start(directory.path());
    let image = all(&moto.call("DescribeImages", &[]).await, "imageId").into_iter().next().expect("moto has images");
    let parameters = [
        ("LaunchTemplateName", "worker"),
        ("LaunchTemplateData.ImageId", image.as_str()),
        ("LaunchTemplateData.InstanceType", "c6i.xlarge"),
    ];
    let made = moto.call("CreateLaunchTemplate", &parameters).await;
    let template = all(&made, "launchTemplateId").remove(0);
    // An instance of another client.
    let neighbour = moto.call("RunInstances", &[("ImageId", &image), ("MinCount", "1"), ("MaxCount", "1")]).await;
    let neighbour = all(&neighbour, "instanceId").remove(0);

    // No agent boots there: the instance is terminated at its deadline.
    let more =
        vec![("SPILLWAY_POOL_BOOT_TIMEOUT", "12s".to_owned()), ("SPILLWAY_POOL_BREAKER_BACKOFF", "1h".to_owned())];
    let environment = environment(&redis.url(), (moto.url(), "test"), &template, more);
    let coordinator = Coordinator::start(directory.path(), &environment, ports::free()).await;
    let diagnosis = async || format!("{}{}", coordinator.process.tail(), moto.process.tail());
    jobs::add(&redis, 6, 1.0);

    let booting = wait::until("the coordinator shows a booting instance", diagnosis, async || {
        let pool = coordinator.try_pool().await?;
        pool.instances.into_iter().find(|it| it.phase == "booting" && it.ec2_state == "running")
    })
    .await;
    assert_eq!((booting.image_id.as_str(), booting.instance_type.as_str()), (image.as_str(), "c6i.xlarge"));
    let described = moto
        .call("DescribeInstances", &[("Filter.1.Name", "tag:ManagedBy"), ("Filter.1.Value.1", "auto-scaler")])
        .await;
    assert_eq!(all(&described, "instanceId"), [booting.id.as_str()], "{described}");
    for (key, value) in [
        ("Name", "spillway"),
        ("ManagedBy", "auto-scaler"),
        ("spillway:pool", "spillway"),
        ("spillway:token", booting.token.as_str()),
    ] {
        assert_eq!(tag(&described, key).as_deref(), Some(value), "{key} in {described}");
    }

    wait::until("moto and the coordinator show it terminated", diagnosis, async || {
        let pool = coordinator.try_pool().await?;
        pool.instances.into_iter().find(|it| it.id == booting.id && it.phase == "gone")
    })
    .await;
    let state = |described: &str| all(&all(described, "instanceState").remove(0), "name").remove(0);
    assert_eq!(state(&moto.call("DescribeInstances", &[("InstanceId.1", &booting.id)]).await), "terminated");
    assert_eq!(state(&moto.call("DescribeInstances", &[("InstanceId.1", &neighbour)]).await), "running", "not ours");
    wait::throughout(Duration::from_secs(2), "never more than max_instances", diagnosis, async || {
        let pool = coordinator.pool().await;
        pool.instances.iter().filter(|it| it.phase != "gone").count() <= 2
    })
    .await;
}
