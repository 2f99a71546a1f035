//! 200 interruptions at random moments, with BullMQ 4, 5 and 6 under bun and node, then ten scale-ins; the result is
//! what became of every job:
//!
//! ```text
//! cargo run --release --bin interruptions [-- INTERRUPTIONS [SEED [BULLMQ [bun | node]]]]
//! ```
//!
//! Jobs (0.1 s to 300 s), notices (120, 20, 0 s) and the drain's margin (10 s) are ten times shorter. It prints the
//! table of `tests/FIGURES.md`, and exits with 1 if a job failed, spent an attempt or a stall, or was run twice.
//! Counted, but no fault: a job that two ends without notice hit, which is left to BullMQ, and one that was handed back
//! as its code ended.

use spillway_tests::interruptions::{NOTICES, Options, Tally, interrupt, scale_in};

const SCALE_INS: u32 = 10;

const VARIANTS: [(u32, &str); 6] = [(5, "bun"), (4, "bun"), (6, "bun"), (5, "node"), (4, "node"), (6, "node")];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, otherwise: u64| arguments.get(at).map_or(Ok(otherwise), |text| text.parse());
    let (Ok(interruptions), Ok(seed), Ok(only)) = (number(0, 200), number(1, 1), number(2, 0)) else {
        eprintln!("usage: interruptions [INTERRUPTIONS [SEED [BULLMQ [bun | node]]]], such as: interruptions 200 1");
        std::process::exit(2);
    };
    let is_wanted = |(bullmq, runtime): &(u32, &str)| {
        (only == 0 || only == u64::from(*bullmq)) && arguments.get(3).is_none_or(|name| name == runtime)
    };
    let variants: Vec<(u32, &str)> = VARIANTS.into_iter().filter(is_wanted).collect();
    let mut all = Tally::default();
    for (number, (bullmq, runtime)) in variants.iter().copied().enumerate() {
        // As evenly as possible.
        let variants = variants.len() as u64;
        let share = interruptions / variants + u64::from((number as u64) < interruptions % variants);
        if share == 0 {
            continue;
        }
        eprintln!("BullMQ {bullmq} under {runtime}: {share} interruptions");
        let options = options(bullmq, runtime, share, seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        let tally = interrupt(options, |it| {
            let notice = it.notice.unwrap_or_default();
            eprintln!(
                "  {} is interrupted with {notice} s of notice while it runs {} jobs",
                it.instance,
                it.jobs.len()
            );
        })
        .await;
        eprintln!("{tally}\n");
        all.add(tally);
    }
    eprintln!("BullMQ 5 under bun: {SCALE_INS} scale-ins");
    let options = Options { instances: 1, jobs_per_second: 2.0, ..options(5, "bun", 0, seed) };
    let scaled_in = scale_in(options, SCALE_INS, |it| {
        eprintln!("  {} is scaled in while it runs {} jobs", it.instance, it.jobs.len());
    })
    .await;
    eprintln!("{scaled_in}\n");
    all.add(scaled_in);
    println!("{all}");
    std::process::exit(i32::from(!all.is_kept()));
}

fn options(bullmq: u32, runtime: &'static str, interruptions: u64, seed: u64) -> Options {
    let interruptions = u32::try_from(interruptions).unwrap_or(u32::MAX);
    Options {
        bullmq,
        runtime,
        interruptions,
        notices: NOTICES,
        instances: 3,
        shortened: 10.0,
        jobs_per_second: 3.0,
        seed,
    }
}
