//! Interruptions with notice, with little and without, in the middle of jobs: every job completes, in its first
//! attempt, and BullMQ's stall check finds nothing. `cargo run --release --bin interruptions` does the same 200 times.

use spillway_tests::interruptions::{NOTICES, Options, interrupt, scale_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_whatever_the_notice() {
    for (bullmq, runtime) in [(5, "bun"), (4, "node")] {
        let options = Options {
            bullmq,
            runtime,
            interruptions: 3,
            notices: NOTICES,
            instances: 2,
            shortened: 10.0,
            jobs_per_second: 3.0,
            seed: 7,
        };
        let tally = interrupt(options, |_| ()).await;
        assert!(tally.is_kept(), "BullMQ {bullmq} under {runtime}\n{tally}");
        let held: u32 = tally.rows.values().map(|row| row.jobs).sum();
        assert!(held >= 3, "no instance held a job: nothing was tested\n{tally}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_in_under_steady_load_interrupts_no_job() {
    let options = Options {
        bullmq: 5,
        runtime: "bun",
        interruptions: 0,
        notices: NOTICES,
        instances: 1,
        shortened: 10.0,
        jobs_per_second: 2.0,
        seed: 11,
    };
    let tally = scale_in(options, 2, |_| ()).await;
    assert!(tally.is_kept(), "{tally}");
    let handed_back: u32 = tally.rows.values().map(|row| row.handed_back).sum();
    assert_eq!((handed_back, tally.run_twice), (0, 0), "{tally}");
}
