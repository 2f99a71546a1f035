//! What `/proc` shows of processes. Owns the parsing; a process that has ended, or another user's, reads as `None`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

/// The number of SIGINT, PM2's stop signal.
pub const SIGINT: u32 = 2;

/// In which Linux tells programs times, on every architecture that EC2 has.
const TICKS_PER_SECOND: u64 = 100;

/// A process that cannot be taken for a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    /// This process as it now is.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start: start_time(pid)? })
    }

    /// It still runs; a zombie does not.
    pub fn lives(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Sends it a signal, unless it has ended.
    pub fn signal(self, signal: Signal) {
        self.signal_if(signal, |_| true);
    }

    /// The same if its number is meant too. A process that takes the number meanwhile gets no signal: it is sent by a
    /// pidfd(2) that was opened before the checks, or by the number where the kernel has none (before Linux 5.3, or not
    /// permitted).
    pub fn signal_if(self, signal: Signal, is_meant: impl FnOnce(u32) -> bool) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let opened = pidfd_open(pid, PidfdFlags::empty());
        if matches!(opened, Err(Errno::SRCH)) || !self.lives() || !is_meant(self.pid) {
            return;
        }
        let sent = opened.and_then(|process| pidfd_send_signal(process, signal));
        if sent.is_err_and(|error| error != Errno::SRCH) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// When the process started; `None` where it has ended, also as a zombie.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).filter(|stat| !matches!(stat.state, 'Z' | 'X')).map(|stat| stat.start)
}

/// The real user id of the process: what a program of the user's has too that runs as another (set-user-ID).
pub fn owner(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

/// The file name of the program that it runs.
pub fn program(pid: u32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// For how long it has run, in seconds.
pub fn age_seconds(pid: u32) -> Option<u64> {
    let up: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds since the machine came up")]
    Some((up as u64).saturating_sub(start_time(pid)? / TICKS_PER_SECOND))
}

/// Whether it has a handler of its own for the signal.
pub fn catches(pid: u32, signal: u32) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    Some(mask >> (signal - 1) & 1 == 1)
}

/// Whether the signal was sent to it and is not delivered yet, as to a frozen process.
pub fn is_pending(pid: u32, signal: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return false };
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Its environment can be read: it is not just being started.
pub fn has_environment(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| !environment.is_empty())
}

/// A variable of the environment that it was started with.
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// What it was started with, its program first.
pub fn arguments(pid: u32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments = line.split(|byte| *byte == 0).filter(|argument| !argument.is_empty());
    arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// These processes and all that descend from them.
pub fn tree(roots: impl IntoIterator<Item = u32>) -> BTreeSet<ProcessId> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in all() {
        if let Some(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut queue: Vec<u32> = roots.into_iter().collect();
    while let Some(pid) = queue.pop() {
        if seen.insert(pid) {
            found.extend(ProcessId::of(pid));
            queue.extend(children.get(&pid).into_iter().flatten());
        }
    }
    found
}

/// Processes that were started with this in their environment, as their children are.
pub fn with_variable(name: &str, value: &str) -> BTreeSet<ProcessId> {
    all().filter(|pid| variable(*pid, name).as_deref() == Some(value)).filter_map(ProcessId::of).collect()
}

/// Every process of this machine.
pub fn all() -> impl Iterator<Item = u32> {
    std::fs::read_dir(Path::new("/proc"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

struct Stat {
    state: char,
    parent: u32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may itself hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_very_process() {
        let own = std::process::id();
        let known = ProcessId::of(own).unwrap();
        assert!(known.lives());
        assert!(!ProcessId { start: known.start + 1, ..known }.lives(), "another process of the same number");
        assert!(tree([own]).contains(&known));
        assert!(catches(own, SIGINT).is_some());
        assert!(program(own).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }

    #[test]
    fn a_frozen_process_shows_what_it_was_sent() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let known = ProcessId::of(child.id()).unwrap();
        // Not SIGINT, which whoever started the tests may have had ignored: then it is never pending.
        let usr1 = Signal::USR1.as_raw().unsigned_abs();
        assert!(!is_pending(known.pid, usr1));
        known.signal(Signal::STOP);
        // Of two pending signals the smaller one comes first, and would end it.
        let is_frozen = || stat(known.pid).unwrap().state == 'T';
        for _ in 0..60_000 {
            if is_frozen() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        known.signal(Signal::USR1);
        assert!(is_pending(known.pid, usr1) && known.lives());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends and reaps the child, and starts another program with the same number; None where the kernel does not let a
    /// test choose it.
    fn replaced(child: &mut std::process::Child) -> Option<std::process::Child> {
        child.kill().unwrap();
        child.wait().unwrap();
        for _ in 0..200 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (child.id() - 1).to_string()).ok()?;
            let mut other = std::process::Command::new("sleep").arg("30").spawn().unwrap();
            if other.id() == child.id() {
                return Some(other);
            }
            other.kill().unwrap();
            other.wait().unwrap();
        }
        None
    }

    #[test]
    fn a_process_that_takes_the_number_after_the_checks_gets_no_signal() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let known = ProcessId::of(child.id()).unwrap();
        known.signal_if(Signal::KILL, |_| false);
        assert!(known.lives(), "it is not meant");
        let mut other = None;
        known.signal_if(Signal::KILL, |_| {
            other = replaced(&mut child);
            true
        });
        let Some(mut other) = other else { return eprintln!("not tested: this kernel lets nobody choose a number") };
        let other_id = ProcessId::of(other.id()).expect("it runs");
        other_id.signal(Signal::USR1);
        let status = other.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(Signal::USR1.as_raw()), "the later process was killed for the one before");
    }

    #[test]
    fn a_name_with_parentheses_is_no_trap() {
        let stat = parse_stat("7 (a) b) (c) S 3 7 7 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 1 0 4711 1 1").unwrap();
        assert_eq!((stat.state, stat.parent, stat.start), ('S', 3, 4711));
        assert!(parse_stat("").is_none() && parse_stat("1 (x) S").is_none());
    }

    #[test]
    fn finds_processes_by_what_they_were_started_with() {
        let mark = format!("mark-{}", std::process::id());
        let mut child = std::process::Command::new("sleep").arg("30").env("SPILLWAY_TEST_MARK", &mark).spawn().unwrap();
        // A parent goes on before the kernel has put the child's environment where /proc shows it.
        let is_found = || with_variable("SPILLWAY_TEST_MARK", &mark).iter().any(|known| known.pid == child.id());
        let mut looks = 0;
        while !is_found() {
            looks += 1;
            assert!(looks < 2000, "it is not found");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(with_variable("SPILLWAY_TEST_MARK", &mark).is_empty());
    }
}
