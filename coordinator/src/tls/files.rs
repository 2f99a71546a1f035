//! Files that are read whole, and written whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::SystemTime;

/// Whether a file was changed or replaced: its inode, length and time. None: it is not there.
pub(super) type Stamp = Option<(u64, u64, SystemTime)>;

pub(super) fn stamp(file: &Path) -> Stamp {
    let data = fs::metadata(file).ok()?;
    Some((data.ino(), data.len(), data.modified().ok()?))
}

/// Whether others than its owner may read it.
pub(super) fn is_open_to_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|data| data.mode() & 0o077 != 0)
}

/// Writes a file with this mode, whatever the process' umask says. After a crash there is the old one or the new one.
pub(super) fn write(file: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = file.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut written = File::options().write(true).create_new(true).mode(mode).open(&beside)?;
    written.set_permissions(Permissions::from_mode(mode))?;
    written.write_all(content.as_bytes())?;
    written.sync_all()?;
    fs::rename(&beside, file)?;
    sync_directory(file.parent())
}

/// Makes a directory that everybody may enter.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o755))
}

pub(super) fn sync_directory(directory: Option<&Path>) -> io::Result<()> {
    directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
