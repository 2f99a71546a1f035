//! Programs that stand first in an instance's PATH, so that powering off ends the instance and not this host.
//!
//! They notify init through a named pipe. A program called by its absolute path cannot be caught.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::unix::pipe;

const POWER: &str = r#"#!/bin/sh
# Powers off this emulated instance; the host's program of this name is not run.
name=${0##*/}
power=__POWER__
seconds=0
[ "$name" = shutdown ] && seconds=60
for word in "$@"; do
    case $word in
        now) seconds=0 ;;
        +*[!0-9]* | *:*) echo "$name: the time '$word' is not emulated" >&2; exit 1 ;;
        +[0-9]*) seconds=$((${word#+} * 60)) ;;
        -c) echo cancel >"$power"; exit 0 ;;
        -r | --reboot) name=reboot ;;
    esac
done
if [ "$name" = reboot ]; then
    echo "reboot is not emulated" >&2
    exit 1
fi
echo "poweroff $seconds" >"$power"
"#;

const SYSTEMCTL: &str = r#"#!/bin/sh
# An emulated instance has no systemd; the host's must not be reached from it.
power=__POWER__
for word in "$@"; do
    case $word in
        poweroff | halt) echo "poweroff 0" >"$power"; exit 0 ;;
        -*) ;;
        *) break ;;
    esac
done
echo "systemctl: an emulated instance has no systemd, only poweroff and halt work" >&2
exit 1
"#;

const SUDO: &str = r#"#!/bin/sh
# Runs the command as the user of the emulator, with the instance's PATH, which the real one would replace.
while [ $# -gt 0 ]; do
    case $1 in
        -u | -g | -h | -p | -C | -D) shift 2 ;;
        --) shift; break ;;
        -*) shift ;;
        *=*) export "$1"; shift ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || exit 0
exec "$@"
"#;

/// Writes the programs into `bin`, and opens the pipe that they write to.
pub(super) fn install(directory: &Path) -> io::Result<pipe::Receiver> {
    let power = directory.join("power");
    match mknodat(CWD, &power, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => (),
        Err(error) => return Err(error.into()),
    }
    let quoted = format!("'{}'", power.to_string_lossy().replace('\'', r"'\''"));
    let bin = directory.join("bin");
    for name in ["shutdown", "poweroff", "halt", "reboot"] {
        write(&bin.join(name), &POWER.replace("__POWER__", &quoted))?;
    }
    write(&bin.join("systemctl"), &SYSTEMCTL.replace("__POWER__", &quoted))?;
    write(&bin.join("sudo"), SUDO)?;
    // Open for writing too, so that it does not end with each writer.
    pipe::OpenOptions::new().read_write(true).open_receiver(&power)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o755).open(path)?;
    file.write_all(text.as_bytes())
}
