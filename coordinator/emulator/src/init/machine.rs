//! An instance that is a machine: the init's side of `machine.sh`, which boots it.
//!
//! The init stays outside and its tree's root, as for processes. The machine ends with the script's process, which
//! becomes systemd-nspawn: exit status 0 means that it was powered off from within.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::console::Console;

const SCRIPT: &str = include_str!("machine.sh");
/// Where cgroup hierarchies are mounted; in them the script makes a group for each machine.
const CGROUPS: &str = "/sys/fs/cgroup";
const GROUP: &str = "spillway-emulator";

/// What a machine is booted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The image's tree; it is not changed.
    pub(crate) image: PathBuf,
    /// The machine's name: the instance's id.
    pub(crate) name: String,
    /// Private address with the length of the network's prefix.
    pub(crate) address: String,
    /// Of its network interface.
    pub(crate) mac: String,
    /// A process in the network where all instances meet.
    pub(crate) vpc: u32,
}

impl Plan {
    /// The number of arguments that [`arguments`](Self::arguments) has behind the first.
    const VALUES: usize = 5;
    pub(crate) const ARGUMENT: &str = "--machine";

    /// For the init's command line.
    pub(crate) fn arguments(&self) -> [OsString; Self::VALUES + 1] {
        let Self { image, name, address, mac, vpc } = self;
        [Self::ARGUMENT.into(), image.into(), name.into(), address.into(), mac.into(), vpc.to_string().into()]
    }

    /// From what follows [`ARGUMENT`](Self::ARGUMENT).
    pub(super) fn parse(mut value: impl FnMut() -> Result<OsString, String>) -> Result<Self, String> {
        let image = PathBuf::from(value()?);
        let mut text = || value().map(|value| value.to_string_lossy().into_owned());
        let (name, address, mac, vpc) = (text()?, text()?, text()?, text()?);
        let vpc = vpc.parse().map_err(|_| format!("{vpc:?} is not a process id"))?;
        Ok(Self { image, name, address, mac, vpc })
    }
}

/// A machine that is started.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) pid: Pid,
    pub(super) has_ended: bool,
    name: String,
    /// None once it was told to boot.
    input: Option<ChildStdin>,
}

impl Machine {
    /// Starts the script, which makes the network and waits.
    pub(super) fn start(plan: &Plan, directory: &Path, console: &mut Console) -> io::Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--propagation", "private", "--", "bash", "-c", SCRIPT, "machine.sh"]);
        command.arg(&plan.image).arg(directory);
        command.args([&plan.name, &plan.address, &plan.mac]).arg(plan.vpc.to_string());
        let out = console.writer()?;
        command.process_group(0).stdin(Stdio::piped()).stdout(out.try_clone()?).stderr(out);
        let mut child = command.spawn()?;
        let input = child.stdin.take();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no process id"))?;
        Ok(Self { pid, has_ended: false, name: plan.name.clone(), input })
    }

    /// Boots it; its network is in use from now on.
    pub(super) fn boot(&mut self) {
        if let Some(mut input) = self.input.take() {
            // Fails if the script has ended, which is seen as its end.
            drop(writeln!(input, "boot"));
        }
    }

    /// Has it halt in order.
    pub(super) fn power_off(&self) {
        // It may have ended already.
        let _gone = kill_process(self.pid, Signal::TERM);
    }

    /// Removes its control groups, in which no process is left.
    pub(super) fn remove_groups(&self) {
        let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
            remove_group(&hierarchy.join(GROUP).join(&self.name));
        }
    }
}

fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    // Where there is none, or a process could not be killed, it stays as it is.
    drop(fs::remove_dir(group));
}
