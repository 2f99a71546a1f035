//! The load of the instance: CPU and memory, from `/proc`. Owns the reading; unknown reads as absent.

/// Reads CPU use since the last reading.
#[derive(Debug, Default)]
pub struct Vitals {
    last: Option<Times>,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Of the whole machine, since the reading before.
    pub cpu_percent: Option<f64>,
    /// Not available to programs.
    pub memory_used_bytes: u64,
    /// All there is.
    pub memory_total_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    busy: u64,
    all: u64,
}

impl Vitals {
    /// One reading, now.
    pub fn read(&mut self) -> Reading {
        let times = std::fs::read_to_string("/proc/stat").ok().and_then(|text| times(&text));
        let cpu_percent = self.last.zip(times).and_then(|(before, now)| {
            let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
            Some(now.busy.saturating_sub(before.busy) as f64 * 100.0 / all as f64)
        });
        self.last = times;
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = kibibytes(&memory, "MemTotal:");
        let available = kibibytes(&memory, "MemAvailable:");
        Reading {
            cpu_percent,
            memory_used_bytes: total.saturating_sub(available).saturating_mul(1024),
            memory_total_bytes: total.saturating_mul(1024),
        }
    }
}

fn times(stat: &str) -> Option<Times> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guest is in user already.
    let fields: Vec<u64> = line.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let all = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Times { busy: all - idle, all })
}

fn kibibytes(meminfo: &str, name: &str) -> u64 {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_machine() {
        let mut vitals = Vitals::default();
        let first = vitals.read();
        assert_eq!(first.cpu_percent, None);
        assert!(first.memory_total_bytes >= first.memory_used_bytes && first.memory_used_bytes > 0);
        let times = times("cpu  1 2 3 4 5 6 7 8 9 9\ncpu0 1").unwrap();
        assert_eq!((times.busy, times.all), (27, 36));
    }
}
