//! The metadata service of an instance: tokens, statuses, what it tells and when.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use spillway_emulator::{Emulator, InstanceState};

use crate::support::{NEVER, SPOT, World, records_only};

struct Metadata {
    http: reqwest::Client,
    endpoint: String,
}

impl Metadata {
    fn of(world: &World, id: &str) -> Self {
        let port = world.record(id).imds_port;
        Self { http: world.client.http.clone(), endpoint: format!("http://127.0.0.1:{port}/latest") }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = self.http.request(method, format!("{}/{path}", self.endpoint));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a body"))
    }

    async fn token(&self) -> String {
        let (status, token) = self.send(Method::PUT, "api/token", &[(TTL, "60")]).await;
        assert_eq!(status, 200);
        token
    }

    async fn get(&self, path: &str) -> Option<String> {
        let token = self.token().await;
        match self.send(Method::GET, path, &[(TOKEN, &token)]).await {
            (StatusCode::OK, text) => Some(text),
            (status, _) => {
                assert_eq!(status, 404, "{path}");
                None
            }
        }
    }
}

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TAGS: [(&str, &str); 4] = [
    ("MetadataOptions.InstanceMetadataTags", "enabled"),
    ("TagSpecification.1.ResourceType", "instance"),
    ("TagSpecification.1.Tag.1.Key", "spillway:token"),
    ("TagSpecification.1.Tag.1.Value", "t-1"),
];

fn interrupt(emulator: &Emulator, id: &str) -> u64 {
    let record = emulator.interrupt(id, NEVER).expect("interrupted");
    record.notice.expect("a notice").at_ms
}

#[tokio::test]
async fn without_a_good_token_nothing_is_told() {
    let world = records_only().await;
    let id = world.client.run(&[]).await;
    let metadata = Metadata::of(&world, &id);
    let put = async |headers: &[(&str, &str)]| metadata.send(Method::PUT, "api/token", headers).await.0;
    assert_eq!(put(&[]).await, 400);
    for bad in ["0", "21601", "x", "-1"] {
        assert_eq!(put(&[(TTL, bad)]).await, 400, "{bad}");
    }
    assert_eq!(put(&[(TTL, "60"), ("x-forwarded-for", "10.0.0.1")]).await, 403);
    let get = async |headers: &[(&str, &str)]| metadata.send(Method::GET, "meta-data/instance-id", headers).await.0;
    assert_eq!(get(&[]).await, 401);
    assert_eq!(get(&[(TOKEN, "bad")]).await, 401);
    let token = metadata.token().await;
    assert_eq!(get(&[(TOKEN, &token)]).await, 200);
    // A token is good for its own instance only.
    let other = world.client.run(&[]).await;
    let elsewhere = Metadata::of(&world, &other).send(Method::GET, "meta-data/", &[(TOKEN, &token)]).await;
    assert_eq!(elsewhere.0, 401);
    assert_eq!(metadata.send(Method::POST, "meta-data/", &[(TOKEN, &token)]).await.0, 405);
    world.stop().await;
}

#[tokio::test]
async fn options_open_and_close_it() {
    let world = records_only().await;
    let open = world.client.run(&[("MetadataOptions.HttpTokens", "optional")]).await;
    let (status, id) = Metadata::of(&world, &open).send(Method::GET, "meta-data/instance-id", &[]).await;
    assert_eq!((status.as_u16(), id), (200, open));
    let off = world.client.run(&[("MetadataOptions.HttpEndpoint", "disabled")]).await;
    assert_eq!(Metadata::of(&world, &off).send(Method::PUT, "api/token", &[(TTL, "60")]).await.0, 403);
    world.stop().await;
}

