//! The plan's set-up on booted machines: the primary as a team has it, then Spillway as the documentation says to
//! install it (`coordinator/deploy/README.md`, `ami/README.md`): by its packages where `SPILLWAY_PACKAGES` says that
//! there are some, otherwise by hand, with the files of the repository as they are.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::{Account, Machine, SERVER};
use crate::{QUEUE, app, binaries};

/// Of the primary's Redis.
pub const PASSWORD: &str = "not-a-secret-of-anybody";
const APPLICATION: &str = "/opt/scalereach";
/// What the primary starts when it boots, and a copy of it must not.
const SERVICES: &str = "spillway redis-server pm2-ubuntu git-daemon";

/// The application's repository, which instances pull from.
const GIT_DAEMON: &str = "[Unit]\nDescription=The application's repository\n\
     [Service]\nExecStart=/usr/bin/git daemon --reuseaddr --export-all --base-path=/srv/git\nUser=ubuntu\n\
     [Install]\nWantedBy=multi-user.target\n";

/// What the plan's five and ten minutes are here.
const DURATIONS: &str = "SPILLWAY_POOL_INTERVAL=1s\n\
     SPILLWAY_POOL_LISTING_INTERVAL=1s\n\
     SPILLWAY_POOL_BOOT_TIMEOUT=110s\n\
     SPILLWAY_POOL_POLICY_STEPS=[{ jobs = 5, for = \"3s\", instances = 1 }, { jobs = 15, for = \"3s\", instances = 2 }]\n\
     SPILLWAY_POOL_POLICY_IDLE=6s\n\
     SPILLWAY_GRPC_HEARTBEAT_INTERVAL=1s\n";

/// One file of the repository's.
fn file(name: &str) -> String {
    let path = binaries::workspace().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

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

/// The primary before Spillway: Redis with a password, the application from its repository, its worker under PM2.
pub async fn primary(account: &Account) -> Machine<'_> {
    let primary = account.launch(SERVER, "primary").await;
    let address = primary.address();
    primary
        .run(&format!(
            "printf 'bind 127.0.0.1 {address}\\nrequirepass {PASSWORD}\\nmaxmemory-policy noeviction\\n' >>/etc/redis/redis.conf \
             && systemctl enable redis-server && systemctl restart redis-server \
             && install -d -o ubuntu -g ubuntu /srv/git /srv/git/app {APPLICATION}"
        ))
        .await;
    for name in ["package.json", "bun.lock", "connection.js", "worker.js", "ecosystem.config.js", "add-jobs.js"] {
        primary.write(&format!("/srv/git/app/{name}"), &app::file(name));
    }
    primary.write("/srv/git/app/.gitignore", "node_modules\n.env\n");
    primary.write("/etc/systemd/system/git-daemon.service", GIT_DAEMON);
    primary.run("chown -R ubuntu: /srv/git && systemctl enable git-daemon && systemctl restart git-daemon").await;
    primary
        .run_as_user(
            "cd /srv/git/app && git init -q -b main && git add . \
             && git -c user.name=team -c user.email=team@localhost commit -q -m 'The application'",
        )
        .await;
    primary
        .run_as_user(&format!(
            "git clone -q git://{address}/app {APPLICATION} && cd {APPLICATION} \
             && printf 'REDIS_URL=redis://:{PASSWORD}@{address}:6379\\nQUEUE_NAMES={QUEUE}\\n' >.env \
             && bun install --frozen-lockfile && bun add-jobs.js 0 0 && pm2 start ecosystem.config.js && pm2 save"
        ))
        .await;
    primary.run("pm2 startup systemd -u ubuntu --hp /home/ubuntu").await;
    primary
}

/// The image that instances are launched from: steps 4 and 5 of `ami/README.md`.
pub async fn worker_image(account: &Account, primary: &Machine<'_>) -> String {
    let disable = format!("systemctl disable {SERVICES} 2>/dev/null; sync");
    primary.run(&disable).await;
    let copy = account.create_image(primary, "primary-copy").await;
    primary.run("systemctl enable redis-server pm2-ubuntu git-daemon").await;
    let builder = account.launch(&copy, "builder").await;
    if let Some(package) = package("spillway-agent", "old") {
        builder.install_package(&package).await;
    } else {
        builder.install(&binaries::agent(), "/usr/local/bin/spillway-agent");
        builder.write("/etc/systemd/system/spillway-agent.service", &file("ami/spillway-agent.service"));
    }
    let agent = file("ami/agent.toml").replace("10.0.0.5", &primary.address());
    builder.run("install -d /etc/spillway").await;
    builder.write("/etc/spillway/agent.toml", &agent);
    builder.write("/root/prepare-image.sh", &file("ami/prepare-image.sh"));
    let said = builder.run("bash /root/prepare-image.sh --this-is-the-builder").await;
    assert!(said.contains("Ready."), "{said}");
    let image = account.create_image(&builder, "spillway-worker").await;
    account.call(&[("Action", "TerminateInstances"), ("InstanceId.1", &*builder.id)]).await;
    image
}

