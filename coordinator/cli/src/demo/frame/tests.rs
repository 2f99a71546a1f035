//! Frames as text, and what every frame keeps to.

use std::path::Path;

use spillway_console::style::Colors;

use super::*;
use crate::demo::Options;
use crate::demo::commands::Commands;
use crate::demo::jobs::Counts;
use crate::demo::model::Step;

const SMALL: Size = Size { width: 80, height: 24 };
const LARGE: Size = Size { width: 120, height: 40 };

fn text(model: &Model, size: Size) -> String {
    frame(model, size).iter().map(|line| line.render(Colors::Off).trim_end().to_owned() + "\n").collect()
}

fn model(keep: bool) -> Model {
    let options = Options { jobs: 40, job_seconds: 3.0, interrupt: false, keep, json: false };
    let mut model = Model::new(&options, 2);
    model.commands = keep.then(|| Commands::new(Path::new("/tmp/spillway-AbCdEf"), &options));
    model.jobs = Counts { waiting: 40, ..Counts::default() };
    model.sample(40);
    model.story.tell(Duration::ZERO, Style::Bold, "the queue floods: 40 jobs of 3 s each");
    model
}

fn step(name: &str, took_ms: Option<u64>) -> Step {
    let took = took_ms.map(Duration::from_millis);
    Step { name: name.to_owned(), took, running_for: Duration::from_millis(800), count: 4, ..Step::default() }
}

fn instance(id: &str, phase: &str) -> Instance {
    Instance { id: id.to_owned(), phase: phase.to_owned(), ..Instance::default() }
}

/// One ready, one booting.
fn flooded(keep: bool) -> Model {
    let mut model = model(keep);
    model.elapsed = Duration::from_millis(14_250);
    model.jobs = Counts { waiting: 31, running: 2, done: 7, failed: 0 };
    model.running_on = [("primary".to_owned(), 1), ("i-0aaaaaaaaaaaaaaa1".to_owned(), 1)].into();
    model.done_on = [("primary".to_owned(), 4), ("i-0aaaaaaaaaaaaaaa1".to_owned(), 3)].into();
    (31..40).rev().for_each(|waiting| model.sample(waiting));
    model.desired = Some(2);
    let mut ready = instance("i-0aaaaaaaaaaaaaaa1", "ready");
    ready.ready_after = Some(Duration::from_millis(4500));
    ready.steps = [("pull", 25), ("install", 122), ("start", 1840), ("save", 410)]
        .map(|(name, ms)| step(name, Some(ms)))
        .to_vec();
    let mut booting = instance("i-0aaaaaaaaaaaaaaa2", "booting");
    booting.steps = vec![step("pull", Some(25)), step("install", Some(130)), step("start", None)];
    model.instances = vec![ready, booting];
    let tell = |model: &mut Model, ms, text: &str| model.story.tell(Duration::from_millis(ms), Style::Plain, text);
    tell(&mut model, 5100, "2 launches requested: 39 jobs ready to run; 2 instances desired, 0 ready");
    tell(&mut model, 6500, "i-0aaaaaaaaaaaaaaa1 launched: c6i.xlarge in us-east-1a");
    tell(&mut model, 6600, "i-0aaaaaaaaaaaaaaa2 launched: c6i.xlarge in us-east-1a");
    tell(
        &mut model,
        11_000,
        "i-0aaaaaaaaaaaaaaa1 ready 4.5 s after its launch: pull 25 ms, install 122 ms, start 1 s, save 410 ms",
    );
    model.notes = vec![
        "31 jobs ready to run: the highest step is reached, 2 instances desired".to_owned(),
        "1 instance is starting, at most 1 min 20 s more".to_owned(),
    ];
    model
}

/// The second is taken, and its job runs again on the first.
fn interrupted() -> Model {
    let mut model = flooded(false);
    model.elapsed = Duration::from_secs(20);
    model.instances[1] = instance("i-0aaaaaaaaaaaaaaa2", "draining");
    model.instances[1].phase_reason = "EC2 takes the instance in 1 min 58 s".to_owned();
    model.instances[1].reclaimed_in = Some(Duration::from_secs(18));
    model.instances.push(instance("", "launching"));
    let told = "1 job handed back, running again on i-0aaaaaaaaaaaaaaa1 after 4 ms";
    model.story.tell(Duration::from_secs(19), Style::Magenta, told);
    model
}

fn over(keep: bool) -> Model {
    let mut model = flooded(keep);
    model.elapsed = Duration::from_secs(52);
    model.jobs = Counts { done: 39, failed: 1, ..Counts::default() };
    model.running_on.clear();
    let done = [("primary", 20), ("i-0aaaaaaaaaaaaaaa1", 15), ("i-0aaaaaaaaaaaaaaa2", 4)];
    model.done_on = done.map(|(worker, jobs)| (worker.to_owned(), jobs)).into();
    model.sample(0);
    model.desired = Some(0);
    model.instances.iter_mut().for_each(|it| it.phase = "gone".to_owned());
    model.notes.clear();
    model.is_over = true;
    model
}

