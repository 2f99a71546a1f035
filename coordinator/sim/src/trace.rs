//! The trace of a run: a hash of every event (the same seed, the same hash), and a timeline if one is kept.

use std::io::Write as _;

use crate::clock::Clock;

/// Hash and timeline.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    pub events: u64,
    keep: Keep,
    lines: Vec<String>,
}

/// What is done with the timeline's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    /// Kept, for a violation.
    Lines,
    /// Printed as they come.
    Print,
}

impl Trace {
    pub fn new(keep: Keep) -> Self {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, keep, lines: Vec::new() }
    }

    pub fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    pub fn mix_text(&mut self, text: &str) {
        text.bytes().for_each(|byte| self.mix(u64::from(byte)));
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn is_kept(&self) -> bool {
        self.keep != Keep::Nothing
    }

    pub fn say(&mut self, now: u64, line: &str) {
        let line = format!("{} {line}", Clock(now));
        match self.keep {
            Keep::Nothing => {}
            Keep::Lines => self.lines.push(line),
            // The reader may have closed the pipe.
            Keep::Print => drop(writeln!(std::io::stdout().lock(), "{line}")),
        }
    }

    pub fn last(&self, n: usize) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(n)..]
    }
}

/// Adds a line to the timeline; formatted only if the timeline is kept.
#[macro_export]
macro_rules! say {
    ($world:expr, $($words:tt)+) => {
        if $world.trace.is_kept() {
            let line = format!($($words)+);
            let now = $world.now;
            $world.trace.say(now, &line);
        }
    };
}
