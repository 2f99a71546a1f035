//! Instances that are machines. Root's alone, with the tree that `tests/setup` makes; otherwise `NOT RUN` is printed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use spillway_emulator::{InstanceState, Options, StartError};

use crate::support::{PROGRAM, SOON, World, eventually};

const IMAGE: &str = "ami-0e00000000000000a";

/// A folder of images with one, a plain server's.
fn images() -> Option<tempfile::TempDir> {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/spillway");
    let tools = std::env::var_os("SPILLWAY_TOOLS").map_or_else(home, PathBuf::from);
    let tree = fs::canonicalize(tools.join("machine")).ok();
    let Some(tree) = tree.filter(|_| rustix::process::geteuid().is_root()) else {
        println!("NOT RUN: booted machines need root, and the tree that tests/setup makes as root");
        return None;
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    symlink(tree, folder.path().join(IMAGE)).expect("a link to the tree");
    Some(folder)
}

async fn account(images: &Path) -> World {
    World::start_with(|options| {
        options.machines = Some(images.to_owned());
        (options.pending, options.shutting_down) = (SOON, Duration::from_secs(15));
    })
    .await
}

async fn launch(world: &World, user_data: &str, more: &[(&str, &str)]) -> String {
    let user_data = BASE64.encode(user_data);
    let mut form = vec![("ImageId", IMAGE), ("MinCount", "1"), ("MaxCount", "1"), ("UserData", &*user_data)];
    form.extend_from_slice(more);
    world.client.ok("RunInstances", &form).await.one("instanceId")
}

#[tokio::test]
async fn cloud_init_runs_the_user_data_of_a_machine_and_a_power_off_from_within_ends_it() {
    let Some(images) = images() else { return };
    let world = account(images.path()).await;
    // What it says is read from its console: who runs it, where, by which metadata.
    let user_data = "#!/bin/bash\nset -e\n\
         token=$(python3 -c 'import urllib.request as u; print(u.urlopen(u.Request(\"http://169.254.169.254/latest/api/token\", \
         method=\"PUT\", headers={\"X-aws-ec2-metadata-token-ttl-seconds\": \"60\"})).read().decode())')\n\
         id=$(python3 -c 'import sys, urllib.request as u; print(u.urlopen(u.Request(\"http://169.254.169.254/latest/meta-data/instance-id\", \
         headers={\"X-aws-ec2-metadata-token\": sys.argv[1]})).read().decode())' \"$token\")\n\
         echo \"user data of $id, pid 1 is $(ps -o comm= 1), $(id -un)\"\n\
         systemctl --no-block poweroff\n";
    let id = launch(&world, user_data, &[("InstanceInitiatedShutdownBehavior", "terminate")]).await;
    let record = world.until(&id, InstanceState::Terminated).await;
    assert_eq!(record.state_reason.expect("a reason").code, "Client.InstanceInitiatedShutdown");
    let console = world.emulator().console(&id).expect("a console");
    assert!(console.contains(&format!("user data of {id}, pid 1 is systemd, root")), "{console}");
    assert!(console.contains("[init] the machine was powered off"), "{console}");
    assert!(groups(&id).is_empty(), "control groups are left: {:?}", groups(&id));
    world.stop().await;
}

#[tokio::test]
async fn two_machines_meet_in_their_network_alone_and_a_termination_halts_them() {
    let Some(images) = images() else { return };
    let world = account(images.path()).await;
    let server = "#!/bin/bash\necho 'hello from the first' >/srv/index.html\n\
         systemd-run --quiet python3 -m http.server 80 --directory /srv\n";
    let first = launch(&world, server, &[]).await;
    let address = world.record(&first).private_ip;
    let client = format!(
        "#!/bin/bash\nfor try in $(seq 100); do\n  python3 -c 'import urllib.request as u; print(\"heard:\", \
         u.urlopen(\"http://{address}/index.html\").read().decode())' && break\n  sleep 0.3\ndone\n"
    );
    let second = launch(&world, &client, &[]).await;
    let heard =
        || async { world.emulator().console(&second).is_ok_and(|it| it.contains("heard: hello from the first")) };
    eventually("the second machine hears the first", heard).await;
    let interfaces = fs::read_to_string("/proc/net/dev").expect("interfaces");
    assert!(!interfaces.contains("vpc"), "the host is not in their network: {interfaces}");
    for id in [&first, &second] {
        world.client.ok("TerminateInstances", &[("InstanceId.1", &**id)]).await;
    }
    for id in [&first, &second] {
        world.until(id, InstanceState::Terminated).await;
        let console = world.emulator().console(id).expect("a console");
        assert!(console.contains("Halting system."), "in order: {console}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_image_is_a_directory_and_another_one_does_not_exist() {
    let Some(images) = images() else { return };
    let world = account(images.path()).await;
    let missing = [("ImageId", "ami-0123456789abcdef0"), ("MinCount", "1"), ("MaxCount", "1")];
    world.client.refused("RunInstances", &missing, "InvalidAMIID.NotFound").await;
    assert_eq!(world.client.ok("DescribeImages", &[]).await.all("imageId"), [IMAGE]);
    world.stop().await;
    let mut options = Options::new(images.path().join("instances"), vec!["init".into()]);
    options.machines = Some(images.path().join("nothing"));
    let refused = spillway_emulator::start(options).await.expect_err("there is no such folder");
    assert!(matches!(refused, StartError::Images { .. }), "{refused}");
}

/// The emulator's own death is the one that leaves it no time.
#[tokio::test]
async fn of_a_killed_emulator_no_machine_is_left() {
    let Some(images) = images() else { return };
    let directory = tempfile::Builder::new().prefix("e").tempdir().expect("a temporary directory");
    let mut program = Command::new(PROGRAM);
    program
        .args(["run", "--listen", "127.0.0.1:0", "--json", "--pending", "10ms", "--directory"])
        .arg(directory.path());
    program.arg("--machines").arg(images.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut emulator = program.spawn().expect("the emulator");
    let mut line = String::new();
    let out = emulator.stdout.take().expect("an output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
    let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let endpoint = said["endpoint"].as_str().expect("an endpoint");
    let form = format!("Action=RunInstances&Version=2016-11-15&ImageId={IMAGE}&MinCount=1&MaxCount=1");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.post(endpoint).header("authorization", "AWS4-HMAC-SHA256 any").body(form);
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let place = directory.path().to_string_lossy().into_owned();
    eventually("the machine is booted", || async { processes(&place).iter().any(|it| it.contains("--boot")) }).await;
    let id = fs::read_dir(directory.path()).expect("instances").flatten().next().expect("one").file_name();
    emulator.kill().expect("it runs");
    emulator.wait().expect("it ends");
    eventually("no process is left", || async { processes(&place).is_empty() }).await;
    eventually("no control group is left", || async { groups(&id.to_string_lossy()).is_empty() }).await;
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.contains(&place), "a mount is left: {mounts}");
}

/// Command lines that name a place.
fn processes(place: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(place)).collect()
}

/// A machine's control groups.
fn groups(id: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let places = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]);
    places.map(|place| place.join("spillway-emulator").join(id)).filter(|group| group.exists()).collect()
}
