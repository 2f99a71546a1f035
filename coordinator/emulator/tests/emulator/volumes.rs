//! Volumes: made of the devices of image and launch, deleted with their instances or left behind.

use reqwest::Method;
use spillway_emulator::InstanceState;

use crate::support::running;

const IMAGE: &str = "ami-0123456789abcdef0";
const KEEPS: &str = r#"{"image": "ami-0123456789abcdef0", "device": "/dev/sdb", "delete_on_termination": false}"#;

#[tokio::test]
async fn a_volume_stays_behind_unless_image_or_launch_says_that_it_is_deleted_with_its_instance() {
    let world = running().await;
    world.client.order("image-device", KEEPS).await;
    let image = world.client.ok("DescribeImages", &[("ImageId.1", IMAGE)]).await;
    assert_eq!(image.all("deviceName"), ["/dev/sda1", "/dev/sdb"]);
    assert_eq!(image.all("deleteOnTermination"), ["true", "false"]);
    let tags = [
        ("TagSpecification.1.ResourceType", "volume"),
        ("TagSpecification.1.Tag.1.Key", "whose"),
        ("TagSpecification.1.Tag.1.Value", "ours"),
    ];
    let kept = world.launch("exec sleep 1000", &tags).await;
    let mut overridden = tags.to_vec();
    overridden.extend([("BlockDeviceMapping.1.DeviceName", "/dev/sdb")]);
    overridden.extend([("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true")]);
    let deleted = world.launch("exec sleep 1000", &overridden).await;
    let of = |id: &str| [("Filter.1.Name", "attachment.instance-id".to_owned()), ("Filter.1.Value.1", id.to_owned())];
    for (id, says) in [(&kept, ["true", "false"]), (&deleted, ["true", "true"])] {
        let filter = of(id);
        let filter: Vec<(&str, &str)> = filter.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let shown = world.client.ok("DescribeVolumes", &filter).await;
        assert_eq!(shown.all("deleteOnTermination"), says, "{}", shown.body);
        let instance = world.client.ok("DescribeInstances", &[("InstanceId.1", id)]).await;
        assert_eq!(instance.all("deleteOnTermination"), says, "{}", instance.body);
        world.client.ok("TerminateInstances", &[("InstanceId.1", id)]).await;
        world.until(id, InstanceState::Terminated).await;
    }
    let left = [("Filter.1.Name", "status"), ("Filter.1.Value.1", "available"), ("Filter.2.Name", "tag:whose")];
    let left = world.client.ok("DescribeVolumes", &[&left[..], &[("Filter.2.Value.1", "ours")]].concat()).await;
    assert_eq!(left.all("volumeId").len(), 1, "{}", left.body);
    let records = world.emulator().volumes();
    assert_eq!((records.len(), records[0].device.as_str(), &records[0].instance), (1, "/dev/sdb", &None));
    world.client.refused("DescribeVolumes", &[("VolumeId.1", "vol-0123456789abcdef0")], "InvalidVolume.NotFound").await;
    let volume = world.launch("exec sleep 1000", &[]).await;
    let of_it = [("Filter.1.Name", "attachment.instance-id"), ("Filter.1.Value.1", volume.as_str())];
    let attached = world.client.ok("DescribeVolumes", &of_it).await.all("volumeId");
    world.client.refused("DeleteVolume", &[("VolumeId", &attached[0])], "VolumeInUse").await;
    world.client.refused("DeleteVolume", &[("VolumeId", "vol-0123456789abcdef0")], "InvalidVolume.NotFound").await;
    world.client.ok("DeleteVolume", &[("VolumeId", &left.one("volumeId"))]).await;
    assert!(world.emulator().volumes().iter().all(|volume| volume.instance.is_some()));
    let nonsense = r#"{"image": "nonsense", "device": "/dev/sdb", "delete_on_termination": false}"#;
    assert_eq!(world.client.control(Method::POST, "image-device", nonsense).await.status, 400);
    world.stop().await;
}

/// As of a primary whose owner keeps its disks: the image has them as they are on the instance.
#[tokio::test]
async fn an_image_has_the_devices_of_its_instance_and_what_its_creation_says_of_them() {
    let world = running().await;
    world.emulator().image_device(IMAGE, "/dev/sda1", false).expect("an image");
    let id = world.launch("exec sleep 1000", &[]).await;
    let create = async |name: &str, more: &[(&str, &str)]| {
        let form = [&[("InstanceId", id.as_str()), ("Name", name)], more].concat();
        let image = world.client.ok("CreateImage", &form).await.one("imageId");
        world.client.ok("DescribeImages", &[("ImageId.1", &image)]).await.all("deleteOnTermination")
    };
    assert_eq!(create("as-it-is", &[]).await, ["false"]);
    let says =
        [("BlockDeviceMapping.1.DeviceName", "/dev/sda1"), ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true")];
    assert_eq!(create("as-it-should-be", &says).await, ["true"]);
    world.stop().await;
}
