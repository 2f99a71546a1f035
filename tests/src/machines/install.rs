//! Spillway on the plan's primary, as a new user installs it by README.md: its packages where `SPILLWAY_PACKAGES` says
//! that there are some, otherwise the programs by hand; `spillway init`; the stack with the parameters that it wrote;
//! the unit. What differs from a real account is said where it is done: where EC2 is, and how long a minute is.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use super::{Account, Machine, SERVER, plan};
use crate::moto::Moto;
use crate::other_client::put_image;
use crate::process::text;
use crate::{QUEUE, binaries, programs, stack};

/// What the plan's five and ten minutes are here.
const DURATIONS: &str = "SPILLWAY_POOL_INTERVAL=1s\n\
     SPILLWAY_POOL_LISTING_INTERVAL=1s\n\
     SPILLWAY_POOL_BOOT_TIMEOUT=110s\n\
     SPILLWAY_POOL_POLICY_STEPS=[{ jobs = 5, for = \"3s\", instances = 1 }, { jobs = 15, for = \"3s\", instances = 2 }]\n\
     SPILLWAY_POOL_POLICY_IDLE=6s\n\
     SPILLWAY_GRPC_HEARTBEAT_INTERVAL=1s\n";

/// A package of the directory that `SPILLWAY_PACKAGES` names: `old`, or `new`, which has a higher version. None where
/// it names none.
pub fn package(name: &str, which: &str) -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("SPILLWAY_PACKAGES")?).join(which);
    let found = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let is_it =
        |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}_")));
    let package = found.flatten().map(|entry| entry.path()).find(is_it);
    Some(package.unwrap_or_else(|| panic!("no package {name} in {}", directory.display())))
}

/// Both programs with their units. Nothing is enabled or started: the agent is for images, which are copies of the
/// primary.
pub async fn programs(primary: &Machine<'_>) {
    for (name, program, unit) in [
        ("spillway", binaries::spillway(), "coordinator/deploy/spillway.service"),
        ("spillway-agent", binaries::agent(), "ami/spillway-agent.service"),
    ] {
        if let Some(package) = package(name, "old") {
            primary.install_package(&package).await;
            continue;
        }
        primary.install(&program, &format!("/usr/local/bin/{name}"));
        let text = fs::read_to_string(binaries::workspace().join(unit)).expect("a unit");
        primary.write(&format!("/etc/systemd/system/{name}.service"), &text);
    }
    let enabled = primary.run("systemctl is-enabled spillway spillway-agent 2>&1 || true").await;
    assert_eq!(enabled.matches("disabled").count(), 2, "{enabled}");
}

/// `sudo spillway init`: what it finds, and that it writes settings that can be used.
pub async fn init(primary: &Machine<'_>) {
    let said = primary.run_as_user("sudo spillway init --yes --json").await;
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let of = |what: &str| found["found"].as_array()?.iter().find(|it| it["what"] == what)?["value"].as_str();
    let expected = [
        ("instance", &*primary.id),
        ("private address", &primary.address()),
        ("application", plan::APPLICATION),
        ("its user", "ubuntu"),
        ("PM2 processes", "video-worker"),
        ("branch", "main"),
        ("packages by", "bun install --frozen-lockfile"),
    ];
    for (what, value) in expected {
        assert_eq!(of(what), Some(value), "{what}: {said}");
    }
    assert!(of("queue").is_some_and(|queue| queue.starts_with(QUEUE)) && !said.contains(plan::PASSWORD), "{said}");
    let agent = primary.read("/etc/spillway/agent.toml");
    assert!(agent.contains("npx pm2 start") && agent.contains("/home/ubuntu/.bun/bin"), "{agent}");
    primary.run("spillway config check").await;
}

