//! Process trees: who descends from a process, and how a tree is ended so that nothing slips out.
//!
//! A process that forks while its tree is walked could be missed, so the tree is stopped first, until a walk finds
//! no new process. Daemons stay in the tree because init is their subreaper.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Walks before the tree is taken as stopped, even if it still grows.
const MAX_WALKS: usize = 100;
/// Between walks that wait for killed processes to go.
const WALK_PAUSE: Duration = Duration::from_millis(10);

/// All descendants of `root`.
pub(crate) fn descendants(root: Pid) -> BTreeSet<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, parent) in processes() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// Sends `signal` to all descendants of `root`.
pub(crate) fn signal_all(root: Pid, signal: Signal) -> usize {
    let all = descendants(root);
    all.iter().for_each(|pid| send(*pid, signal));
    all.len()
}

/// Stops, then kills all descendants of `root`. Their parents must still reap them.
pub(crate) fn kill_all(root: Pid) -> usize {
    let mut stopped = BTreeSet::new();
    for _ in 0..MAX_WALKS {
        let new: Vec<i32> = descendants(root).difference(&stopped).copied().collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            send(pid, Signal::STOP);
            stopped.insert(pid);
        }
    }
    stopped.iter().for_each(|pid| send(*pid, Signal::KILL));
    stopped.len()
}

/// Kills every process that has `mark` as one of its environment's entries, and returns when none is left. Blocks.
pub(crate) fn kill_marked(mark: &[u8]) -> usize {
    let mut killed = HashSet::new();
    for _ in 0..MAX_WALKS {
        let marked: Vec<i32> =
            processes().into_iter().map(|(pid, _)| pid).filter(|pid| is_marked(*pid, mark)).collect();
        if marked.is_empty() {
            break;
        }
        for pid in marked {
            send(pid, Signal::KILL);
            killed.insert(pid);
        }
        // A killed process is there until it has run once more.
        std::thread::sleep(WALK_PAUSE);
    }
    killed.len()
}

fn is_marked(pid: i32, mark: &[u8]) -> bool {
    // A zombie's environment reads as empty.
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == mark))
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended already, which is as good.
        let _gone = kill_process(pid, signal);
    }
}

/// All processes, each with its parent. Zombies too: one whose first thread has ended may still run in others.
fn processes() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&String::from_utf8_lossy(&stat))?))
        })
        .collect()
}

/// The parent in a line of `/proc/PID/stat`.
fn parent(stat: &str) -> Option<i32> {
    // The name, in parentheses, may itself contain spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        assert_eq!(parent("12 (a) b (c) S 7 12 12 0"), Some(7));
        assert_eq!(parent("garbage"), None);
    }
}
