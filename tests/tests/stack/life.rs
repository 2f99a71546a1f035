//! The stack's life at moto: created, updated, deleted.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spillway_tests::binaries::workspace;
use spillway_tests::moto::{CLOUDFORMATION, IAM, all};

use super::account::{Account, Stack};

const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";

async fn user_data(account: &Account, stack: &Stack) -> String {
    let encoded = all(&account.template_version(stack).await, "userData").remove(0);
    String::from_utf8(BASE64.decode(encoded).expect("base64")).expect("text")
}

/// `ami/user-data.sh` without comments, as a person fills it in.
fn by_hand(ca: &str) -> String {
    let script = fs::read_to_string(workspace().join("ami/user-data.sh")).expect("ami/user-data.sh");
    let lines = script.lines().enumerate().filter(|(number, line)| *number == 0 || !line.starts_with('#'));
    let lines = lines.map(|(_, line)| line.split(" # cloud-init").next().unwrap_or_default());
    let plain: String = lines.map(|line| format!("{line}\n")).collect();
    plain.replace("REPLACE_CA", ca)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_created_updated_and_deleted() {
    let account = Account::open().await;
    let stack = account.deploy("CreateStack", "spillway", &[]).await;
    let version = account.template_version(&stack).await;
    for (element, value) in [
        ("imageId", "resolve:ssm:/spillway/spillway/image"),
        ("httpTokens", "required"),
        ("httpPutResponseHopLimit", "1"),
        ("instanceInitiatedShutdownBehavior", "terminate"),
        ("encrypted", "true"),
        ("instanceType", "c6i.xlarge"),
        ("versionNumber", "1"),
    ] {
        assert_eq!(all(&version, element), [value], "{element} in {version}");
    }
    assert!(all(&version, "keyName").is_empty(), "{version}");
    assert_eq!(all(&version, "deleteOnTermination"), ["true", "true"], "{version}");
    assert_eq!(user_data(&account, &stack).await, by_hand(""));

    // What workers may reach of the primary.
    let groups = account.moto.call("DescribeSecurityGroups", &[("GroupName.1", "primary")]).await;
    let inbound = all(&groups, "ipPermissions").remove(0);
    assert_eq!(all(&inbound, "fromPort"), ["6379", "7443"], "{groups}");
    assert_eq!(all(&inbound, "groupId"), [&*stack.outputs["WorkerGroupId"]; 2], "{groups}");
    assert!(!inbound.contains("cidrIp"), "{groups}");

    let instance =
        account.moto.call("RunInstances", &[("MinCount", "1"), ("MaxCount", "1"), ("ImageId", "ami-1")]).await;
    let primary = all(&instance, "instanceId").remove(0);
    let more = [("KeyPair", "operators"), ("CertificateAuthority", CA), ("ElasticIpFor", &primary)];
    let updated = account.deploy("UpdateStack", "spillway", &more).await;
    assert_eq!(updated.template_id, stack.template_id, "the coordinator's policy names it");
    let version = account.template_version(&stack).await;
    assert_eq!(all(&version, "versionNumber"), ["2"], "{version}");
    // So the coordinator is told to launch $Latest.
    assert_eq!(all(&version, "defaultVersion"), ["false"], "{version}");
    assert_eq!(all(&version, "keyName"), ["operators"], "{version}");
    assert_eq!(all(&version, "imageId"), ["resolve:ssm:/spillway/spillway/image"], "{version}");
    assert_eq!(user_data(&account, &stack).await, by_hand(CA));
    let addresses = account.moto.call("DescribeAddresses", &[]).await;
    assert_eq!(all(&addresses, "instanceId"), [&*primary], "{addresses}");

    // moto does not delete managed policies, and then not the role that has one; CloudFormation does.
    let policy = [("RoleName", "spillway-primary"), ("PolicyArn", &*account.coordinator_policy_arn(&stack))];
    account.moto.ask(IAM, "DetachRolePolicy", &policy).await;
    account.moto.ask(CLOUDFORMATION, "DeleteStack", &[("StackName", "spillway")]).await;
    let stacks = account.moto.ask(CLOUDFORMATION, "ListStacks", &[]).await;
    assert_eq!(all(&stacks, "StackStatus"), ["DELETE_COMPLETE"], "{stacks}");
    let roles = account.moto.ask(IAM, "ListRoles", &[]).await;
    assert!(all(&roles, "RoleName").iter().all(|name| !name.starts_with("spillway")), "{roles}");
    let profiles = account.moto.ask(IAM, "ListInstanceProfiles", &[]).await;
    assert!(all(&profiles, "InstanceProfileName").is_empty(), "{profiles}");
    let templates = account.moto.call("DescribeLaunchTemplates", &[]).await;
    assert!(all(&templates, "launchTemplateId").is_empty(), "{templates}");
    let groups = account.moto.call("DescribeSecurityGroups", &[]).await;
    assert!(all(&groups, "groupName").iter().all(|name| !name.starts_with("spillway-")), "{groups}");
    // Kept: others may know it.
    let addresses = account.moto.call("DescribeAddresses", &[]).await;
    assert_eq!(all(&addresses, "publicIp").len(), 1, "{addresses}");
}
