//! Rounds of chaos on the real programs, as the seed draws them:
//!
//! ```text
//! cargo run --release --bin chaos [-- ROUNDS [SEED]] [--installations 2]
//! ```
//!
//! With `--installations 2` two whole installations with the same names work side by side in one account. It prints
//! what each round does, and a table at the end. Exits with 1 if an invariant is violated, and prints the seed, the
//! round, logs, plans and calls. The pool's times are ten times shorter than the defaults; jobs take 0.1 s to 6 s.

use spillway_tests::chaos::{Options, run, run_side_by_side};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let two = arguments.iter().position(|argument| argument == "--installations");
    let installations = two.map(|at| arguments.drain(at..).nth(1).unwrap_or_default());
    let mut arguments = arguments.iter().map(|argument| argument.parse::<u64>());
    let mut next = |otherwise| arguments.next().unwrap_or(Ok(otherwise));
    let (Ok(rounds), Ok(seed), None | Some("1" | "2")) = (next(100), next(1), installations.as_deref()) else {
        eprintln!("usage: chaos [ROUNDS [SEED]] [--installations 1|2], such as: chaos 100 1 --installations 2");
        std::process::exit(2);
    };
    let options = Options { rounds: u32::try_from(rounds).unwrap_or(u32::MAX), seed };
    let log = |words: &str| eprintln!("{words}");
    let summaries = match installations.as_deref() {
        Some("2") => run_side_by_side(options, log).await.to_vec(),
        _ => vec![run(options, log).await],
    };
    for summary in &summaries {
        println!("{summary}\n");
    }
    std::process::exit(i32::from(summaries.iter().any(|summary| summary.violation.is_some())));
}
