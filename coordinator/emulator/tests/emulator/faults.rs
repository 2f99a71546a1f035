//! Faults on request: refusals, lost answers, delays, stale answers, missing capacity, and bad orders.

use reqwest::Method;
use spillway_emulator::InstanceState;

use crate::support::{SPOT, records_only, running};

const LAUNCH: [(&str, &str); 4] =
    [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "1"), ("ClientToken", "t-1")];

#[tokio::test]
async fn refusals_are_counted_and_have_no_effect() {
    let world = records_only().await;
    let check = async |code: &str, status: u16| {
        world.client.order("refuse", &format!(r#"{{"action": "RunInstances", "code": "{code}", "calls": 2}}"#)).await;
        for _ in 0..2 {
            assert_eq!(world.client.refused("RunInstances", &LAUNCH, code).await.status, status);
        }
    };
    check("RequestLimitExceeded", 503).await;
    check("UnauthorizedOperation", 403).await;
    check("InsufficientInstanceCapacity", 500).await;
    check("MaxSpotInstanceCountExceeded", 400).await;
    assert!(world.emulator().instances().is_empty());
    world.client.ok("RunInstances", &LAUNCH).await;

    world.client.order("refuse", r#"{"action": "*", "code": "InternalError", "calls": 1000}"#).await;
    world.client.refused("DescribeInstances", &[], "InternalError").await;
    assert_eq!(world.client.control(Method::DELETE, "faults", "").await.status, 200);
    world.client.ok("DescribeInstances", &[]).await;

    let calls = world.emulator().calls();
    assert_eq!((calls.counts["RunInstances"], calls.counts["DescribeInstances"], calls.total), (9, 2, 11));
    let last_launch = calls.calls.iter().rfind(|call| call.action == "RunInstances").expect("a call");
    assert_eq!((last_launch.code.as_str(), last_launch.client_token.as_deref()), ("OK", Some("t-1")));
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_has_the_status_and_the_message_that_it_is_ordered_with() {
    let world = records_only().await;
    let order = |status: u16| {
        format!(
            r#"{{"action": "TerminateInstances", "code": "SomethingNew", "calls": 1, "message": "m", "status": {status}}}"#
        )
    };
    for status in [403, 500, 400] {
        world.client.order("refuse", &order(status)).await;
        let refused = world.client.refused("TerminateInstances", &[("InstanceId.1", "i-0")], "SomethingNew").await;
        assert_eq!((refused.status.as_u16(), refused.one("Message")), (status, "m".to_owned()));
    }
    for status in [200, 600] {
        assert_eq!(world.client.control(Method::POST, "refuse", &order(status)).await.status, 400, "{status}");
    }
    world.stop().await;
}

/// By EC2's own rule, not on order: the token of a launch whose instance is terminated brings no second one.
#[tokio::test]
async fn a_token_whose_instance_is_terminated_is_refused_and_so_is_one_with_other_parameters() {
    let world = records_only().await;
    let id = world.client.ok("RunInstances", &LAUNCH).await.one("instanceId");
    let mut other = LAUNCH.to_vec();
    other.push(("InstanceType", "c6i.large"));
    world.client.refused("RunInstances", &other, "IdempotentParameterMismatch").await;
    assert_eq!(world.client.ok("RunInstances", &LAUNCH).await.one("instanceId"), id);
    world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    world.until(&id, InstanceState::Terminated).await;
    let refused = world.client.refused("RunInstances", &LAUNCH, "IdempotentInstanceTerminated").await;
    assert_eq!(refused.status, 400);
    world.client.refused("RunInstances", &other, "IdempotentParameterMismatch").await;
    let mut next = LAUNCH;
    next[3].1 = "t-2";
    assert_ne!(world.client.ok("RunInstances", &next).await.one("instanceId"), id);
    assert_eq!(world.emulator().instances().len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn launches_that_are_accepted_and_fail_end_with_the_reason_that_is_ordered_and_never_run() {
    let world = running().await;
    world.client.order("fail-launch", r#"{"code": "Client.InternalError", "launches": 2}"#).await;
    let last = r#"{"code": "Server.InsufficientInstanceCapacity", "message": "no room", "launches": 1}"#;
    world.client.order("fail-launch", last).await;
    let mut ids = Vec::new();
    for token in ["t-1", "t-2", "t-3", "t-4"] {
        let mut form = LAUNCH.to_vec();
        form[3].1 = token;
        form.push(SPOT);
        let accepted = world.client.ok("RunInstances", &form).await;
        assert_eq!(accepted.one("name"), "pending");
        ids.push(accepted.one("instanceId"));
    }
    for (id, reason) in ids.iter().zip([
        "Client.InternalError: Client error on launch",
        "Client.InternalError: Client error on launch",
        "Server.InsufficientInstanceCapacity: no room",
    ]) {
        let record = world.until(id, InstanceState::Terminated).await;
        let said = record.state_reason.expect("a reason");
        assert_eq!((said.message.as_str(), record.running_ms, record.billed_seconds), (reason, None, 0));
        assert!(reason.starts_with(&said.code), "{said:?}");
        let request = [("SpotInstanceRequestId.1", record.spot_request_id.as_deref().expect("spot"))];
        let code = if said.code.starts_with("Client") { "system-error" } else { "instance-terminated-no-capacity" };
        let request = world.client.ok("DescribeSpotInstanceRequests", &request).await;
        assert!(request.body.contains(&format!("<code>{code}</code>")), "{}", request.body);
    }
    world.until(&ids[3], InstanceState::Running).await;
    for order in [r#"{"code": "InternalError", "launches": 1}"#, r#"{"code": "Client.New", "launches": 0}"#] {
        assert_eq!(world.client.control(Method::POST, "fail-launch", order).await.status, 400, "{order}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_lost_answer_leaves_its_effect() {
    let world = records_only().await;
    world.client.order("lose", r#"{"action": "RunInstances", "calls": 1}"#).await;
    assert!(world.client.try_call("RunInstances", &LAUNCH).await.is_err(), "no answer");
    let [launched] = &world.emulator().instances()[..] else { panic!("one instance") };
    let again = world.client.ok("RunInstances", &LAUNCH).await;
    assert_eq!(again.one("instanceId"), launched.id);
    assert!(world.emulator().calls().calls[0].lost);
    world.stop().await;
}

#[tokio::test]
async fn stale_answers_do_not_know_the_latest() {
    let world = records_only().await;
    world.client.order("stale", r#"{"seconds": 600}"#).await;
    let id = world.client.run(&[]).await;
    assert_eq!(world.client.ok("DescribeInstances", &[]).await.all("instanceId"), [""; 0]);
    world.client.refused("DescribeInstances", &[("InstanceId.1", &id)], "InvalidInstanceID.NotFound").await;
    // What changes something sees the present.
    world.client.ok("CreateTags", &[("ResourceId.1", &id), ("Tag.1.Key", "a")]).await;
    world.client.order("stale", r#"{"seconds": 0}"#).await;
    assert_eq!(world.client.ok("DescribeInstances", &[]).await.all("instanceId"), [id]);
    world.stop().await;
}

#[tokio::test]
async fn delays_are_used_up() {
    let world = records_only().await;
    world.client.order("delay", r#"{"action": "DescribeInstances", "milliseconds": 20, "calls": 1}"#).await;
    let pending = world.client.control(Method::GET, "faults", "").await;
    assert!(pending.body.contains("\"milliseconds\":20"), "{}", pending.body);
    world.client.ok("DescribeInstances", &[]).await;
    let pending = world.client.control(Method::GET, "faults", "").await;
    assert!(pending.body.contains("\"delay\":[]"), "{}", pending.body);
    world.stop().await;
}

#[tokio::test]
async fn capacity_is_by_type_zone_and_lifecycle() {
    let world = records_only().await;
    let launch = async |zone: &str, spot: bool| {
        let mut form = LAUNCH[..3].to_vec();
        form.push(("InstanceType", "c6i.xlarge"));
        if !zone.is_empty() {
            form.push(("Placement.AvailabilityZone", zone));
        }
        if spot {
            form.push(SPOT);
        }
        let reply = world.client.call("RunInstances", &form).await;
        match reply.status.as_u16() {
            200 => reply.one("availabilityZone"),
            _ => reply.one("Code"),
        }
    };
    world.client.order("capacity", r#"{"availability_zone": "us-east-1a", "available": false}"#).await;
    assert_eq!(launch("us-east-1a", false).await, "InsufficientInstanceCapacity");
    assert_eq!(launch("", false).await, "us-east-1b", "the next zone");
    let spot = r#"{"instance_type": "c6i.xlarge", "lifecycle": "spot", "available": false}"#;
    world.client.order("capacity", spot).await;
    assert_eq!(launch("", true).await, "InsufficientInstanceCapacity");
    assert_eq!(launch("us-east-1c", false).await, "us-east-1c");
    world.client.order("capacity", r#"{"available": true}"#).await;
    assert_eq!(launch("", true).await, "us-east-1a");
    world.stop().await;
}

#[tokio::test]
async fn bad_orders_are_told_what_is_wrong() {
    let world = records_only().await;
    let check = async |method: Method, path: &str, body: &str, status: u16, told: &str| {
        let reply = world.client.control(method, path, body).await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.body);
        assert!(reply.body.contains("\"error\"") && reply.body.contains(told), "{path} {body}: {}", reply.body);
    };
    check(Method::POST, "interrupt", r#"{"instance": "i-1", "notice_seconds": 1}"#, 404, "i-1").await;
    check(Method::POST, "interrupt", r#"{"instance": "i-1", "notice_seconds": -1}"#, 400, "notice_seconds").await;
    check(Method::POST, "interrupt", r#"{"instance": "i-1", "notice": 1}"#, 400, "unknown field `notice`").await;
    check(Method::POST, "refuse", r#"{"action": "Run", "code": "X", "calls": 1}"#, 400, "Run").await;
    check(Method::POST, "lose", r#"{"action": "RunInstances", "calls": 0}"#, 400, "calls").await;
    check(Method::POST, "stale", r#"{"seconds": 601}"#, 400, "seconds").await;
    check(Method::POST, "stale", "nonsense", 400, "expected").await;
    check(Method::GET, "instances/i-1/console", "", 404, "i-1").await;
    check(Method::GET, "interrupt", "", 405, "GET").await;
    check(Method::GET, "nowhere", "", 404, "nowhere").await;
    world.stop().await;
}
