//! The figures of `tests/FIGURES.md`, measured on this machine with the release programs:
//!
//! ```text
//! cargo run --release --bin figures
//! ```
//!
//! It measures and asserts nothing. Each figure is printed as soon as it is known; with the word `fleet` behind it only
//! those of many agents.

mod fleet;
mod observation;
mod programs;

use rustix::process::{Resource, getrlimit, setrlimit};
use spillway_tests::binaries;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if !binaries::spillway().components().any(|part| part.as_os_str() == "release") {
        eprintln!("figures are measured on release builds: cargo run --release --bin figures");
        std::process::exit(2);
    }
    raise_descriptors();
    if std::env::args().any(|word| word == "fleet") {
        fleet::many_agents(100).await;
        return fleet::many_agents(1000).await;
    }
    programs::sizes();
    programs::coordinator_start().await;
    observation::with_a_million_jobs().await;
    fleet::idle_memory_and_notices().await;
    fleet::many_agents(100).await;
    fleet::many_agents(1000).await;
}

/// A thousand agents' connections and as many ports of the emulator's are this process' own.
fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        eprintln!("the limit of open files stays as it is: {error}");
    }
}

/// Prints one row: what was measured, and its value.
fn say(what: &str, value: &str) {
    println!("{what:<58} {value}");
}

/// Minimum, median, 99th percentile and maximum, in the given unit.
fn spread(mut samples: Vec<f64>, unit: &str) -> String {
    samples.sort_by(f64::total_cmp);
    let at = |part: f64| samples[((samples.len() - 1) as f64 * part).round() as usize];
    format!("median {:.2} {unit}, p99 {:.2}, max {:.2} ({} samples)", at(0.5), at(0.99), at(1.0), samples.len())
}
