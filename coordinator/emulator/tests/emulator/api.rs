//! The EC2 API on the wire: idempotency, pages, filters, states, errors, templates, fleets, tags.

use spillway_emulator::{InstanceState, LaunchTemplate};

use crate::support::{SPOT, records_only, running};

#[tokio::test]
async fn one_token_is_one_instance_even_after_its_end() {
    let world = running().await;
    let form = [("ClientToken", "token-1")];
    let id = world.client.run(&form).await;
    assert_eq!(world.client.run(&form).await, id);
    world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    world.until(&id, InstanceState::Terminated).await;
    // Once the instance has ended its token is used up: it is no second instance, and it is not an answer either.
    let same = [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "1"), ("ClientToken", "token-1")];
    world.client.refused("RunInstances", &same, "IdempotentInstanceTerminated").await;
    assert_eq!(world.emulator().instances().len(), 1);

    let other =
        [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "2"), ("ClientToken", "token-1")];
    world.client.refused("RunInstances", &other, "IdempotentParameterMismatch").await;
    let long = "x".repeat(65);
    let too_long = [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "1"), ("ClientToken", &long)];
    world.client.refused("RunInstances", &too_long, "InvalidParameterValue").await;
    world.stop().await;
}

#[tokio::test]
async fn pages_show_every_instance_once() {
    let world = records_only().await;
    let mut launched = Vec::new();
    for _ in 0..12 {
        launched.push(world.client.run(&[]).await);
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let mut form = vec![("MaxResults", "5")];
        if !token.is_empty() {
            form.push(("NextToken", &token));
        }
        let page = world.client.ok("DescribeInstances", &form).await;
        let ids = page.all("instanceId");
        assert!(ids.len() <= 5);
        seen.extend(ids);
        match page.all("nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(seen, launched);
    world.client.refused("DescribeInstances", &[("MaxResults", "4")], "InvalidParameterValue").await;
    world.client.refused("DescribeInstances", &[("NextToken", "x")], "InvalidNextToken").await;
    let both = [("MaxResults", "5"), ("InstanceId.1", launched[0].as_str())];
    world.client.refused("DescribeInstances", &both, "InvalidParameterCombination").await;

    // A caller that does not page is made to.
    world.client.order("pages", r#"{"size": 3}"#).await;
    let page = world.client.ok("DescribeInstances", &[]).await;
    assert_eq!((page.all("instanceId").len(), page.all("nextToken").len()), (3, 1));
    world.stop().await;
}

#[tokio::test]
async fn states_follow_each_other_and_billing_is_from_running_to_the_end() {
    let world = running().await;
    let id = world.client.run(&[SPOT]).await;
    let running = world.until(&id, InstanceState::Running).await;
    assert!(running.init_pid.is_some() || world.record(&id).state == InstanceState::Running);
    let answer = world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!(answer.all("name"), ["shutting-down", "running"]);
    let ended = world.until(&id, InstanceState::Terminated).await;
    assert_eq!(ended.state_reason.expect("a reason").code, "Client.UserInitiatedShutdown");
    let (from, to) = (ended.running_ms.expect("ran"), ended.ending_ms.expect("ended"));
    assert_eq!(ended.billable_ms, to - from);
    assert!(ended.billed_seconds >= 60);
    // Still listed, and its request says why.
    let listed = world.client.ok("DescribeInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!(listed.one("name"), "terminated");
    let requests = world.client.ok("DescribeSpotInstanceRequests", &[]).await;
    assert!(requests.body.contains("<code>instance-terminated-by-user</code>"), "{}", requests.body);
    // Terminating twice changes nothing.
    let again = world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!(again.all("name"), ["terminated", "terminated"]);
    world.stop().await;
}

#[tokio::test]
async fn an_instance_that_never_ran_bills_nothing() {
    let world = records_only().await;
    let id = world.client.run(&[]).await;
    world.client.ok("TerminateInstances", &[("InstanceId.1", &id)]).await;
    assert_eq!(world.until(&id, InstanceState::Terminated).await.billed_seconds, 0);
    world.stop().await;
}

#[tokio::test]
async fn one_bad_id_fails_the_batch() {
    let world = records_only().await;
    let id = world.client.run(&[]).await;
    let batch = |bad| [("InstanceId.1", id.as_str()), ("InstanceId.2", bad)];
    world.client.refused("TerminateInstances", &batch("i-0123456789abcdef0"), "InvalidInstanceID.NotFound").await;
    world.client.refused("TerminateInstances", &batch("nonsense"), "InvalidInstanceID.Malformed").await;
    world.client.refused("DescribeInstances", &batch("i-0123456789abcdef0"), "InvalidInstanceID.NotFound").await;
    assert_eq!(world.record(&id).state, InstanceState::Pending);
    world.stop().await;
}

#[tokio::test]
async fn a_dry_run_is_an_error_without_effect() {
    let world = records_only().await;
    let form = [
        ("ImageId", "ami-0123456789abcdef0"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ClientToken", "token"),
        ("DryRun", "true"),
    ];
    let reply = world.client.refused("RunInstances", &form, "DryRunOperation").await;
    assert_eq!(reply.status, 412);
    assert!(world.emulator().instances().is_empty());
    world.client.refused("DescribeInstances", &[("DryRun", "true")], "DryRunOperation").await;
    // An invalid request is told so.
    world.client.refused("RunInstances", &[("MinCount", "1"), ("DryRun", "true")], "MissingParameter").await;
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let world = records_only().await;
    let form =
        |name, value| [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "1"), (name, value)];
    let check = async |name, value, code| {
        world.client.refused("RunInstances", &form(name, value), code).await;
    };
    check("HibernationOptions.Configured", "true", "UnknownParameter").await;
    check("InstanceMarketOptions.SpotOptions.SpotInstanceType", "persistent", "InvalidParameterValue").await;
    check("SubnetId", "subnet-1", "InvalidSubnetID.NotFound").await;
    check("UserData", "no base64!", "InvalidUserData.Malformed").await;
    check("LaunchTemplate.LaunchTemplateId", "lt-0123456789abcdef0", "InvalidLaunchTemplateId.NotFound").await;
    check("LaunchTemplate.LaunchTemplateName", "none", "InvalidLaunchTemplateName.NotFoundException").await;
    check("TagSpecification.1.ResourceType", "spot-instances-request", "InvalidParameterValue").await;
    world
        .client
        .refused("DescribeInstances", &[("Filter.1.Name", "odd"), ("Filter.1.Value.1", "x")], "InvalidParameterValue")
        .await;
    world.client.refused("StartInstances", &[], "InvalidAction").await;
    assert!(world.emulator().instances().is_empty());

    let unsigned = world.client.http.post(&world.client.endpoint).body("Action=RunInstances&Version=2016-11-15");
    let unsigned = unsigned.send().await.expect("an answer");
    assert_eq!(unsigned.status(), 403);
    assert!(unsigned.text().await.expect("a body").contains("MissingAuthenticationToken"));
    for (header, value) in [("origin", "https://example.com"), ("host", "example.com")] {
        let page = world.client.http.get(format!("{}/_emulator/calls", world.client.endpoint)).header(header, value);
        assert_eq!(page.send().await.expect("an answer").status(), 403, "{header}");
    }
    world.stop().await;
}

#[tokio::test]
async fn filters_and_tags() {
    let world = records_only().await;
    let tag = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "spillway:pool"),
        ("TagSpecification.1.Tag.1.Value", "pool <one>"),
    ];
    let tagged = world.client.run(&[&tag[..], &[SPOT, ("ClientToken", "t-1")]].concat()).await;
    let other = world.client.run(&[]).await;
    let find = async |name: &str, value: &str| {
        let form = [("Filter.1.Name", name), ("Filter.1.Value.1", value)];
        world.client.ok("DescribeInstances", &form).await.all("instanceId")
    };
    assert_eq!(find("tag:spillway:pool", "pool <one>").await, [tagged.as_str()]);
    assert_eq!(find("tag:spillway:pool", "pool*").await, [tagged.as_str()]);
    assert_eq!(find("tag-key", "spillway:*").await, [tagged.as_str()]);
    assert_eq!(find("instance-lifecycle", "spot").await, [tagged.as_str()]);
    assert_eq!(find("client-token", "t-1").await, [tagged.as_str()]);
    assert_eq!(find("instance-state-name", "pending").await, [tagged.as_str(), other.as_str()]);
    assert_eq!(find("instance-state-name", "running").await, [""; 0]);
    let request = world.record(&tagged).spot_request_id.expect("a spot instance");
    assert_eq!(find("spot-instance-request-id", &request).await, [tagged.as_str()]);

    let new = [("ResourceId.1", other.as_str()), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")];
    world.client.ok("CreateTags", &new).await;
    assert_eq!(find("tag:a", "?").await, [other.as_str()]);
    let form = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", other.as_str())];
    assert_eq!(world.client.ok("DescribeTags", &form).await.all("key"), ["a"]);
    world.client.ok("DeleteTags", &[("ResourceId.1", &other), ("Tag.1.Key", "a"), ("Tag.1.Value", "not b")]).await;
    assert_eq!(find("tag:a", "b").await, [other.as_str()]);
    world.client.ok("DeleteTags", &[("ResourceId.1", &other), ("Tag.1.Key", "a")]).await;
    assert_eq!(find("tag:a", "b").await, [""; 0]);
    let reserved = [("ResourceId.1", other.as_str()), ("Tag.1.Key", "aws:x")];
    world.client.refused("CreateTags", &reserved, "InvalidParameterValue").await;
    world.stop().await;
}

#[tokio::test]
async fn a_template_says_what_the_request_does_not() {
    let world = records_only().await;
    let template = LaunchTemplate {
        tags: [("ManagedBy".to_owned(), "auto-scaler".to_owned())].into(),
        spot: true,
        ..LaunchTemplate::default()
    };
    let id = world.emulator().create_launch_template("pool", template).expect("created");
    let version = [
        ("LaunchTemplateId", id.as_str()),
        ("SourceVersion", "1"),
        ("LaunchTemplateData.ImageId", "ami-0123456789abcdef1"),
    ];
    let created = world.client.ok("CreateLaunchTemplateVersion", &version).await;
    assert_eq!(created.one("versionNumber"), "2");
    assert_eq!(created.one("instanceType"), "c6i.xlarge", "taken from version 1");

    let launch = async |version: &str| {
        let form = [
            ("LaunchTemplate.LaunchTemplateName", "pool"),
            ("LaunchTemplate.Version", version),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "worker"),
        ];
        let instance = world.client.ok("RunInstances", &form).await.one("instanceId");
        world.record(&instance)
    };
    let first = launch("$Default").await;
    assert_eq!(first.image_id, "ami-0e000000000000001");
    assert_eq!(first.tags["ManagedBy"], "auto-scaler");
    assert_eq!(first.tags["Name"], "worker");
    assert_eq!(first.tags["aws:ec2launchtemplate:id"], id);
    assert_eq!(first.tags["aws:ec2launchtemplate:version"], "1");
    assert!(first.spot_request_id.is_some());
    assert_eq!(launch("$Latest").await.image_id, "ami-0123456789abcdef1");
    world.client.ok("ModifyLaunchTemplate", &[("LaunchTemplateId", &id), ("SetDefaultVersion", "2")]).await;
    assert_eq!(launch("$Default").await.tags["aws:ec2launchtemplate:version"], "2");
    let listed = world.client.ok("DescribeLaunchTemplates", &[("LaunchTemplateName.1", "pool")]).await;
    assert_eq!((listed.one("defaultVersionNumber"), listed.one("latestVersionNumber")), ("2".into(), "2".into()));
    world.client.ok("DeleteLaunchTemplate", &[("LaunchTemplateId", &id)]).await;
    world
        .client
        .refused("DescribeLaunchTemplates", &[("LaunchTemplateId.1", &id)], "InvalidLaunchTemplateId.NotFound")
        .await;
    world.stop().await;
}

#[tokio::test]
async fn a_fleet_takes_the_next_pool_and_tells_what_failed() {
    let world = records_only().await;
    let id = world.emulator().create_launch_template("pool", LaunchTemplate::default()).expect("created");
    let form = |token| {
        [
            ("Type", "instant"),
            ("ClientToken", token),
            ("TargetCapacitySpecification.TotalTargetCapacity", "1"),
            ("TargetCapacitySpecification.DefaultTargetCapacityType", "spot"),
            ("SpotOptions.AllocationStrategy", "price-capacity-optimized"),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateId", id.as_str()),
            ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "$Default"),
            ("LaunchTemplateConfigs.1.Overrides.1.InstanceType", "c6i.large"),
            ("LaunchTemplateConfigs.1.Overrides.2.InstanceType", "c6i.xlarge"),
        ]
    };
    world.client.order("capacity", r#"{"instance_type": "c6i.large", "available": false}"#).await;
    let fleet = world.client.ok("CreateFleet", &form("f-1")).await;
    assert_eq!(fleet.one("errorCode"), "InsufficientInstanceCapacity");
    let instances = fleet.one("fleetInstanceSet");
    assert!(instances.contains("c6i.xlarge") && !instances.contains("c6i.large"), "{instances}");
    assert_eq!(world.client.ok("CreateFleet", &form("f-1")).await.one("fleetId"), fleet.one("fleetId"));
    assert_eq!(world.emulator().instances().len(), 1);

    world.client.order("capacity", r#"{"lifecycle": "spot", "available": false}"#).await;
    let fleet = world.client.ok("CreateFleet", &form("f-2")).await;
    assert_eq!((fleet.all("errorCode").len(), fleet.one("fleetInstanceSet")), (2, String::new()));
    // On demand there is capacity still.
    world.client.run(&[("InstanceType", "c6i.xlarge")]).await;
    world.stop().await;
}
