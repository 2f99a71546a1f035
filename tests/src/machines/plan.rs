//! The plan's set-up on booted machines, as a team has it before Spillway: the primary with Redis, the application's
//! repository and its worker under PM2; what careless people leave on it; and its image by `spillway bake`.

use std::fs;

use serde_json::Value;

use super::{Account, Machine, SERVER};
use crate::process::text;
use crate::{QUEUE, app, binaries, stack};

/// Of the primary's Redis.
pub const PASSWORD: &str = "not-a-secret-of-anybody";
pub const APPLICATION: &str = "/opt/scalereach";

/// The application's repository, which instances pull from.
const GIT_DAEMON: &str = "[Unit]\nDescription=The application's repository\n\
     [Service]\nExecStart=/usr/bin/git daemon --reuseaddr --export-all --base-path=/srv/git\nUser=ubuntu\n\
     [Install]\nWantedBy=multi-user.target\n";

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
             && bun install --frozen-lockfile && bun add-jobs.js 0 0 \
             && npx pm2 start ecosystem.config.js && npx pm2 save"
        ))
        .await;
    // It prints the command that root is to run.
    primary.run_as_user("npx pm2 startup | grep '^sudo env' | bash").await;
    primary
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
             && cd {APPLICATION} && EXTRA={pm2} npx pm2 restart all --update-env && npx pm2 save"
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
