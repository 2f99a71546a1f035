//! Where the demo is shown: a screen that redraws on a terminal, a line for each thing that happens elsewhere.

use std::io::{IsTerminal as _, Write as _};

use crossterm::{cursor, execute, terminal};
use spillway_console::style::{Colors, Line, Style};
use spillway_coordinator::clock;
use spillway_output::outln;
use spillway_words::in_words;

use super::commands::Commands;
use super::frame::{Size, frame};
use super::plain::Plain;
use super::score::Score;
use super::story::Story;
use super::watch::Watch;
use super::{MINUTE, Options};

/// Where the terminal does not tell.
const USUAL: (u16, u16) = (80, 24);

#[derive(Debug)]
pub(super) struct Screen {
    /// None on a terminal.
    plain: Option<Plain>,
    colors: Colors,
    in_alternate: bool,
    /// As it was drawn last.
    story: Story,
}

impl Screen {
    pub(super) fn new(options: &Options) -> Self {
        let scale = format!("one minute of the plan is {} here, boots take what they take", in_words(MINUTE));
        outln!("spillway demo: {} jobs of {} s each; {scale}", options.jobs, options.job_seconds);
        Self {
            plain: (!std::io::stdout().is_terminal()).then(Plain::default),
            colors: Colors::of_stdout(),
            in_alternate: false,
            story: Story::default(),
        }
    }

    /// A step of the set-up begins.
    pub(super) fn step(&self, what: &str) {
        outln!("  {what} …");
    }

    /// What may be tried, on lines of their own; a screen shows it too.
    pub(super) fn commands(&self, commands: &Commands) {
        outln!("try in another terminal:");
        for (what, command) in commands.lines(None) {
            outln!("  {what}: {command}");
        }
    }

    /// Something to know, where no screen shows it.
    pub(super) fn say(&self, what: &str) {
        if self.plain.is_some() {
            outln!("  {what}");
        }
    }

    pub(super) fn draw(&mut self, watch: &Watch) {
        match &mut self.plain {
            Some(plain) => plain.draw(watch, clock::system_now()),
            None => self.redraw(watch),
        }
    }

    fn redraw(&mut self, watch: &Watch) {
        let mut out = std::io::stdout();
        if !self.in_alternate {
            self.in_alternate = execute!(out, terminal::EnterAlternateScreen, cursor::Hide).is_ok();
        }
        self.story.clone_from(&watch.model.story);
        let (width, height) = terminal::size().unwrap_or(USUAL);
        let lines = frame(&watch.model, Size { width, height });
        let lines: Vec<String> = lines.iter().map(|line| format!("{}\x1b[K", line.render(self.colors))).collect();
        // Home first, and what is below cleared last: no flicker. No line break after the last: it would scroll.
        let text = format!("\x1b[H{}\x1b[J", lines.join("\r\n"));
        // A screen that cannot be drawn is no reason to end the demo.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Gives the terminal back, with the story on it.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.in_alternate) {
            let _ = execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
            outln!("{}", Line::new(Style::Bold, "What happened, in seconds since the flood").render(self.colors));
            for line in self.story.lines() {
                outln!("{}", line.render(self.colors));
            }
        }
    }

    /// What it came to, for people.
    pub(super) fn result(&self, score: &Score) {
        for (index, line) in score.lines().into_iter().enumerate() {
            let style = if index == 0 { Style::Bold } else { Style::Plain };
            outln!("{}", Line::new(style, line).render(self.colors));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}
