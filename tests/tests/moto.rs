//! Somebody else's EC2 understands our calls: against moto's server the coordinator launches through a launch template,
//! tags, counts, and terminates. What moto does not play (idempotency, capacity, states that take time) is the
//! emulator's to test.

use std::time::Duration;

use spillway_tests::coordinator::{Coordinator, Environment};
use spillway_tests::process::{Process, command};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::world::directory;
use spillway_tests::{QUEUE, jobs, ports, programs, wait};

/// EC2's query API by hand: another client than the coordinator's.
async fn ec2(endpoint: &str, pairs: &[(&str, &str)]) -> String {
    let mut form = String::from("Version=2016-11-15");
    for (name, value) in pairs {
        // Nothing in here needs more of an encoding than the colon and the slash that no value has.
        form += &format!("&{name}={}", value.replace(':', "%3A").replace(' ', "%20"));
    }
    let credential =
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
    let answer = reqwest::Client::new()
        .post(endpoint)
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Authorization", credential)
        .body(form)
        .send()
        .await
        .expect("moto answers");
    let (status, text) = (answer.status(), answer.text().await.expect("text"));
    assert!(status.is_success(), "{pairs:?}: {status}: {text}");
    text
}

/// The texts of all elements of this name.
fn texts<'a>(xml: &'a str, element: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let parts = xml.split(&open).skip(1);
    parts.filter_map(|part| part.split(&close).next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_launches_tags_counts_and_terminates_at_moto() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let port = ports::free().to_string();
    let mut moto = command(programs::tool("moto/bin/moto_server"));
    moto.args(["-H", "127.0.0.1", "-p", &port]);
    let moto = Process::start("moto", &mut moto, &directory.path().join("moto.log"));
    let endpoint = format!("http://127.0.0.1:{port}");
    let is_up = async || reqwest::get(&endpoint).await.is_ok().then_some(());
    wait::until("moto answers", async || moto.tail(), is_up).await;
    let images = ec2(&endpoint, &[("Action", "DescribeImages")]).await;
    let image = texts(&images, "imageId")[0].to_owned();
    let created = ec2(
        &endpoint,
        &[
            ("Action", "CreateLaunchTemplate"),
            ("LaunchTemplateName", "worker"),
            ("LaunchTemplateData.ImageId", &image),
            ("LaunchTemplateData.InstanceType", "c6i.xlarge"),
        ],
    )
    .await;
    let template = texts(&created, "launchTemplateId")[0].to_owned();
    let environment: Environment = [
        ("REDIS_URL", redis.url().as_str()),
        ("QUEUE_NAMES", QUEUE),
        ("AWS_REGION", "us-east-1"),
        ("EC2_LAUNCH_TEMPLATE_ID", &template),
        ("AWS_ENDPOINT_URL_EC2", &endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("SPILLWAY_POOL_NAME", "moto-pool"),
        ("SPILLWAY_POOL_INTERVAL", "1s"),
        ("SPILLWAY_POOL_LISTING_INTERVAL", "1s"),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "6s"),
        ("SPILLWAY_POOL_BOOT_FAILURES", "1"),
        ("SPILLWAY_POOL_TAGS", "{ Team = \"video\" }"),
        ("SPILLWAY_POOL_POLICY_STEPS", "[{ jobs = 5, for = \"2s\", instances = 1 }]"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    jobs::add(&redis, 5, 1.0);
    // An instance of somebody else's, without our tags: it must outlive all this.
    let foreign =
        ec2(&endpoint, &[("Action", "RunInstances"), ("ImageId", &image), ("MinCount", "1"), ("MaxCount", "1")]).await;
    let foreign = texts(&foreign, "instanceId")[0].to_owned();
    let coordinator = Coordinator::start(directory.path(), &environment, ports::free()).await;
    let story = async || format!("{}{}", coordinator.process.tail(), moto.tail());
    let booting = async || {
        let pool = coordinator.try_pool().await?;
        pool.instances.into_iter().find(|instance| instance.phase == "booting" && instance.ec2_state == "running")
    };
    let instance = wait::until("an instance is booting, and seen at EC2", story, booting).await;
    assert_eq!(instance.instance_type, "c6i.xlarge");
    let described = ec2(&endpoint, &[("Action", "DescribeInstances"), ("InstanceId.1", &instance.id)]).await;
    let tags: Vec<&str> = texts(&described, "tagSet");
    for (key, value) in [
        ("Name", "moto-pool"),
        ("ManagedBy", "auto-scaler"),
        ("spillway:pool", "moto-pool"),
        ("spillway:token", instance.token.as_str()),
        ("Team", "video"),
    ] {
        let (keys, values) = (texts(tags[0], "key"), texts(tags[0], "value"));
        let found = keys.iter().zip(&values).any(|(k, v)| (*k, *v) == (key, value));
        assert!(found, "{key}={value} is not among {keys:?} {values:?}");
    }
    // Nobody boots there: past its deadline it is terminated, and the breaker lets no other follow.
    let state = async |id: &str| {
        let xml = ec2(&endpoint, &[("Action", "DescribeInstances"), ("InstanceId.1", id)]).await;
        texts(texts(&xml, "instanceState")[0], "name")[0].to_owned()
    };
    let gone = async || (state(&instance.id).await == "terminated").then_some(());
    wait::until("it is terminated", story, gone).await;
    let known = async || {
        let pool = coordinator.try_pool().await?;
        pool.instances.iter().all(|instance| instance.phase == "gone").then_some(pool.terminated_total)
    };
    assert_eq!(wait::until("the coordinator knows", story, known).await, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(coordinator.explained("boots in a row failed: no launch"));
    let all = ec2(&endpoint, &[("Action", "DescribeInstances")]).await;
    assert_eq!(texts(&all, "instanceId").len(), 2, "one of ours and one of somebody else's");
    assert_eq!(state(&foreign).await, "running");
}
