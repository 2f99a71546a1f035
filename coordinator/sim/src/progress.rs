//! A sweep's progress on the terminal: one line that is overwritten, and each violation as it is found.

use std::io::{IsTerminal, Write as _, stderr};
use std::sync::Mutex;
use std::time::Duration;

use spillway_sim::{Outcome, summary};

/// Between two updates of the line.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);

pub struct Progress {
    runs: u64,
    is_terminal: bool,
    began: Duration,
    shown: Mutex<Duration>,
}

impl Progress {
    pub fn new(runs: u64) -> Self {
        let began = crate::now();
        Progress { runs, is_terminal: stderr().is_terminal(), began, shown: Mutex::new(began) }
    }

    pub fn tell(&self, outcome: &Outcome, ended: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut err = stderr().lock();
        // A closed terminal is no reason to stop.
        if outcome.violation.is_some() {
            let _ = write!(err, "{}{}", self.over(), summary::failure(outcome));
        }
        let now = crate::now();
        if self.is_terminal && now.saturating_sub(*shown) >= UPDATE_INTERVAL {
            *shown = now;
            let took = now.saturating_sub(self.began).as_secs_f64();
            let left = took / ended as f64 * self.runs.saturating_sub(ended) as f64;
            let _ = write!(err, "{}{ended} of {} runs, about {} left", self.over(), self.runs, span(left));
        }
        let _ = err.flush();
    }

    pub fn end(&self) {
        let _ = write!(stderr(), "{}", self.over());
    }

    /// Goes to the start of the line and clears it.
    fn over(&self) -> &'static str {
        if self.is_terminal { "\r\x1b[K" } else { "" }
    }
}

fn span(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
