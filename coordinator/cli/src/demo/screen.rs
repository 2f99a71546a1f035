//! Where the demo is shown: a screen that redraws on a terminal, a line for each thing that happens elsewhere.

use std::io::IsTerminal as _;

use spillway_console::style::{Line, Style};
use spillway_coordinator::clock;
use spillway_output::outln;
use spillway_words::in_words;

use super::commands::Commands;
use super::frame::frame;
use super::plain::Plain;
use super::score::Score;
use super::story::Story;
use super::watch::Watch;
use super::{MINUTE, Options};
use crate::terminal;

#[derive(Debug)]
pub(super) struct Screen {
    /// None on a terminal.
    plain: Option<Plain>,
    screen: terminal::Screen,
    /// As it was drawn last.
    story: Story,
}

impl Screen {
    pub(super) fn new(options: &Options) -> Self {
        let scale = format!("one minute of the plan is {} here, boots take what they take", in_words(MINUTE));
        outln!("spillway demo: {} jobs of {} s each; {scale}", options.jobs, options.job_seconds);
        Self {
            plain: (!std::io::stdout().is_terminal()).then(Plain::default),
            screen: terminal::Screen::new(),
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
        self.story.clone_from(&watch.model.story);
        // A screen that cannot be drawn is no reason to end the demo.
        let _ = self.screen.draw(|size| frame(&watch.model, size));
    }

    /// Gives the terminal back, with the story on it.
    pub(super) fn close(&mut self) {
        if self.screen.is_taken() {
            self.screen.close();
            outln!(
                "{}",
                Line::new(Style::Bold, "What happened, in seconds since the flood").render(self.screen.colors())
            );
            for line in self.story.lines() {
                outln!("{}", line.render(self.screen.colors()));
            }
        }
    }

    /// What it came to, for people.
    pub(super) fn result(&self, score: &Score) {
        for (index, line) in score.lines().into_iter().enumerate() {
            let style = if index == 0 { Style::Bold } else { Style::Plain };
            outln!("{}", Line::new(style, line).render(self.screen.colors()));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}