/// The stack with the parameters that `init` wrote. moto makes it; its launch template is carried over to the emulator,
/// which has no CloudFormation, with the ids that the emulator has for what it names.
pub async fn stack(account: &Account, primary: &Machine<'_>) {
    let moto = Moto::start(account.directory()).await;
    let parameters = account.directory().join("stack-parameters.json");
    fs::write(&parameters, primary.read("/etc/spillway/stack-parameters.json")).expect("the parameters");
    let mut deploy = tokio::process::Command::new(programs::tool("moto/bin/python"));
    let sources = binaries::workspace();
    deploy.arg(sources.join("tests/src/machines/stack.py")).arg(moto.url()).arg(sources.join("ami/stack.yaml"));
    let out = deploy.arg(&parameters).stdin(Stdio::null()).output().await.expect("moto's Python");
    assert!(out.status.success(), "{}\n{}", text(&out.stderr), moto.process.tail());
    let made: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let outputs = made["outputs"].to_string();
    let settings = primary.read("/etc/spillway/coordinator.toml");
    assert!(outputs.contains("spillway-primary") && settings.contains("installation = \"spillway\""), "{outputs}");

    put_image(&account.emulator, stack::PARAMETER, SERVER).await;
    let (group, _) = stack::groups(&account.emulator).await;
    let data = made["data"].to_string();
    let here = |it: &Value| it.as_str().expect("an id").to_owned();
    let data = data.replace(&here(&made["worker_group"]), &group);
    let data = data.replace(&here(&made["subnet"]), "subnet-0e00000000000000a");
    let data: Value = serde_json::from_str(&data).expect("JSON");
    let mut form = vec![("Action".to_owned(), "CreateLaunchTemplate".to_owned())];
    form.push(("LaunchTemplateName".to_owned(), "spillway-worker".to_owned()));
    flatten("LaunchTemplateData", &data, &mut form);
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
    account.call(&form).await;
}

/// `systemctl enable --now spillway`, and `doctor`, which finds that nothing is missing but an image.
pub async fn start(account: &Account, primary: &Machine<'_>) {
    let settings = primary.read("/etc/spillway/coordinator.env");
    let emulator = emulator(account, "\n");
    primary.write("/etc/spillway/coordinator.env", &format!("{settings}\n{emulator}\n{DURATIONS}"));
    primary.run("systemctl daemon-reload && systemctl enable --now spillway").await;
    assert_eq!(failing(account, primary).await, ["aws.launch"], "before the first bake");
}

/// Variables that say where EC2 is, and the keys that a primary has by its role.
fn emulator(account: &Account, separator: &str) -> String {
    let endpoint = account.emulator.endpoint();
    let secret = spillway_stage::ec2::secret(&account.emulator);
    let mut variables = ["EC2", "STS", "SSM"].map(|service| format!("AWS_ENDPOINT_URL_{service}={endpoint}")).to_vec();
    variables.extend(["AWS_ACCESS_KEY_ID=emulator".to_owned(), format!("AWS_SECRET_ACCESS_KEY={secret}")]);
    variables.join(separator)
}

/// The ids that `sudo spillway doctor` fails.
pub async fn failing(account: &Account, primary: &Machine<'_>) -> Vec<String> {
    let said = primary.run(&format!("env {} spillway doctor --json || true", emulator(account, " "))).await;
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("no findings: {said}"));
    let failed = findings.iter().filter(|finding| finding["level"] == "fail");
    let failed: Vec<&Value> = failed.collect();
    for finding in &failed {
        println!("          doctor: {}: {}", finding["id"], finding["detail"]);
    }
    failed.iter().filter_map(|it| it["id"].as_str().map(str::to_owned)).collect()
}

/// JSON as the query protocol has it: `A.B.1.C`.
fn flatten(name: &str, value: &Value, form: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(field, value)| flatten(&format!("{name}.{}", singular(field)), value, form));
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                flatten(&format!("{name}.{}", number + 1), item, form);
            }
        }
        Value::String(text) => form.push((name.to_owned(), text.clone())),
        other => form.push((name.to_owned(), other.to_string())),
    }
}

/// EC2's names for lists on the wire.
fn singular(field: &str) -> &str {
    match field {
        "BlockDeviceMappings" => "BlockDeviceMapping",
        "NetworkInterfaces" => "NetworkInterface",
        "Groups" => "SecurityGroupId",
        "TagSpecifications" => "TagSpecification",
        "Tags" => "Tag",
        other => other,
    }
}
