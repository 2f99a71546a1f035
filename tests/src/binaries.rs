//! The programs under test. Under cargo they are built first, so that no test runs an old build; each test process then
//! uses hard links of its own, which a build that runs meanwhile does not replace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Prefixes of variables that cargo sets for one package. Build scripts read some of them: a build with them set would
/// rebuild the dependencies.
const OF_ONE_PACKAGE: [&str; 6] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR"];

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = profile_directory();
    let is_missing = NAMES.iter().any(|name| !built_at(&built, name).is_file());
    if is_missing || std::env::var_os("CARGO").is_some() {
        build(&built);
    }
    link(&built)
});

const NAMES: [&str; 2] = ["spillway", "spillway-agent"];

/// The coordinator and its tools.
pub fn spillway() -> PathBuf {
    DIRECTORY.join("spillway")
}

/// The agent; beside `spillway`, where the demo looks for it.
pub fn agent() -> PathBuf {
    DIRECTORY.join("spillway-agent")
}

/// The top of the repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}

/// `target/debug`: tests run in `deps` below it.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let directory = test.parent().expect("a directory");
    let directory = if directory.ends_with("deps") { directory.parent().expect("deps is in one") } else { directory };
    directory.to_owned()
}

fn build(built: &Path) {
    if built.ends_with("release") {
        cargo_build(&["--release", "--bin", "spillway"]);
        cargo_build(&["--profile", "agent", "--package", "spillway-agent"]);
    } else {
        cargo_build(&[]);
    }
}

/// Where cargo puts a program. As it is installed, the agent is built by a profile of its own.
fn built_at(built: &Path, name: &str) -> PathBuf {
    let is_small = built.ends_with("release") && name == "spillway-agent";
    if is_small { built.with_file_name("agent").join(name) } else { built.join(name) }
}

fn cargo_build(arguments: &[&str]) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked"]).args(arguments).current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        if OF_ONE_PACKAGE.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    let out = cargo.output().unwrap_or_else(|error| panic!("cargo cannot be started: {error}"));
    assert!(out.status.success(), "cargo build:\n{}", String::from_utf8_lossy(&out.stderr));
}

/// Links the programs into a directory of this process, and removes those of processes that have ended.
fn link(built: &Path) -> PathBuf {
    let all = built.join("end-to-end");
    for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            // Another test process may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    fs::create_dir_all(&own).unwrap_or_else(|error| panic!("{}: {error}", own.display()));
    for name in NAMES {
        let _ = fs::remove_file(own.join(name));
        fs::hard_link(built_at(built, name), own.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    own
}
