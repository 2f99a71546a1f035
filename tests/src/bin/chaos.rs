//! Rounds of chaos on the real programs, as the seed draws them:
//!
//! ```text
//! cargo run --release --bin chaos [-- ROUNDS [SEED]]
//! ```
//!
//! It prints what each round does, and a table at the end. Exits with 1 if an invariant is violated, and prints the seed, the
//! round, logs, plans and calls. The pool's times are ten times shorter than the defaults; jobs take 0.1 s to 6 s.

use spillway_tests::chaos::{Options, run};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |otherwise| arguments.next().unwrap_or(Ok(otherwise));
    let (Ok(rounds), Ok(seed)) = (next(100), next(1)) else {
        eprintln!("usage: chaos [ROUNDS [SEED]], such as: chaos 100 1");
        std::process::exit(2);
    };
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let summary = run(Options { rounds, seed }, |words| eprintln!("{words}")).await;
    println!("{summary}");
    std::process::exit(i32::from(summary.violation.is_some()));
}
