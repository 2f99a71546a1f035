//! Instances that are machines: what the emulator has beside each one's init (`init::machine`).
//!
//! An image is a directory tree, `FOLDER/ami-…`. Every machine has a network of its own, joined to one bridge, the VPC,
//! in a network that only a process of ours lives in. The emulator reaches into these networks by listening there: a
//! socket stays in the network in which it was made. So the metadata service answers in the VPC at 169.254.169.254, and
//! the EC2 API in every machine at the address that it has on this host; nothing else leaves their networks.

mod images;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::StartError;
use crate::init::machine::Plan;
use crate::init::tree;
use crate::model::Instance;

pub(crate) use images::{Copy, copy};

/// The length of the VPC's prefix.
const PREFIX: u8 = 16;
/// That of a network of one machine.
const ALONE: u8 = 32;
/// Where every machine finds its metadata.
const METADATA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// What machines are made with, and the packages of Debian's that have it.
const PROGRAMS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("bash", "bash"),
];
/// Makes the bridge in a network of its own, with the router's address and the metadata service's, and keeps that until
/// its input ends.
const VPC: &str = "ip link add vpc type bridge && ip address add 10.0.0.1/16 dev vpc && \
                   ip address add 169.254.169.254/32 dev vpc && ip link set vpc up && echo ready && exec cat";

/// Images and network of the machines.
#[derive(Debug)]
pub(crate) struct Machines {
    folder: PathBuf,
    vpc: Mutex<Child>,
    vpc_pid: u32,
}

impl Machines {
    /// Checks that machines can be had here, and makes their network.
    pub(crate) fn start(folder: &Path) -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Err(StartError::NotRoot);
        }
        for (program, package) in PROGRAMS {
            if !is_in_path(program) {
                return Err(StartError::NoProgram { program, package });
            }
        }
        let unusable = |source| StartError::Images { folder: folder.to_owned(), source };
        let folder = folder.canonicalize().map_err(unusable)?;
        std::fs::read_dir(&folder).map_err(unusable)?;
        let mut vpc = Command::new("unshare")
            .args(["--net", "--", "bash", "-c", VPC])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(StartError::Network)?;
        let mut ready = String::new();
        if let Some(out) = vpc.stdout.take() {
            BufReader::new(out).read_line(&mut ready).map_err(StartError::Network)?;
        }
        if ready.trim() != "ready" {
            let _ended = vpc.kill().and_then(|()| vpc.wait());
            return Err(StartError::Network(io::Error::other("a bridge cannot be made in a network namespace")));
        }
        let vpc_pid = vpc.id();
        Ok(Self { folder, vpc: Mutex::new(vpc), vpc_pid })
    }

    /// Where the metadata of all machines is served.
    pub(crate) async fn metadata(&self) -> Result<TcpListener, StartError> {
        listen(self.vpc_pid, METADATA).await.map_err(StartError::Network)
    }

    /// What an instance is booted from. One that is cut off has an address, and no network beside it: it reaches its
    /// metadata and nobody else, and nobody gets an answer from it.
    pub(crate) fn plan(&self, instance: &Instance, is_cut_off: bool) -> Plan {
        let prefix = if is_cut_off { ALONE } else { PREFIX };
        Plan {
            image: self.folder.join(&instance.image_id),
            name: instance.id.clone(),
            address: format!("{}/{prefix}", instance.private_ip),
            mac: instance.mac.clone(),
            vpc: self.vpc_pid,
        }
    }

    /// The tree of an image, if there is one. The id is one of EC2's.
    pub(crate) fn image(&self, id: &str) -> Option<PathBuf> {
        Some(self.folder.join(id)).filter(|tree| tree.is_dir())
    }

    /// Where the tree of a new image goes.
    pub(crate) fn new_image(&self, id: &str) -> PathBuf {
        self.folder.join(id)
    }

    /// The ids of all images that there are.
    pub(crate) fn images(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().filter_map(Result::ok);
        let mut ids: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        ids.retain(|id| crate::launch_data::check_image_id(id).is_ok() && self.image(id).is_some());
        ids.sort();
        ids
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        let vpc = self.vpc.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _ended = vpc.kill().and_then(|()| vpc.wait());
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Listens in the network of a process.
pub(crate) async fn listen(pid: u32, address: SocketAddr) -> io::Result<TcpListener> {
    let bind = move || {
        let network = File::open(format!("/proc/{pid}/ns/net"))?;
        // A thread of its own, which ends here: it stays in that network.
        let thread = std::thread::spawn(move || -> io::Result<TcpListener> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        thread.join().map_err(|_| io::Error::other("the thread that listens failed"))?
    };
    tokio::task::spawn_blocking(bind).await.map_err(io::Error::other)?
}

/// The first process of the machine below an init: what `nsenter --target` takes. None while it does not run.
pub(crate) fn first_process(init: u32) -> Option<u32> {
    let init = i32::try_from(init).ok().and_then(rustix::process::Pid::from_raw)?;
    let is_first = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        ids.split_whitespace().nth(1) == Some("1")
    };
    tree::descendants(init).into_iter().find(is_first).and_then(|pid| u32::try_from(pid).ok())
}
