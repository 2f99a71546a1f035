//! The plan's set-up on booted machines: the primary as a team has it, then Spillway as the documentation says to
//! install it (`coordinator/deploy/README.md`, `ami/README.md`): by its packages where `SPILLWAY_PACKAGES` says that
//! there are some, otherwise by hand, with the files of the repository as they are.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::{Account, Machine, SERVER};
use crate::other_client::put_image;
use crate::process::text;
use crate::{QUEUE, app, binaries, stack};

/// Of the primary's Redis.
pub const PASSWORD: &str = "not-a-secret-of-anybody";
const APPLICATION: &str = "/opt/scalereach";

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

/// Installs the agent on the primary, which does not start it: images are copies of the primary.
pub async fn agent(primary: &Machine<'_>) {
    if let Some(package) = package("spillway-agent", "old") {
        primary.install_package(&package).await;
    } else {
        primary.install(&binaries::agent(), "/usr/local/bin/spillway-agent");
        primary.write("/etc/systemd/system/spillway-agent.service", &file("ami/spillway-agent.service"));
    }
    let agent = file("ami/agent.toml").replace("10.0.0.5", &primary.address());
    primary.run("install -d /etc/spillway").await;
    primary.write("/etc/spillway/agent.toml", &agent);
}

/// What no image may have, in each of the places of the primary where it is, and what it is called there.
pub const SECRETS: [(&str, &str); 5] = [
    ("AWS keys in .env", "b4ked-Application0SecretKey0123456789abcd"),
    ("AWS keys of the user", "b4ked-Profile0SecretKey0123456789abcdefg"),
    ("an operators' token", "b4ked-operator-token-0123456789"),
    ("Redis' data", "b4ked-queue-data-0123456789"),
    ("PM2's saved list", "b4ked-pm2-environment-0123456789"),
];

/// Puts them there, as careless people do.
pub async fn secrets(primary: &Machine<'_>) {
    let [env, profile, operator, queue, pm2] = SECRETS.map(|(_, secret)| secret);
    primary
        .run_as_user(&format!(
            "printf 'AWS_ACCESS_KEY_ID=AKIAB4KEDB4KEDB4KEDB\nAWS_SECRET_ACCESS_KEY={env}\n' >>{APPLICATION}/.env \
             && mkdir -p ~/.aws && printf '[default]\naws_secret_access_key = {profile}\n' >~/.aws/credentials \
             && cd {APPLICATION} && EXTRA={pm2} pm2 restart all --update-env && pm2 save"
        ))
        .await;
    primary
        .run(&format!(
            "install -m 600 /dev/null /etc/spillway/operator-token && echo {operator} >/etc/spillway/operator-token"
        ))
        .await;
    let redis = format!("redis-cli --no-auth-warning -a {PASSWORD}");
    primary.run(&format!("{redis} SET app:note {queue} && {redis} SAVE")).await;
}

/// The workers' image, by `spillway bake` on another machine than the primary.
pub async fn bake(account: &Account, primary: &Machine<'_>) -> String {
    stack::may_be_copied(&account.emulator, &primary.id).await;
    let mut command = tokio::process::Command::new(binaries::spillway());
    command.args(["bake", "--json"]).current_dir("/").env_clear();
    command.envs(spillway_stage::ec2::client_environment(&account.emulator)).env("AWS_REGION", "us-east-1");
    let out = command.output().await.expect("spillway bake");
    let consoles =
        || account.emulator.instances().iter().map(|it| account.machine(&it.id).console()).collect::<String>();
    let said = text(&[&*out.stdout, &*out.stderr].concat());
    assert!(out.status.success(), "{said}\n{}", consoles());
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    println!("          bake's steps, in seconds: {}", said["steps"]);
    said["image"].as_str().expect("an image").to_owned()
}

/// Nothing of [`SECRETS`] is in the image's files, nor the key of the coordinator's CA.
pub fn has_no_secret(account: &Account, image: &str) {
    let tree = account.directory().join("images").join(image);
    let marks = SECRETS.map(|(_, secret)| secret).join("\n");
    let mut grep = std::process::Command::new("grep");
    let out = grep.args(["-r", "-l", "-a", "-F", "-e", &marks]).arg(&tree).output().expect("grep");
    assert_eq!(text(&out.stdout), "", "in the image");
    for place in
        ["var/lib/spillway", "var/lib/private/spillway", "etc/spillway/coordinator.env", "etc/spillway/operator-token"]
    {
        assert!(!tree.join(place).exists(), "{place}");
    }
    assert!(tree.join("etc/spillway/ca.pem").exists(), "the coordinator's CA is there");
    assert_eq!(fs::read_dir(tree.join("var/lib/redis")).map(Iterator::count).unwrap_or(0), 0, "Redis' data");
}

/// What the stack makes, from the files with their placeholders replaced. The coordinator runs already: it
/// made the CA that agents pin.
pub async fn stack(account: &Account, primary: &Machine<'_>) {
    put_image(&account.emulator, stack::PARAMETER, SERVER).await;
    let (group, _) = stack::groups(&account.emulator).await;
    let ca = primary.run_as_user("cat /run/spillway/ca.pem").await;
    let user_data = file("ami/user-data.sh").replace("10.0.0.5", &primary.address());
    let user_data = user_data.replace("\nREPLACE_CA\n", &format!("\n{ca}"));
    let template = file("ami/launch-template.json")
        .replace("REPLACE_IMAGE_ID", &format!("resolve:ssm:{}", stack::PARAMETER))
        .replace("REPLACE_SUBNET_ID", "subnet-0e00000000000000a")
        .replace("REPLACE_WORKER_SECURITY_GROUP_ID", &group)
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
