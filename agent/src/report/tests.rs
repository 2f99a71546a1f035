//! The flight record through lost sessions, and the words about what a drain cannot protect.

use std::time::Duration;

use spillway_machine::{Graceful, Worker};

use super::*;
use crate::worker::preload::Loading;

fn reporter(check: WorkerCheck, workers: Vec<wire::Worker>) -> Reporter {
    Reporter {
        schedule: None,
        image_id: String::new(),
        steps: Vec::new(),
        signal: DrainSignal::Auto,
        commit: None,
        lockfile: None,
        check,
        shims: Seen { workers, ..Seen::default() },
        no_shim: None,
        place: Place::default(),
        redis: String::new(),
        said_without_shim: None,
        unprotected: Vec::new(),
        vitals: Vitals::default(),
    }
}

fn line(index: u32, attempt: u32, state: i32) -> BootStep {
    BootStep { index, attempt, state, ..BootStep::default() }
}

#[test]
fn a_new_session_hears_what_it_missed_and_the_latest_of_the_rest() {
    let mut record = FlightRecord::new(2);
    record.record(line(0, 1, 1), true);
    record.record(line(0, 1, 2), true);
    record.record(line(1, 1, 1), false);
    record.record(line(1, 1, 4), false);
    assert_eq!(record.for_a_new_session(), [line(0, 1, 2), line(1, 1, 1), line(1, 1, 4)]);
    assert_eq!(record.for_a_new_session(), [line(0, 1, 2), line(1, 1, 4)]);
    for attempt in 0..1000 {
        record.record(line(1, attempt, 1), false);
    }
    let lines = record.for_a_new_session();
    assert_eq!((lines.len(), lines.last()), (LINES_KEPT + 1, Some(&line(1, 999, 1))));
}

#[test]
fn what_a_drain_cannot_protect_is_said() {
    let words = |signal, graceful, seconds| {
        let patience = Duration::from_secs(seconds);
        unprotected(&Worker { processes: 1, errored: 0, restarts: 0, graceful, patience }, signal, &["w".to_owned()])
            .join("\n")
    };
    assert_eq!(words(DrainSignal::Auto, Graceful::Yes, 86_400), "");
    assert_eq!(words(DrainSignal::AtOnce, Graceful::Unknown, 86_400), "");
    assert!(words(DrainSignal::Auto, Graceful::No, 86_400).contains("does not handle SIGINT"));
    assert!(words(DrainSignal::Auto, Graceful::Unknown, 86_400).contains("cannot tell whether w finishes"));
    assert!(words(DrainSignal::AtOnce, Graceful::No, 86_400).contains("a drain kills its jobs"));
    assert!(words(DrainSignal::Auto, Graceful::Yes, 5).contains("pm2 kills the worker and its jobs 5 s after"));
}

/// A process loads the shim within a second of its start, and until then nothing is wrong.
#[test]
fn a_worker_that_is_loading_the_shim_is_not_called_unprotected() {
    let words = |loading: Option<Loading>| {
        let mut check = WorkerCheck { loading: loading.into_iter().collect(), ..WorkerCheck::default() };
        let (graceful, patience) = (Graceful::No, Duration::from_secs(86_400));
        check.observation.worker = Some(Worker { processes: 1, errored: 0, restarts: 0, graceful, patience });
        reporter(check, Vec::new()).unprotected_now().join("\n")
    };
    let young = Loading { pids: vec![7], lost: None, otherwise: "bundled".to_owned(), is_old: false };
    assert_eq!(words(Some(young.clone())), "");
    let old = words(Some(Loading { is_old: true, ..young.clone() }));
    assert!(old.contains("the shim is not loaded: bundled") && old.contains("does not handle SIGINT"), "{old}");
    let lost = words(Some(Loading { lost: Some("NODE_OPTIONS".to_owned()), ..young }));
    assert!(lost.contains("the shim is not loaded: NODE_OPTIONS") && lost.contains("does not handle SIGINT"), "{lost}");
    // No shim is installed.
    assert!(words(None).contains("does not handle SIGINT"));
}

/// BullMQ holds a Worker back by its own `limiter.max` alone.
#[test]
fn the_greatest_limiter_counts_and_none_where_a_worker_has_none() {
    let max = |maxima: &[Option<f64>]| {
        let worker = |limiter_max: &Option<f64>| wire::Worker {
            queue: "video".to_owned(),
            limiter_max: *limiter_max,
            ..wire::Worker::default()
        };
        let reporter = reporter(WorkerCheck::default(), maxima.iter().map(worker).collect());
        reporter.queues().into_iter().map(|queue| queue.limiter_max).collect::<Vec<_>>()
    };
    assert_eq!(max(&[Some(5.0), Some(10.0)]), [Some(10)]);
    assert_eq!(max(&[Some(5.0), None, Some(10.0)]), [None]);
    assert_eq!(max(&[Some(5.0), Some(-1.0)]), [None], "nonsense is no limit");
    assert_eq!(max(&[None]), [None]);
}

#[test]
fn an_instance_runs_as_many_jobs_of_a_queue_as_its_workers_together() {
    let concurrency = |told: &[(&str, Option<f64>)]| {
        let worker = |(queue, concurrency): &(&str, Option<f64>)| wire::Worker {
            queue: (*queue).to_owned(),
            concurrency: *concurrency,
            ..wire::Worker::default()
        };
        let reporter = reporter(WorkerCheck::default(), told.iter().map(worker).collect());
        reporter.queues().into_iter().map(|queue| queue.concurrency).collect::<Vec<_>>()
    };
    assert_eq!(concurrency(&[("a", Some(2.0)), ("a", Some(3.0)), ("b", Some(1.0))]), [Some(5), Some(1)]);
    assert_eq!(concurrency(&[("a", Some(2.0)), ("a", None)]), [None], "a part is not told for all");
    assert_eq!(concurrency(&[("a", Some(f64::NAN))]), [None]);
}
