//! The mutation check: each mutant of the list is built into a copy of brain, pool, machine and simulator, and seeds
//! are run until one violates an invariant, or the scenario that is named for it until it differs. A mutant that
//! nothing catches is a gap in the checks. Owns the copy; production code has no switch.

mod capacity;
mod drains;
mod drill;
mod images;
mod list;
mod pool;
mod seen;
mod wait;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

pub use list::{Mutant, RARE_DAYS, Shown, all};

/// The packages that are copied.
const MEMBERS: [&str; 7] = [
    "coordinator/brain",
    "coordinator/output",
    "coordinator/pool",
    "coordinator/words",
    "agent/machine",
    "agent/handback/rule",
    "coordinator/sim",
];

/// How the mutants are checked.
#[derive(Clone, Debug)]
pub struct Check {
    pub seeds: u64,
    pub days: f64,
    pub threads: usize,
    /// Only mutants whose name contains one of these texts; empty: all.
    pub only: Vec<String>,
}

/// The result for one mutant.
#[derive(Clone, Debug)]
pub enum Fate {
    Caught {
        seed: u64,
        invariant: String,
    },
    /// The scenario is decided otherwise than it says.
    CaughtByScenario(&'static str),
    Survived,
    /// It could not be built, or the text to replace is not there exactly once.
    Invalid(String),
}

impl Fate {
    pub fn is_caught(&self) -> bool {
        matches!(self, Fate::Caught { .. } | Fate::CaughtByScenario(_))
    }
}

/// The part of a sweep's JSON that matters here.
#[derive(Deserialize)]
struct Swept {
    failures: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    seed: u64,
    invariant: String,
}

/// The repository that this program was built from.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The mutated text; an error where the text to find is not there exactly once.
pub fn mutate(mutant: &Mutant, text: &str) -> Result<String, String> {
    match text.matches(mutant.find).count() {
        1 => Ok(text.replacen(mutant.find, mutant.replace, 1)),
        n => Err(format!("{}: the text to replace occurs {n} times in {}", mutant.name, mutant.file)),
    }
}

impl Check {
    /// Calls `tell` with each result as soon as it is known, until it says false; the first is the unmutated control,
    /// which must pass.
    pub fn run(&self, mut tell: impl FnMut(&str, &str, &Fate) -> bool) -> Result<bool, String> {
        let work = std::env::temp_dir().join(format!("spillway-mutants-{}", std::process::id()));
        let result = self.run_in(&work, &mut tell);
        // A directory that stays behind is harmless.
        let _ = fs::remove_dir_all(&work);
        result
    }

    fn run_in(&self, work: &Path, tell: &mut impl FnMut(&str, &str, &Fate) -> bool) -> Result<bool, String> {
        copy(work).map_err(|error| format!("cannot copy into {}: {error}", work.display()))?;
        let mut all_well = true;
        let is_wanted =
            |mutant: &&Mutant| self.only.is_empty() || self.only.iter().any(|only| mutant.name.contains(only.as_str()));
        // What shows a mutant must show nothing without it.
        let control = self.run_seeds(work, all().filter(is_wanted).filter_map(|mutant| mutant.shown_by));
        all_well &= matches!(control, Fate::Survived);
        if !tell("(control)", "no change", &control) {
            return Ok(false);
        }
        for mutant in all().filter(is_wanted) {
            let file = work.join(mutant.file);
            let original = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", mutant.file))?;
            let fate = match mutate(mutant, &original) {
                Err(problem) => Fate::Invalid(problem),
                Ok(mutated) => {
                    fs::write(&file, mutated).map_err(|error| error.to_string())?;
                    let fate = self.run_seeds(work, mutant.shown_by);
                    fs::write(&file, original).map_err(|error| error.to_string())?;
                    fate
                }
            };
            all_well &= fate.is_caught();
            if !tell(mutant.name, mutant.what, &fate) {
                return Ok(false);
            }
        }
        Ok(all_well)
    }

