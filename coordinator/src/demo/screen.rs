//! How a person sees the demo: a screen that redraws on a terminal, a line for each thing that happens elsewhere.

use std::io::{IsTerminal as _, Write as _};

use crossterm::{cursor, execute, terminal};
use spillway_brain::in_words;

use super::score::Score;
use super::watch::Watch;
use super::{MINUTE, Options};
use crate::cli::words;
use crate::clock;

const BAR: usize = 40;

#[derive(Debug)]
pub(super) struct Screen {
    on_terminal: bool,
    in_alternate: bool,
    title: String,
    said: Vec<String>,
    /// What was already said in lines, where there is no terminal.
    last_lines: Vec<String>,
    printed_decisions: usize,
}

impl Screen {
    pub(super) fn new(options: &Options) -> Self {
        let scale = format!("one minute of the plan is {} here, boots take what they take", in_words(MINUTE));
        let title = format!("spillway demo: {} jobs of {} s each; {scale}", options.jobs, options.job_seconds);
        println!("{title}");
        Screen {
            on_terminal: std::io::stdout().is_terminal(),
            in_alternate: false,
            title,
            said: Vec::new(),
            last_lines: Vec::new(),
            printed_decisions: 0,
        }
    }

    /// A step of the set-up begins.
    pub(super) fn step(&mut self, what: &str) {
        println!("  {what} …");
    }

    /// Something to stay on the screen.
    pub(super) fn say(&mut self, what: &str) {
        if self.on_terminal {
            self.said.push(what.to_owned());
        } else {
            println!("  {what}");
        }
    }

    pub(super) fn draw(&mut self, watch: &Watch) {
        if self.on_terminal {
            self.redraw(watch);
        } else {
            self.print_news(watch);
        }
    }

    fn redraw(&mut self, watch: &Watch) {
        let mut out = std::io::stdout();
        if !self.in_alternate {
            self.in_alternate = execute!(out, terminal::EnterAlternateScreen, cursor::Hide).is_ok();
        }
        let (width, height) = terminal::size().unwrap_or((100, 40));
        let lines = self.lines(watch);
        let mut frame = String::from("\x1b[H");
        for line in lines.iter().take(usize::from(height).saturating_sub(1)) {
            let line: String = line.chars().take(usize::from(width)).collect();
            frame.push_str(&line);
            frame.push_str("\x1b[K\r\n");
        }
        frame.push_str("\x1b[J");
        // A screen that cannot be drawn is no reason to end the demo.
        let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }

    fn lines(&self, watch: &Watch) -> Vec<String> {
        let now = clock::now();
        let since = |at: spillway_brain::Timestamp| format!("{:>5.1} s", at.since(watch.flooded_at).as_secs_f64());
        let jobs = u64::from(watch.options.jobs);
        let active = watch.pool.backlog.as_ref().map_or(0, |backlog| backlog.active);
        let mut lines = vec![
            self.title.clone(),
            String::new(),
            format!(
                "JOBS     {}  {} of {jobs} done, {active} running, {} waiting, {} failed",
                bar(watch.completed, active, jobs),
                watch.completed,
                jobs.saturating_sub(watch.completed + watch.failed + active),
                watch.failed,
            ),
            String::new(),
        ];
        let desired = watch.pool.desired.map_or("?".to_owned(), |desired| desired.to_string());
        lines.push(format!(
            "FLEET    {desired} wanted, at most {}; the primary works all the time",
            watch.pool.max_instances
        ));
        for instance in &watch.pool.instances {
            let name = if instance.id.is_empty() { &instance.token } else { &instance.id };
            if instance.phase == "gone" {
                lines.push(format!("  {name}  gone         {}", instance.phase_reason));
                continue;
            }
            lines.push(format!(
                "  {name}  {:<11}  {}",
                instance.phase.to_uppercase(),
                words::instance_line(instance, now)
            ));
            if instance.phase == "booting" {
                lines.extend(instance.boot_steps.iter().map(|step| format!("      {}", words::step_line(step, now))));
            } else if !instance.boot_steps.is_empty() {
                lines.push(format!("      booted: {}", words::steps_in_a_line(&instance.boot_steps)));
            }
        }
        lines.push(String::new());
        lines.push("DECIDED  (seconds since the flood)".to_owned());
        lines.extend(watch.decisions.iter().map(|(at, said)| format!("  {}  {said}", since(*at))));
        lines.push(String::new());
        lines.push("WHY NOT MORE, WHY NOT LESS".to_owned());
        lines.extend(watch.pool.plan.iter().flat_map(|plan| &plan.notes).map(|note| format!("  {note}")));
        lines.push(String::new());
        lines.extend(self.said.iter().map(|said| format!("  {said}")));
        lines.push("Ctrl-C ends it and leaves nothing behind".to_owned());
        lines
    }

    /// Without a terminal: what is new, once.
    fn print_news(&mut self, watch: &Watch) {
        let at = format!("{:>6.1} s", clock::now().since(watch.flooded_at).as_secs_f64());
        for (_, said) in watch.decisions.iter().skip(self.printed_decisions.saturating_sub(watch.decisions_dropped)) {
            println!("{at}  {said}");
        }
        self.printed_decisions = watch.decisions_dropped + watch.decisions.len();
        let mut lines = Vec::new();
        for instance in watch.pool.instances.iter().filter(|instance| !instance.id.is_empty()) {
            lines.push(format!("{} is {}", instance.id, instance.phase));
            let steps = instance.boot_steps.iter().filter(|step| step.took.is_some());
            lines.extend(steps.map(|step| format!("{} boot {}", instance.id, words::step_line(step, clock::now()))));
        }
        let tenth = (u64::from(watch.options.jobs) / 10).max(1);
        lines.push(format!("{} of {} jobs done", watch.completed / tenth * tenth, watch.options.jobs));
        for line in lines {
            if !self.last_lines.contains(&line) {
                println!("{at}  {line}");
                self.last_lines.push(line);
            }
        }
        let _ = std::io::stdout().flush();
    }

    /// Gives the terminal back.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.in_alternate) {
            let _ = execute!(std::io::stdout(), cursor::Show, terminal::LeaveAlternateScreen);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

fn bar(done: u64, active: u64, all: u64) -> String {
    let cells = |jobs: u64| usize::try_from(jobs * BAR as u64 / all.max(1)).unwrap_or(BAR).min(BAR);
    let full = cells(done);
    let busy = cells(done + active).max(full) - full;
    format!("[{}{}{}]", "#".repeat(full), "+".repeat(busy), ".".repeat(BAR - full - busy))
}

/// What it came to, for people.
pub(super) fn result(score: &Score, options: &Options) {
    println!("{} of {} jobs completed, {} failed", score.jobs_completed, score.jobs_added, score.jobs_failed);
    println!("{} started more than once", score.jobs_run_twice);
    println!(
        "{} instances launched, {} at once at the most ({} allowed), {} terminated",
        score.instances_launched, score.instances_peak, score.max_instances, score.instances_terminated
    );
    match score.seconds_to_first_ready {
        Some(seconds) => {
            println!("first instance proven after {seconds:.1} s, all over after {:.1} s", score.seconds_total)
        }
        None => println!("no instance was needed; all over after {:.1} s", score.seconds_total),
    }
    if options.interrupt {
        println!("one instance was interrupted while it worked");
    }
}
