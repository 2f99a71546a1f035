//! A sweep on the terminal while it runs: one line that is written over, and each violation as it is found.

use std::io::{IsTerminal, Write as _, stderr};
use std::sync::Mutex;
use std::time::Duration;

use spillway_sim::{Outcome, report};

/// Between two looks.
const EACH: Duration = Duration::from_millis(500);

pub struct Progress {
    lives: u64,
    is_terminal: bool,
    began: Duration,
    shown: Mutex<Duration>,
}

impl Progress {
    pub fn new(lives: u64) -> Self {
        let began = crate::now();
        Progress { lives, is_terminal: stderr().is_terminal(), began, shown: Mutex::new(began) }
    }

    pub fn tell(&self, outcome: &Outcome, ended: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut err = stderr().lock();
        // A terminal that is gone is no reason to stop.
        if outcome.violation.is_some() {
            let _ = write!(err, "{}{}", self.over(), report::failure(outcome));
        }
        let now = crate::now();
        if self.is_terminal && now.saturating_sub(*shown) >= EACH {
            *shown = now;
            let took = now.saturating_sub(self.began).as_secs_f64();
            let left = took / ended as f64 * self.lives.saturating_sub(ended) as f64;
            let _ = write!(err, "{}{ended} of {} lives, about {} left", self.over(), self.lives, span(left));
        }
        let _ = err.flush();
    }

    pub fn end(&self) {
        let _ = write!(stderr(), "{}", self.over());
    }

    /// To the line's begin, and nothing on it.
    fn over(&self) -> &'static str {
        if self.is_terminal { "\r\x1b[K" } else { "" }
    }
}

fn span(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}
