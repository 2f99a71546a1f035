//! What `spillway doctor` asks AWS beside the launch: each check where all is well, where it is not, and where it may
//! not be asked.

use serde_json::{Value, json};
use spillway_emulator::{InstanceState, LaunchTemplate, Lose, Refuse};
use spillway_tests::coordinator::spillway;
use spillway_tests::other_client;
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage};

use super::with;

/// One check: its level, what it says and what to do.
fn finding(said: &str, id: &str) -> (String, String, String) {
    let found: Value = serde_json::from_str(said).expect("JSON");
    let findings = found["findings"].as_array().expect("findings");
    let found = findings.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("no {id}: {said}"));
    let word = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (word("level"), word("detail"), word("remedy"))
}

/// With this stage, and these variables besides: a check has this level, and these words are in what it says.
fn expect(stage: &Stage, changes: &[(&str, &str)], id: &str, level: &str, words: &[&str]) {
    let (_, is_well, said) = with(stage, spillway_tests::ports::free(), changes);
    let (found, detail, remedy) = finding(&said, id);
    assert_eq!(found, level, "{id}: {said}");
    assert!(level != "fail" || !is_well, "{said}");
    let all = format!("{detail} / {remedy}");
    words.iter().for_each(|words| assert!(all.contains(words), "{id}: {all}, without {words}"));
}

/// The same while EC2 and its like answer an action with this error.
fn refused(stage: &Stage, (action, code): (&str, &str), id: &str, level: &str, words: &[&str]) {
    let fault = Refuse { action: action.to_owned(), code: code.to_owned(), calls: 50, message: None };
    stage.emulator().refuse(fault).expect("a fault");
    expect(stage, &[], id, level, words);
    stage.emulator().clear_faults();
}

/// The same while an action is not answered.
fn unanswered(stage: &Stage, action: &str, id: &str, level: &str, words: &[&str]) {
    stage.emulator().lose(Lose { action: action.to_owned(), calls: 50 }).expect("a fault");
    expect(stage, &[], id, level, words);
    stage.emulator().clear_faults();
}

