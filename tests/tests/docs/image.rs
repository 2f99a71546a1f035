//! `ami/prepare-image.sh` as it is, but for its paths: whatever it would change is a program of the test's that notes
//! its call, and no other program is in its PATH.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use spillway_tests::binaries::{self, workspace};
use spillway_tests::process::{command, output, text};
use tempfile::TempDir;

/// What only reads. The agent's own check is the program under test.
const REAL: [&str; 13] =
    ["basename", "cat", "cut", "grep", "head", "sed", "env", "mktemp", "mv", "sort", "tail", "tr", "wc"];
const NOTED: [&str; 12] = [
    "apt-get",
    "chmod",
    "chown",
    "cloud-init",
    "dd",
    "dpkg",
    "find",
    "journalctl",
    "rm",
    "sync",
    "systemctl",
    "truncate",
];

const ENV: &str = "REDIS_URL=redis://:sesame@10.0.0.5:6379\nAWS_REGION=us-east-1\n";

struct Builder(TempDir);

impl Builder {
    fn new(env: &str) -> Self {
        let builder = Self(tempfile::tempdir().expect("a directory"));
        let at = builder.0.path();
        for name in ["bin", "app", "spillway", "units", "run", "cron"] {
            fs::create_dir(at.join(name)).expect("a directory");
        }
        for name in REAL {
            let found = ["/usr/bin", "/bin"].iter().map(|it| Path::new(it).join(name)).find(|it| it.is_file());
            symlink(found.unwrap_or_else(|| panic!("{name} is not installed")), at.join("bin").join(name)).expect(name);
        }
        for name in NOTED {
            // `systemctl is-active` answers that nothing runs.
            let is_active = if name == "systemctl" { "case $1 in is-active) exit 3 ;; esac\n" } else { "" };
            let note = format!("#!/bin/bash\n{is_active}echo {name} \"$@\" >>{}\n", at.join("calls").display());
            builder.program(name, &note);
        }
        // This machine's disks are not read.
        builder.program("lsblk", "#!/bin/bash\n");
        builder.program("findmnt", "#!/bin/bash\necho overlay\n");
        builder.program("id", "#!/bin/bash\necho 0\n");
        builder.program("runuser", "#!/bin/bash\n");
        builder.program("getent", "#!/bin/bash\necho ubuntu:x:1000:1000::/nonexistent:/bin/sh\n");
        // The machine whose homes and /etc are checked: whatever this one has is none of the test's.
        fs::create_dir_all(at.join("machine/etc")).expect("a directory");
        let users = "ubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n";
        fs::write(at.join("machine/etc/passwd"), users).expect("passwd");
        symlink(binaries::agent(), at.join("bin/spillway-agent")).expect("the agent");
        let config = fs::read_to_string(workspace().join("ami/agent.toml")).expect("ami/agent.toml");
        let app = at.join("app").display().to_string();
        fs::write(at.join("spillway/agent.toml"), config.replace("/opt/scalereach", &app)).expect("agent.toml");
        fs::write(at.join("spillway/join-token"), "x").expect("the token");
        fs::write(at.join("units/spillway-agent.service"), "[Service]").expect("the unit");
        fs::write(at.join("app/.env"), env).expect(".env");
        builder
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.0.path().join("bin").join(name);
        fs::write(&path, script).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// Whether it succeeded, what it said, and what it would have changed.
    fn prepare(&self, more: &[&str]) -> (bool, String, String) {
        let at = |name: &str| self.0.path().join(name).display().to_string();
        let script = fs::read_to_string(workspace().join("ami/prepare-image.sh")).expect("the script");
        let script = script
            .replace("/usr/local/bin/", &format!("{}/", at("bin")))
            .replace("/etc/spillway/", &format!("{}/", at("spillway")))
            .replace("/etc/systemd/system/", &format!("{}/", at("units")))
            .replace("/run/", &format!("{}/", at("run")))
            .replace("/var/spool/cron/", &format!("{}/", at("cron")));
        let mut bash = command("/bin/bash");
        bash.arg("-c")
            .arg(script)
            .args(["prepare-image", "--this-is-the-builder", "--root", &at("machine")])
            .args(more);
        let out = output(bash.env_clear().env("PATH", at("bin")));
        let calls = fs::read_to_string(at("calls")).unwrap_or_default();
        (out.status.success(), text(&out.stdout) + &text(&out.stderr), calls)
    }
}

#[test]
fn an_image_with_aws_keys_is_refused_before_anything_is_changed() {
    for (line, name) in [
        ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_ACCESS_KEY_ID"),
        ("export AWS_SECRET_ACCESS_KEY=\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\"", "AWS_SECRET_ACCESS_KEY"),
        ("SPILLWAY_GRPC_JOIN_TOKEN=3f786850e387550f", "SPILLWAY_GRPC_JOIN_TOKEN"),
    ] {
        let builder = Builder::new(&format!("{ENV}{line}\n"));
        let (succeeded, said, changed) = builder.prepare(&[]);
        let place = format!("{}:3: {name}: ", builder.0.path().join("app/.env").display());
        assert!(!succeeded && said.contains(&place) && said.contains("instance profile"), "{said}");
        assert!(said.contains("Nothing was changed") && changed.is_empty(), "{said}{changed}");
        let value = line.split('=').nth(1).expect("a value").trim_matches('"');
        assert!(!said.contains(value), "{said}");

        fs::write(builder.0.path().join("app/.env.production"), line).expect("a file");
        fs::write(builder.0.path().join("app/.env"), ENV).expect("a file");
        let (succeeded, said, _) = builder.prepare(&[]);
        assert!(!succeeded && said.contains("app/.env.production:1: "), "{said}");
        let (succeeded, said, _) = builder.prepare(&["--allow", name]);
        assert!(succeeded, "what is named is let through: {said}");
    }
}

#[test]
fn only_the_builders_own_homes_and_etc_are_looked_at() {
    let builder = Builder::new(ENV);
    for (file, line) in
        [("home/ubuntu/.aws/credentials", "aws_secret_access_key = x"), ("etc/environment", "AWS_SECRET_ACCESS_KEY=x")]
    {
        let file = builder.0.path().join("machine").join(file);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(&file, line).expect("a file");
        let (succeeded, said, _) = builder.prepare(&[]);
        assert!(!succeeded && said.contains(&format!("{}:1: ", file.display())), "{said}");
        fs::remove_file(file).expect("the file");
    }
}

#[test]
fn an_agent_that_is_nowhere_is_asked_for() {
    let builder = Builder::new(ENV);
    fs::remove_file(builder.0.path().join("bin/spillway-agent")).expect("the agent");
    let (succeeded, said, changed) = builder.prepare(&[]);
    assert!(!succeeded && said.contains("spillway-agent is missing") && changed.is_empty(), "{said}{changed}");
}

#[test]
fn an_image_without_them_is_prepared() {
    let builder = Builder::new(ENV);
    let crontab = builder.0.path().join("cron/ubuntu");
    fs::write(&crontab, "@reboot npx pm2 resurrect\n5 4 * * * true\n").expect("a crontab");
    let (succeeded, said, changed) = builder.prepare(&[]);
    assert!(succeeded && said.contains("Ready."), "{said}");
    let started = fs::read_to_string(crontab).expect("the crontab");
    assert_eq!(started, "# not on a worker: @reboot npx pm2 resurrect\n5 4 * * * true\n");
    for state in ["rm -rf /var/lib/spillway\n", "rm -rf /var/lib/private/spillway\n"] {
        assert!(changed.contains(state), "the CA's key stays in the image: {changed}");
    }
    for call in
        ["systemctl disable", "dpkg --purge spillway\n", "rm -rf", "truncate -s 0 /etc/machine-id", "cloud-init clean"]
    {
        assert!(changed.contains(call), "{call}: {changed}");
    }
}

/// What was taken out is looked for everywhere: whatever still has it, no image is made.
#[test]
fn an_image_that_still_has_a_secret_somewhere_fails() {
    let builder = Builder::new(ENV);
    builder.program("find", "#!/bin/bash\ncase $* in *rdb*) echo /home/ubuntu/backup/ca.key ;; esac\n");
    let (succeeded, said, _) = builder.prepare(&[]);
    assert!(!succeeded && said.contains("is also in /home/ubuntu/backup/ca.key"), "{said}");

    // A disk is read as it is, and one that cannot be read counts as one that has it.
    let builder = Builder::new(ENV);
    builder.program("findmnt", "#!/bin/bash\ncase $* in *TARGET,*) echo '/ /dev/disk' ;; *) echo /dev/disk ;; esac\n");
    builder.program("lsblk", "#!/bin/bash\necho '/dev/disk disk'\n");
    let secret = "a-token-of-operators-0123456789";
    let disks = [
        ("echo nothing of it".to_owned(), false),
        (format!("echo before {secret} after"), false),
        ("printf 'REDIS0011\\xfa\\tredis-ver'".to_owned(), true),
        ("exit 1".to_owned(), true),
    ];
    for (dd, fails) in disks {
        for has_secret in [false, true] {
            let file = builder.0.path().join("spillway/operator-token");
            let _ = fs::remove_file(&file);
            if has_secret {
                fs::write(&file, format!("{secret}\n")).expect("a token");
            }
            builder.program("dd", &format!("#!/bin/bash\ncase $1 in if=/dev/disk) {dd} ;; esac\n"));
            let (succeeded, said, _) = builder.prepare(&[]);
            let fails = fails || has_secret && dd.contains(secret);
            assert_eq!(!succeeded && said.contains("still on /dev/disk"), fails, "{dd}: {said}");
            assert_eq!(said.contains("the free space is overwritten"), fails, "{dd}: {said}");
            assert!(!said.contains(secret), "{said}");
        }
    }
}
