//! A few rounds of chaos: kills, partitions, lost answers, interruptions. Nothing is launched twice, lost or left.
//! `cargo run --release --bin chaos` does the same in 100 rounds; SEED=n draws others here.

use spillway_tests::chaos::{Options, depose, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_rounds_of_chaos_break_nothing() {
    let seed = std::env::var("SEED").ok().map_or(4163, |seed| seed.parse().expect("a number"));
    let report = run(Options { rounds: 4, seed }, |words| println!("{words}")).await;
    println!("{report}");
    assert!(report.broken.is_none(), "seed {seed}");
    assert!(report.launches > 0 && report.added > 0, "nothing could break\n{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_leave_a_deposed_leader_that_lives_on() {
    if let Err(story) = depose().await {
        panic!("{story}");
    }
}
