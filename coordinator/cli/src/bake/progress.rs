//! How far a bake is, on standard error: a line for each step, and what is left of it.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;
use spillway_coordinator::bake::{Plan, Progress, Step};
use spillway_coordinator::cloud::images::Part;
use spillway_words::in_words;
use tokio::time::Instant;

/// Between two lines where no terminal shows one that changes.
const INTERVAL: Duration = Duration::from_secs(60);
/// A share below it says little of the rest.
const TELLING_PERCENT: u8 = 5;

/// The steps that people are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Copy,
    Builder,
    Image,
    Canary,
    Parameter,
    CleanUp,
}

impl Stage {
    fn of(step: &Step) -> Option<Self> {
        Some(match step {
            Step::MakeCopy | Step::AwaitImage(Part::Copy, _) => Self::Copy,
            Step::LaunchBuilder(_) | Step::AwaitInstance(Part::Builder, _) | Step::ReadConsole(Part::Builder, _) => {
                Self::Builder
            }
            Step::MakeImage(_) | Step::AwaitImage(..) => Self::Image,
            Step::LaunchCanary(_) | Step::AwaitInstance(..) | Step::ReadConsole(..) => Self::Canary,
            Step::SetParameter(_) => Self::Parameter,
            Step::Remove(_) => Self::CleanUp,
            Step::Done(_) | Step::Failed(_) => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Builder => "builder",
            Self::Image => "image",
            Self::Canary => "canary",
            Self::Parameter => "parameter",
            Self::CleanUp => "clean-up",
        }
    }
}

/// What is shown of a bake.
#[derive(Debug)]
pub(super) struct Shown {
    source: String,
    parameter: String,
    tries: bool,
    is_quiet: bool,
    is_terminal: bool,
    stage: Option<(Stage, Instant)>,
    seconds: Vec<(Stage, f64)>,
    told: Instant,
    /// A line that changes stands there.
    is_open: bool,
}

impl Shown {
    pub(super) fn new(plan: &Plan, tries: bool, is_quiet: bool, is_terminal: bool) -> Self {
        let mut shown = Self {
            source: plan.source.id.clone(),
            parameter: plan.parameter.clone(),
            tries,
            is_quiet,
            is_terminal,
            stage: None,
            seconds: Vec::new(),
            told: Instant::now(),
            is_open: false,
        };
        if let Some(bake) = &plan.resumes {
            shown.line(&format!("going on with the bake {bake}, which was begun"));
        }
        for removal in &plan.leftovers {
            shown.line(&format!("removing {}, of an earlier bake", removal.id()));
        }
        shown
    }

    pub(super) fn tell(&mut self, progress: &Progress) {
        let step = match progress {
            Progress::Retries(why) => return self.line(&format!("EC2: {why}; asking again")),
            Progress::Begins(step) | Progress::Goes(step) => step,
        };
        let Some(stage) = Stage::of(step) else { return };
        if self.stage.is_none_or(|(current, _)| current != stage) {
            self.ends();
            self.stage = Some((stage, Instant::now()));
            let text = self.about(stage);
            self.line(&text);
        }
        let since = self.stage.map_or(Duration::ZERO, |(_, since)| since.elapsed());
        self.going(&left(step, since));
    }

    /// The step that was shown last is over.
    pub(super) fn ends(&mut self) {
        let Some((stage, since)) = self.stage.take() else { return };
        let took = since.elapsed();
        self.seconds.push((stage, took.as_secs_f64()));
        if took >= Duration::from_secs(1) {
            self.line(&format!("      after {}", in_words(took)));
        } else {
            self.line("");
        }
    }

    /// Seconds of each step.
    pub(super) fn seconds(&self) -> serde_json::Value {
        let rounded = |seconds: f64| (seconds * 10.0).round() / 10.0;
        let steps = self.seconds.iter().map(|(stage, seconds)| (stage.name().to_owned(), json!(rounded(*seconds))));
        serde_json::Value::Object(steps.collect())
    }

    fn about(&self, stage: Stage) -> String {
        let (number, of) = match stage {
            Stage::Copy => (1, "an image of the primary; a large disk takes many minutes"),
            Stage::Builder => (2, "the copy becomes a worker's disk, cut off; at most 40 min"),
            Stage::Image => (3, "the workers' image, of the builder's disks"),
            Stage::Canary => (4, "it boots a worker, away from the real queue; at most 25 min"),
            Stage::Parameter => (5, "launches take the image"),
            Stage::CleanUp => (6, "builder, canary, copy and old images go"),
        };
        let of = match stage {
            Stage::Copy => of.replace("the primary", &self.source),
            Stage::Parameter if self.tries => format!("{of}: {}", self.parameter),
            Stage::Parameter => format!("{of}, untried (--no-canary): {}", self.parameter),
            _ => of.to_owned(),
        };
        format!("{number}/6 {}: {of}", stage.name())
    }

    fn going(&mut self, text: &str) {
        if self.is_quiet {
            return;
        }
        if self.is_terminal {
            self.print(&format!("\r\x1b[K      {text}"));
            self.is_open = true;
        } else if self.told.elapsed() >= INTERVAL {
            self.line(&format!("      {text}"));
        }
    }

    fn line(&mut self, text: &str) {
        if self.is_quiet {
            return;
        }
        if self.is_open {
            self.print("\r\x1b[K");
            self.is_open = false;
        }
        if !text.is_empty() {
            self.print(&format!("{text}\n"));
        }
        self.told = Instant::now();
    }

    fn print(&self, text: &str) {
        // Nobody reads it: the bake goes on.
        let _ = std::io::stderr().write_all(text.as_bytes()).and_then(|()| std::io::stderr().flush());
    }
}

/// What is known of the rest of a step.
fn left(step: &Step, since: Duration) -> String {
    let passed = in_words(Duration::from_secs(since.as_secs()));
    match step {
        Step::AwaitImage(_, Some(percent)) if (TELLING_PERCENT..100).contains(percent) => {
            let share = f64::from(*percent) / 100.0;
            let rest = since.as_secs_f64() * (1.0 - share) / share;
            format!("{passed}, {percent} %, about {} left", in_words(Duration::from_secs(rest.round() as u64)))
        }
        Step::AwaitInstance(_, id) => format!("{passed}, {id} works"),
        Step::ReadConsole(_, id) => format!("{passed}, {id} stopped, awaiting its console"),
        _ => passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_told_by_the_share_that_ec2_tells() {
        let step = |percent| Step::AwaitImage(Part::Copy, percent);
        assert_eq!(left(&step(Some(25)), Duration::from_secs(60)), "1 min, 25 %, about 3 min left");
        assert_eq!(left(&step(Some(0)), Duration::from_secs(60)), "1 min");
        assert_eq!(left(&step(None), Duration::from_secs(60)), "1 min");
    }
}
