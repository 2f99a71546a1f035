//! Programs that `tests/setup` installs: if one is missing the test fails with a message that says so.

use std::path::PathBuf;

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
