//! `spillway-sim`: sweeps seeds, or replays one with its timeline.

use std::process::ExitCode;

use clap::Parser;
use spillway_sim::clock::{Clock, DAY, HOUR};
use spillway_sim::sweep::{Sweep, Totals, guarded};
use spillway_sim::{Keep, Outcome};

/// Runs Spillway's brain and machines in a virtual world of seeded faults, and checks what must always hold.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds to sweep: FROM..TO.
    #[arg(long, default_value = "0..1000", value_parser = range)]
    seeds: std::ops::Range<u64>,
    /// Live one seed, and print its timeline.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Virtual days of faults in each life.
    #[arg(long, default_value_t = 1.0)]
    days: f64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long)]
    json: bool,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("FROM..TO")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let fault_time = (arguments.days * DAY as f64) as u64;
    if let Some(seed) = arguments.seed {
        let outcome = guarded(seed, fault_time, Keep::Print);
        println!("seed {seed}: {} events, hash {:016x}", outcome.events, outcome.hash);
        return report(&outcome);
    }
    let began = std::time::SystemTime::UNIX_EPOCH;
    let _ = began;
    let sweep = Sweep { seeds: arguments.seeds, fault_time, threads: arguments.threads, stop_at_first: false };
    let totals = sweep.run();
    print(&totals);
    for failure in totals.failures.iter().take(5) {
        let again = guarded(failure.seed, fault_time, Keep::Lines);
        again.timeline.iter().for_each(|line| println!("    {line}"));
        report(failure);
    }
    for failure in totals.failures.iter().skip(5).take(20) {
        report(failure);
    }
    if totals.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(totals: &Totals) {
    for (words, times) in totals.counts.iter() {
        println!("{times:>12} {words}");
    }
    println!(
        "{} lives, {} h, {} events, {} failures",
        totals.lives,
        totals.lived / HOUR,
        totals.events,
        totals.failures.len()
    );
    println!("never: {:?}; unsteady {:?}", totals.counts.never(), totals.unsteady);
}

fn report(outcome: &Outcome) -> ExitCode {
    let Some(violation) = &outcome.violation else { return ExitCode::SUCCESS };
    println!("seed {}: {} at {}: {}", outcome.seed, violation.invariant.words(), Clock(violation.at), violation.detail);
    ExitCode::FAILURE
}
