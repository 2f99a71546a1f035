//! A few rounds of chaos: kills, partitions, lost answers, interruptions. No launch is doubled, no job lost, no process
//! left. `cargo run --release --bin chaos` does the same in 100 rounds; SEED=n draws others here.

use spillway_tests::chaos::{Options, depose_leader, run, run_side_by_side};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_rounds_of_chaos_break_nothing() {
    let seed = std::env::var("SEED").ok().map_or(4163, |seed| seed.parse().expect("a number"));
    let summary = run(Options { rounds: 4, seed }, |words| println!("{words}")).await;
    println!("{summary}");
    assert!(summary.violation.is_none(), "seed {seed}");
    assert!(summary.launches > 0 && summary.added > 0, "no launch or no job: nothing was tested\n{summary}");
}

/// Two installations with the same names in one account: neither touches an instance of the other, and both work their
/// floods off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_installations_in_chaos_leave_each_other_alone() {
    let seed = std::env::var("SEED").ok().map_or(5210, |seed| seed.parse().expect("a number"));
    let summaries = run_side_by_side(Options { rounds: 3, seed }, |words| println!("{words}")).await;
    for summary in &summaries {
        println!("{summary}");
        assert!(summary.violation.is_none(), "seed {seed}");
        assert!(summary.launches > 0 && summary.added > 0, "nothing was tested\n{summary}");
        assert_eq!((summary.foreign_touched, summary.over_the_cap, summary.instances_left), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_leave_a_deposed_leader_that_lives_on() {
    if let Err(diagnosis) = depose_leader().await {
        panic!("{diagnosis}");
    }
}
