//! `spillway queues`: what Redis shows of the queues.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use spillway_coordinator::config::{self, Needs};
use spillway_coordinator::queue::{QueueObserver, QueueReport};
use spillway_coordinator::redis_client::Redis;
use spillway_output::{out, outln};
use spillway_words::in_words;

/// Queues that were never made are an error; the others are printed all the same.
pub(super) async fn queues(file: Option<&Path>, as_json: bool) -> anyhow::Result<()> {
    let settings = config::load(file, &config::process_environment(), Needs::Queues)?;
    let (mut reports, mut problems) = (Vec::new(), Vec::new());
    for pool in &settings.pools {
        let redis = Redis::new("redis.url", &settings.redis_url)?;
        let mut observer = QueueObserver::new(redis, &pool.prefix, &pool.queues);
        for report in observer.report().await? {
            match report {
                Ok(report) => reports.push(report),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
    }
    if as_json {
        outln!("{}", serde_json::to_string(&reports)?);
    } else {
        for report in &reports {
            out!("{}", in_lines(report));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(())
}

fn in_lines(report: &QueueReport) -> String {
    let span = |seconds: Option<f64>| seconds.map_or("unknown".to_owned(), |it| in_words(Duration::from_secs_f64(it)));
    let or_unknown = |number: Option<String>| number.unwrap_or_else(|| "unknown".to_owned());
    let paused = if report.paused { "  PAUSED" } else { "" };
    format!(
        "{}{paused}\n  demand {} = waiting {} + prioritized {} + delayed and due {}{}\n  active {}, delayed {}, \
         waiting for children {}, completed {}, failed {}\n  oldest waiting {}, mean duration {}, finished per minute {}\n  \
         worker connections {}, global concurrency {}\n",
        report.queue,
        report.demand,
        report.waiting,
        report.prioritized,
        report.delayed_due,
        if report.paused { ", 0 while paused" } else { "" },
        report.active,
        report.delayed,
        report.waiting_children,
        report.completed,
        report.failed,
        if report.demand == 0 { "-".to_owned() } else { span(report.oldest_age_seconds) },
        span(report.mean_duration_seconds),
        or_unknown(report.finished_per_minute.map(|it| format!("{it:.1}"))),
        or_unknown(report.workers.map(|it| it.to_string())),
        report.concurrency.map_or("not limited".to_owned(), |it| it.to_string()),
    )
}
