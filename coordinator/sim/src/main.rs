//! `spillway-sim`: sweeps seeds, replays one with its timeline, or checks the mutants.

// What is printed may go unread: see `spillway_output`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod progress;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use spillway_output::{errln, out, outln};
use spillway_sim::clock::DAY;
use spillway_sim::mutants::{Check, Fate};
use spillway_sim::sweep::{Sweep, guarded, seed_of_this_thread};
use spillway_sim::{Keep, Outcome, summary};

use progress::Progress;

/// Simulates Spillway's pool loop, brain and agents in a virtual world with faults drawn from a seed, and checks the
/// invariants.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
    /// Seeds to run: FROM..TO, without TO.
    #[arg(long, default_value = "0..1000", value_parser = range)]
    seeds: std::ops::Range<u64>,
    /// Run one seed and print its timeline.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Virtual days with faults in each run; a run ends some hours later, once everything has converged.
    #[arg(long, default_value_t = 1.0, value_parser = days)]
    days: f64,
    /// Runs at a time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Stop at the first violation.
    #[arg(long)]
    until_first: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Build deliberate bugs into a copy of the pure crates, one at a time; a seed, or the scenario named for it, must
    /// show each.
    Mutants {
        /// Seeds to try for each mutant.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// Virtual days with faults in each run.
        #[arg(long, default_value_t = 1.0, value_parser = days)]
        days: f64,
        /// Runs at a time.
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Only mutants whose name contains one of these texts.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("seeds are FROM..TO, such as 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn days(text: &str) -> Result<f64, String> {
    let days: f64 = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    if days.is_finite() && (0.0..=365.0).contains(&days) {
        Ok(days)
    } else {
        Err("days must be between 0 and 365".to_owned())
    }
}

fn main() -> ExitCode {
    spillway_output::ended(run())
}

fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(seed) = seed_of_this_thread() {
            errln!("seed {seed} panicked: {panic}");
        }
        default(panic);
    }));
    if let Some(Subcommands::Mutants { seeds, days, threads, only }) = arguments.command {
        return mutants(&Check { seeds, days, threads, only });
    }
    let fault_time = (arguments.days * DAY as f64) as u64;
    if let Some(seed) = arguments.seed {
        let outcome = guarded(seed, fault_time, Keep::Print);
        outln!("seed {seed}: {} events, hash {:016x}", outcome.events, outcome.hash);
        out!("{}", summary::failure(&outcome));
        return code(outcome.violation.is_none());
    }
    let Arguments { seeds, threads, until_first, .. } = arguments;
    let runs = seeds.end.saturating_sub(seeds.start);
    let sweep = Sweep { seeds, fault_time, threads, until_first };
    let began = now();
    let progress = Progress::new(runs);
    let totals = sweep.run(|outcome, ended| progress.tell(outcome, ended));
    progress.end();
    let took = now().saturating_sub(began);
    if arguments.json {
        outln!("{}", summary::json(&totals, took));
        return code(totals.is_well());
    }
    out!("{}", summary::totals(&totals, took));
    for failure in totals.failures.iter().take(3) {
        print_again(failure, fault_time);
    }
    for failure in totals.failures.iter().skip(3).take(30) {
        out!("{}", summary::failure(failure));
    }
    code(totals.is_well())
}

/// Runs the seed again, for the last lines of its timeline.
fn print_again(failure: &Outcome, fault_time: u64) {
    outln!();
    for line in guarded(failure.seed, fault_time, Keep::Lines).timeline {
        outln!("    {line}");
    }
    out!("{}", summary::failure(failure));
}

fn mutants(check: &Check) -> ExitCode {
    outln!("{:<26} {:<12} {:<52} seed", "mutant", "result", "invariant");
    let (mut caught, mut all) = (0, 0);
    let told = check.run(|name, what, fate| {
        if name != "(control)" {
            all += 1;
            caught += u32::from(fate.is_caught());
        }
        match fate {
            Fate::Caught { seed, invariant } => outln!("{name:<26} {:<12} {invariant:<52} {seed}", "caught"),
            Fate::CaughtByScenario(scenario) => outln!("{name:<26} {:<12} scenario {scenario}", "caught"),
            Fate::Survived if name == "(control)" => outln!("{name:<26} passes"),
            Fate::Survived => outln!("{name:<26} SURVIVED: {what}"),
            Fate::Invalid(problem) => outln!("{name:<26} INVALID: {problem}"),
        }
        !spillway_output::is_unread()
    });
    outln!(
        "{caught} of {all} mutants caught, each within {} seeds of {} days, or by what is named for it",
        check.seeds,
        check.days
    );
    match told {
        Ok(all_well) => code(all_well),
        Err(problem) => {
            errln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "measures how long the sweep takes; the world has its own clock")]
pub(crate) fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