async fn stage() -> Stage {
    let stage = Stage::without_coordinator(Setup { empty: true, ..Setup::default() }).await;
    spillway_tests::jobs::add(&stage.redis, 1, 1.0);
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_without_room_for_max_instances_is_told_with_the_quota_to_ask_for() {
    let stage = stage().await;
    let (spot, on_demand) = ("aws.quota_spot", "aws.quota_on_demand");
    expect(&stage, &[], spot, "ok", &["256 vCPUs", "2 × c6i.xlarge", "needs 8"]);
    expect(&stage, &[], on_demand, "ok", &["the coordinator launches spot instances alone"]);
    stage.emulator().quota("L-34B43A08", 5.0).expect("a quota");
    expect(&stage, &[], spot, "warn", &["--quota-code L-34B43A08 --desired-value 8", "pool.max_instances"]);
    expect(&stage, &[("EC2_SPOT_MAX_COUNT", "1")], spot, "ok", &["needs 4"]);
    stage.emulator().quota("L-34B43A08", 3.0).expect("a quota");
    expect(&stage, &[], spot, "fail", &["EC2 refuses every launch"]);
    stage.emulator().quota("L-34B43A08", 8.0).expect("a quota");

    assert!(other_client::launch(&stage, &[]).await, "two vCPUs on demand");
    expect(&stage, &[], spot, "ok", &["needs 8"]);
    stage.emulator().quota("L-1216C47A", 5.0).expect("a quota");
    expect(&stage, &[], on_demand, "warn", &["2 are in use", "--desired-value 6", "bake"]);
    let market = [
        ("Action", "RunInstances"),
        ("ImageId", "ami-0e000000000000001"),
        ("InstanceType", "m5.2xlarge"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("InstanceMarketOptions.MarketType", "spot"),
    ];
    assert!(other_client::call(&stage, &market).await);
    expect(&stage, &[], spot, "warn", &["8 are in use by other instances", "--desired-value 16"]);

    for id in [spot, on_demand] {
        let action = "GetServiceQuota";
        refused(&stage, (action, "AccessDeniedException"), id, "warn", &["servicequotas:GetServiceQuota"]);
        refused(&stage, (action, "NoSuchResourceException"), id, "warn", &["console of Service Quotas"]);
        unanswered(&stage, action, id, "warn", &["reach Service Quotas", "servicequotas:GetServiceQuota"]);
        let types = ("DescribeInstanceTypes", "UnauthorizedOperation");
        refused(&stage, types, id, "warn", &["ec2:DescribeInstanceTypes"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_are_missing_or_that_others_may_assume_fail() {
    let stage = stage().await;
    let (spot, worker) = ("aws.spot_role", "aws.worker_role");
    expect(&stage, &[], spot, "ok", &["AWSServiceRoleForEC2Spot"]);
    let command = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com";
    refused(&stage, ("GetRole", "NoSuchEntity"), spot, "fail", &[command, "iam:CreateServiceLinkedRole"]);
    refused(&stage, ("GetRole", "AccessDenied"), spot, "warn", &["allow iam:GetRole"]);
    unanswered(&stage, "GetRole", spot, "warn", &["reach IAM", "iam:GetRole"]);

    expect(&stage, &[], worker, "ok", &["EC2 alone can assume spillway-worker"]);
    refused(&stage, ("GetInstanceProfile", "NoSuchEntity"), worker, "fail", &["no instance profile spillway-worker"]);
    refused(&stage, ("GetInstanceProfile", "AccessDenied"), worker, "warn", &["allow iam:GetInstanceProfile"]);
    unanswered(&stage, "GetInstanceProfile", worker, "warn", &["reach IAM", "iam:GetInstanceProfile"]);
    expect(&stage, &[("SPILLWAY_GRPC_ROLE", "other")], worker, "fail", &["set grpc.role = \"spillway-worker\""]);
    for (principal, named) in [
        (json!("*"), "* (everybody)"),
        (json!({ "Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"] }), "Service lambda.amazonaws.com"),
        (json!({ "Service": "ec2.amazonaws.com", "AWS": "arn:aws:iam::1:root" }), "AWS arn:aws:iam::1:root"),
    ] {
        let statement = json!({ "Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole" });
        stage.emulator().trust("spillway-worker", &json!({ "Statement": [statement] })).expect("a trust");
        expect(&stage, &[], worker, "fail", &[named, "update-assume-role-policy --role-name spillway-worker"]);
        expect(&stage, &[("SPILLWAY_GRPC_TRUST", "token")], worker, "warn", &[named]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_done_at_ec2_is_tried_without_doing_it() {
    let stage = stage().await;
    let named = [("SPILLWAY_INSTALLATION", "doctors")];
    expect(&stage, &named, "aws.terminate", "ok", &["not tried: no instance of installation doctors"]);
    let tags = [("ManagedBy", "auto-scaler"), ("spillway:installation", "doctors")];
    assert!(other_client::launch(&stage, &tags).await);
    let id = stage.instances()[0].id.clone();
    expect(&stage, &named, "aws.terminate", "ok", &["would terminate", &id]);
    for (action, id, level, words) in [
        ("TerminateInstances", "aws.terminate", "fail", "allow ec2:TerminateInstances"),
        ("DescribeSpotInstanceRequests", "aws.spot_requests", "warn", "allow ec2:DescribeSpotInstanceRequests"),
        ("DescribeVolumes", "aws.volumes", "warn", "allow ec2:DescribeVolumes"),
        ("DescribeSpotPriceHistory", "aws.spot_prices", "warn", "allow ec2:DescribeSpotPriceHistory"),
    ] {
        expect(&stage, &named, id, "ok", &["dry run"]);
        let code = "UnauthorizedOperation".to_owned();
        let fault = Refuse { action: action.to_owned(), code, calls: 50, message: None };
        stage.emulator().refuse(fault).expect("a fault");
        expect(&stage, &named, id, level, &[words]);
        stage.emulator().clear_faults();
    }
    let state = stage.instances()[0].state;
    assert!(matches!(state, InstanceState::Pending | InstanceState::Running), "it is not terminated: {state:?}");
    refused(&stage, ("DescribeInstances", "UnauthorizedOperation"), "aws.credentials", "fail", &["DescribeInstances"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_address_for_agents_a_clock_that_is_off_and_a_wrong_endpoint_are_told() {
    let stage = stage().await;
    expect(&stage, &[], "aws.address", "ok", &["127.0.0.1"]);
    let user_data = "#!/bin/bash\ncoordinator=https://54.1.2.3:7443\n".to_owned();
    let template = LaunchTemplate { user_data, instance_profile: Some("p".to_owned()), ..LaunchTemplate::default() };
    let template = stage.emulator().create_launch_template("public", template).expect("a template");
    let public = [("EC2_LAUNCH_TEMPLATE_ID", &*template)];
    expect(&stage, &public, "aws.address", "warn", &["54.1.2.3", "internet gateway", "Elastic IP", "private address"]);

    expect(&stage, &[], "clock.aws", "ok", &[]);
    stage.emulator().date_off(-60).expect("a date");
    expect(&stage, &[], "clock.aws", "warn", &["169.254.169.123"]);
    stage.emulator().date_off(400).expect("a date");
    expect(&stage, &[], "clock.aws", "fail", &["AWS refuses what is signed here"]);
    stage.emulator().clear_faults();
    unanswered(&stage, "DescribeInstances", "clock.aws", "warn", &["does not tell its time"]);

    let wrong = [("AWS_ENDPOINT_URL_EC2", "nonsense")];
    expect(
        &stage,
        &wrong,
        "aws.endpoint",
        "fail",
        &["AWS_ENDPOINT_URL_EC2 is \"nonsense\"", "unset AWS_ENDPOINT_URL_EC2"],
    );
    expect(&stage, &[("AWS_ENDPOINT_URL_IAM", "nonsense")], "aws.endpoint", "warn", &["AWS_ENDPOINT_URL_IAM"]);
    for name in ["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL_IAM", "AWS_REGION", "AWS_PROFILE"] {
        let mut environment = stage.environment.clone();
        environment.insert(name.to_owned(), if name == "AWS_REGION" { "" } else { "nonsense" }.to_owned());
        let out = output(spillway(&environment).args(["doctor"]).current_dir("/"));
        let said = text(&out.stderr);
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{name}: {said}");
    }
}
