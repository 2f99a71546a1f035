//! Instances of an image that launches no longer take: told in `status` and metrics, with how old the image is.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};
use spillway_emulator::{LaunchTemplate, Refuse};
use spillway_tests::moto::all;
use spillway_tests::other_client::put_image;
use spillway_tests::process::{output, text};
use spillway_tests::stack::call;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, wait};

/// Where the launch template has its image's id from.
const PARAMETER: &str = "/worker/image";
/// More than any test lets EC2 refuse.
const ALWAYS: u32 = 1_000_000;

/// A stage whose instances stay, and whose launch template has a parameter name its image.
async fn stage(on_drift: &str) -> Stage {
    let environment =
        vec![("SPILLWAY_POOL_POLICY_IDLE", "1h".to_owned()), ("SPILLWAY_POOL_ON_DRIFT", on_drift.to_owned())];
    let stage = Stage::without_coordinator(Setup { environment, ..Setup::default() }).await;
    put_image(stage.emulator(), PARAMETER, &first_image()).await;
    let (template, image) = (&*stage.environment["EC2_LAUNCH_TEMPLATE_ID"], format!("resolve:ssm:{PARAMETER}"));
    let version = [
        ("Action", "CreateLaunchTemplateVersion"),
        ("LaunchTemplateId", template),
        ("SourceVersion", "1"),
        ("LaunchTemplateData.ImageId", &*image),
    ];
    call(stage.emulator(), &version).await;
    let default = [("Action", "ModifyLaunchTemplate"), ("LaunchTemplateId", template), ("SetDefaultVersion", "2")];
    call(stage.emulator(), &default).await;
    stage
}

fn first_image() -> String {
    LaunchTemplate::default().image_id
}

/// Another image, made from this instance, which launches take from now on.
async fn take_another(stage: &Stage, instance: &str) -> String {
    let form = [("Action", "CreateImage"), ("InstanceId", instance), ("Name", "another")];
    let image = all(&call(stage.emulator(), &form).await, "imageId").remove(0);
    put_image(stage.emulator(), PARAMETER, &image).await;
    image
}

/// A checkout that is the primary's from the next start on, with a commit that no instance has; which one.
async fn newer_checkout(stage: &mut Stage) -> String {
    let checkout = stage.copy_of_app("primary").await;
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
        text(&output(Command::new("git").current_dir(&checkout).args(who).args(arguments)).stdout)
    };
    git(&["commit", "--quiet", "--allow-empty", "--message", "newer"]);
    let commit = git(&["rev-parse", "HEAD"]).trim().to_owned();
    stage.environment.insert("SPILLWAY_POOL_APPLICATION".to_owned(), checkout.display().to_string());
    commit
}

/// One that has asked EC2 nothing yet: the others ask once in a minute.
async fn restart_coordinator(stage: &mut Stage) {
    stage.coordinator = None;
    stage.start_coordinator().await;
}

fn pool(stage: &Stage) -> Value {
    stage.coordinator().json(&["status"])["pools"][0].clone()
}

/// Whether the only instance is of another image than launches take.
fn is_other(stage: &Stage) -> Value {
    pool(stage)["instances"][0]["other_image"].clone()
}

