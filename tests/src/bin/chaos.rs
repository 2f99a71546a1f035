//! Rounds of chaos on the real programs, as the seed draws them:
//!
//! ```text
//! cargo run --release --bin chaos [-- ROUNDS [SEED]]
//! ```
//!
//! It prints what each round does, and in the end a table. Exits with 1 where an invariant is broken, with the seed, the
//! round and the story. Times of the pool are ten times shorter than the defaults; jobs last from 0.1 s to 6 s.

use spillway_tests::chaos::{Options, run};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let mut next = |otherwise| arguments.next().unwrap_or(Ok(otherwise));
    let (Ok(rounds), Ok(seed)) = (next(100), next(1)) else {
        eprintln!("chaos: give a number of rounds and a seed, such as: chaos 100 1");
        std::process::exit(2);
    };
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let report = run(Options { rounds, seed }, |words| eprintln!("{words}")).await;
    println!("{report}");
    std::process::exit(i32::from(report.broken.is_some()));
}
