//! Booted machines: the emulator's instances with a systemd of their own, and what a person does on them as root.

pub mod install;
pub mod plan;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use spillway_emulator::{Emulator, InstanceRecord, InstanceState};
use spillway_stage::ec2;
use spillway_words::excerpt;
use tempfile::TempDir;

use crate::process::text;
use crate::{binaries, other_client, programs, wait};

/// The image of a plain server, as everybody begins with.
pub const SERVER: &str = "ami-0e00000000000000a";
/// Services get this long to stop, as on EC2.
const SHUTTING_DOWN: Duration = Duration::from_secs(20);
/// A command on a machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
/// For anything that must happen: a machine boots as slowly as its host is busy.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// The tree that `tests/setup` makes as root; None where it could not.
pub fn tree() -> Option<PathBuf> {
    let tree = fs::canonicalize(programs::tools().join("machine")).ok()?;
    rustix::process::geteuid().is_root().then_some(tree)
}

/// An account of EC2 whose instances are machines.
#[derive(Debug)]
pub struct Account {
    pub emulator: Emulator,
    directory: TempDir,
}

impl Account {
    pub async fn start(tree: &Path) -> Self {
        let directory = crate::stage::directory();
        let images = directory.path().join("images");
        fs::create_dir(&images).expect("a directory for images");
        std::os::unix::fs::symlink(tree, images.join(SERVER)).expect("a link to the server's tree");
        let init = vec![binaries::spillway().into(), "instance-init".into()];
        let mut options = ec2::options(directory.path(), init).unwrap_or_else(|error| panic!("{error:#}"));
        options.machines = Some(images);
        (options.pending, options.shutting_down) = (Duration::from_millis(500), SHUTTING_DOWN);
        let emulator = spillway_emulator::start(options).await.expect("the emulator");
        Self { emulator, directory }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A call to EC2, which must succeed; the answer.
    pub async fn call(&self, form: &[(&str, &str)]) -> String {
        let answer = other_client::send(&self.emulator, form).await;
        answer.unwrap_or_else(|error| panic!("{form:?}: {error}"))
    }

    /// Launches a machine on demand, and waits until it is up.
    pub async fn launch(&self, image: &str, name: &str) -> Machine<'_> {
        let form = [
            ("Action", "RunInstances"),
            ("ImageId", image),
            ("InstanceType", "t3.large"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", name),
        ];
        let answer = self.call(&form).await;
        let id = element(&answer, "instanceId").unwrap_or_else(|| panic!("no instance: {answer}"));
        let machine = Machine { account: self, id };
        machine.until_up().await;
        machine
    }

    /// An image of a machine, once it is whole.
    pub async fn create_image(&self, machine: &Machine<'_>, name: &str) -> String {
        let form = [("Action", "CreateImage"), ("InstanceId", &*machine.id), ("Name", name), ("NoReboot", "true")];
        let answer = self.call(&form).await;
        let id = element(&answer, "imageId").unwrap_or_else(|| panic!("no image: {answer}"));
        let describe = [("Action", "DescribeImages"), ("ImageId.1", &*id)];
        wait::until_within(
            TIMEOUT,
            "the image is whole",
            async || self.call(&describe).await,
            async || {
                let state = element(&self.call(&describe).await, "imageState");
                assert_ne!(state.as_deref(), Some("failed"), "the image could not be made");
                (state.as_deref() == Some("available")).then_some(())
            },
        )
        .await;
        id
    }

    pub fn record(&self, id: &str) -> InstanceRecord {
        let records = self.emulator.instances();
        records.into_iter().find(|record| record.id == id).unwrap_or_else(|| panic!("no instance {id}"))
    }

    /// A machine that somebody else has launched.
    pub fn machine(&self, id: &str) -> Machine<'_> {
        Machine { account: self, id: id.to_owned() }
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.emulator.stop().await;
    }
}

/// One machine of an account's.
#[derive(Debug)]
pub struct Machine<'a> {
    account: &'a Account,
    pub id: String,
}

impl Machine<'_> {
    pub fn record(&self) -> InstanceRecord {
        self.account.record(&self.id)
    }

    pub fn address(&self) -> String {
        self.record().private_ip
    }

    /// Waits until its systemd has started everything, user data included.
    pub async fn until_up(&self) {
        let is_up = async || {
            assert_ne!(self.record().state, InstanceState::Terminated, "it ended:\n{}", self.console());
            let out = self.try_run("systemctl is-system-running").await?;
            let state = text(&out.stdout);
            assert_ne!(state.trim(), "degraded", "a unit failed:\n{}", self.console());
            (state.trim() == "running").then_some(())
        };
        wait::until_within(TIMEOUT, "the machine is up", async || self.console(), is_up).await;
    }

    /// Runs a script there as root, which must succeed; what it printed.
    pub async fn run(&self, script: &str) -> String {
        let out = self.try_run(script).await.unwrap_or_else(|| panic!("{} does not run: {script}", self.id));
        let said = text(&[&*out.stdout, &*out.stderr].concat());
        assert!(out.status.success(), "{script}\n{}\n{said}\n{}", out.status, self.console());
        text(&out.stdout)
    }

    /// The same as the application's user, in an interactive shell: where bun's installer put bun into PATH.
    pub async fn run_as_user(&self, script: &str) -> String {
        let shell = format!("exec bash -i -c {}", quoted(script));
        self.run(&format!("runuser --login ubuntu --command {}", quoted(&shell))).await
    }

    /// None while it does not run.
    pub async fn try_run(&self, script: &str) -> Option<Output> {
        let pid = self.record().machine_pid?;
        let mut command = tokio::process::Command::new("nsenter");
        command.args(["--all", "--target", &pid.to_string(), "--", "bash", "--login", "-c", script]);
        command.stdin(std::process::Stdio::null()).env_clear().env("TERM", "dumb").env("LC_ALL", "C.UTF-8");
        let out = tokio::time::timeout(COMMAND_TIMEOUT, command.kill_on_drop(true).output()).await;
        out.unwrap_or_else(|_| panic!("{}: no end within {COMMAND_TIMEOUT:?}: {script}", self.id)).ok()
    }

    /// Where a file of the machine's is seen from outside.
    fn outside(&self, path: &str) -> PathBuf {
        let pid = self.record().machine_pid.unwrap_or_else(|| panic!("{} does not run", self.id));
        PathBuf::from(format!("/proc/{pid}/root{path}"))
    }

    /// Writes a file there, as root's.
    pub fn write(&self, path: &str, content: &str) {
        fs::write(self.outside(path), content).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.outside(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Installs a program there; without what debuggers read, since images are copies of it.
    pub fn install(&self, program: &Path, path: &str) {
        let mut strip = std::process::Command::new("strip");
        let out = strip.args(["--strip-debug", "-o"]).arg(self.outside(path)).arg(program).output().expect("strip");
        assert!(out.status.success(), "{path}: {}", text(&out.stderr));
    }

    /// Installs a Debian package there, as a person does who has copied it.
    pub async fn install_package(&self, package: &Path) {
        let copy = "/tmp/package.deb";
        fs::copy(package, self.outside(copy)).unwrap_or_else(|error| panic!("{}: {error}", package.display()));
        self.run(&format!("DEBIAN_FRONTEND=noninteractive apt-get install -q -y {copy} && rm {copy}")).await;
    }

    /// The end of its console.
    pub fn console(&self) -> String {
        excerpt::end(&self.id, &self.account.emulator.console(&self.id).unwrap_or_default())
    }
}

/// A word of a shell's.
fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', r"'\''"))
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
}
