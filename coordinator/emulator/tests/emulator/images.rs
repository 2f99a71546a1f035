//! What making an image needs besides: its snapshots, consoles, and security groups.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spillway_emulator::InstanceState;

use crate::support::running;

#[tokio::test]
async fn an_image_has_snapshots_which_stay_until_they_are_deleted_after_it() {
    let world = running().await;
    let id = world.launch("exec sleep 1000", &[]).await;
    let form = [
        ("InstanceId", &*id),
        ("Name", "worker"),
        ("TagSpecification.1.ResourceType", "snapshot"),
        ("TagSpecification.1.Tag.1.Key", "whose"),
        ("TagSpecification.1.Tag.1.Value", "ours"),
    ];
    let image = world.client.ok("CreateImage", &form).await.one("imageId");
    let snapshot = world.client.ok("DescribeImages", &[("ImageId.1", &image)]).await.one("snapshotId");
    let ours = [("Filter.1.Name", "tag:whose"), ("Filter.1.Value.1", "ours"), ("Owner.1", "self")];
    let shown = world.client.ok("DescribeSnapshots", &ours).await;
    assert_eq!((shown.one("snapshotId"), shown.one("status")), (snapshot.clone(), "completed".to_owned()));
    let delete = [("SnapshotId", &*snapshot)];
    world.client.refused("DeleteSnapshot", &delete, "InvalidSnapshot.InUse").await;
    world.client.ok("DeregisterImage", &[("ImageId", &image)]).await;
    assert_eq!(world.client.ok("DescribeSnapshots", &ours).await.all("snapshotId"), [&*snapshot]);
    world.client.ok("DeleteSnapshot", &delete).await;
    world.client.refused("DeleteSnapshot", &delete, "InvalidSnapshot.NotFound").await;
    assert_eq!(world.client.ok("DescribeSnapshots", &ours).await.all("snapshotId"), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_console_can_be_read_once_its_instance_has_stopped() {
    let world = running().await;
    let id = world.launch("#!/bin/sh\necho the verdict\npoweroff", &[]).await;
    world.until(&id, InstanceState::Stopped).await;
    let answer = world.client.ok("GetConsoleOutput", &[("InstanceId", &id), ("Latest", "true")]).await;
    let text = String::from_utf8(BASE64.decode(answer.one("output")).expect("base64")).expect("UTF-8");
    assert!(text.contains("the verdict"), "{text}");
    let nobody = [("InstanceId", "i-0123456789abcdef0")];
    world.client.refused("GetConsoleOutput", &nobody, "InvalidInstanceID.NotFound").await;
    world.stop().await;
}

#[tokio::test]
async fn a_group_is_open_until_its_rules_are_changed() {
    let world = running().await;
    let form = [("GroupName", "builder"), ("GroupDescription", "closed"), ("VpcId", "vpc-0e000000000000001")];
    let id = world.client.ok("CreateSecurityGroup", &form).await.one("groupId");
    world.client.refused("CreateSecurityGroup", &form, "InvalidGroup.Duplicate").await;
    let by_name = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "builder")];
    let ranges = async || world.client.ok("DescribeSecurityGroups", &by_name).await.all("cidrIp");
    assert_eq!(ranges().await, ["0.0.0.0/0"]);
    let rule = |cidr: &'static str| {
        [("GroupId", &*id), ("IpPermissions.1.IpProtocol", "-1"), ("IpPermissions.1.IpRanges.1.CidrIp", cidr)]
    };
    world.client.ok("RevokeSecurityGroupEgress", &rule("0.0.0.0/0")).await;
    world.client.ok("AuthorizeSecurityGroupEgress", &rule("127.0.0.1/32")).await;
    assert_eq!(ranges().await, ["127.0.0.1/32"]);
    let nobody = [("GroupId.1", "sg-0123456789abcdef0")];
    world.client.refused("DescribeSecurityGroups", &nobody, "InvalidGroup.NotFound").await;
    world.stop().await;
}
