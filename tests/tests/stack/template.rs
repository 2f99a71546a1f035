//! The template itself: its limits, and what it must not have; cfn-lint's opinion of it. Read by cfn-lint's own parser,
//! since CloudFormation's short forms are no plain YAML.

use std::fs;

use serde_json::Value;
use spillway_coordinator::clock;
use spillway_coordinator::tls::{Authority, CA_FILE, CA_KEY_FILE};
use spillway_tests::binaries::workspace;
use spillway_tests::process::{command, output, run, text};
use spillway_tests::programs;

use super::account::{ACCOUNT, Account, REGION, body};
use super::table::{Of, policies, stacks};

/// What `--template-body` takes; a longer one needs a bucket.
const MOST_BYTES: usize = 51_200;
const MOST_RESOURCES: usize = 15;
const MOST_PARAMETERS: usize = 12;

fn parsed() -> Value {
    let read = "import json, sys, cfnlint.decode; print(json.dumps(cfnlint.decode.decode(sys.argv[1])[0]))";
    let mut python = command(programs::tool("moto/bin/python"));
    let said = run(python.args(["-c", read]).arg(workspace().join("ami/stack.yaml")));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn it_is_within_its_limits_and_needs_nothing_else() {
    let template = parsed();
    let resources = template["Resources"].as_object().expect("resources");
    let parameters = template["Parameters"].as_object().expect("parameters");
    println!("{} bytes, {} resources, {} parameters", body().len(), resources.len(), parameters.len());
    assert!(body().len() <= MOST_BYTES && resources.len() <= MOST_RESOURCES && parameters.len() <= MOST_PARAMETERS);
    let required: Vec<&String> =
        parameters.iter().filter(|(_, parameter)| parameter["Default"].is_null()).map(|(name, _)| name).collect();
    assert_eq!(required, ["PrimaryAddress", "PrimarySecurityGroup", "Subnet", "Vpc"].map(str::to_owned).each_ref());
    for resource in resources.values() {
        let kind = resource["Type"].as_str().expect("a type");
        let is_known = ["AWS::EC2::", "AWS::IAM::"].iter().any(|it| kind.starts_with(it));
        assert!(is_known && kind != "AWS::EC2::NatGateway", "{kind}");
    }
    assert!(template["Transform"].is_null(), "a transform may run code of its own");
    assert!(!body().contains("arn:aws:"), "other partitions have other ARNs: arn:${{AWS::Partition}}:");
    // An update must not undo a bake.
    let image = &template["Resources"]["WorkerTemplate"]["Properties"]["LaunchTemplateData"]["ImageId"];
    assert_eq!(image["Fn::Sub"], "resolve:ssm:/spillway/${AWS::StackName}/image");
    let retained: Vec<&String> =
        resources.iter().filter(|(_, it)| it["DeletionPolicy"] == "Retain").map(|it| it.0).collect();
    assert_eq!(retained, ["PrimaryElasticIp"]);
}

#[test]
fn cfn_lint_has_nothing_to_say() {
    let mut lint = command(programs::tool("moto/bin/cfn-lint"));
    let regions = ["us-east-1", "eu-central-1", "us-gov-west-1"];
    let out = output(lint.arg("--regions").args(regions).arg("--").arg(workspace().join("ami/stack.yaml")));
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_no_longer_than_iam_takes_them() {
    let account = Account::open().await;
    let (plain, full) = stacks(&account).await;
    for (of, policy) in policies(&account, &plain, &full).await {
        // IAM does not count white space. A long name stands in each ARN: room for 40 characters more.
        let length = policy.to_string().len() + 40 * policy.to_string().matches("spillway").count();
        let most = match of {
            Of::Coordinator | Of::CoordinatorOnDemand => 6_144,
            Of::Bake => 10_240,
            Of::BakeTrust | Of::BakeTrustWithCi | Of::WorkerTrust => 2_048,
        };
        println!("{of:?}: {length} of {most} characters");
        assert!(length <= most, "{of:?}: {length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_by_hand_is_the_stacks() {
    let account = Account::open().await;
    let stack = account.deploy("CreateStack", "spillway", &[]).await;
    let by_hand = fs::read_to_string(workspace().join("ami/coordinator-policy.json")).expect("the policy");
    let by_hand = by_hand.replace("REGION", REGION).replace("ACCOUNT_ID", ACCOUNT).replace("VPC_ID", &account.vpc);
    let by_hand: Value =
        serde_json::from_str(&by_hand.replace("LAUNCH_TEMPLATE_ID", &stack.template_id)).expect("JSON");
    assert_eq!(by_hand, account.coordinator_policy(&stack).await);
}

#[test]
fn the_parameter_for_the_ca_takes_two_of_them_and_no_key() {
    let scratch = tempfile::tempdir().expect("a directory");
    Authority::open(scratch.path(), clock::system_now()).expect("a CA");
    let read = |name: &str| fs::read_to_string(scratch.path().join(name)).expect(name);
    let (ca, key) = (read(CA_FILE), read(CA_KEY_FILE));
    assert!(key.contains("PRIVATE KEY"));
    let parameter = &parsed()["Parameters"]["CertificateAuthority"];
    let most = usize::try_from(parameter["MaxLength"].as_u64().expect("a limit")).expect("a limit");
    assert!(2 * ca.len() <= most, "{} of {most}", 2 * ca.len());
    let quoted = ca.replace("-----END", "'; rm -rf /; '-----END");
    for (value, is_taken) in [
        (String::new(), true),
        (ca.clone(), true),
        (ca.trim_end().to_owned(), true),
        (format!("{ca}{ca}"), true),
        (key.clone(), false),
        (format!("{ca}{key}"), false),
        (format!("{key}{ca}"), false),
        (quoted, false),
        ("REPLACE_CA".to_owned(), false),
    ] {
        let matches = "import re, sys; sys.exit(0 if re.fullmatch(sys.argv[1], sys.argv[2]) else 3)";
        let pattern = parameter["AllowedPattern"].as_str().expect("a pattern");
        let mut python = command(programs::tool("moto/bin/python"));
        let code = output(python.args(["-c", matches, pattern, &value])).status.code();
        assert_eq!(code, Some(if is_taken { 0 } else { 3 }), "{value}");
    }
}
