//! How many files this process may open: a connection is one.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Raises the soft limit to the hard one where that is allowed, and returns what holds then; None: no limit.
pub(super) fn raised() -> Option<u64> {
    let (_, hard) = limits();
    // The unit's system call filter may forbid it, and its LimitNOFILE has set both.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard });
    limits().0
}

/// Soft and hard. From /proc, since the system call filter may forbid getrlimit's call too.
fn limits() -> (Option<u64>, Option<u64>) {
    parse(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default())
}

fn parse(text: &str) -> (Option<u64>, Option<u64>) {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.unwrap_or_default().split_ascii_whitespace().map(|word| word.parse().ok());
    (numbers.next().flatten(), numbers.next().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_read_from_proc() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(parse(text), (Some(1024), Some(524_288)));
        assert_eq!(parse("Max open files  unlimited  unlimited  files"), (None, None));
        assert_eq!(parse(""), (None, None));
        let (soft, hard) = limits();
        assert!(soft.is_some() && hard >= soft, "{soft:?} {hard:?}");
    }
}