#[tokio::test]
async fn it_tells_who_the_instance_is() {
    let world = records_only().await;
    let user_data = "IyEvYmluL3NoCg==";
    let form = [&TAGS[..], &[SPOT, ("UserData", user_data), ("IamInstanceProfile.Name", "worker")]].concat();
    let id = world.client.run(&form).await;
    let metadata = Metadata::of(&world, &id);
    let record = world.record(&id);
    let get = async |path: &str| metadata.get(path).await.unwrap_or_else(|| panic!("nothing at {path}"));
    assert_eq!(get("meta-data/instance-id").await, id);
    assert_eq!(get("meta-data/ami-id").await, record.image_id);
    assert_eq!(get("meta-data/local-ipv4").await, record.private_ip);
    assert_eq!(get("meta-data/instance-life-cycle").await, "spot");
    assert_eq!(get("meta-data/placement/availability-zone").await, "us-east-1a");
    assert_eq!(get("meta-data/placement/region").await, "us-east-1");
    assert_eq!(get("meta-data/tags/instance/").await, "spillway:token");
    assert_eq!(get("meta-data/tags/instance/spillway:token").await, "t-1");
    assert_eq!(get("meta-data/tags/instance/spillway%3Atoken").await, "t-1");
    assert_eq!(get("meta-data/iam/security-credentials/").await, "worker");
    assert!(get("meta-data/iam/security-credentials/worker").await.contains("\"Expiration\""));
    assert_eq!(get("user-data").await, "#!/bin/sh\n");
    assert!(get("meta-data/").await.lines().any(|line| line == "placement/"));
    assert!(get("dynamic/instance-identity/document").await.contains(&format!("\"instanceId\": \"{id}\"")));
    assert_eq!(metadata.get("meta-data/none").await, None);

    let plain = world.client.run(&TAGS[1..]).await;
    let plain = Metadata::of(&world, &plain);
    assert_eq!(plain.get("meta-data/tags/instance/spillway:token").await, None, "not enabled");
    assert_eq!(plain.get("user-data").await, None);
    assert_eq!(plain.get("meta-data/instance-life-cycle").await.as_deref(), Some("on-demand"));
    world.stop().await;
}

#[tokio::test]
async fn notices_appear_when_they_are_given() {
    let world = records_only().await;
    let id = world.client.run(&[SPOT]).await;
    let metadata = Metadata::of(&world, &id);
    assert_eq!(metadata.get("meta-data/spot/instance-action").await, None);
    assert_eq!(metadata.get("meta-data/events/recommendations/rebalance").await, None);
    assert_eq!(metadata.get("meta-data/events/maintenance/scheduled").await.as_deref(), Some("[]"));

    let status = async || world.client.ok("DescribeSpotInstanceRequests", &[]).await.one("code");
    assert_eq!(status().await, "fulfilled");
    interrupt(world.emulator(), &id);
    let action = metadata.get("meta-data/spot/instance-action").await.expect("a notice");
    let time = metadata.get("meta-data/spot/termination-time").await.expect("a time");
    assert_eq!(action, format!("{{\"action\":\"terminate\",\"time\":\"{time}\"}}"));
    assert_eq!((time.len(), time.ends_with('Z')), (20, true), "{time}");
    assert_eq!(status().await, "marked-for-termination");
    assert_eq!(world.record(&id).state, InstanceState::Pending);

    world.client.order("rebalance", &format!(r#"{{"instance": "{id}"}}"#)).await;
    let rebalance = metadata.get("meta-data/events/recommendations/rebalance").await.expect("a recommendation");
    assert!(rebalance.starts_with("{\"noticeTime\":\"20"), "{rebalance}");

    world.client.order("maintenance", &format!(r#"{{"instance": "{id}", "code": "instance-retirement"}}"#)).await;
    let events = metadata.get("meta-data/events/maintenance/scheduled").await.expect("events");
    assert!(events.contains("\"Code\": \"instance-retirement\"") && events.contains(" GMT\""), "{events}");
    world.client.order("maintenance", &format!(r#"{{"instance": "{id}", "cancel": true}}"#)).await;
    assert_eq!(metadata.get("meta-data/events/maintenance/scheduled").await.as_deref(), Some("[]"));
    let history = metadata.get("meta-data/events/maintenance/history").await.expect("what was cancelled");
    assert!(history.contains("\"[Canceled] scheduled reboot\""), "{history}");

    let on_demand = world.client.run(&[]).await;
    assert!(world.emulator().interrupt(&on_demand, Duration::ZERO).is_err(), "not a spot instance");
    world.stop().await;
}
