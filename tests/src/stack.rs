//! What `ami/stack.yaml` makes in an account, made by hand at the emulator, which has no CloudFormation: the closed
//! group of the builder, the parameter, the workers' launch template. And the tag by which a primary may be copied.

use spillway_emulator::Emulator;

use crate::moto::all;
use crate::other_client::{put_image, send};

/// The installation's name.
pub const NAME: &str = "spillway";
/// Where its image's id is.
pub const PARAMETER: &str = "/spillway/spillway/image";
/// The image that stands there before the first bake: a plain server's.
pub const PLAIN: &str = "ami-0e00000000000000a";

/// A call to EC2 that must succeed.
pub async fn call(emulator: &Emulator, form: &[(&str, &str)]) -> String {
    send(emulator, form).await.unwrap_or_else(|error| panic!("{form:?}: {error}"))
}

/// The workers' security group and the builder's, which is closed.
pub async fn groups(emulator: &Emulator) -> (String, String) {
    let group = |name: &'static str| {
        [
            ("Action", "CreateSecurityGroup"),
            ("GroupName", name),
            ("GroupDescription", name),
            ("VpcId", "vpc-0e000000000000001"),
        ]
    };
    let worker = all(&call(emulator, &group("spillway-worker")).await, "groupId").remove(0);
    let builder = all(&call(emulator, &group("spillway-builder")).await, "groupId").remove(0);
    for (action, range) in
        [("RevokeSecurityGroupEgress", "0.0.0.0/0"), ("AuthorizeSecurityGroupEgress", "127.0.0.1/32")]
    {
        egress(emulator, action, &builder, range).await;
    }
    (worker, builder)
}

/// Makes it all; the id of the builder's group.
pub async fn make(emulator: &Emulator, user_data: &str) -> String {
    put_image(emulator, PARAMETER, PLAIN).await;
    let (worker, builder) = groups(emulator).await;
    let (image, user_data) = (format!("resolve:ssm:{PARAMETER}"), base64(user_data));
    let template = [
        ("Action", "CreateLaunchTemplate"),
        ("LaunchTemplateName", "spillway-worker"),
        ("LaunchTemplateData.ImageId", &image),
        ("LaunchTemplateData.InstanceType", "c6i.xlarge"),
        ("LaunchTemplateData.UserData", &user_data),
        ("LaunchTemplateData.IamInstanceProfile.Name", "spillway-worker"),
        ("LaunchTemplateData.NetworkInterface.1.DeviceIndex", "0"),
        ("LaunchTemplateData.NetworkInterface.1.SubnetId", "subnet-0e00000000000000a"),
        ("LaunchTemplateData.NetworkInterface.1.SecurityGroupId.1", &worker),
    ];
    call(emulator, &template).await;
    builder
}

/// Changes a group's outbound rules.
pub async fn egress(emulator: &Emulator, action: &str, group: &str, range: &str) {
    let form = [
        ("Action", action),
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", "-1"),
        ("IpPermissions.1.IpRanges.1.CidrIp", range),
    ];
    call(emulator, &form).await;
}

/// Lets a machine be copied, as an administrator does once.
pub async fn may_be_copied(emulator: &Emulator, instance: &str) {
    let form = [
        ("Action", "CreateTags"),
        ("ResourceId.1", instance),
        ("Tag.1.Key", "spillway:bake-from"),
        ("Tag.1.Value", NAME),
    ];
    call(emulator, &form).await;
}

/// Launches one instance by the template, as the coordinator does, and says from which image.
pub async fn launched_from(emulator: &Emulator) -> String {
    let form = [
        ("Action", "RunInstances"),
        ("LaunchTemplate.LaunchTemplateName", "spillway-worker"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    all(&call(emulator, &form).await, "imageId").remove(0)
}

/// Everything that bakes have made and that is there.
pub async fn baked(emulator: &Emulator) -> Baked {
    let by_tag = ("Filter.1.Name", "tag:ManagedBy");
    let ours = ("Filter.1.Value.1", "spillway-bake");
    let ids = async |action: &str, element: &str, more: &[(&str, &str)]| {
        let form = [&[("Action", action), by_tag, ours], more].concat();
        all(&call(emulator, &form).await, element)
    };
    let mut living = vec![("Filter.2.Name", "instance-state-name")];
    living.extend([("Filter.2.Value.1", "pending"), ("Filter.2.Value.2", "running")]);
    living.extend([("Filter.2.Value.3", "stopping"), ("Filter.2.Value.4", "stopped")]);
    Baked {
        images: ids("DescribeImages", "imageId", &[]).await,
        snapshots: ids("DescribeSnapshots", "snapshotId", &[]).await,
        instances: ids("DescribeInstances", "instanceId", &living).await,
    }
}

/// Ids of what is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Baked {
    pub images: Vec<String>,
    pub snapshots: Vec<String>,
    pub instances: Vec<String>,
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
