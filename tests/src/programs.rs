//! Programs that `tests/setup` installs: if one is missing the test fails with a message that says so.

use std::path::{Path, PathBuf};

pub use spillway_stage::programs::find;

/// A program in PATH.
pub fn program(name: &str) -> PathBuf {
    spillway_stage::programs::need(name).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A program that `tests/setup` installs in its own directory.
pub fn tool(path: &str) -> PathBuf {
    let file = tools().join(path);
    assert!(file.is_file(), "{} is missing: run tests/setup", file.display());
    file
}

/// `$SPILLWAY_TOOLS`, as `tests/setup` has it.
pub fn tools() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    std::env::var_os("SPILLWAY_TOOLS").map_or_else(|| home().join(".cache/spillway"), PathBuf::from)
}

/// A script of `tests/js`, with BullMQ installed beside it.
pub fn script(name: &str) -> PathBuf {
    let directory = crate::binaries::workspace().join("tests/js");
    assert!(directory.join("node_modules/bullmq5").is_dir(), "tests/js has no BullMQ: run tests/setup");
    directory.join(name)
}

/// What the tests in a browser are missing on this machine, as `tests/browser/run` has it; None: nothing.
pub fn missing_of_browser(tests: &Path) -> Option<&'static str> {
    let version = find("node").and_then(|node| std::process::Command::new(node).arg("--version").output().ok());
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    match () {
        () if major.is_none_or(|major| major < 20) => Some("Node 20 is missing"),
        () if !chromium.exists() => Some("Chromium is missing"),
        () if !tests.join("node_modules/playwright-core").exists() => Some("its packages are missing"),
        () => None,
    }
}