async fn until_metrics(stage: &Stage, what: &str, is_so: impl Fn(&BTreeMap<String, f64>) -> bool) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://127.0.0.1:{}/metrics", stage.coordinator().http_port);
    let poll = async || {
        let text = http.get(&url).send().await.ok()?.text().await.ok()?;
        let values = text.lines().filter_map(|line| line.rsplit_once(' '));
        let metrics = values.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect();
        is_so(&metrics).then_some(())
    };
    wait::until(what, async || stage.diagnosis().await, poll).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_an_older_image_is_told_with_the_images_age() {
    let mut stage = stage("report").await;
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 6, 1.0);
    let instance = stage.until_ready(1).await.remove(0);
    stage.until("it is of the image that launches take", || is_other(&stage) == false).await;
    let shown = pool(&stage);
    assert_eq!(shown["launch_image"]["id"], json!(first_image()), "{shown}");
    assert_eq!(shown["instances"][0]["image_id"], json!(first_image()), "{shown}");
    let told = |pointer: &str| pool(&stage).pointer(pointer).cloned().unwrap_or_default();
    let lockfile = stage.copy_of_app("lockfile").await.join("bun.lock");
    let hash = text(&output(Command::new("sha256sum").arg(lockfile)).stdout)[..16].to_owned();
    stage.until("its lockfile is told", || told("/instances/0/heartbeat/lockfile") == json!(hash)).await;
    stage.until("its commit is the newest", || told("/newest_commit").is_string()).await;
    assert_eq!(told("/newest_commit"), told("/instances/0/heartbeat/git_commit"));
    let pool_label = format!("pool=\"{}\"", shown["name"].as_str().expect("a name"));
    let steps = format!("spillway_boot_step_seconds{{{pool_label},step=\"install\"}}");
    until_metrics(&stage, "a metric has what the step took", |metrics| metrics.contains_key(&steps)).await;

    let another = take_another(&stage, &instance).await;
    let primary = newer_checkout(&mut stage).await;
    restart_coordinator(&mut stage).await;
    stage.until("it is of another image", || is_other(&stage) == true).await;
    stage.until("it is of another commit", || pool(&stage)["instances"][0]["other_commit"] == true).await;
    let shown = pool(&stage);
    assert_eq!(shown["launch_image"]["id"], json!(another), "{shown}");
    assert_eq!(shown["primary_commit"], json!(primary), "{shown}");
    assert!(shown["launch_image"]["made_at"].is_string(), "{shown}");
    let status = text(&stage.coordinator().command(&["status"]).stdout);
    assert!(status.contains(&format!("  image      launches take {another}, made ")), "{status}");
    let line = status.lines().find(|line| line.contains(&instance)).unwrap_or_default();
    assert!(line.contains(", older image, commit "), "{status}");
    assert!(line.ends_with(&format!(" (primary {})", &primary[..8])), "{status}");
    let (age, stale) =
        (format!("spillway_image_age_seconds{{{pool_label}}}"), format!("spillway_instances_stale{{{pool_label}}}"));
    let other_commit = format!("spillway_instances_other_commit{{{pool_label}}}");
    let is_told = |metrics: &BTreeMap<String, f64>| {
        [&stale, &other_commit].iter().all(|name| metrics.get(*name) == Some(&1.0))
            && metrics.get(&age).is_some_and(|age| (0.0..3600.0).contains(age))
    };
    until_metrics(&stage, "metrics have both", is_told).await;
    assert_eq!(stage.instances().len(), 1, "it is only told");

    // What EC2 does not answer is not known: the image is not guessed, and nothing else suffers.
    let (action, code) = ("DescribeLaunchTemplateVersions".to_owned(), "UnauthorizedOperation".to_owned());
    stage.emulator().refuse(Refuse { action, code, calls: ALWAYS, message: None }).expect("a fault");
    let calls = stage.calls("DescribeLaunchTemplateVersions").len();
    restart_coordinator(&mut stage).await;
    stage.until("EC2 was asked", || stage.calls("DescribeLaunchTemplateVersions").len() > calls).await;
    stage.until_ready(1).await;
    let shown = pool(&stage);
    assert_eq!((&shown["launch_image"], &shown["instances"][0]["other_image"]), (&Value::Null, &Value::Null));
    let is_unknown = |metrics: &BTreeMap<String, f64>| metrics.get(&stale).is_some_and(|value| value.is_nan());
    until_metrics(&stage, "the metric says so", is_unknown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_of_an_older_image_is_replaced_where_that_is_set() {
    let mut stage = stage("replace").await;
    stage.start_coordinator().await;
    // Longer than the test: there is demand while the replacement boots.
    jobs::add(&stage.redis, 14, 15.0);
    let first = stage.until_ready(1).await.remove(0);
    stage.until("its image is known", || is_other(&stage) == false).await;
    let another = take_another(&stage, &first).await;
    restart_coordinator(&mut stage).await;
    stage.until("it is of another image", || is_other(&stage) == true).await;
    let second = stage.until_replaced(&first).await;
    let images: Vec<String> = stage.instances().into_iter().map(|record| record.image_id).collect();
    assert_eq!(images, [first_image(), another.clone()]);
    let why = format!("launches take {another}, and {first} is of another image: its replacement is launched first");
    assert!(stage.coordinator().explained(&why), "{}", stage.diagnosis().await);
    let why = format!("launches take {another}, another image than its own, and the replacement {second} is ready");
    assert!(stage.coordinator().explained(&why), "{}", stage.diagnosis().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ec2_is_asked_once_in_a_minute_and_not_by_a_standby() {
    let mut stage = stage("report").await;
    stage.start_coordinator().await;
    stage.until("the image is known", || pool(&stage)["launch_image"].is_object()).await;
    let standby = stage.another_coordinator().await;
    let asked = || stage.calls("DescribeLaunchTemplateVersions").len();
    let listed = stage.calls("DescribeInstances").len();
    stage.until("EC2 was listed some times", || stage.calls("DescribeInstances").len() > listed + 8).await;
    assert!(asked() <= 2, "{} times", asked());
    assert_eq!(standby.json(&["status"])["pools"][0]["launch_image"], Value::Null);
}
