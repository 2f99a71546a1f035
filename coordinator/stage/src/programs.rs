//! The programs of others that are started here. `tests/setup` installs them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// A program in PATH; None where it is missing.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_program(file))
}

/// The same; the error says what to do.
pub fn need(name: &str) -> anyhow::Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed: run tests/setup"))
}

/// A file that may be executed.
pub fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// bun's cache of this user. Instances have homes of their own; what was downloaded once serves them all, as it would
/// from an image.
pub fn bun_cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    std::env::var_os("BUN_INSTALL_CACHE_DIR").map_or_else(|| home.join(".bun/install/cache"), PathBuf::from)
}
