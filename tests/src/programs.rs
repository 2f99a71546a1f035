//! What `tests/setup` installs: a test that lacks it fails and says so.

use std::path::PathBuf;

/// A program in PATH.
pub fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed: run tests/setup"))
}

/// The same; None where it is missing.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A program that `tests/setup` keeps for itself.
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
