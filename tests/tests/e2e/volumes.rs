//! Volumes: an image that was made from a machine whose owner keeps its disks leaves none behind, and what was left all
//! the same is named.

use serde_json::{Value, json};
use spillway_emulator::{LaunchTemplate, Refuse};
use spillway_tests::process::text;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, other_client};

/// More than any test lets EC2 refuse.
const ALWAYS: u32 = 1_000_000;

async fn left_volumes_metric(stage: &Stage) -> Option<String> {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = http.get(format!("http://127.0.0.1:{}/metrics", stage.coordinator().http_port)).send().await.ok()?;
    let metrics = answer.text().await.ok()?;
    metrics.lines().find_map(|line| line.strip_prefix("spillway_left_volumes ")).map(str::to_owned)
}

fn image() -> String {
    LaunchTemplate::default().image_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_volumes_of_an_image_that_keeps_them_are_deleted_with_their_instances() {
    let stage = Stage::start(Setup::default()).await;
    stage.emulator().image_device(&image(), "/dev/sda1", false).expect("an image");
    stage.emulator().image_device(&image(), "/dev/sdb", false).expect("an image");
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    let volumes = stage.emulator().volumes();
    let said: Vec<(&str, bool)> =
        volumes.iter().map(|volume| (volume.device.as_str(), volume.delete_on_termination)).collect();
    assert_eq!(said, [("/dev/sda1", true), ("/dev/sdb", true)]);
    assert!(volumes.iter().all(|volume| volume.tags.contains_key("spillway:installation")), "{volumes:?}");
    stage.until_zero().await;
    assert_eq!(stage.emulator().volumes(), []);

    // The next launch asks anew: a deploy may have changed the image.
    stage.emulator().image_device(&image(), "/dev/sdc", false).expect("an image");
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    let volumes = stage.emulator().volumes();
    assert!(volumes.len() == 3 && volumes.iter().all(|volume| volume.delete_on_termination), "{volumes:?}");
    stage.until_zero().await;
    assert_eq!(stage.emulator().volumes(), []);
    stage.assert_each_ran_once(12);
}

/// Without the permission to read template, image and volumes: everything works but this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_read_of_devices_is_in_nobodys_way_and_what_is_left_is_named_later() {
    let mut stage = Stage::without_coordinator(Setup::default()).await;
    stage.emulator().image_device(&image(), "/dev/sdb", false).expect("an image");
    for action in ["DescribeLaunchTemplateVersions", "DescribeImages", "DescribeVolumes"] {
        let (action, code) = (action.to_owned(), "UnauthorizedOperation".to_owned());
        stage.emulator().refuse(Refuse { action, code, calls: ALWAYS, message: None }).expect("a fault");
    }
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    stage.until_zero().await;
    let left = stage.emulator().volumes();
    assert_eq!((left.len(), left[0].device.as_str(), &left[0].instance), (1, "/dev/sdb", &None));
    stage.assert_each_ran_once(6);
    let told = "cannot read which devices launches have";
    assert!(stage.coordinator().process.log().contains(told), "{}", stage.diagnosis().await);
    assert_eq!(stage.coordinator().json(&["status"])["left_volumes"], Value::Null, "it is not known");

    stage.emulator().clear_faults();
    stage.coordinator = None;
    stage.start_coordinator().await;
    stage.until("it is named in the log", || stage.coordinator().process.tail().contains(&left[0].id)).await;
    let shown = || stage.coordinator().json(&["status"])["left_volumes"]["ids"].clone();
    stage.until("status names it", || shown() == json!([left[0].id])).await;
    let status = text(&stage.coordinator().command(&["status"]).stdout);
    let line = format!("PROBLEM    1 volume left behind by instances that are gone, and billed on: {}.", left[0].id);
    assert!(status.contains(&line), "{status}");
    assert_eq!(stage.emulator().volumes().len(), 1, "it is not ours to delete");

    // Of a coordinator that started anew EC2 is asked again. What a person has deleted is no longer shown.
    stage.coordinator = None;
    stage.start_coordinator().await;
    let shown = || stage.coordinator().json(&["status"])["left_volumes"]["ids"].clone();
    stage.until("status names it after a restart", || shown() == json!([left[0].id])).await;
    stage.until_async("a metric has it", async || left_volumes_metric(&stage).await.as_deref() == Some("1")).await;
    assert!(other_client::call(&stage, &[("Action", "DeleteVolume"), ("VolumeId", &left[0].id)]).await);
    stage.until("status shows none", || shown() == json!([])).await;
    let status = text(&stage.coordinator().command(&["status"]).stdout);
    assert!(!status.contains("left behind"), "{status}");
    stage.until_async("the metric is 0", async || left_volumes_metric(&stage).await.as_deref() == Some("0")).await;
}
