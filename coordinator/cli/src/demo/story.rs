//! What happened, in order: shown while it happens, and left on the terminal when all is over.

use std::time::Duration;

use spillway_console::style::{Line, Style};

/// Events that are kept; a demo that is kept running for hours forgets its oldest.
const KEPT: usize = 500;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Since the flood.
    pub at: Duration,
    pub style: Style,
    pub text: String,
}

impl Event {
    /// `  12.3 s  text`.
    pub(super) fn line(&self) -> Line {
        Line::new(Style::Dim, format!("{:>6.1} s  ", self.at.as_secs_f64())).with(self.style, self.text.clone())
    }
}

/// All of them, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    events: Vec<Event>,
    forgotten: usize,
}

impl Story {
    /// What is told late is put where it belongs.
    pub(super) fn tell(&mut self, at: Duration, style: Style, text: impl Into<String>) {
        let place = self.events.partition_point(|event| event.at <= at);
        self.events.insert(place, Event { at, style, text: text.into() });
        if self.events.len() > KEPT {
            self.events.remove(0);
            self.forgotten += 1;
        }
    }

    /// The newest, oldest of them first.
    pub(super) fn newest(&self, count: usize) -> &[Event] {
        &self.events[self.events.len().saturating_sub(count)..]
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let earlier =
            (self.forgotten > 0).then(|| Line::new(Style::Dim, format!("  … {} events before", self.forgotten)));
        earlier.into_iter().chain(self.events.iter().map(Event::line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use spillway_console::style::Colors;

    use super::*;

    #[test]
    fn it_is_told_in_the_order_of_time_and_forgets_its_beginning() {
        let mut story = Story::default();
        story.tell(Duration::from_secs(2), Style::Plain, "second");
        story.tell(Duration::from_secs(1), Style::Plain, "first");
        let texts: Vec<String> = story.lines().iter().map(|line| line.render(Colors::Off)).collect();
        assert_eq!(texts, ["   1.0 s  first", "   2.0 s  second"]);
        for second in 3..=600 {
            story.tell(Duration::from_secs(second), Style::Plain, "more");
        }
        assert_eq!(story.newest(2).len(), 2);
        let lines = story.lines();
        assert_eq!((lines.len(), lines[0].render(Colors::Off)), (KEPT + 1, "  … 100 events before".to_owned()));
    }
}
