//! `spillway-sim`: sweeps seeds, replays one with its timeline, or checks the mutants.

mod progress;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use spillway_sim::clock::DAY;
use spillway_sim::mutants::{Check, Fate};
use spillway_sim::sweep::{Sweep, guarded, seed_of_this_thread};
use spillway_sim::{Keep, Outcome, report};

use progress::Progress;

/// Runs Spillway's brain and its agents' machines in a virtual world of seeded faults, and checks what must always hold.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommands>,
    /// Seeds to sweep: FROM..TO.
    #[arg(long, default_value = "0..1000", value_parser = range)]
    seeds: std::ops::Range<u64>,
    /// Live one seed, and print its timeline.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Virtual days of faults in each life; it ends some hours later, when all has converged.
    #[arg(long, default_value_t = 1.0, value_parser = days)]
    days: f64,
    /// Lives at a time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// End at the first violation.
    #[arg(long)]
    until_first: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Builds deliberate bugs into a copy of the brain and the machine, one at a time; each must be caught.
    Mutants {
        /// Seeds that a bug may need.
        #[arg(long, default_value_t = 1000)]
        seeds: u64,
        #[arg(long, default_value_t = 1.0, value_parser = days)]
        days: f64,
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Only those whose name contains one of these.
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
    if days.is_finite() && (0.0..=365.0).contains(&days) { Ok(days) } else { Err("0 to 365".to_owned()) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(seed) = seed_of_this_thread() {
            eprintln!("seed {seed} panics: {panic}");
        }
        default(panic);
    }));
    if let Some(Subcommands::Mutants { seeds, days, threads, only }) = arguments.command {
        return mutants(&Check { seeds, days, threads, only });
    }
    let fault_time = (arguments.days * DAY as f64) as u64;
    if let Some(seed) = arguments.seed {
        let outcome = guarded(seed, fault_time, Keep::Print);
        println!("seed {seed}: {} events, hash {:016x}", outcome.events, outcome.hash);
        print!("{}", report::failure(&outcome));
        return code(outcome.violation.is_none());
    }
    let Arguments { seeds, threads, until_first, .. } = arguments;
    let lives = seeds.end.saturating_sub(seeds.start);
    let sweep = Sweep { seeds, fault_time, threads, until_first };
    let began = now();
    let progress = Progress::new(lives);
    let totals = sweep.run(|outcome, ended| progress.tell(outcome, ended));
    progress.end();
    let took = now().saturating_sub(began);
    if arguments.json {
        println!("{}", report::json(&totals, took));
        return code(totals.is_well());
    }
    print!("{}", report::totals(&totals, took));
    for failure in totals.failures.iter().take(3) {
        print_again(failure, fault_time);
    }
    for failure in totals.failures.iter().skip(3).take(30) {
        print!("{}", report::failure(failure));
    }
    code(totals.is_well())
}

/// Once more, for its last lines.
fn print_again(failure: &Outcome, fault_time: u64) {
    println!();
    for line in guarded(failure.seed, fault_time, Keep::Lines).timeline {
        println!("    {line}");
    }
    print!("{}", report::failure(failure));
}

fn mutants(check: &Check) -> ExitCode {
    println!("{:<26} {:<12} {:<52} seed", "mutant", "fate", "invariant");
    let (mut caught, mut all) = (0, 0);
    let told = check.run(|name, what, fate| {
        if name != "(control)" {
            all += 1;
            caught += u32::from(matches!(fate, Fate::Caught { .. }));
        }
        match fate {
            Fate::Caught { seed, invariant } => println!("{name:<26} {:<12} {invariant:<52} {seed}", "caught"),
            Fate::Survived if name == "(control)" => println!("{name:<26} passes"),
            Fate::Survived => println!("{name:<26} SURVIVES: {what}"),
            Fate::Invalid(problem) => println!("{name:<26} INVALID: {problem}"),
        }
    });
    println!("{caught} of {all} caught, each within {} seeds of {} days", check.seeds, check.days);
    match told {
        Ok(all_well) => code(all_well),
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "the sweep's stop watch; the world has no clock but its own")]
pub(crate) fn now() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}