#[test]
fn frames_at_80_by_24() {
    insta::assert_snapshot!("small-begins", text(&model(false), SMALL));
    insta::assert_snapshot!("small-flooded", text(&flooded(false), SMALL));
    insta::assert_snapshot!("small-flooded-keep", text(&flooded(true), SMALL));
    insta::assert_snapshot!("small-interrupted", text(&interrupted(), SMALL));
    insta::assert_snapshot!("small-over-keep", text(&over(true), SMALL));
}

/// `UPDATE=1 cargo test --workspace --lib the_readme_shows` writes it anew.
#[test]
fn the_readme_shows_what_the_demo_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let drawn = text(&flooded(false), SMALL);
    // Without what only fills the terminal.
    let drawn = drawn.lines().rev().skip_while(|line| line.is_empty() || *line == FOOTER).collect::<Vec<_>>();
    let drawn = drawn.into_iter().rev().map(|line| line.to_owned() + "\n").collect::<String>();
    let (before, rest) = readme.split_once("```text\nSpillway demo: ").expect("the demo's screen");
    let (shown, after) = rest.split_once("```").expect("its end");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}```text\n{drawn}```{after}")).expect("the README");
    } else {
        assert_eq!(format!("Spillway demo: {shown}"), drawn);
    }
}

#[test]
fn frames_at_120_by_40() {
    insta::assert_snapshot!("large-flooded-keep", text(&flooded(true), LARGE));
    insta::assert_snapshot!("large-interrupted", text(&interrupted(), LARGE));
    insta::assert_snapshot!("large-over", text(&over(false), LARGE));
}

#[test]
fn every_frame_fits_its_terminal_and_says_first_what_it_is() {
    let mut crowded = flooded(true);
    crowded.instances.extend((0..30).map(|n| instance(&format!("i-0bbbbbbbbbbbbbb{n:03}"), "gone")));
    crowded.notes = (0..30).map(|n| format!("note {n} {}", "is long ".repeat(30))).collect();
    for model in [&model(true), &flooded(false), &interrupted(), &over(true), &crowded] {
        for (width, height) in
            [(80, 24), (120, 40), (140, 40), (109, 24), (110, 24), (40, 10), (20, 3), (1, 1), (300, 100)]
        {
            let size = Size { width, height };
            let lines = frame(model, size);
            assert!(lines.len() <= usize::from(height), "{} lines at {size:?}", lines.len());
            for line in &lines {
                assert!(line.width() <= usize::from(width), "{line:?} at {size:?}");
            }
            if width >= 80 {
                assert_eq!(lines[0].render(Colors::Off), TITLE);
                let all = text(model, size);
                assert!(!all.contains("not proven") && !all.contains("not protected"), "{all}");
            }
        }
    }
}

/// The rows of the fleet add up to the line of the jobs, whatever phase an instance is in.
#[test]
fn the_numbers_agree() {
    let sum = |model: &Model, word: &str| -> u64 {
        let shown = text(model, SMALL);
        let rows = shown.lines().filter(|line| line.starts_with("  primary") || line.starts_with("  i-"));
        let words = rows.flat_map(|row| row.split(',').map(str::to_owned).collect::<Vec<_>>());
        let counts = words.filter_map(|part| part.strip_suffix(word)?.trim().rsplit(' ').next()?.parse::<u64>().ok());
        counts.sum()
    };
    for phase in ["booting", "ready", "draining", "terminating", "gone"] {
        let mut model = flooded(false);
        model.jobs = Counts { waiting: 26, running: 3, done: 11, failed: 0 };
        model.running_on.insert("i-0aaaaaaaaaaaaaaa2".to_owned(), 1);
        model.done_on.insert("i-0aaaaaaaaaaaaaaa2".to_owned(), 4);
        model.instances[1].phase = phase.to_owned();
        assert_eq!((sum(&model, " running"), sum(&model, " done")), (3, 11), "{}", text(&model, SMALL));
        assert!(text(&model, SMALL).contains("26 waiting + 3 running + 11 done = 40"));
    }
}

/// A worker takes jobs before its agent has proven it: it does not wait for its first one any more.
#[test]
fn a_booted_worker_that_has_a_job_waits_for_none() {
    let mut model = flooded(false);
    model.instances[1].steps.iter_mut().for_each(|step| step.took = Some(Duration::from_secs(1)));
    let id = model.instances[1].id.clone();
    assert!(text(&model, LARGE).contains("booted; waiting for its worker's first fetch"));
    for (running, done) in [(1, 0), (0, 1)] {
        model.running_on.insert(id.clone(), running);
        model.done_on.insert(id.clone(), done);
        let shown = text(&model, LARGE);
        assert!(
            shown.contains(&format!("{running} running, {done} done, booted; its worker takes jobs already")),
            "{shown}"
        );
    }
}

/// Whatever the terminal, a command is never cut.
#[test]
fn commands_are_whole_at_80_columns() {
    let model = flooded(true);
    let shown = text(&model, SMALL);
    for (what, command) in model.commands.as_ref().expect("--keep").lines(Some("i-0aaaaaaaaaaaaaaa1")) {
        assert!(shown.lines().any(|line| line == format!("{what:<10}{command}")), "{command}\n{shown}");
    }
}
