//! A network of one test's own, so that its rules of routing are none of this machine's. Owns the way into it; it ends
//! with the test's last process.

use std::process::Command;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Of the network alone: an address of another machine, as far as the agent can tell.
pub const REMOTE: &str = "10.9.9.7";

/// Runs the test in a thread of its own with a network of its own: loopback is up, and has [`REMOTE`] too. A table of
/// routes is per network, which is per thread, and what the thread starts inherits it.
pub fn run(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        println!("NOT RUN: only root can make a network of its own, and rules in it");
        return;
    }
    let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn(|| {
        // SAFETY: CLONE_NEWNET changes the network of this thread, and shares or unshares no file descriptor.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("a network of its own");
        ip(&["link", "set", "lo", "up"]);
        ip(&["address", "add", &format!("{REMOTE}/32"), "dev", "lo"]);
        test();
    });
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

/// The kernel looks up its own addresses before any rule: [`REMOTE`] is now looked up after those of the agent.
pub fn make_remote() {
    ip(&["rule", "add", "priority", "200", "lookup", "local"]);
    ip(&["rule", "del", "priority", "0"]);
}

/// Rules that make something unreachable.
pub fn rules() -> String {
    let all = ip(&["rule"]) + &ip(&["-6", "rule"]);
    all.lines().filter(|line| line.contains("unreachable")).map(|line| format!("{line}\n")).collect()
}

fn ip(arguments: &[&str]) -> String {
    let out =
        Command::new("ip").args(arguments).output().unwrap_or_else(|error| panic!("ip: {error}; run tests/setup"));
    assert!(out.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}
