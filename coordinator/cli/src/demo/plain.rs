//! The demo where there is no terminal: a line for each thing that happens, once.

use std::collections::BTreeSet;
use std::time::SystemTime;

use spillway_console::style::{Colors, Line};
use spillway_console::words;
use spillway_output::outln;

use super::watch::Watch;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Plain {
    said: BTreeSet<String>,
}

impl Plain {
    /// Prints what is new.
    pub(super) fn draw(&mut self, watch: &Watch, now: SystemTime) {
        let model = &watch.model;
        let at = format!("{:>6.1} s", model.elapsed.as_secs_f64());
        for event in model.story.lines().iter().map(|line: &Line| line.render(Colors::Off)) {
            self.say(&event, &event);
        }
        for instance in watch.pool.instances.iter().filter(|instance| !instance.id.is_empty()) {
            self.say_once(&at, &format!("{} is {}", instance.id, instance.phase));
            for step in instance.boot_steps.iter().filter(|step| step.took.is_some()) {
                self.say_once(&at, &format!("{} boot {}", instance.id, words::step_line(step, now)));
            }
            if let (Some(commands), "ready") = (&model.commands, instance.phase.as_str()) {
                self.say_once(&at, &format!("drain: {}", commands.drain(&instance.id)));
            }
        }
        let jobs = u64::from(model.options.jobs);
        let tenth = (jobs / 10).max(1);
        self.say_once(&at, &format!("{} of {jobs} jobs done", model.jobs.done / tenth * tenth));
        spillway_output::flush();
    }

    fn say_once(&mut self, at: &str, text: &str) {
        self.say(text, &format!("{at}  {text}"));
    }

    fn say(&mut self, key: &str, line: &str) {
        if self.said.insert(key.to_owned()) {
            outln!("{line}");
        }
    }
}