    /// Builds the copy, and runs seeds until one fails; before them what is named for a mutant.
    fn run_seeds(&self, work: &Path, first: impl IntoIterator<Item = Shown>) -> Fate {
        if let Err(problem) = cargo(work, &["build", "-p", "spillway-sim"]) {
            return Fate::Invalid(problem);
        }
        let program = work.join("target/release/spillway-sim");
        for shown in first {
            let fate = match shown {
                Shown::Seed(seed) => self.sweep(&program, seed..seed + 1, RARE_DAYS),
                Shown::Scenario(name) => scenario(work, name),
            };
            if !matches!(fate, Fate::Survived) {
                return fate;
            }
        }
        self.sweep(&program, 0..self.seeds, self.days)
    }

    fn sweep(&self, program: &Path, seeds: Range<u64>, days: f64) -> Fate {
        let swept = Command::new(program)
            .args(["--until-first", "--json", "--seeds", &format!("{}..{}", seeds.start, seeds.end)])
            .args(["--days", &days.to_string(), "--threads", &self.threads.to_string()])
            .env_remove("SEED")
            .output();
        let swept = match swept {
            Ok(swept) => swept,
            Err(error) => return Fate::Invalid(error.to_string()),
        };
        match serde_json::from_slice::<Swept>(&swept.stdout) {
            Ok(Swept { failures }) => match failures.into_iter().next() {
                Some(Failure { seed, invariant }) => Fate::Caught { seed, invariant },
                None => Fate::Survived,
            },
            Err(error) => Fate::Invalid(format!("cannot read its sweep's summary: {error}")),
        }
    }
}

/// Runs the brain's scenarios whose path has this name in it.
fn scenario(work: &Path, name: &'static str) -> Fate {
    let test = ["test", "-p", "spillway-brain", "--test", "scenarios"];
    if let Err(problem) = cargo(work, &[&test[..], &["--no-run"]].concat()) {
        return Fate::Invalid(problem);
    }
    let ran = command(work, &test).env("SCENARIO", name).output();
    match ran {
        Ok(ran) if ran.status.success() => Fate::Survived,
        Ok(_) => Fate::CaughtByScenario(name),
        Err(error) => Fate::Invalid(error.to_string()),
    }
}

/// What cargo says where it fails.
fn cargo(work: &Path, arguments: &[&str]) -> Result<(), String> {
    match command(work, arguments).output() {
        Ok(built) if built.status.success() => Ok(()),
        Ok(built) => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Builds fast, and programs that are fast enough.
fn command(work: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .args(["--offline", "--quiet", "--release"])
        .current_dir(work)
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_PANIC", "unwind")
        .env("RUSTFLAGS", "-Awarnings")
        .env_remove("UPDATE")
        .env_remove("SPILLWAY_RECORD");
    command
}

/// A workspace of these packages alone.
fn copy(work: &Path) -> std::io::Result<()> {
    let root = root();
    for member in MEMBERS {
        copy_directory(&root.join(member), &work.join(member))?;
    }
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = format!("members = {MEMBERS:?}");
    let mut lines = Vec::new();
    let mut is_kept = true;
    for line in manifest.lines() {
        if line.starts_with('[') {
            // The profile of a package that is not copied.
            is_kept = !line.starts_with("[profile.") || !line.contains(".package.");
        }
        match line {
            _ if !is_kept => {}
            _ if line.starts_with("members = ") => lines.push(members.clone()),
            _ if line.starts_with("default-members = ") => lines.push(format!("default-{members}")),
            _ => lines.push(line.to_owned()),
        }
    }
    fs::write(work.join("Cargo.toml"), lines.join("\n"))?;
    fs::copy(root.join("Cargo.lock"), work.join("Cargo.lock")).map(drop)
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_directory(&from, &to)?;
        } else {
            fs::copy(from, to).map(drop)?;
        }
    }
    Ok(())
}