/// The launch template of step 6, from the files with their placeholders replaced. The coordinator runs already: it
/// made the CA that agents pin.
pub async fn launch_template(account: &Account, image: &str, primary: &Machine<'_>) {
    let ca = primary.run_as_user("cat /run/spillway/ca.pem").await;
    let user_data = file("ami/user-data.sh").replace("10.0.0.5", &primary.address());
    let user_data = user_data.replace("\nREPLACE_CA\n", &format!("\n{ca}"));
    let template = file("ami/launch-template.json")
        .replace("REPLACE_IMAGE_ID", image)
        .replace("REPLACE_SUBNET_ID", "subnet-0e00000000000000a")
        .replace("REPLACE_WORKER_SECURITY_GROUP_ID", "sg-0e000000000000001")
        .replace("REPLACE_USER_DATA_IN_BASE64", &BASE64.encode(&user_data));
    let template: Value = serde_json::from_str(&template).expect("a template");
    let mut form = vec![("Action".to_owned(), "CreateLaunchTemplate".to_owned())];
    flatten("", &template, &mut form);
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (&**name, &**value)).collect();
    account.call(&form).await;
}

/// Installs the coordinator, as `coordinator/deploy/README.md` says, and starts it.
pub async fn coordinator(account: &Account, primary: &Machine<'_>) {
    if let Some(package) = package("spillway", "old") {
        primary.install_package(&package).await;
    } else {
        primary.install(&binaries::spillway(), "/usr/local/bin/spillway");
        primary.write("/etc/systemd/system/spillway.service", &file("coordinator/deploy/spillway.service"));
    }
    let settings = file("coordinator/deploy/coordinator.env")
        .replace("redis://127.0.0.1:6379\n", &format!("redis://:{PASSWORD}@127.0.0.1:6379\n"))
        .replace("lt-0123456789abcdef0", "spillway-worker");
    let endpoint = account.emulator.endpoint();
    let secret = spillway_stage::ec2::secret(&account.emulator);
    let ec2 = format!(
        "AWS_ENDPOINT_URL_EC2={endpoint}\nAWS_ENDPOINT_URL_STS={endpoint}\nAWS_ACCESS_KEY_ID=emulator\nAWS_SECRET_ACCESS_KEY={secret}\n\
         SPILLWAY_INSTALLATION=spillway\n"
    );
    primary.run("install -d /etc/spillway && install -m 600 /dev/null /etc/spillway/coordinator.env").await;
    primary.write("/etc/spillway/coordinator.env", &format!("{settings}\n{ec2}{DURATIONS}"));
    primary.run("systemctl daemon-reload && systemctl enable --now spillway").await;
}

/// What `spillway init` finds on the primary, and that its settings can be used.
pub async fn init(primary: &Machine<'_>) {
    let said = primary.run("spillway init --yes --json --output /root/init").await;
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let of = |what: &str| found["found"].as_array()?.iter().find(|it| it["what"] == what)?["value"].as_str();
    let expected = [
        ("instance", &*primary.id),
        ("private address", &primary.address()),
        ("application", APPLICATION),
        ("its user", "ubuntu"),
        ("PM2 processes", "video-worker"),
        ("branch", "main"),
        ("packages by", "bun install --frozen-lockfile"),
    ];
    for (what, value) in expected {
        assert_eq!(of(what), Some(value), "{what}: {said}");
    }
    assert!(of("queue").is_some_and(|queue| queue.starts_with(QUEUE)) && !said.contains(PASSWORD), "{said}");
    primary.run("spillway --config /root/init/coordinator.toml config check").await;
}

/// JSON as the query protocol has it: `A.B.1.C`.
fn flatten(name: &str, value: &Value, form: &mut Vec<(String, String)>) {
    let below = |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(field, value)| flatten(&below(singular(field)), value, form)),
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                flatten(&below(&(number + 1).to_string()), item, form);
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
